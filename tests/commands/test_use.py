"""medmatrix use: no edited params.yaml is lost."""

import os
import subprocess
from pathlib import Path

import pytest

from pipeline.commands.use import use
from pipeline.study.errors import UserError
from tests.tiny import IDENTITY


@pytest.fixture(autouse=True)
def _checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    for name, text in (("studies/a.yaml", "a"), ("studies/b.yaml", "b"), ("params.yaml", "default")):
        Path(name).write_text(text)
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "start")):
        subprocess.run(["git", *command], check=True, env=os.environ | IDENTITY)


def test_every_edited_version_is_kept_once():
    use(Path("studies/a.yaml"))
    assert not list(Path().glob("params.yaml.*"))  # git has it
    Path("params.yaml").write_text("mine")
    assert "kept as params.yaml.1" in use(Path("studies/a.yaml"))
    assert use(Path("studies/b.yaml")) == "params.yaml is studies/b.yaml now"  # studies/ has a
    Path("params.yaml").write_text("mine, too")
    assert "kept as params.yaml.2" in use(Path("studies/a.yaml"))
    use(Path("params.yaml.1"))
    assert use(Path("studies/b.yaml")) == "params.yaml is studies/b.yaml now"
    assert {p.name: p.read_text() for p in Path().glob("params.yaml*")} == {
        "params.yaml": "b",
        "params.yaml.1": "mine",
        "params.yaml.2": "mine, too",
    }
    assert use(Path("studies/b.yaml")) == "params.yaml is studies/b.yaml already"


def test_a_file_that_is_not_there_names_the_ready_ones():
    with pytest.raises(UserError, match=r"studies/c\.yaml: .* ready studies: studies/a\.yaml, studies/b\.yaml"):
        use(Path("studies/c.yaml"))
    assert Path("params.yaml").read_text() == "default"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pipe", "a pipe, not a file"),
        ("round", "a link that leads in a circle"),
        ("nowhere", "a link to nothing"),
        ("studies", "a folder, not a file"),
        ("zeros", "not a text file; must have the content of a params.yaml"),
        ("picture", "not a text file in UTF-8; must have the content of a params.yaml"),
    ],
)
def test_what_is_no_text_is_refused_and_not_waited_for(name, said):
    os.mkfifo("pipe")
    Path("round").symlink_to("round")
    Path("nowhere").symlink_to("gone")
    Path("zeros").write_bytes(bytes(64))
    Path("picture").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UserError, match=said):
        use(Path(name))
    assert Path("params.yaml").read_text() == "default"
