"""The command check, where nothing stands in the way; what does is asked for beside what refuses it."""

from pathlib import Path

import pytest
import yaml

from pipeline.commands import check
from tests.tiny import TINY


@pytest.mark.parametrize(
    ("replicates", "said"),
    [([], "1 training run of phantom; no setting stands in its way"), ([7], "2 training runs of phantom; no setting")],
)
def test_a_study_that_can_run_is_counted(tmp_path, monkeypatch, capsys, replicates, said):
    monkeypatch.chdir(tmp_path)
    study = {"models": TINY["study"]["models"][:1], "losses": TINY["study"]["losses"][:1], "replicates": replicates}
    Path("params.yaml").write_text(yaml.safe_dump({**TINY, "study": study}))
    check.main([])
    assert said in capsys.readouterr().out
