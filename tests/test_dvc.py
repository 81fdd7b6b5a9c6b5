"""dvc.yaml against the code, and dvc.lock and reports/ against dvc.yaml."""

import ast
import json
from functools import cache

import pytest
import yaml

from pipeline.ensembling.records import ensemble_record, fuse_record
from pipeline.explaining.records import explanation_record
from pipeline.external.records import external_record, preparation_record
from pipeline.learning.records import training_record
from pipeline.reporting.records import report_record
from pipeline.scoring.records import evaluation_record, probe_record
from pipeline.settings import Params, load, parse
from pipeline.study.code import digests
from pipeline.study.runs import Configuration, Run, configurations, runs
from pipeline.variants.records import variant_record
from tests.tiny import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
OF_VARIANTS = {
    "train_variant": "train",
    "replicate_variant": "train",
    "evaluate_variant": "evaluate",
    "fuse_variant": "fuse",
    "ensemble_variant": "ensemble",
}
"""The same stages inside of a variant."""
SCRIPTS = {name: "train" if name == "replicate" else OF_VARIANTS.get(name, name) for name in STAGES}
ROOMS = ("metrics", "uncertainty", "scoring", "ensembling", "checking")  # dvc.yaml lists these as whole folders
OF_CONFIGURATIONS = ("train", "replicate", "evaluate", "explain")
OF_SETS = ("prepare_external", "evaluate_external")
RECORDED = (*OF_CONFIGURATIONS, *OF_SETS, *OF_VARIANTS, "prepare_variant", "probe", "fuse", "ensemble", "report")
"""Stages that depend on a record of their code and, but for the report, their settings: stage configure writes it."""


def module_file(dotted):
    """The project's file of a module or package; None for what is no module of the project."""
    relative = ROOT.joinpath(*dotted.split("."))
    for file in (relative.with_suffix(".py"), relative / "__init__.py"):
        if file.exists():
            return file
    return None


@cache
def has_code(path):
    """Whether a file holds more than a docstring: what has none changes no result."""
    body = ast.parse(path.read_text()).body
    return not all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


@cache
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
    if stage in ("download", "preprocess", "prepare_external", "prepare_variant"):
        scripts.append(ROOT / "pipeline/datasets/phantom/dataset.py")
    if stage in ("configure", "fuse"):
        scripts += (ROOT / "pipeline/learning/losses").glob("*.py")
    if stage == "configure":  # it records the code of these
        scripts += [ROOT / f"pipeline/{SCRIPTS[name]}.py" for name in RECORDED]
    if stage in ("configure", "report"):  # of params.yaml it prints all
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


def test_all_stages_are_read_on_two_screens():
    lines = [line.strip() for line in (ROOT / "dvc.yaml").read_text().splitlines()]
    assert len([line for line in lines if line and not line.startswith("#")]) <= 70


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


@pytest.mark.parametrize("stage", OF_CONFIGURATIONS)
def test_training_and_evaluation_depend_on_their_record_which_has_all_their_code(stage, tiny):
    def by_grad_cam(configuration, params):
        return explanation_record(configuration, "grad-cam", params)

    records = {"evaluate": (evaluation_record, "evaluate"), "explain": (by_grad_cam, "explain")}
    record, which = records.get(stage, (training_record, "train"))
    key = "${key}" if stage in records else "${item.model}-${item.loss}"
    assert f"data/configurations/{key}.{which}.json" in STAGES[stage]["deps"]
    assert not listed(stage)
    assert "params" not in STAGES[stage]
    code = set(record(Configuration("small", "bce"), parse(tiny))["code"])
    assert code == code_of(stage) | {"pipeline/learning/losses/bce.py"}
    assert code <= set().union(*listed("configure").values())


def with_features(tiny):
    return parse({**tiny, "ensemble": {"top_k": 2, "features": True}})


@pytest.mark.parametrize(
    ("stage", "record"), [("probe", probe_record), ("fuse", fuse_record), ("ensemble", ensemble_record)]
)
def test_stages_about_the_whole_study_depend_on_a_record_which_has_all_their_code(stage, record, tiny):
    assert f"data/configurations/{stage}.json" in STAGES[stage]["deps"]
    assert not listed(stage)
    assert "params" not in STAGES[stage]
    code = set(record(with_features(tiny))["code"])
    losses = {f"pipeline/learning/losses/{p.name}" for p in (ROOT / "pipeline/learning/losses").glob("*.py")}
    used = {f"pipeline/learning/losses/{name}.py" for name in ("__init__", "bce", "zlpr")}  # by the study
    assert code == code_of(stage) - (losses - used)
    assert code <= set().union(*listed("configure").values())


