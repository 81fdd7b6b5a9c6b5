import copy
import itertools
import re
import typing
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.settings import SECTIONS, UNSEEN, Params, load, parse
from pipeline.study import params
from pipeline.study.params import ParamsError
from pipeline.study.runs import Configuration, Run, configurations, runs
from tests.tiny import ROOT, TINY

STUDIES = [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


def with_value(content, path, value):
    *parents, last = path.split(".")
    for part in parents:
        content = content.setdefault(part, {})
    content[last] = value


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_committed_params_files_are_valid_and_their_plug_ins_too(path):
    from pipeline.datasets import open_dataset
    from pipeline.learning.losses import check_study

    study = load(path)
    dataset = open_dataset(study.dataset, study.datasets[study.dataset])
    check_study(study.study.losses, study.losses, dataset.task, dataset.ordered)


def test_the_default_file_offers_every_loss_and_all_of_them_are_valid_for_their_tasks():
    from pipeline.learning import losses

    offered = load(ROOT / "params.yaml").losses
    assert {(settings or {}).get("kind", name) for name, settings in offered.items()} == set(losses.available())
    for name, settings in offered.items():
        of = losses.loss_class((settings or {}).get("kind", name))
        for task in of.tasks:
            if not (task == "segmentation" and (settings or {}).get("pos_weight_cap")):  # it counts images, not pixels
                losses.create(name, settings, task, of.ordered)


def test_every_key_is_listed_so_that_it_can_be_set_from_the_command_line():
    """`dvc exp run -S` refuses a key that is not there, and asks for a + that nobody knows of."""
    from pipeline.datasets import available, dataset_class

    content = params.read(ROOT / "params.yaml")
    for name in available():
        fields = dataset_class(name).model_fields
        assert sorted(content["datasets"][name]) == sorted(field.alias or key for key, field in fields.items()), name
    sections = [("", Params, content)]
    while sections:
        path, model, below = sections.pop()
        for key, field in model.model_fields.items():
            assert key in below, f"{path}{key}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, params.Section):
                sections.append((f"{path}{key}.", field.annotation, below[key]))


@pytest.mark.parametrize(
    "override",
    [
        "datasets.image_folder.patient_pattern='HB([0-9]+)'",
        "datasets.image_folder.label_map={a: b}",
        "datasets.image_table.class_columns=[a,b]",
        "datasets.image_table.separator='|'",
        "split.balance.to=3",
    ],
)
def test_what_is_empty_can_be_set_from_the_command_line(override, tmp_path):
    from dvc.utils.hydra import apply_overrides  # what `-S` calls

    copy = tmp_path / "params.yaml"
    copy.write_bytes((ROOT / "params.yaml").read_bytes())
    apply_overrides(str(copy), [override])
    before, after = params.read(ROOT / "params.yaml"), params.read(copy)
    assert before != after
    *parents, last = override.partition("=")[0].split(".")
    for part in parents:
        before, after = before[part], after[part]
    assert before.pop(last) is None
    assert after.pop(last)
    assert before == after


def test_no_key_is_called_as_dvc_forgets():
    """DVC 3.67 leaves keys called size and nfiles out where it looks a result up; a stage lists them by their path."""
    stage = params.read(ROOT / "dvc.yaml")["stages"]["preprocess"]
    found, missing = set(), [("", params.read(ROOT / "params.yaml"))]
    while missing:
        path, value = missing.pop()
        if isinstance(value, dict):
            missing += [(f"{path}.{key}" if path else key, below) for key, below in value.items()]
        if path.rpartition(".")[2] in UNSEEN:
            found.add(path)
    # Those of data sets decide what stage download finds, and that is a file.
    assert {path for path in found if not path.startswith("datasets.")} == {"preprocess.size"}
    assert {"preprocess", "preprocess.size"} <= set(stage["params"])


def test_dvc_tells_results_apart_by_a_size_that_has_a_path(tmp_path, monkeypatch):
    """Its run-cache gave images of 80 px for 40 px, as long as dvc.yaml listed `preprocess` alone."""
    from dvc.repo import Repo
    from dvc.stage.cache import _get_stage_hash

    monkeypatch.chdir(tmp_path)
    stage = {"cmd": "true", "deps": ["dep"], "outs": ["out"]}
    keys = {}
    for listed in (["preprocess"], ["preprocess", "preprocess.size"]):
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"preprocess": {**stage, "params": listed}}}))
        (tmp_path / "dep").write_text("x")
        for size in (40, 80):
            (tmp_path / "params.yaml").write_text(f"preprocess: {{size: {size}}}\n")
            with Repo() if (tmp_path / ".dvc").exists() else Repo.init(no_scm=True) as repo:
                [one] = repo.index.stages
                one.save_deps()
                keys[len(listed), size] = _get_stage_hash(one)
    assert keys[1, 40] == keys[1, 80]
    assert len(set(keys.values())) == 3


