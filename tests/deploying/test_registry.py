"""Models in the registry of git and DVC: DVC itself finds them, by name and by version."""

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.commands.export import main

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]


def commit(message):
    subprocess.run(["git", "add", "registry", ".dvc"], check=True)
    subprocess.run([*GIT, "commit", "-qm", message], check=True)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:FutureWarning")
def test_dvc_gets_a_model_by_its_name_and_by_its_version(deployed, capsys):
    from dvc.repo import Repo
    from dvc.repo.artifacts import Artifacts

    subprocess.run(["git", "init", "-q"], check=True)
    with Repo.init(".") as repo, repo.config.edit() as config:
        config["remote"]["store"] = {"url": str(Path("store").absolute())}
        config["core"] |= {"remote": "store", "analytics": False}
    versions = {}
    for version, form in (("v1.0.0", "torchscript"), ("v2.0.0", "onnx")):
        main(["small-bce", "--register", "chosen", "--format", form])
        assert "gto register registry:chosen" in capsys.readouterr().out
        commit(version)
        with Repo(".") as repo:
            repo.push()
        subprocess.run([*GIT, "tag", "-a", f"registry=chosen@{version}", "-m", version], check=True)
        versions[version] = sums(Path("registry/chosen"))
    content = yaml.safe_load(Path("registry/dvc.yaml").read_text())["artifacts"]
    assert list(content) == ["chosen"]
    assert content["chosen"]["type"] == "model"
    assert (Path("registry") / content["chosen"]["meta"]["card"]).exists()
    assert "not for clinical use" in content["chosen"]["desc"]
    for version, out in ((None, "newest"), ("v1.0.0", "first")):
        Artifacts.get(".", "registry:chosen", version=version, out=out)
        assert sums(Path(out)) == versions[version or "v2.0.0"]
    assert versions["v1.0.0"] != versions["v2.0.0"]


def sums(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--register", "../x"], "--register: '../x'; must be letters, digits"),
        (["--register", "a b"], "--register: 'a b'; must be letters"),
        (["--register", "a", "--out", "b"], "--register: has its own folder"),
        (["--register", "mine"], "--register: registry/mine is there, and not from here"),
        (["--register", "a"], "--register: you are not inside of a DVC repository"),
    ],
)
def test_what_cannot_be_registered(deployed, capsys, arguments, message):
    Path("registry/mine").mkdir(parents=True)
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
    assert [path.name for path in Path("registry").iterdir()] == ["mine"]
