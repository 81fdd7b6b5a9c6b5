"""studies/*.yaml: that each is params.yaml with its own changes, can be run, and has what its header says."""

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml

from pipeline.datasets import open_dataset
from pipeline.learning import losses
from pipeline.learning.networks import models
from pipeline.learning.settings import Augment, Input, Last, Train, train_settings
from pipeline.settings import load, parse
from pipeline.study import params
from pipeline.study.runs import configurations, every_run, seeds
from tests.tiny import ROOT

_spec = importlib.util.spec_from_file_location("make_studies", ROOT / "docs/make_studies.py")
make_studies = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_studies)

STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
BASE = (ROOT / "params.yaml").read_text()
GRID = re.compile(r"(?P<network>\w+)_lr(?P<lr>\d+(?:p\d+)?)_do(?P<dropout>\d+(?:p\d+)?)")
"""Names of the models of a grid over learning rate and dropout; p stands for the decimal point."""
each_study = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


def flat(content, path=""):
    """Values by key path; maps are opened but for flow maps of lists and the like, which are values of one key."""
    if not isinstance(content, dict) or not content:
        return {path: content}
    return {k: v for key, below in content.items() for k, v in flat(below, f"{path}.{key}" if path else key).items()}


def checkout(folder: Path) -> Path:
    """A copy of what docs/make_studies.py reads and writes."""
    shutil.copytree(ROOT / "studies", folder / "studies")
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


# --- the generator


def test_the_folder_holds_what_the_generator_writes(plain_forks):
    code = f"import runpy; runpy.run_path({str(ROOT / 'docs/make_studies.py')!r}, run_name='__main__')"
    done = plain_forks.run(["-c", code, "--check"])
    assert done.returncode == 0, done.stderr


def test_a_key_that_params_yaml_gains_reaches_every_study_and_is_missed_until_then(tmp_path, capsys):
    folder = checkout(tmp_path)
    gained = BASE.replace("  seed: 0\n  tta:", "  seed: 0\n  novelty: 3  # of no meaning\n  tta:")
    assert gained != BASE
    (folder / "params.yaml").write_text(gained)
    assert make_studies.main(["--check"], folder) == 1
    named = capsys.readouterr().err
    assert all(f"studies/{path.name} is not what" in named for path in STUDIES)
    before = (folder / "studies/kermany_cpu.yaml").read_text()
    assert make_studies.main([], folder) == 0
    for path in STUDIES:
        text = (folder / "studies" / path.name).read_text()
        assert "\n  novelty: 3  # of no meaning\n" in text
        assert make_studies.header(text) == make_studies.header(path.read_text())
    after = (folder / "studies/kermany_cpu.yaml").read_text()
    assert after.replace("  novelty: 3  # of no meaning\n", "") == before
    assert make_studies.main(["--check"], folder) == 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "kermany_cpu.yaml").write_text("# Header.\n\nseed: 1\n"), "Runs"),
        (lambda f: (f / "medmnist_benchmark.yaml").unlink(), "medmnist_benchmark.yaml: no such file"),
        (lambda f: (f / "medmnist_benchmark.yaml").write_text("seed: 1\n\n"), "medmnist_benchmark.yaml does not begin"),
        (lambda f: (f / "mine.yaml").write_text("# Mine.\n\nseed: 1\n"), "mine.yaml is not in CHANGES"),
        (lambda f: (f / "README.md").write_text("# Ready studies\n"), "README.md is not what"),
    ],
    ids=["header", "missing", "no_header", "unknown", "readme"],
)
def test_check_names_the_file_that_is_not_as_it_should_be(tmp_path, capsys, spoil, said):
    folder = checkout(tmp_path)
    spoil(folder / "studies")
    before = {p: p.read_bytes() for p in (folder / "studies").iterdir()}
    assert make_studies.main(["--check"], folder) == 1
    assert said in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (folder / "studies").iterdir()} == before


TEXT = """\
# Top.
a: 1  # one

# Of b.
b:
  c: 2
  d:  # below
    e: x  # {e}
    f: {g: [1, 2]}

# Last.
h:
"""