@pytest.mark.parametrize("name", UNSEEN)
def test_names_that_dvc_forgets_are_refused(name, tiny):
    tiny["models"][name] = tiny["models"]["small"]
    tiny["losses"][name] = {"kind": "bce"}
    tiny["models"]["wide"]["options"] = {"deep": {name: 3}}
    with pytest.raises(ParamsError) as error:
        parse(tiny)
    for path in (f"models.{name}", f"losses.{name}", f"models.wide.options.deep.{name}"):
        assert f"{path}: a name that DVC's run-cache does not look at; must be none of size, nfiles" in str(error.value)


def models_of_settings():
    """Every pydantic model that reads a part of params.yaml."""
    from pipeline.datasets import available, dataset_class
    from pipeline.learning import losses

    waiting = [Params, *map(dataset_class, available()), *map(losses.loss_class, losses.available())]
    found = []
    while waiting:
        model = waiting.pop()
        if model not in found:
            found.append(model)
            waiting += [t for f in model.model_fields.values() for t in types_in(f.annotation) if is_model(t)]
    return found


def is_model(annotation):
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def types_in(annotation):
    return {annotation}.union(*(types_in(a) for a in get_args(annotation) if not isinstance(a, (str, int, bool))))


@pytest.mark.parametrize("model", models_of_settings(), ids=lambda m: f"{m.__module__}.{m.__name__}")
def test_no_key_may_be_a_number_or_a_flag(model):
    """To DVC 1, 1.0 and true are equal: a change from one to the other would run nothing again."""
    assert model.model_config.get("strict")
    for key, field in model.model_fields.items():
        types = types_in(field.annotation)
        assert not (bool in types and {int, float, complex} & types), key
        assert not (typing.Any in types and (model.__name__, key) not in TOLD_APART), key