@pytest.mark.parametrize(
    ("stage", "record", "read"),
    [
        ("prepare_external", preparation_record, {"preprocess", "preprocess.size"}),
        ("evaluate_external", external_record, {"preprocess"}),
    ],
)
def test_stages_of_external_sets_depend_on_a_record_which_has_all_their_code(stage, record, read, tiny):
    assert f"data/configurations/${{item.name}}.{stage}.json" in STAGES[stage]["deps"]
    assert not listed(stage)
    assert set(STAGES[stage]["params"]) == read
    code = set(record("other", parse({**tiny, "external": {"other": {"dataset": "phantom"}}}))["code"])
    assert code == code_of(stage)
    assert code <= set().union(*listed("configure").values())


def test_variants_are_trained_and_evaluated_by_records_of_their_own_on_what_is_their_own(tiny):
    own = "variants/${item.variant}/study"
    for stage, of in OF_VARIANTS.items():
        if of in ("fuse", "ensemble"):  # what the study's own stage reads, of the variant
            name = {"fuse": "${item.variant}.fuse", "ensemble": "ensemble"}[of]
            read = {f"variants/${{item.variant}}/{dep}" for dep in STAGES[of]["deps"] if not dep.startswith("data/")}
            assert read == {dep for dep in STAGES[stage]["deps"] if dep.startswith("variants/")} - {own}
        else:
            key = "${key}" if of == "evaluate" else "${item.variant}-${item.model}-${item.loss}"
            name = f"{key}.{'evaluate' if of == 'evaluate' else 'train'}"
        assert f"data/configurations/{name}.json" in STAGES[stage]["deps"]
        assert {"data/study", own} <= set(STAGES[stage]["deps"])
        assert STAGES[stage]["cmd"] == f"python -m pipeline.{of} ${{item}}"
        assert STAGES[stage]["outs"][0].startswith("variants/${item.variant}/")
        assert "params" not in STAGES[stage]
    assert "data/configurations/${item.variant}.prepare_variant.json" in STAGES["prepare_variant"]["deps"]
    variants = {"a": {"split": {"seed": 1}}, "b": {"preprocess": {"size": 20}}}
    params = parse({**tiny, "variants": variants})
    for name in variants:
        code = set(variant_record(name, params)["code"])
        ours = code_of("prepare_variant")
        assert code == ours if name == "b" else code <= ours
        assert code <= set().union(*listed("configure").values())


def test_the_reports_depend_on_a_record_which_has_all_their_code_and_pages():
    assert "data/configurations/report.json" in STAGES["report"]["deps"]
    assert not listed("report")
    record = report_record()
    assert set(record["code"]) == code_of("report")
    pages = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pipeline/reporting").rglob("*.md")}
    assert set(record["pages"]) == pages
    assert set(record["code"]) | pages <= set().union(*listed("configure").values())


def test_training_depends_on_nothing_that_comes_after_it(tiny):
    rooms = {name.split("/")[1] for name in training_record(Configuration("small", "bce"), parse(tiny))["code"]}
    assert rooms == {"learning", "metrics", "study", "train.py"}


def test_code_is_imported_by_name_only_where_deps_know_of_it():
    """A data set and a loss, which dvc.yaml names; all settings, which only refuse (see `study.params.load`); the
    network that finds regions, whose code and files are in the record that stage preprocess depends on; what trains and
    evaluates networks that give masks or a number: the records of those alone have it; and timm's own modules.
    """
    by_name = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "pipeline").rglob("*.py")
        if "import_module" in p.read_text() and "/launching/" not in str(p) and "/commands/" not in str(p)
    }
    assert by_name == {
        "pipeline/datasets/__init__.py",
        "pipeline/evaluate.py",
        "pipeline/evaluate_external.py",
        "pipeline/imaging/region.py",
        "pipeline/learning/eager.py",
        "pipeline/learning/losses/__init__.py",
        "pipeline/settings/checks.py",
        "pipeline/study/params.py",
        "pipeline/train.py",
    }