@pytest.mark.parametrize(
    ("changes", "line", "gone"),
    [
        ({"a": "3"}, "a: 3  # one\n\n", ["a: 1"]),
        ({"a": ""}, "a:  # one\n\n", ["a: 1"]),
        ({"b.d.e": "y"}, "    e: y  # {e}\n    f: {g", []),
        ({"b.d": "none"}, "  d: none  # below\n\n# Last.\nh:\n", ["e: x", "f: {"]),
        ({"b.d": "\n    k: 1\n    m: 2"}, "  d:  # below\n    k: 1\n    m: 2\n\n# Last.", ["e: x"]),
        ({"b.d.new": "7"}, "    f: {g: [1, 2]}\n    new: 7\n\n# Last.", []),
        ({"b.new": "7"}, "    f: {g: [1, 2]}\n  new: 7\n\n# Last.", []),
        ({"h": {"list": ["p", "q"]}}, "h: {list: [p, q]}\n", []),
    ],
)
def test_one_value_changes_and_all_else_stays(changes, line, gone):
    text = make_studies.changed(TEXT, changes)
    assert line in text
    assert not any(part in text for part in gone)
    (path,) = changes
    others = {k: v for k, v in flat(yaml.safe_load(TEXT)).items() if not f"{k}.".startswith(f"{path}.")}
    assert others.items() <= flat(yaml.safe_load(text)).items()


@pytest.mark.parametrize("path", ["c", "b.x.y", "x"])
def test_a_key_without_a_place_is_refused(path):
    with pytest.raises(KeyError, match=path):
        make_studies.changed(TEXT, {path: "1"})


# --- each study


@each_study
def test_differs_from_params_yaml_where_the_list_of_changes_says_and_nowhere_else(path):
    here, default = (flat(yaml.safe_load(text)) for text in (path.read_text(), BASE))
    differ = {key for key in here.keys() | default.keys() if here.get(key, "-") != default.get(key, "-")}
    declared = make_studies.CHANGES[path.stem]
    assert all(any(f"{key}.".startswith(f"{of}.") for of in declared) for key in differ), differ
    own = path.read_text().removeprefix(make_studies.header(path.read_text()))
    comments = {line.strip() for line in BASE.splitlines() if line.startswith("#")}
    assert comments <= {line.strip() for line in own.splitlines()}


@each_study
def test_the_header_says_what_why_how_long_and_what_to_expect(path):
    text = path.read_text()
    lines = make_studies.header(text).splitlines()
    assert all(len(line) <= 120 for line in lines)
    assert f"#   make study STUDY=studies/{path.name}" in lines
    parts = make_studies.paragraphs(text)
    for name in ("title", "Re-creates", "Runs", "Time", "Expected"):
        assert parts[name].endswith((".", "?")), name
    assert sum(line.startswith("# Expected: ") for line in lines) == 1
    at = next(i for i, line in enumerate(lines) if line.startswith("# Expected: "))
    assert lines[at + 1 : at + 2] in ([], ["#"]), "numbers are replaced in one line"
    assert re.search(r"\b(measured|estimated)\b", parts["Time"])
    assert "measured" in parts["Expected"]
    if not parts["Re-creates"].startswith("nothing published"):
        assert re.search(r"https://|arXiv", parts["Re-creates"])
        assert parts["Original"].endswith(".")
        assert parts["Here"].endswith(".")
    for study in re.findall(r"(\w+)\.yaml", make_studies.header(text)):
        assert study in make_studies.CHANGES, study


def wilson(right: float, n: int) -> tuple[float, float]:
    """Two-sided 95 % score interval (Wilson 1927) as the roots of (p - q)^2 = z^2 q (1 - q) / n."""
    z2, p = 1.959963984540054**2, right / n
    low, high = np.sort(np.roots([1 + z2 / n, -(2 * p + z2 / n), p * p]).real)
    return float(low), float(high)


INTERVAL = r"\[(\d\.\d+), (\d\.\d+)\] \(Wilson"


@each_study
def test_intervals_computed_for_published_accuracies_are_right(path):
    text = " ".join(make_studies.paragraphs(path.read_text()).values())
    counted = re.findall(rf"(\d+) of (\d+)(?: right)?, (\d\.\d+) {INTERVAL}", text)
    rates = re.findall(rf"(0\.\d+) of (\d+)(?: has the interval)? {INTERVAL}", text)
    assert len(counted) + len(rates) == text.count("(Wilson")
    for right, n, rate, *_ in counted:
        assert math.isclose(int(right) / int(n), float(rate), abs_tol=5e-4)
    for right, n, low, high in [(float(r), int(n), lo, hi) for r, n, _, lo, hi in counted] + [
        (float(p) * int(n), int(n), lo, hi) for p, n, lo, hi in rates
    ]:
        assert wilson(right, n) == pytest.approx((float(low), float(high)), abs=6e-4)


