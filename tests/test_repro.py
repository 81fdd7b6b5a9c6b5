"""What a user does with DVC, on a tiny study in a repository of its own."""

import copy
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.shared.standin import COPIED
from pipeline.launching import workers
from pipeline.settings import parse
from tests.blank import empty_figures_in
from tests.forked import ALONE, Forks
from tests.tiny import IDENTITY, ROOT, TINY, copy_tracked


class Project:
    """A clone with the tiny study in place of the default one."""

    forks: Forks
    """Where DVC and the stages begin, minutes sooner."""

    def __init__(self, folder: Path):
        self.folder = folder
        copy_tracked([*COPIED, "pipeline"], folder)
        (folder / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
        empty_figures_in(folder)
        text = (ROOT / "params.yaml").read_text()
        self.write(copy.deepcopy(TINY))
        self.default_text = text
        self.git("init", "-q", "-b", "main")
        self.commit("start")

    def write(self, content: dict) -> None:
        lines = yaml.safe_dump({k: v for k, v in content.items() if k != "study"}, sort_keys=False)
        study = yaml.safe_dump(content["study"], default_flow_style=True, width=1000).strip()
        (self.folder / "params.yaml").write_text(f"study: {study}  # flow\n{lines}")
        self.content = content

    @property
    def environment(self) -> dict[str, str]:
        return self.forks.environment(workers.base_environment("repro") | IDENTITY | {ALONE: "1"})

    def run(self, *command: str, fails: bool = False) -> str:
        options = {"cwd": self.folder, "env": self.environment, "timeout": 600}
        if command[0] == "dvc":
            done = self.forks.run(["-m", *command], **options)
        else:
            done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run("dvc", *arguments)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def repro(self) -> list[str]:
        """Run `dvc repro`; return the stages that ran their command, none that came from the cache."""
        return ran(self.dvc("repro"))

    def metrics(self) -> dict:
        return json.loads((self.folder / "reports/metrics.json").read_text())


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", output)


def cells(stages: list[str]) -> set[str]:
    return {s.split("@")[1] for s in stages if s.startswith(("train@", "replicate@"))}


@pytest.fixture(scope="module", autouse=True)
def _processes_are_forked(forks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Project, "forks", forks, raising=False)
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("project"))
    project.write(
        project.content | {"study": {"models": ["small", "wide"], "losses": ["bce", "zlpr"], "replicates": []}}
    )
    project.commit("no replicates")
    first = project.repro()
    assert cells(first) == {"small-bce-42", "small-zlpr-42", "wide-bce-42", "wide-zlpr-42"}
    project.commit("results")
    return project


def test_a_second_repro_runs_nothing_and_nothing_is_untracked(project):
    output = project.dvc("repro")
    assert ran(output) == []
    assert "up to date" in output
    assert project.git("status", "--porcelain") == ""
    tracked = project.git("ls-files").split()
    assert "reports/README.md" in tracked
    assert "reports/metrics.json" in tracked
    assert not [f for f in tracked if f.startswith(("data/", "models/", "evaluations/", "ensembles/", "tmp/"))]


def test_a_clone_without_the_cache_has_nothing_to_do(project, tmp_path):
    project.git("clone", "-q", str(project.folder), str(tmp_path / "clone"))
    clone = object.__new__(Project)
    clone.folder = tmp_path / "clone"
    assert "up to date" in clone.dvc("repro", "--allow-missing", "--dry")
    assert "small-bce" in clone.dvc("metrics", "show", "--md")
    page = clone.folder / "reports/README.md"
    page.write_text(page.read_text() + "tampered\n")
    # There is something to do, and without the data it cannot be done.
    assert "'report'" in clone.run("dvc", "repro", "--allow-missing", "--dry", fails=True)