@pytest.mark.parametrize(("record", "module"), [(training_record, "training"), (evaluation_record, "evaluation")])
def test_records_of_networks_that_give_masks_have_the_code_that_is_called_by_name(record, module, tiny):
    masks = {**tiny, "models": {**tiny["models"], "small": {"arch": "smp/unet", "lr": 0.01}}}
    asked = Configuration("small", "bce")
    more = set(record(asked, parse(masks))["code"]) - set(record(asked, parse(tiny))["code"])
    assert f"pipeline/segmenting/{module}.py" in more
    assert set(digests([ROOT / f"pipeline/segmenting/{module}.py"])) <= set(record(asked, parse(masks))["code"])


def test_records_of_external_sets_of_masks_have_the_code_that_is_called_by_name(tiny):
    tiny = {**tiny, "external": {"other": {"dataset": "phantom"}}}
    masks = {**tiny, "models": {**tiny["models"], "small": {"arch": "smp/unet", "lr": 0.01}}}
    more = set(external_record("other", parse(masks))["code"]) - set(external_record("other", parse(tiny))["code"])
    assert "pipeline/segmenting/elsewhere.py" in more


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
    for room in ("segmenting", "regressing"):  # by records of models that give masks, and of losses of numbers
        reached |= set(digests((ROOT / "pipeline" / room).glob("[a-z]*.py")))
    # On any arrays.
    by_hand = {f"pipeline/{name}.py" for name in ("uncertainty/delong", "uncertainty/power", "explaining/scores")}
    # The launcher and the commands run stages or read results, and the checks only refuse: none changes a result.
    beside = {f for f in everything if f.split("/")[1] in ("launching", "commands", "planning", "deploying")}
    beside |= {"pipeline/settings/checks.py"} | set(digests([*(ROOT / "pipeline/commands").glob("[a-z]*.py")]))
    other_data_sets = {f for f in everything if f.startswith("pipeline/datasets/")}
    assert everything - reached - by_hand - beside <= other_data_sets


def test_the_files_of_pipeline_are_the_stages():
    files = {p.stem for p in (ROOT / "pipeline").glob("*.py")} - {"__init__"}
    assert files == set(SCRIPTS.values())


ROOMS_WITHOUT_TORCH = ("metrics", "uncertainty", "checking", "reporting", "study", "settings")
STAGES_WITHOUT_TORCH = ("download", "preprocess", "split", "configure", "probe", "ensemble", "report")


@pytest.fixture(scope="module")
def heavy(plain_forks):
    """Whether torch is imported once a room, and then a stage, is: one after the other in one process."""
    rooms = {
        room: [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "pipeline" / room).rglob("*.py")]
        for room in ROOMS_WITHOUT_TORCH
    }
    modules = {**rooms, **{stage: [f"pipeline.{stage}"] for stage in STAGES_WITHOUT_TORCH}}
    code = (
        f"import importlib, json, sys\nfound = {{}}\nfor name, modules in {modules}.items():\n"
        "    for module in modules: importlib.import_module(module)\n"
        "    found[name] = 'torch' in sys.modules\nprint(json.dumps(found))"
    )
    return json.loads(plain_forks.run(["-c", code], check=True, cwd=ROOT).stdout)


@pytest.mark.parametrize("package", ROOMS_WITHOUT_TORCH)
def test_rooms_without_networks_never_import_torch(package, heavy):
    assert heavy[package] is False


@pytest.mark.parametrize("stage", STAGES_WITHOUT_TORCH)
def test_stages_without_a_network_start_without_torch(stage, heavy):
    assert heavy[stage] is False


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
        made = getattr(type(self.target), name, None)
        if isinstance(made, property):  # of other keys: those are what is read
            return made.fget(self)
        return self._of(name, getattr(self.target, name))

    def __getitem__(self, name):
        return self._of(name, self.target[name])


