"""dvc.yaml against the code, and dvc.lock and reports/ against dvc.yaml."""

import ast
import shutil
import subprocess
import sys

import pytest
import yaml

from pipeline.learning.records import training_record
from pipeline.scoring.records import evaluation_record
from pipeline.settings import Params, load, parse
from pipeline.study.runs import Configuration, Run, configurations, runs
from tests.tiny import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = {name: "train" if name == "replicate" else name for name in STAGES}
ROOMS = ("metrics", "uncertainty", "scoring", "ensembling", "checking")  # dvc.yaml lists these as whole folders
DVC = shutil.which("dvc") or str(ROOT / ".venv/bin/dvc")


def module_file(dotted):
    """The project's file of a module or package; None for what is no module of the project."""
    relative = ROOT.joinpath(*dotted.split("."))
    for file in (relative.with_suffix(".py"), relative / "__init__.py"):
        if file.exists():
            return file
    return None


def has_code(path):
    """Whether a file holds more than a docstring: what has none changes no result."""
    body = ast.parse(path.read_text()).body
    return not all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def imported_by(path):
    """Project files that the code of `path` imports, at its top or inside a function, and their packages."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("pipeline"):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {module_file(name) for name in names if name.startswith("pipeline")} - {None}
    packages = {parent / "__init__.py" for file in files for parent in file.relative_to(ROOT).parents[:-1]}
    return files | {ROOT / package for package in packages if (ROOT / package).exists()}


def closure(*paths):
    """Files with code that `paths` consist of, relative to the project."""
    seen, missing = set(), list(paths)
    while missing:
        here = missing.pop()
        if here not in seen:
            seen.add(here)
            missing += imported_by(here)
    return {p.relative_to(ROOT).as_posix() for p in seen if has_code(p)}


def code_of(stage):
    """Files that `stage` runs: what its script imports, and what it looks up by name."""
    scripts = [ROOT / f"pipeline/{SCRIPTS[stage]}.py"]
    if stage in ("download", "preprocess"):
        scripts.append(ROOT / "pipeline/datasets/phantom/dataset.py")
    if stage in ("download", "configure", "fuse"):
        scripts += (ROOT / "pipeline/learning/losses").glob("*.py")
    if stage == "configure":  # it records the code of these
        scripts += [ROOT / "pipeline/train.py", ROOT / "pipeline/evaluate.py"]
    if stage == "report":  # of params.yaml it prints all
        scripts.append(ROOT / "pipeline/settings/__init__.py")
    return closure(*scripts)


def listed(stage):
    """Code files that each of the `deps` of `stage` covers, with ``${dataset}`` as the default study fills it in."""
    covered = {}
    for dep in STAGES[stage]["deps"]:
        path = ROOT / dep.replace("${dataset}", "phantom")
        if dep.startswith("pipeline"):
            assert path.exists(), f"{stage}: {dep} does not exist"
            files = [path] if path.is_file() else [*path.rglob("*.py"), *path.rglob("*.md")]
            covered[dep] = {p.relative_to(ROOT).as_posix() for p in files}
    return covered


RECORDED = ("train", "replicate", "evaluate")
"""Stages that depend on a record of their code and settings, which stage configure writes."""


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in RECORDED])
def test_deps_cover_the_code_that_the_stage_imports_and_nothing_that_it_does_not_use(stage):
    imports, covered = code_of(stage), listed(stage)
    assert imports <= set().union(*covered.values())
    for dep, files in covered.items():
        assert files & imports, f"{stage} imports nothing of {dep}"
        # Of a little of a folder the files are listed. The ground, and what data sets share, are
        # small and change seldom.
        if not dep.endswith(".py") and dep not in ("pipeline/study", "pipeline/datasets/shared"):
            code = {f for f in files if f.endswith(".py") and has_code(ROOT / f)}
            assert 4 * len(code & imports) >= len(code), (
                f"{stage} imports {len(code & imports)} of {len(code)} of {dep}"
            )


@pytest.mark.parametrize("stage", RECORDED)
def test_training_and_evaluation_depend_on_their_record_which_has_all_their_code(stage, tiny):
    record, which = (evaluation_record, "evaluate") if stage == "evaluate" else (training_record, "train")
    key = "${key}" if stage == "evaluate" else "${item.model}-${item.loss}"
    assert f"data/configurations/{key}.{which}.json" in STAGES[stage]["deps"]
    assert not listed(stage)
    assert "params" not in STAGES[stage]
    code = set(record(Configuration("small", "bce"), parse(tiny))["code"])
    assert code == code_of(stage) | {"pipeline/learning/losses/bce.py"}
    assert code <= set().union(*listed("configure").values())


def test_training_depends_on_nothing_that_comes_after_it(tiny):
    rooms = {name.split("/")[1] for name in training_record(Configuration("small", "bce"), parse(tiny))["code"]}
    assert rooms == {"learning", "metrics", "study", "train.py"}


def test_code_is_imported_by_name_only_where_deps_know_of_it():
    """A data set and a loss, which dvc.yaml names; and all settings, which only refuse (see `study.params.load`)."""
    by_name = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "pipeline").rglob("*.py")
        if "import_module" in p.read_text() and "/launching/" not in str(p) and "/commands/" not in str(p)
    }
    assert by_name == {
        "pipeline/datasets/__init__.py",
        "pipeline/learning/losses/__init__.py",
        "pipeline/study/params.py",
    }


def test_every_data_set_shares_no_code_but_what_dvc_yaml_lists():
    from pipeline.datasets import available

    shared = set().union(
        *(files for dep, files in listed("download").items() if "phantom" not in dep and "$" not in dep)
    )
    for name in available():
        folder = ROOT / f"pipeline/datasets/{name}"
        own = {p.relative_to(ROOT).as_posix() for p in folder.rglob("*.py")}
        assert closure(folder / "dataset.py") <= shared | own


def test_no_module_is_left_out_of_the_pipeline():
    everything = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline").rglob("*.py") if has_code(p)}
    reached = set().union(*(code_of(stage) for stage in STAGES))
    by_hand = {f"pipeline/uncertainty/{name}.py" for name in ("delong", "power")}  # on any arrays
    # The launcher and the commands run stages; what they are made of changes no result.
    beside = {f for f in everything if f.split("/")[1] in ("launching", "commands", "planning")}
    beside.add("pipeline/reporting/revisions.py")  # of the command compare
    other_data_sets = {f for f in everything if f.startswith("pipeline/datasets/")}
    assert everything - reached - by_hand - beside <= other_data_sets


def test_the_files_of_pipeline_are_the_stages():
    files = {p.stem for p in (ROOT / "pipeline").glob("*.py")} - {"__init__"}
    assert files == set(SCRIPTS.values())


@pytest.mark.parametrize("package", ["metrics", "uncertainty", "checking", "reporting", "study", "settings"])
def test_rooms_without_networks_never_import_torch(package):
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "pipeline" / package).rglob("*.py")]
    code = f"import sys, importlib\nfor m in {modules}: importlib.import_module(m)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("stage", ["download", "preprocess", "split", "configure", "probe", "ensemble", "report"])
def test_stages_without_a_network_start_without_torch(stage):
    code = f"import sys, pipeline.{stage}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_nothing_imports_a_stage():
    scripts = {f"pipeline/{name}.py" for name in SCRIPTS.values()}
    for path in {*(ROOT / "pipeline").rglob("*.py")} - {
        ROOT / "pipeline/commands/report.py"
    }:  # a stage by another name
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
    "configure": {"seed", "study.replicates", "train", "evaluate", "models.small", "losses.bce"},
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


@pytest.mark.parametrize(
    "stage", ["download", "preprocess", "split", "configure", "train", "evaluate", "probe", "ensemble"]
)
def test_params_list_exactly_the_keys_that_the_stage_reads(stage, evaluated, tiny, monkeypatch):
    from pipeline import configure, download, ensemble, evaluate, preprocess, probe, split, train

    study, read = load(), set()
    spy = Spy(study, "", read)
    monkeypatch.setattr(f"pipeline.{stage}.load", lambda *_: spy)
    {
        "download": lambda: download.download(spy),
        "preprocess": preprocess.main,
        "split": split.main,
        "configure": lambda: configure.configure(Configuration("small", "bce"), spy),
        "train": lambda: train.train(Run("small", "bce", 42), spy),
        "evaluate": lambda: evaluate.evaluate(Configuration("small", "bce"), spy),
        "probe": lambda: probe.probe(spy),
        "ensemble": lambda: ensemble.ensemble(spy),
    }[stage]()
    assert read == READS[stage]
    if stage in RECORDED:
        assert read <= as_listed("configure", tiny)
    else:
        assert read == as_listed(stage, tiny)


def test_a_fused_model_reads_what_dvc_yaml_lists_of_the_cells_that_it_joins(evaluated, tiny):
    from pipeline import fuse

    study = parse({**tiny, "ensemble": {"top_k": 2, "features": True}})
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
    names |= {f"configure@{r}" for r in configurations(study)}
    names |= set(STAGES) - {*RECORDED, "configure"}
    assert set(stages.stdout.split()) == names