def test_a_clone_without_data_shows_metrics_plots_params_and_experiments(project, tmp_path):
    project.git("clone", "-q", str(project.folder), str(tmp_path / "clone"))
    clone = object.__new__(Project)
    clone.folder = tmp_path / "clone"
    plots = json.loads(clone.dvc("plots", "show", "--json", "-o", str(tmp_path / "shown")))["data"]
    expected = {"curves", "roc", "pr", "confusion"}
    assert {Path(name).stem for name in plots} == expected
    for name, drawn in plots.items():
        content = drawn[0]["content"]
        content = json.loads(content) if isinstance(content, str) else content
        values = content["data"]["values"]
        assert {row["cell"].split("-seed")[0] for row in values} >= {"small-bce", "wide-zlpr"}, name
        assert "DVC_METRIC" not in json.dumps(content)
    before = project.metrics()["small-bce"]
    validated = json.loads((clone.folder / "reports/validation.json").read_text())["small-bce"]
    clone.git("switch", "-qc", "other")
    for name, old, new in (
        ("params.yaml", "lr: 0.01", "lr: 0.02"),
        ("reports/metrics.json", f'"small-bce": {before}', '"small-bce": 0.123'),
        ("reports/validation.json", f'"small-bce": {validated}', '"small-bce": 0.456'),
    ):
        text = (clone.folder / name).read_text()
        assert old in text
        (clone.folder / name).write_text(text.replace(old, new))
    clone.commit("other")
    changed = json.loads(clone.dvc("metrics", "diff", "main", "other", "--json"))["reports/metrics.json"]
    assert changed["small-bce"]["new"] == 0.123
    assert changed["small-bce"]["old"] == pytest.approx(before)
    assert "lr" in clone.dvc("params", "diff", "main", "other")
    plots = json.loads(clone.dvc("plots", "diff", "main", "other", "--json", "-o", str(tmp_path / "diff")))["data"]
    assert {Path(name).stem for name in plots} == expected
    assert all(drawn[0]["revisions"] == ["main", "other"] for drawn in plots.values())
    kept = ("reports/metrics.json", "reports/validation.json", "params.yaml")
    clone.git("checkout", "-q", "main", "--", *kept)  # the workspace beside the branch
    (dropped,) = re.findall(r"dvc exp show --only-changed --drop '([^']+)'", (ROOT / "README.md").read_text())
    table = clone.dvc("exp", "show", "--only-changed", "--drop", dropped, "--csv").splitlines()
    heads = table[0].split(",")
    assert "reports/validation.json:small-bce" in heads
    assert [h for h in heads if h.endswith(".lr")]
    assert len(heads) < 12, heads


def test_one_models_lr_retrains_its_cells_and_changing_it_back_trains_nothing(project):
    changed = copy.deepcopy(project.content)
    changed["models"]["wide"]["lr"] = 0.003
    original = project.content
    before = project.metrics()
    project.git("switch", "-qc", "lower-lr")
    project.write(changed)
    stages = project.repro()
    assert cells(stages) == {"wide-bce-42", "wide-zlpr-42"}
    assert not {"download", "preprocess", "split", "evaluate@small-bce"} & set(stages)
    after = project.metrics()
    assert after["small-bce"] == before["small-bce"]
    assert after["wide-bce"] != before["wide-bce"]
    project.commit("lower lr")
    diff = project.dvc("metrics", "diff", "main", "lower-lr")
    assert "wide-bce" in diff
    assert "small-bce" not in diff
    project.git("switch", "-q", "main")
    project.write(original)
    project.git("checkout", "-q", "--", ".")
    assert cells(project.repro()) == set()
    assert project.metrics() == before


def test_one_losss_settings_retrain_only_its_cells(project):
    original = project.content
    changed = copy.deepcopy(project.content)
    changed["losses"]["zlpr"] = {"kind": "focal"}
    project.write(changed)
    assert ran(project.dvc("repro", "configure")) == ["configure"]  # no model's weights
    output = project.dvc("repro", "--dry")
    assert cells(ran(output)) == {"small-zlpr-42", "wide-zlpr-42"}
    restore(project, original)


def restore(project, content):
    """Bring params.yaml, code, records and dvc.lock back to what is committed."""
    project.git("reset", "-q", "--hard")  # DVC has staged dvc.lock
    project.content = content
    project.git("clean", "-fdq", "pipeline")
    project.dvc("checkout", "--quiet")
    assert "up to date" in project.dvc("status")


def marked(project):
    """Names of the stages that `dvc status` marks, without their items, and the runs among them."""
    lines = project.dvc("status").splitlines()
    stages = [line.rstrip(":") for line in lines if line and not line[0].isspace() and line.endswith(":")]
    return {stage.split("@")[0] for stage in stages}, cells(stages)


def test_comments_train_nothing_wherever_they_stand(project):
    rooms = ("reporting", "ensembling", "uncertainty", "settings")
    files = [p for room in rooms for p in (project.folder / "pipeline" / room).rglob("*.py")]
    for path in [*files, project.folder / "pipeline/learning/training/loop.py"]:
        path.write_text(path.read_text() + "\n# another comment\n")
    stages, trained = marked(project)
    assert stages == {"configure"}
    assert trained == set()
    project.dvc("repro", "configure")
    assert marked(project) == (set(), set())
    restore(project, project.content)


def test_a_line_of_the_training_loop_trains_everything_and_evaluates_it_again_after_that(project):
    path = project.folder / "pipeline/learning/training/loop.py"
    path.write_text(path.read_text() + "\nANOTHER = 1\n")
    project.dvc("repro", "configure")
    stages, trained = marked(project)
    assert trained == {"small-bce-42", "small-zlpr-42", "wide-bce-42", "wide-zlpr-42"}
    assert "evaluate" not in stages  # until a training run has other bytes
    restore(project, project.content)