READS = {
    "download": {"dataset", "datasets.phantom"},
    "preprocess": {"dataset", "datasets.phantom", "preprocess"},
    "split": {"split"},
    "configure": {
        *(
            "seed",
            "preprocess",
            "train",
            "evaluate",
            "ensemble",
            "explain",
            "external",
            "variants",
            "study.models",
            "study.losses",
            "study.replicates",
        ),
        *("models.small", "models.wide", "losses.bce", "losses.zlpr"),
    },
    "train": {"train", "models.small", "losses.bce"},
    "evaluate": {"seed", "study.replicates", "train", "evaluate", "models.small", "losses.bce"},
    "probe": {"evaluate", "study.models", "models.small", "models.wide"},  # of the models their metadata
    "fuse": {
        *("seed", "study.models", "study.losses", "study.replicates", "ensemble"),
        *("train", "models.small", "models.wide", "losses.bce", "losses.zlpr"),
    },
    "ensemble": {"seed", "study.models", "study.losses", "study.replicates", "ensemble", "evaluate"},
}


def as_listed(stage, content):
    """Keys that dvc.yaml lists for `stage`, templates filled in, maps of named things opened up."""
    keys = set()
    for key in STAGES[stage]["params"]:
        for template, value in (("${dataset}", "phantom"), ("${item.model}", "small"), ("${item.loss}", "bce")):
            key = key.replace(template, value)
        if key == "preprocess.size":  # again, as DVC's run-cache does not see it within `preprocess`
            continue
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
        "configure": lambda: configure.configure(spy),
        "train": lambda: train.train(Run("small", "bce", 42), spy),
        "evaluate": lambda: evaluate.evaluate(Configuration("small", "bce"), spy),
        "probe": lambda: probe.probe(spy),
        "ensemble": lambda: ensemble.ensemble(spy),
    }[stage]()
    if "study.model_dump" in read:  # a record has all of section study
        read = (read - {"study.model_dump"}) | {f"study.{name}" for name in ("models", "losses", "replicates")}
    assert read == READS[stage]
    if stage in RECORDED:
        assert read <= as_listed("configure", tiny)
    else:
        of_variants = {"dataset", "datasets.phantom", "split"} if stage == "configure" else set()
        assert read == as_listed(stage, tiny) - of_variants


def test_a_fused_model_reads_what_its_record_has_of_the_cells_that_it_joins(evaluated, tiny):
    from pipeline import fuse

    study = with_features(tiny)
    read: set[str] = set()
    fuse.fuse(Spy(study, "", read))
    assert read <= READS["fuse"]
    assert {key.split(".")[0] for key in read} == set(fuse_record(study)) - {"code"}


@pytest.mark.parametrize(("stage", "record"), [("probe", probe_record), ("ensemble", ensemble_record)])
def test_a_record_of_the_whole_study_has_the_sections_that_the_stage_reads(stage, record, tiny):
    sections = {key.split(".")[0] for key in READS[stage]}
    if stage == "probe":  # of study and models it reads the columns that stand beside the image
        sections = {"evaluate"}
        tiny["models"]["small"]["metadata"] = ["age"]
        assert record(parse(tiny))["metadata"] == ["age"]
        tiny["models"]["small"].pop("metadata")
    assert set(record(parse(tiny))) - {"code"} == sections


def test_report_lists_every_section_of_the_study():
    """It prints the parameters, so that all of them are read, but what is to be searched: that is in a record."""
    sections = set(Params.model_fields) - {"datasets", "search"}
    assert set(STAGES["report"]["params"]) == sections | {"datasets.${dataset}"}


@pytest.mark.skipif(not (ROOT / "dvc.lock").exists(), reason="no dvc.lock yet")
def test_lock_and_reports_belong_to_the_committed_code_and_params(forks):
    done = forks.run(["-m", "dvc", "repro", "--allow-missing", "--dry"], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Data and pipelines are up to date" in done.stdout + done.stderr, done.stdout


def test_matrix_stages_have_the_cells_of_params(forks):
    stages = forks.run(["-m", "dvc", "stage", "list", "--name-only"], cwd=ROOT, check=True)
    study = load(ROOT / "params.yaml")
    names = {f"{'train' if c.seed == study.seed else 'replicate'}@{c.model}-{c.loss}-{c.seed}" for c in runs(study)}
    names |= {f"evaluate@{r}" for r in configurations(study)}
    names |= {f"explain@{r}-{method}" for r in configurations(study) for method in study.explain.methods}
    names |= set(STAGES) - {
        *OF_CONFIGURATIONS,
        *OF_SETS,
        *OF_VARIANTS,
        "prepare_variant",
    }  # the study has none of these
    assert set(stages.stdout.split()) == names
