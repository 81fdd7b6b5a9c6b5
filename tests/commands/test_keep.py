"""medmatrix keep: whose pages are kept, and when not."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipeline.commands.keep import keep
from pipeline.launching import status
from pipeline.launching.status import StageStatus
from pipeline.study import prepared
from pipeline.study.errors import UserError

REPORT = StageStatus(Path("reports"), "up to date")


@pytest.fixture
def study(tiny, tmp_path, monkeypatch) -> SimpleNamespace:
    """A finished study of real images; what it says of itself can be changed."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(tiny))
    rows = product(tiny["study"]["models"], tiny["study"]["losses"], [tiny["seed"], *tiny["study"]["replicates"]])
    Path("reports").mkdir()
    Path("reports/metrics.csv").write_text("\n".join(["model,loss,seed", *(f"{m},{lo},{s}" for m, lo, s in rows), ""]))
    Path("reports/README.md").write_text("# Results: Films\n")
    facts = SimpleNamespace(report=REPORT, data=SimpleNamespace(name="films", synthetic=False), params=tiny)
    monkeypatch.setattr(status, "read_status", lambda _: {"report": facts.report})
    monkeypatch.setattr(prepared, "read_dataset", lambda: facts.data)
    return facts


def test_pages_say_whose_they_are(study):
    assert keep("films")[0] == Path("reports/studies/films/README.md")
    page = Path("reports/studies/films/README.md").read_text()
    assert "> Pages of the study films" in page
    assert "Figures that show images of the data set are left out." in page
    study.data.synthetic = True
    Path("studies").mkdir()
    Path("studies/ready.yaml").write_text("# The same.\n\n" + Path("params.yaml").read_text())
    keep("ready")
    page = Path("reports/studies/ready/README.md").read_text()
    assert "[studies/ready.yaml](../../../studies/ready.yaml)" in page
    assert "left out" not in page


def without_a_run(study):
    table = Path("reports/metrics.csv")
    table.write_text("\n".join([*table.read_text().splitlines()[:-1], ""]))


def with_images(study):
    study.params["report"] = {"private_figures": False}
    Path("params.yaml").write_text(yaml.safe_dump(study.params))


def with_another_params(study):
    Path("studies").mkdir()
    Path("studies/films.yaml").write_text(yaml.safe_dump(study.params | {"seed": 99}))


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("../films", None, r"'\.\./films': not a name for a folder"),
        (".films", None, "not a name for a folder"),
        ("films", with_another_params, r"params\.yaml is not studies/films\.yaml: medmatrix use"),
        ("films", lambda s: setattr(s, "report", replace(REPORT, state="to run")), "reports/ is not the report"),
        ("films", lambda s: setattr(s, "report", None), "reports/ is not the report"),
        ("films", without_a_run, r"no results of .* seed \d+: dvc repro first"),
        ("films", with_images, "private_figures = false: the pages show images of films"),
    ],
)
def test_what_is_not_the_finished_study_or_shows_people_is_refused(study, name, spoil, said):
    if spoil:
        spoil(study)
    with pytest.raises(UserError, match=said):
        keep(name)
    assert not Path("reports/studies").exists()