def test_a_new_loss_trains_its_own_runs(project):
    losses = project.folder / "pipeline/learning/losses"
    (losses / "mine.py").write_text((losses / "bce.py").read_text().replace("BinaryCrossEntropy", "Mine"))
    original = project.content
    study = original["study"] | {"losses": ["bce", "zlpr", "mine"]}
    project.write(original | {"study": study, "losses": {**original["losses"], "mine": {}}})
    project.dvc("repro", "configure")
    # The dry run ends where it would read the first evaluation's models, which are not there yet.
    output = project.run("dvc", "repro", "--dry", fails=True)
    assert cells(ran(output)) == {"small-mine-42", "wide-mine-42"}
    restore(project, original)


def test_a_new_key_of_the_reports_settings_concerns_the_report_alone(project):
    path = project.folder / "pipeline/reporting/settings.py"
    path.write_text(path.read_text() + "    example: bool = True\n")
    assert marked(project) == ({"configure"}, set())
    project.dvc("repro", "configure")
    assert marked(project) == ({"report"}, set())
    restore(project, project.content)


def write_start(content, file, seed):
    """Write weights that model `small` can start from."""
    import torch
    from safetensors.torch import save_file

    from pipeline.learning.networks import models

    torch.manual_seed(seed)
    size = content["preprocess"]["size"]
    pixels = np.zeros((4, size, size), np.uint8)
    network = models.build("small", parse(content).models["small"], 1, 14, size, pixels)
    save_file(network.backbone.state_dict(), file)


def test_an_exchanged_weights_file_is_noticed_and_concerns_the_runs_of_its_model(project, tmp_path):
    original, file = project.content, tmp_path / "start of small.safetensors"
    write_start(original, file, 1)
    changed = copy.deepcopy(original)
    changed["models"]["small"]["weights"] = str(file)
    project.write(changed)
    project.dvc("repro", "configure")
    records = {path.name: path.read_bytes() for path in (project.folder / "data/configurations").iterdir()}
    before = marked(project)
    assert "configure" not in before[0]
    write_start(original, file, 2)
    assert marked(project) == (before[0] | {"configure"}, before[1])
    assert ran(project.dvc("repro", "configure")) == ["configure"]
    after = {path.name: path.read_bytes() for path in (project.folder / "data/configurations").iterdir()}
    differing = {name for name in after if after[name] != records[name]}
    assert differing == {"small-bce.train.json", "small-zlpr.train.json"}
    assert marked(project)[1] == {"small-bce-42", "small-zlpr-42"}
    file.unlink()
    link = project.folder / "data/weights/files/small"  # DVC cannot go on from a link that leads nowhere, and names it
    assert "data/weights/files/small" in project.run("dvc", "repro", "configure", fails=True)
    link.unlink()
    assert "models.small.weights" in project.run("dvc", "repro", "configure", fails=True)
    project.write(original)
    project.dvc("repro", "configure")  # a link is in no cache
    restore(project, original)


def test_exp_run_with_another_seed_trains_exactly_that_seeds_cells(project):
    original = project.content
    output = project.dvc("exp", "run", "-S", "seed=32")
    assert cells(ran(output)) == {"small-bce-32", "small-zlpr-32", "wide-bce-32", "wide-zlpr-32"}
    assert not {"download", "preprocess", "split"} & set(ran(output))
    diff = project.dvc("metrics", "diff")
    assert "small-bce" in diff
    # The cells of both seeds are cached: gathering them as replicates trains nothing, and the old folders are no cells.
    gathered = copy.deepcopy(project.content)
    gathered["study"]["replicates"] = [32]
    project.write(gathered)
    assert cells(project.repro()) == set()
    assert "| 32 " in (project.folder / "reports/seeds/small-bce.md").read_text()
    gathered["study"] = {"models": ["small"], "losses": ["bce", "zlpr"], "replicates": []}
    project.write(gathered)
    assert cells(project.repro()) == set()
    assert not (project.folder / "models/wide-bce").exists()
    assert (project.folder / "tmp/left/models/wide-bce/seed42/model.safetensors").exists()
    assert not [key for key in project.metrics() if key.startswith("wide")]
    # What was in the study for a while is nowhere in the inputs of what it was before.
    project.write(original)
    assert not [stage for stage in project.repro() if stage.startswith(("train", "replicate", "evaluate", "ensemble"))]


def test_the_committed_params_survive_exp_run_byte_for_byte(tmp_path):
    project = Project(tmp_path / "project")
    smaller = project.default_text.replace("images: 1500\n    size: 256", "images: 200\n    size: 64")
    assert smaller != project.default_text
    (project.folder / "params.yaml").write_text(smaller)
    project.commit("default params")
    before = (project.folder / "params.yaml").read_bytes()
    project.dvc("exp", "run", "-S", "seed=32", "download")
    assert b"seed: 32" in (project.folder / "params.yaml").read_bytes()
    project.dvc("exp", "run", "-S", "seed=42", "download")
    assert (project.folder / "params.yaml").read_bytes() == before