def data_set(study):
    """Open the data set of a study; skip where its classes are those of folders that are not there."""
    about = study.datasets[study.dataset]
    if study.dataset == "image_folder" and not Path(about["root"]).is_dir():
        pytest.skip(f"{about['root']} is not there")
    return open_dataset(study.dataset, about)


@each_study
def test_losses_balancing_and_choice_of_the_epoch_are_defined_for_the_data_set(path):
    study = load(path)
    data = data_set(study)
    losses.check_study(study.study.losses, study.losses, data.task, data.ordered)
    assert len(data.classes) >= (1 if data.task == "segmentation" else 2)
    assert (data.task == "segmentation") == all(study.models[m].gives_masks for m in study.study.models)
    if data.task == "multilabel":
        assert study.split.balance.method in ("none", "oversample")
        assert all(train_settings(study, m).class_weights == "none" for m in study.study.models)
        assert all(train_settings(study, m).select == "auroc" for m in study.study.models)
    assert (study.preprocess.channels == 3) == (study.dataset in ("leukemia", "image_folder")), "cells alone in colour"
    assert set(study.models) == set(study.study.models), "models that no run uses"


def with_settings(path, command):
    """Content of a study after the ``-S key=value`` of a command."""
    content = params.read(path)
    for _, key, value in re.findall(r"-S ('?)([\w.]+)=([^\s']+)\1", command):
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        assert last in section, f"{key}: the study has no such key"
        section[last] = yaml.safe_load(value.rstrip(".,;"))
    return content


@each_study
def test_the_settings_that_a_header_proposes_are_allowed(path):
    head = make_studies.header(path.read_text())
    together = re.findall(r"(?m)^#   (dvc .*)$", head)
    alone = re.findall(r"-S '?[\w.]+=[^\s']+'?", " ".join(make_studies.paragraphs(path.read_text()).values()))
    assert all(" -S " in command for command in together)
    for command in together + [setting for setting in alone if not any(setting in of for of in together)]:
        changed = parse(with_settings(path, command))
        assert changed != load(path), command