TOLD_APART = {
    *(("Params", "datasets"), ("Data", "of"), ("Params", "losses"), ("Model", "options")),
    *(("Variant", "split"), ("Variant", "preprocess"), ("Variant", "found"), ("Search", "over")),
}
"""What is looked into later: by the class of the data set (or of each joined one), by that of the loss, by the record
of a training run, which is compared as text (tests/study/test_records.py), by the section that a variant changes. No
stage depends on what a search is over."""


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_lists_stand_in_flow_maps_on_short_lines(path):
    """`dvc exp run -S` rewrites any other list to block style and drops comments."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        code = line.split("#")[0]
        assert not re.match(r"\s*- ", code), f"{path.name}:{number}: a block list"
        assert not re.match(r"\s*\w+:\s*\[", code), f"{path.name}:{number}: a list outside a flow map"
        if "[" in code or "{" in code:
            assert len(line) < 80, f"{path.name}:{number}: {len(line)} columns"


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_what_dvc_exp_run_does_to_the_file_can_be_undone_byte_for_byte(path, tmp_path):
    from dvc.utils.serialize import modify_yaml  # what `-S` calls

    copy = tmp_path / "params.yaml"
    copy.write_bytes(path.read_bytes())
    for seed in (32, load(path).seed):
        with modify_yaml(str(copy)) as content:
            content["seed"] = seed
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("train.epochs", 0, ["train.epochs", "0", "at least 1"]),
        ("train.epochs", "ten", ["train.epochs", "'ten'", "integer"]),
        ("train.batchsize", 3, ["train.batchsize", "unknown key", "batch_size"]),
        ("trian", {}, ["trian", "unknown key", "did you mean 'train'"]),
        ("train.augment.rotaton", 3, ["train.augment.rotaton", "did you mean 'rotation'"]),
        ("preprocess.clahe.clip", -1.0, ["preprocess.clahe.clip", "-1.0", "greater than 0"]),
        ("preprocess.clahe.order", "never", ["preprocess.clahe.order", "before_resize", "after_resize"]),
        ("preprocess.channels", 2, ["preprocess.channels", "2", "1 or 3"]),
        ("split.method", "random", ["split.method", "'random'", "official", "grouped"]),
        ("split.validation", 0.9, ["split", "validation + test = 1.1", "less than 1"]),
        ("models.small.lr", 0, ["models.small.lr", "0", "greater than 0"]),
        ("models.small.learning_rate", 0.1, ["models.small.learning_rate", "unknown key", "arch, lr"]),
        ("models.a-b", {"arch": "x", "lr": 1.0}, ["models.a-b", "^[A-Za-z0-9_]+$"]),
        ("study.models", [], ["study.models", "at least 1"]),
        ("study.models", ["small", "large"], ["study.models", "'large'", "small, wide"]),
        ("study.losses", ["bce", "focal"], ["study.losses", "'focal'", "bce, zlpr"]),
        ("study.losses", ["bce", "bce"], ["study.losses", "'bce'", "twice"]),
        ("study.replicates", [7, 42], ["study.replicates", "seed 42 occurs twice", "each seed once"]),
        ("study.replicates", [7, 7], ["study.replicates", "seed 7 occurs twice"]),
        ("study.replicates", [-1], ["study.replicates.0", "-1", "at least 0"]),
        ("seed", 1.5, ["seed", "1.5", "integer"]),
        ("dataset", "mine", ["dataset", "'mine'", "phantom"]),
        ("evaluate.confidence", 1.0, ["evaluate.confidence", "1.0", "less than 1"]),
        ("train.warmup_epochs", 2.0, ["train", "warmup_epochs = 2", "less than epochs (2)"]),
    ],
)
def test_what_cannot_be_is_refused_with_key_value_and_what_it_must_be(tiny, path, value, said):
    with_value(tiny, path, value)
    with pytest.raises(ParamsError) as error:
        parse(tiny)
    for part in said:
        assert part in str(error.value), str(error.value)


@pytest.mark.parametrize("section", ["seed", "dataset", "study", "preprocess", "split", "train", "models", "ensemble"])
def test_a_missing_section_is_named(tiny, section):
    del tiny[section]
    with pytest.raises(ParamsError, match=f"(?m)^{section}: missing"):
        parse(tiny)


def test_all_problems_are_told_at_once(tiny):
    tiny["train"]["epochs"] = 0
    tiny["models"]["wide"]["lr"] = -1
    with pytest.raises(ParamsError, match=r"train\.epochs[^$]*models\.wide\.lr"):
        parse(tiny)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("a: [1", "not YAML"),
        ("- 1\n", "list; it must be a map"),
        ("seed: 1\nseed: 2\n", "key 'seed' is written twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, said):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ParamsError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "1E-3", "0.001", ".001", "1.e-3"])
def test_numbers_mean_what_they_mean_to_dvc(tiny, tmp_path, text):
    tiny["models"]["small"]["lr"] = "HERE"
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(tiny).replace("HERE", text))
    assert load(tmp_path / "p.yaml").models["small"].lr == 0.001


def test_the_runs_are_the_whole_grid_in_order(tiny):
    study = parse(tiny)
    every = runs(study)
    assert every == [Run(*c) for c in itertools.product(["small", "wide"], ["bce", "zlpr"], [42, 7])]
    assert configurations(study) == [
        Configuration("small", "bce"),
        Configuration("small", "zlpr"),
        Configuration("wide", "bce"),
        Configuration("wide", "zlpr"),
    ]
    assert str(every[0].configuration) == "small-bce"
    assert every[0].name == "small-bce-42"
    assert str(every[0]) == f"{every[0]}" == "small-bce seed 42"


@given(
    st.lists(st.from_regex(r"\A[A-Za-z0-9_]{1,8}\Z"), min_size=1, max_size=4, unique=True),
    st.lists(st.from_regex(r"\A[A-Za-z0-9_]{1,8}\Z"), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(0, 1000), min_size=1, max_size=5, unique=True),
)
def test_every_run_has_a_folder_of_its_own(models, losses, seeds):
    from pipeline.study.trainings import run_folder

    content = copy.deepcopy(TINY) | {
        "seed": seeds[0],
        "study": {"models": models, "losses": losses, "replicates": seeds[1:]},
        "models": {m: {"arch": "baseline_cnn", "lr": 0.1} for m in models},
        "losses": {lo: {} for lo in losses},
        "ensemble": {"top_k": 1},
    }
    every = runs(parse(content))
    assert len(every) == len(models) * len(losses) * len(seeds)
    assert len({run_folder(run) for run in every}) == len(every)


def test_open_dataset_refuses_an_unknown_data_set_and_unknown_settings(tiny):
    from pipeline.datasets import DatasetError, open_dataset

    tiny["datasets"]["phantom"]["sizes"] = 3
    with pytest.raises(ParamsError, match=r"datasets\.phantom\.sizes: unknown key.*did you mean 'size'"):
        open_dataset(tiny["dataset"], tiny["datasets"][tiny["dataset"]])
    tiny["datasets"]["mine"] = {}
    tiny["dataset"] = "mine"
    with pytest.raises(DatasetError, match=r"'mine' is not a data set; use one of: .*phantom"):
        open_dataset(tiny["dataset"], tiny["datasets"][tiny["dataset"]])


def test_a_file_without_the_section_that_dvc_would_miss_last_is_refused_first(tiny, tmp_path, monkeypatch):
    from pipeline import configure

    monkeypatch.chdir(tmp_path)
    del tiny["about"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny))
    with pytest.raises(ParamsError, match=r"about: missing; .* may be empty: about: \{\}"):
        configure.main()


def test_every_section_has_its_place():
    assert sorted(SECTIONS) == sorted(Params.model_fields)
    assert list(yaml.safe_load((ROOT / "params.yaml").read_text())) == list(SECTIONS)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        *[("052", 52), ("012", 12), ("0o17", 15), ("no", "no"), ("on", "on"), ("yes", "yes"), ("'052'", "052")],
        *[("~", None), ("1:30", "1:30"), ("1E-3", 0.001), ("2e3", 2000.0), ("1_000", 1000)],
    ],
)
def test_scalars_are_what_they_are_to_dvc(written, means, tmp_path):
    """By YAML 1.2: PyYAML reads the first of them as 42, and no as False."""
    from dvc.utils.serialize import load_yaml

    (tmp_path / "p.yaml").write_text(f"x: {written}\n")
    assert params.read(tmp_path / "p.yaml") == load_yaml(tmp_path / "p.yaml") == {"x": means}


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"x: 2020-13-45\n", b"x: " + b"[" * 1000, b"? [1]\n: 2\n? [1]\n: 3\n"]
)
def test_a_file_that_is_no_yaml_is_named(content, tmp_path):
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(ParamsError, match=r"p\.yaml: "):
        load(tmp_path / "p.yaml")
    with pytest.raises(ParamsError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_no_number_is_infinite(value, tiny):
    tiny["train"]["clip_grad"] = value
    with pytest.raises(ParamsError, match=r"train\.clip_grad: must be a finite number"):
        parse(tiny)


TEXTS = [
    *[
        "no",
        "yes",
        "on",
        "off",
        "y",
        "true",
        "null",
        "~",
        "",
        "012",
        "0o17",
        "0x1F",
        "1e3",
        "1_000",
        "12:30",
        "NA",
        "-",
    ],
    *[".inf", ".nan", "2020-01-01", "=", "<<", "a: b", "a #b", "*a", "&a", "!a", "%a", "@a", "`a`", "'a'", '"a"'],
    *["\\n", "é", "12345678901234567890123456789e12"],
]


@pytest.mark.parametrize("style", ["'", '"'])
def test_text_stays_text_through_dvc_exp_run(style, tmp_path):
    """`-S` writes the whole file anew, as it sees fit: what it writes is read as what stood there."""
    from dvc.utils.hydra import apply_overrides
    from dvc.utils.serialize import load_yaml

    def quoted(text):
        escaped = text.replace("'", "''") if style == "'" else text.replace("\\", "\\\\").replace('"', '\\"')
        return f"{style}{escaped}{style}"

    copy = tmp_path / "params.yaml"
    lines = "".join(f"{quoted(text)}: [{quoted(text)}, {quoted(text)}]\n" for text in TEXTS)
    copy.write_text(f"seed: 1\ngiven:\n{lines}", encoding="utf-8")
    before = params.read(copy)
    assert {text: [text, text] for text in TEXTS}.items() <= before.items()
    for seed in (2, 3):
        apply_overrides(str(copy), [f"seed={seed}", "given='no'"])
        assert params.read(copy) == load_yaml(copy) == before | {"seed": seed, "given": "no"}


@pytest.mark.parametrize(("key", "given"), [("title", "012"), ("groups", "yes"), ("licence", "1e3")])
def test_text_that_looks_like_a_number_can_be_set_from_the_command_line(key, given, tmp_path):
    from dvc.utils.hydra import apply_overrides

    copy = tmp_path / "params.yaml"
    copy.write_bytes((ROOT / "params.yaml").read_bytes())
    apply_overrides(str(copy), [f"datasets.image_folder.{key}='{given}'"])
    assert params.read(copy)["datasets"]["image_folder"][key] == given


def test_what_is_printed_for_copying_and_sent_to_other_machines_is_read_as_what_it_was():
    from pipeline.reporting.views import provenance

    content = {"a": {text: text for text in TEXTS}, "b": [*TEXTS, 1, 1.0, 1e-9, True, None]}
    printed = yaml.dump(content, Dumper=provenance._Printed, **provenance._YAML)
    for text in (printed, params.dump_yaml(content)):
        again = params.parse_yaml(text, "text")
        assert again == content
        assert [type(value) for value in again["b"]] == [type(value) for value in content["b"]]


def test_yaml_is_read_by_one_reader():
    """PyYAML reads YAML 1.1, in which ``no`` is false and ``012`` is ten; it only prints, see the test above."""
    found = set()
    for path in (ROOT / "pipeline").rglob("*.py"):
        if re.search(r"^import yaml|^from yaml|safe_load|ruamel\.yaml import YAML", path.read_text(), re.MULTILINE):
            found.add(path.relative_to(ROOT / "pipeline").as_posix())
    assert found == {
        "study/params.py",
        "reporting/views/provenance.py",
        "planning/write.py",
        "searching/applying.py",  # where a value stands in the file, by YAML 1.2, too
        "study/locks.py",  # of a lock it asks only: is it YAML?
        "study/dvc_state.py",  # the run-cache, by the reader that DVC has
    }
    assert "yaml.safe_load" not in (ROOT / "pipeline/reporting/views/provenance.py").read_text()


@pytest.mark.parametrize(
    ("roi", "said"),
    [
        ({"masks": "own", "margn": 0.1}, r"preprocess.roi.margn: unknown key \(did you mean 'margin'\?\)"),
        ({"margin": 0.1}, "preprocess.roi.masks: missing"),
        ({"masks": "own", "margin": -0.1}, "preprocess.roi.margin: must be at least 0, not -0.1"),
        ({"masks": "own", "outside": "grey"}, "preprocess.roi.outside: must be 'keep' or 'blank', not 'grey'"),
        ({"masks": "own", "crop": False}, "preprocess.roi: crop: false with outside: 'keep' leaves every image"),
        ({"masks": "own", "classes": ["heart"]}, "preprocess.roi.classes: 'heart' is no mask of phantom; .*: lungs"),
        ({"masks": "nowhere"}, "preprocess.roi.masks: 'nowhere': no such folder; must be 'own', or the folder"),
        ({"masks": "bad"}, r"preprocess.roi.masks: bad/segmenter.json cannot be used"),
    ],
)
def test_a_region_that_cannot_be_found_is_refused_by_its_key_before_any_work(roi, said, tmp_path, monkeypatch):
    from pipeline.settings.checks import check

    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/model.safetensors").write_bytes(b"")
    (tmp_path / "bad/segmenter.json").write_text("{}")
    content = copy.deepcopy(TINY)
    content["preprocess"]["roi"] = roi
    with pytest.raises(ParamsError, match=said):
        check(parse(content))


def test_own_masks_of_a_data_set_without_any_are_refused(tmp_path, monkeypatch):
    from pipeline.settings.checks import check

    monkeypatch.chdir(tmp_path)
    content = copy.deepcopy(TINY)
    content["preprocess"]["roi"] = {"masks": "own"}
    content["external"] = {"other": {"dataset": "chestxray14", "root": "nih"}}
    with pytest.raises(ParamsError, match=r"external.other: preprocess.roi.masks: 'own': chestxray14 has no masks"):
        check(parse(content))
    content |= {"dataset": "chestxray14", "datasets": {"chestxray14": {"root": "nih"}}, "external": {}}
    with pytest.raises(ParamsError, match=r"\npreprocess.roi.masks: 'own': chestxray14 has no masks"):
        check(parse(content))


@pytest.mark.parametrize(
    "given",
    [{"mean": [123.7, 116.3, 103.5], "std": [0.2] * 3}, {"mean": [0.5], "std": [58.4]}, {"mean": [-1], "std": [1]}],
)
def test_an_input_on_another_scale_is_refused(tiny, given):
    """As Keras and Caffe have them, of values from 0 to 255."""
    tiny["models"]["small"]["input"] = given
    said = r"models\.small\.input: mean = .*; must be between 0 and 1, of values that go from 0 to 1: divide those of"
    with pytest.raises(ParamsError, match=said):
        parse(tiny)
    tiny["models"]["small"]["input"] = {"mean": [0, 0.5, 1], "std": [1, 1 / 255, 0.5]}
    parse(tiny)
