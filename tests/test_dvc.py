"""dvc.yaml against the code, and dvc.lock and reports/ against dvc.yaml."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import datasets
from pipeline.settings import Params, load, parse
from pipeline.study.runs import Configuration, Run, configurations, runs
from tests.tiny import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = {name: "train" if name == "replicate" else name for name in STAGES}
ROOMS = ("metrics", "uncertainty", "scoring", "ensembling", "checking")  # dvc.yaml lists these as whole folders
DVC = shutil.which("dvc") or str(ROOT / ".venv/bin/dvc")


def imported_by(path):
    """Project files that the code of `path` imports, at its top or inside a function, and their packages."""
    found = set()

    def add(dotted):
        relative = ROOT.joinpath(*dotted.split("."))
        if relative.with_suffix(".py").exists():
            found.add(relative.with_suffix(".py"))
        elif (relative / "__init__.py").exists():
            found.add(relative / "__init__.py")
        else:
            return False
        for parent in relative.relative_to(ROOT).parents:
            if (ROOT / parent / "__init__.py").exists():
                found.add(ROOT / parent / "__init__.py")
        return True

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("pipeline"):
            for alias in node.names:
                add(f"{node.module}.{alias.name}") or add(node.module)
    if path.name == "__init__.py" and "iter_modules" in path.read_text():  # a registry
        siblings = {p for p in path.parent.glob("*.py") if p != path}
        # Of the data sets only the selected one is imported: dvc.yaml names it by a template, and all that they share.
        shared = {"phantom", *datasets._HELPERS}
        found |= {p for p in siblings if p.stem in shared} if path.parent.name == "datasets" else siblings
    return found


def closure(path):
    seen, todo = set(), [path]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += imported_by(here)
    return {str(p.relative_to(ROOT)) for p in seen}


def listed(stage):
    """Code files that the `deps` of `stage` cover, with ``${dataset}`` as the default study fills it in."""
    found = set()
    for dep in STAGES[stage]["deps"]:
        path = ROOT / dep.replace("${dataset}", "phantom")
        if dep.startswith("pipeline"):
            assert path.exists(), f"{stage}: {dep} does not exist"
            found |= {str(p.relative_to(ROOT)) for p in ([path] if path.is_file() else path.rglob("*.py"))}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_deps_list_exactly_the_code_that_the_stage_imports(stage):
    imports = closure(ROOT / "pipeline" / f"{SCRIPTS[stage]}.py")
    rooms = {Path(file).parts[1] for file in imports} & set(ROOMS)
    whole = {str(p.relative_to(ROOT)) for room in rooms for p in (ROOT / "pipeline" / room).rglob("*.py")}
    assert listed(stage) == imports | whole


def test_every_data_set_shares_no_code_but_what_dvc_yaml_lists():
    from pipeline.datasets import available

    for name in available():
        assert closure(ROOT / f"pipeline/datasets/{name}.py") <= {
            *listed("download"),
            f"pipeline/datasets/{name}.py",
        }


def test_no_module_is_left_out_of_the_pipeline():
    everything = {str(p.relative_to(ROOT)) for p in (ROOT / "pipeline").rglob("*.py")}
    reached = set().union(*(listed(stage) for stage in STAGES))
    from pipeline.datasets import available

    # The launcher and the plan run stages; what they are made of changes no result.
    beside = {f for f in everything if f.startswith("pipeline/launching/")} | {
        "pipeline/commands/launch.py",
        "pipeline/commands/plan.py",
    }
    assert everything - reached - beside == {f"pipeline/datasets/{n}.py" for n in available() if n != "phantom"}


@pytest.mark.parametrize("package", ["metrics", "uncertainty", "checking", "reporting"])
def test_numbers_and_reports_never_import_torch(package):
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "pipeline" / package).glob("*.py")]
    code = f"import sys, importlib\nfor m in {modules}: importlib.import_module(m)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("stage", ["download", "preprocess", "split", "probe", "ensemble", "report"])
def test_stages_without_a_network_start_without_torch(stage):
    code = f"import sys, pipeline.{stage}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_nothing_imports_a_stage():
    scripts = {f"pipeline/{name}.py" for name in SCRIPTS.values()}
    for path in (ROOT / "pipeline").rglob("*.py"):
        others = {str(p.relative_to(ROOT)) for p in imported_by(path)} & scripts
        assert not others, f"{path} imports {others}"


class Spy:
    """Params that note the keys that are read of them."""

    def __init__(self, target, path, read):
        self.__dict__.update(target=target, path=path, read=read)

    def _of(self, name, value):
        path = f"{self.path}.{name}" if self.path else name
        if not self.path and name in ("study", "datasets", "models", "losses"):
            return Spy(value, path, self.read)
        self.read.add(path)
        return value

    def __getattr__(self, name):
        return self._of(name, getattr(self.target, name))

    def __getitem__(self, name):
        return self._of(name, self.target[name])


READS = {
    "download": {"dataset", "datasets.phantom", "study.losses", "losses.bce", "losses.zlpr"},
    "preprocess": {"dataset", "datasets.phantom", "preprocess"},
    "split": {"split"},
    "train": {"train", "models.small", "losses.bce"},
    "evaluate": {"seed", "study.replicates", "train", "evaluate", "models.small", "losses.bce"},
    "probe": {"evaluate"},
    "ensemble": {"seed", "study.models", "study.losses", "study.replicates", "ensemble", "evaluate"},
}


def as_listed(stage, content):
    """Keys that dvc.yaml lists for `stage`, templates filled in, maps of named things opened up."""
    keys = set()
    for key in STAGES[stage]["params"]:
        for template, value in (("${dataset}", "phantom"), ("${item.model}", "small"), ("${item.loss}", "bce")):
            key = key.replace(template, value)
        whole = key in ("study", "datasets", "models", "losses")
        keys |= {f"{key}.{name}" for name in content[key]} if whole else {key}
    return keys


@pytest.mark.parametrize("stage", ["download", "preprocess", "split", "train", "evaluate", "probe", "ensemble"])
def test_params_list_exactly_the_keys_that_the_stage_reads(stage, prepared, tiny, monkeypatch):
    from pipeline import download, ensemble, evaluate, preprocess, probe, split, train

    study, read = load(), set()
    spy = Spy(study, "", read)
    configurations = configurations(study)
    if stage in ("evaluate", "ensemble"):
        for cell in runs(study):
            train.train(cell, study)
    if stage == "ensemble":
        for configuration in configurations:
            evaluate.evaluate(configuration, study)
    monkeypatch.setattr(params, "load", lambda *_: spy)
    {
        "download": lambda: download.download(spy),
        "preprocess": preprocess.main,
        "split": split.main,
        "train": lambda: train.train(Run("small", "bce", 42), spy),
        "evaluate": lambda: evaluate.evaluate(Configuration("small", "bce"), spy),
        "probe": lambda: probe.probe(spy),
        "ensemble": lambda: ensemble.ensemble(spy),
    }[stage]()
    assert read == READS[stage]
    assert read == as_listed(stage, tiny)


def test_a_fused_model_reads_what_dvc_yaml_lists_of_the_cells_that_it_joins(prepared, tiny):
    from pipeline import evaluate, fuse, train

    study = parse({**tiny, "ensemble": {"top_k": 2, "features": True}})
    for cell in runs(study):
        train.train(cell, study)
    for configuration in configurations(study):
        evaluate.evaluate(configuration, study)
    read: set[str] = set()
    fuse.fuse(Spy(study, "", read))
    listed_keys = as_listed("fuse", tiny)
    assert read <= listed_keys
    assert {key.split(".")[0] for key in read} == {key.split(".")[0] for key in listed_keys}


def test_report_lists_every_section_of_the_study():
    """It prints the parameters, so that all of them are read."""
    sections = set(Params.model_fields) - {"datasets"}
    assert set(STAGES["report"]["params"]) == sections | {"datasets.${dataset}"}


@pytest.mark.skipif(not (ROOT / "dvc.lock").exists(), reason="no dvc.lock yet")
def test_lock_and_reports_belong_to_the_committed_code_and_params():
    done = subprocess.run(
        [DVC, "repro", "--allow-missing", "--dry"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Data and pipelines are up to date" in done.stdout + done.stderr, done.stdout


def test_matrix_stages_have_the_cells_of_params(tiny):
    stages = subprocess.run([DVC, "stage", "list", "--name-only"], cwd=ROOT, capture_output=True, text=True, check=True)
    study = load(ROOT / "params.yaml")
    names = {f"{'train' if c.seed == study.seed else 'replicate'}@{c.model}-{c.loss}-{c.seed}" for c in runs(study)}
    names |= {f"evaluate@{r}" for r in configurations(study)}
    names |= set(STAGES) - {"train", "replicate", "evaluate"}
    assert set(stages.stdout.split()) == names