@pytest.fixture(scope="module")
def repository(tmp_path_factory, forks):
    """A folder in which DVC reads dvc.yaml."""
    folder = tmp_path_factory.mktemp("dvc")
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    forks.run(["-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True, env=environment)
    shutil.copy(ROOT / "dvc.yaml", folder)
    return folder


@each_study
def test_has_the_runs_that_its_header_states_for_params_and_for_dvc(path, repository, forks):
    study = load(path)
    found = re.match(
        r"(\d+) = (\d+) models? x (\d+) loss(?:es)? x (\d+) seeds?\b",
        make_studies.paragraphs(path.read_text())["Runs"],
    )
    assert found
    count, *factors = (int(number) for number in found.groups())
    assert factors == [len(study.study.models), len(study.study.losses), len(seeds(study))]
    assert count == math.prod(factors) * (1 + len(study.variants)) == len(every_run(study))
    shutil.copy(path, repository / "params.yaml")
    listed = forks.run(["-m", "dvc", "stage", "list", "--name-only"], cwd=repository, check=True).stdout.split()
    trained = ("train@", "replicate@", "train_variant@", "replicate_variant@")
    assert sum(name.startswith(trained) for name in listed) == count
    assert sum(name.startswith("evaluate@") for name in listed) == len(configurations(study))


@each_study
def test_dvc_reads_the_same_values_as_the_project(path):
    from dvc.utils.serialize import load_yaml

    assert load_yaml(path) == params.read(path)


BUILT: dict[str, tuple] = {}
"""Models that differ in their training alone are built once."""


def build(settings, channels, classes, size):
    """Build a model as the study would, without its weights and without memory: on torch's device for shapes alone."""
    trained = set(Train.model_fields) | {"lr", "head_lr", "dropout"}
    key = json.dumps([settings.model_dump(exclude=trained), channels, classes, size])
    if key not in BUILT:
        normalised = settings.input
        if settings.pretrained and normalised is None:  # then it takes the channels of its weights
            cfg = timm.get_pretrained_cfg(settings.arch)
            normalised = Input(mean=list(cfg.mean), std=list(cfg.std))
        bare = settings.model_copy(update={"pretrained": False, "weights": None, "sha256": None, "input": normalised})
        with torch.device("meta"):
            model = models.build("m", bare, channels, classes, size, np.zeros((2, size, size, channels), np.uint8))
            logits = model(torch.zeros(2, channels, size, size))
        BUILT[key] = model, tuple(logits.shape)
    return BUILT[key]


@each_study
def test_every_model_can_be_built_and_trains_what_it_should(path):
    study = load(path)
    classes, size, channels = (
        len(data_set(study).classes),
        study.preprocess.size,
        study.preprocess.channels,
    )
    for name, settings in study.models.items():
        model, shape = build(settings, channels, classes, size)
        assert shape == (2, classes, *([size, size] if settings.gives_masks else [])), name
        trained = {id(p) for p in model.parameters() if p.requires_grad}
        head = {id(p) for p in model.head_parameters()}
        assert head <= trained
        if settings.trainable == "head":
            assert trained == head, name
        elif isinstance(settings.trainable, Last):
            assert head < trained < {id(p) for p in model.parameters()}, name
        else:
            assert trained == {id(p) for p in model.parameters()}, name
        if settings.pretrained:
            cfg = timm.get_pretrained_cfg(settings.arch)
            assert cfg.hf_hub_id or cfg.url, f"{settings.arch}: timm has no weights"
        if settings.trainable != "all" and settings.dropout:
            assert settings.hidden, f"{name}: dropout in frozen layers drops nothing"


def test_the_fine_tuned_resnet_trains_its_last_bottleneck_block_as_the_notebook_did():
    study = load(ROOT / "studies/covid_radiography_transfer.yaml")
    model, _ = build(study.models["resnet_tuned"], 1, 3, study.preprocess.size)
    trained = {name.rpartition(".")[0] for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert {n for n in trained if not n.startswith("fc")} == {
        f"layer4.2.{layer}" for layer in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")
    }


@pytest.mark.parametrize("name", ["leukemia_grid_per_class", "leukemia_grid_global"])
def test_names_of_the_grid_say_what_its_models_are(name):
    study = load(ROOT / f"studies/{name}.yaml")
    found = set()
    for key, model in study.models.items():
        match = GRID.fullmatch(key)
        assert match, key
        assert float(match["lr"].replace("p", ".")) == model.lr
        assert float(match["dropout"].replace("p", ".")) == model.dropout
        assert model.arch.partition(".")[0].replace("_", "").replace("nasneta", "nasnet") == match["network"]
        found.add((match["network"], model.lr, model.dropout))
    assert found == {
        (network, lr, dropout)
        for network in ("inceptionresnetv2", "nasnetlarge")
        for lr in (0.1, 0.01, 0.001, 0.0001)
        for dropout in (0.0, 0.2, 0.4)
    }


def test_the_published_images_are_enough_for_equal_classes_even_if_some_are_excluded():
    from pipeline.datasets.leukemia.dataset import PUBLISHED

    asked = load(ROOT / "studies/leukemia_grid_per_class.yaml").split.per_class
    assert asked.train + asked.validation + asked.test <= min(PUBLISHED.values()) - 10


def test_the_two_grids_differ_in_the_split_alone():
    one, other = (load(ROOT / f"studies/leukemia_grid_{m}.yaml") for m in ("per_class", "global"))
    assert one.model_copy(update={"split": other.split}) == other
    assert one.split.method != other.split.method


def test_augmentation_is_what_sets_the_two_mobilenets_of_the_notebook_apart():
    study = load(ROOT / "studies/covid_radiography_transfer.yaml")
    plain, changed = (train_settings(study, f"mobilenet_{n}") for n in ("frozen", "augmented"))
    assert plain.augment == Augment.model_validate("none")
    assert changed.augment == Augment.model_validate("seeds002")
    assert plain.model_copy(update={"augment": changed.augment}) == changed


def test_the_losses_are_the_twelve_of_the_paper():
    study = load(ROOT / "studies/paediatric_multiloss.yaml")
    calibrated = {"calibrated_ce", "calibrated_kl", "calibrated_focal", "calibrated_hinge"}
    assert set(study.study.losses) == calibrated | {
        "ce",
        "entropy_regularized",
        "kl",
        "focal",
        "hinge",
        "label_smoothing",
        "ls_focal",
        "calibrated_negative_entropy",
    }
    assert study.losses["label_smoothing"]["epsilon"] == study.losses["ls_focal"]["epsilon"] == 0.2
    assert study.ensemble.features
    assert study.ensemble.top_k == 3


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_names_the_studies_where_one_is_asked_for_that_is_not_there():
    done = subprocess.run(
        ["make", "-o", ".venv/.installed", "study", "STUDY=studies/none.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "STUDY=studies/none.yaml: no such file" in done.stderr
    assert all(f"studies/{path.name}" in done.stderr for path in STUDIES)
