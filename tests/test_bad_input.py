"""What a user may get wrong: one error each, before any work, naming the key or file, the value, what is allowed."""

import copy
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import yaml

from pipeline.datasets.settings import DataSections
from pipeline.download import download
from pipeline.settings import checks
from pipeline.study.errors import UserError
from pipeline.study.files import PREPARED
from pipeline.study.params import ParamsError, load
from tests.tiny import TINY

FOLDER: dict[str, Any] = {
    "dataset": "image_folder",
    "datasets.image_folder": {"root": "../images"},
    "split.method": "grouped",
    "study.losses": ["ce"],
    "losses": {"ce": {}, "bce": {}},
}
"""The tiny study on single-label images of one's own."""
TABLE: dict[str, Any] = {
    **FOLDER,
    "dataset": "image_table",
    "datasets.image_table": {"root": "../images", "table": "../labels.csv", "label_column": "label"},
}


class Case(NamedTuple):
    """Changes of the tiny study (key path to value), files beside it, and what the error must say."""

    changes: dict[str, Any]
    said: list[str]
    files: tuple[str, ...] = ()


def own(said: list[str], files: tuple[str, ...] = (), **changes: Any) -> Case:
    """A study on class folders; settings of the data set as keywords."""
    return Case({**FOLDER, "datasets.image_folder": {"root": "../images", **changes}}, said, files)


def table(said: list[str], rows: str = "image,label\na/0.png,x\nb/0.png,y\n", **changes: Any) -> Case:
    """A study on a table of these rows."""
    settings = {**TABLE["datasets.image_table"], **changes}
    return Case({**TABLE, "datasets.image_table": settings}, said, (f"labels.csv={rows}",))


SMALL = {"arch": "baseline_cnn", "lr": 0.01}
CASES: dict[str, Case] = {
    # models
    "architecture": Case(
        {"models.small.arch": "resnet5O"}, ["models.small.arch: 'resnet5O' is not a timm model; use", "resnet50"]
    ),
    "option of baseline_cnn": Case(
        {"models.small.options": {"filterz": [4]}}, ["models.small.options.filterz: unknown key; use one of: filters"]
    ),
    "option of a timm network": Case(
        {"models.small": {"arch": "resnet18", "lr": 0.1, "options": {"growth": 3}}}, ["models.small.options", "growth"]
    ),
    "negative filters": Case(
        {"models.small.options": {"filters": [-4]}},
        ["models.small.options.filters: [-4]; must be a list of numbers, each at least 1"],
    ),
    "images of a variant too small for it": Case(
        {"models.small.options": {"filters": [4, 4, 4]}, "variants": {"tiny": {"preprocess": {"size": 16}}}},
        ["variants.tiny.models.small.options.filters: 3 layers, for images of 16 px (preprocess.size)", "at most 2"],
    ),
    "images too small for it": Case(
        {"models.small.options": {"filters": [4, 4, 4, 4, 4]}},
        ["models.small.options.filters: 5 layers, for images of 24 px (preprocess.size)", "at most 3"],
    ),
    "option given twice": Case(
        {"models.small": {**SMALL, "dropout": 0.1, "options": {"drop_rate": 0.2}}},
        ["models.small.dropout = 0.1", "options.drop_rate = 0.2", "set one of them"],
    ),
    "weights that are not there": Case(
        {"models.small": {**SMALL, "weights": "w.safetensors"}},
        ["models.small.weights", "w.safetensors", "no such file"],
    ),
    "weights that are none": Case(
        {"models.small": {**SMALL, "weights": "../w.pth"}},
        ["models.small.weights: ../w.pth cannot be read as weights"],
        ("w.pth=",),
    ),
    "weights of another kind": Case(
        {"models.small": {**SMALL, "weights": "params.yaml"}}, ["models.small.weights", "params.yaml", ".safetensors"]
    ),
    "weights and pretrained": Case(
        {"models.small": {**SMALL, "weights": "w.pth", "pretrained": True}}, ["models.small", "use one of them"]
    ),
    "pretrained baseline_cnn": Case(
        {"models.small": {**SMALL, "pretrained": True}}, ["models.small.pretrained: must be false for baseline_cnn"]
    ),
    "no published weights": Case(
        {"models.small": {"arch": "nf_resnet26", "lr": 0.1, "pretrained": True}},
        ["models.small.pretrained (or weights: timm/nf_resnet26): timm has no weights of nf_resnet26"],
    ),
    "tag of weights": Case(
        {"models.small": {"arch": "resnet18.imagenet", "lr": 0.1}},
        ["models.small.arch: 'resnet18.imagenet'", "use one of: a1_in1k"],
    ),
    "more layers than there are": Case(
        {"models.small": {"arch": "resnet18", "lr": 0.1, "pretrained": True, "trainable": {"last": 999}}},
        ["models.small.trainable: last = 999; must be 1 to"],
    ),
    "frozen without weights": Case(
        {"models.small": {**SMALL, "trainable": "head"}}, ["models.small", "trainable = head", "need weights"]
    ),
    "learning rate": Case({"models.small.lr": 0}, ["models.small.lr: must be greater than 0, not 0"]),
    "name of a model for the shell": Case(
        {"study.models": ["$(touch x)"]}, ["study.models.0", "^[A-Za-z0-9_]+$", "$(touch x)"]
    ),
    "name of a loss for the shell": Case(
        {"study.losses": ["bce; rm -r ."]}, ["study.losses.0", "^[A-Za-z0-9_]+$", "bce; rm -r ."]
    ),
    "model called ensemble": Case(
        {"models.ensemble": SMALL}, ["models.ensemble", "a name that the results need", "none of ensemble, probe"]
    ),
    "model that is not defined": Case({"study.models": ["big"]}, ["study.models: 'big' is not defined", "small, wide"]),
    # losses
    "loss for another task": Case(
        {"study.losses": ["ce"], "losses.ce": {}}, ["study.losses: 'ce'", "multilabel", "use one of these kinds"]
    ),
    "kind of loss": Case({"losses.bce": {"kind": "bcee"}}, ["losses.bce.kind: 'bcee' is not a loss; use one of"]),
    "setting of a loss": Case({"losses.bce": {"weight": 1}}, ["losses.bce.weight: unknown key"]),
    "range of a loss": Case(
        {"study.losses": ["focal"], "losses.focal": {"gamma": -1.0}}, ["losses.focal.gamma", "at least 0", "-1.0"]
    ),
    "loss listed twice": Case({"study.losses": ["bce", "bce"]}, ["study.losses: 'bce' is listed twice"]),
    "weights on top of a balancing loss": Case(
        {**FOLDER, "study.losses": ["balanced_softmax"], "losses": {"balanced_softmax": {}}}
        | {"train.class_weights": "balanced"},
        ["train.class_weights: 'balanced'", "losses.balanced_softmax", "must be none"],
    ),
    "mixed images for a loss of labels of 0 and 1": Case(
        {"study.losses": ["focal"], "losses.focal": {}, "train.mix": {}},
        ["train.mix: losses.focal is defined for labels of 0 and 1 alone", "asl, bce, hill", "must be empty beside it"],
    ),
    # training
    "device that is not there": Case({"train.device": "cuda"}, ["train.device: 'cuda'", "must be cpu, or auto"]),
    "device": Case({"train.device": "gpu"}, ["train.device", "'auto', 'cpu' or 'cuda'", "'gpu'"]),
    "metric to choose by": Case({"train.select": "macro_f1"}, ["train.select: 'macro_f1'", "must be auroc"]),
    "metric of one model": Case(
        {"models.wide.select": "macro_f1"}, ["models.wide.select: 'macro_f1'", "must be auroc"]
    ),
    "class weights": Case({"train.class_weights": "balanced"}, ["train.class_weights: 'balanced'", "must be none"]),
    "growing images for a network of one size": Case(
        {"models.wide.progressive": {}},
        ["train.progressive: models.wide (baseline_cnn) takes images of", "must be empty for it"],
    ),
    "two averages": Case({"train.ema": 0.9, "train.swa": 0.5}, ["ema = 0.9 and swa = 0.5: two averages"]),
    "augmentation": Case({"train.augment": "strong"}, ["train.augment", "'strong' is not a preset", "seeds002"]),
    "warm-up": Case({"train.warmup_epochs": 2.0}, ["warmup_epochs = 2", "less than epochs (2)"]),
    "infinite number": Case({"train.clip_grad": float("inf")}, ["train.clip_grad: must be a finite number"]),
    "key": Case({"train.batchsize": 3}, ["train.batchsize: unknown key (did you mean 'batch_size'?)"]),
    "section": Case({"trian": {}}, ["trian: unknown key (did you mean 'train'?)"]),
    "seed that is a further seed": Case(
        {"study.replicates": [7, 42]}, ["study.replicates: seed 42 occurs twice", "list each seed once"]
    ),
    "seed": Case({"seed": -1}, ["seed: must be at least 0, not -1"]),
    # split
    "so many of each class, multi-label": Case(
        {"split.method": "per_class"}, ["split.method: 'per_class'", "multi-label", "must be official, grouped"]
    ),
    "balance, multi-label": Case(
        {"split.balance.method": "undersample"}, ["split.balance.method: 'undersample'", "must be none or oversample"]
    ),
    "balance to nothing": Case(
        {**FOLDER, "split.balance.method": "augment_to"},
        ["balance.to = None with method augment_to", "must be a number"],
    ),
    "fractions": Case({"split.validation": 0.9}, ["validation + test = 1.1; must be less than 1"]),
    "leak, in another method": Case(
        {**FOLDER, "split.protocol": "augment_before_split"}, ["augment_before_split", "'grouped'; must be global"]
    ),
    "leak, balanced otherwise": Case(
        {**FOLDER, "split.protocol": "augment_before_split", "split.method": "global"}
        | {"split.balance.method": "oversample"},
        ["split.balance.method: 'oversample'", "must be none or augment_to"],
    ),
    "no published parts": Case(
        {**FOLDER, "split.method": "official"},
        ["split.method: 'official'", "has no train and no test part; must be grouped"],
    ),
    "more of a class than there are": Case(
        {**FOLDER, "split.method": "per_class", "split.per_class": {"train": 50, "validation": 5, "test": 5}},
        ["split.per_class: 60 images of each class, and 'a' has 4; must be at most that"],
    ),
    "more of a class than whole patients can give": Case(
        {**FOLDER, "split.method": "per_class", "split.per_class": {"train": 2, "validation": 1, "test": 1}}
        | {"datasets.image_folder": {"root": "../images", "patient_pattern": "^([ab])/"}},
        [
            "split.per_class: of 2 images of class 'a' part 'train' would get 0",
            "every patient stays within one part, and the class has 1 of them, with up to 4 images",
        ],
    ),
    "more of a class than whole groups of unknown patients can give": Case(
        {**FOLDER, "split.method": "per_class", "split.per_class": {"train": 2, "validation": 1, "test": 1}}
        | {"datasets.image_folder": {"root": "../images", "groups": "blocks of 100"}},
        ["split.per_class: of 2 images of class 'a' part 'train' would get 0", "every group stays within one part"],
    ),
    "latest examinations, without dates": Case(
        {**FOLDER, "split.method": "time"}, ["split.method: 'time'", "no image of image_folder has one", "date_column"]
    ),
    "no models": Case({"study.models": []}, ["study.models: must have at least 1 item, not []"]),
    "models that are none": Case(
        {"models": {}, "study.models": ["small"]}, ["study.models: 'small' is not defined; use one of: none is"]
    ),
    "bits": Case({"preprocess.bits": 4}, ["preprocess.bits: must be 'auto' or at least 8, not 4"]),
    "text for a list": Case({"study.replicates": "12"}, ["study.replicates: must be a valid list, not '12'"]),
    "level of intervals": Case({"evaluate.confidence": 95}, ["evaluate.confidence: must be less than 1, not 95"]),
    "range the wrong way round": Case(
        {"train.augment": {"erase": {"area": [0.5, 0.1], "probability": 1}}},
        ["train.augment.erase: area = [0.5, 0.1]; must be [smallest, largest]"],
    ),
    # data
    "data set": Case({"dataset": "mine"}, ["dataset: 'mine'", "phantom"]),
    "setting of a data set": Case(
        {"datasets.phantom.sizes": 3}, ["datasets.phantom.sizes: unknown key (did you mean 'size'?)"]
    ),
    "no folder": own(["datasets.image_folder.root is not set; set it in params.yaml"], root=None),
    "folder that is not there": own(["datasets.image_folder.root: '../imagse' does not exist"], root="../imagse"),
    "folder of the project": own(["datasets.image_folder.root: '..' holds this project itself"], root=".."),
    "folder of another repository": own(
        ["datasets.image_folder.root: '../images'", "a/.dvcignore, of a repository of DVC's"], ("images/a/.dvcignore=",)
    ),
    "class without images": own(["class folder 'c' holds no images; fill it"], ("images/c/notes.txt=",)),
    "class of two lines": own(["class 'x\\ny'", "one line of text"], ("images/x\ny/0.png",)),
    "column called as a class": table(
        ["column 'x' has a name that the tables of the study need for something else", "rename it"],
        "image,label,x\na/0.png,x,1\nb/0.png,y,2\n",
        extra_columns=["x"],
    ),
    "prevalence of no class": Case(
        {"evaluate.prevalence": {"macro": 0.2}},
        ["evaluate.prevalence: 'macro' is no class of the data set; must be one of"],
    ),
    "name of an image of other bytes": own(
        [r"the name 'a/\xe9.png' is not UTF-8", "rename it"], ("images/a/\udce9.png",)
    ),
    "class folder of other bytes": own([r"the name '\xff' is not UTF-8", "rename it"], ("images/\udcff/0.png",)),
    "file for the folder": own(
        ["datasets.image_folder.root: '../labels.csv' is not a folder"], ("labels.csv=",), root="../labels.csv"
    ),
    "folder for the table": table(["datasets.image_table.table: '../images' is not a file"], table="../images"),
    "table of other bytes": table(["labels.csv: not UTF-8 text", "save it as CSV in UTF-8"], "image,label\na,\udcff\n"),
    "folder without weights": Case(
        {"models.small": {**SMALL, "weights": "../images"}}, ["models.small.weights", "holds", "exactly one of"]
    ),
    "path in the name of a model": Case(
        {"study.models": ["../../precious"]}, ["study.models.0", "^[A-Za-z0-9_]+$", "../../precious"]
    ),
    "path in the name of a loss": Case({"study.losses": ["a/../b"]}, ["study.losses.0", "^[A-Za-z0-9_]+$"]),
    "path for the data set": Case({"dataset": "../../x"}, ["dataset", "^[A-Za-z0-9_]+$", "../../x"]),
    "command for a size": Case({"preprocess.size": "24; touch x"}, ["preprocess.size: must be a valid integer"]),
    "command for a seed": Case({"seed": "$(touch x)"}, ["seed: must be a valid integer", "$(touch x)"]),
    "command for a further seed": Case({"study.replicates": ["7; touch x"]}, ["study.replicates.0: must be"]),
    "flag for a number": Case({"train.epochs": True}, ["train.epochs: must be a valid integer, not True"]),
    "number for a flag": Case({"train.tf32": 1}, ["train.tf32: must be a valid boolean, not 1"]),
    "text for a flag of a data set": Case(
        {"datasets.phantom.bad_files": "no"}, ["datasets.phantom.bad_files: must be a valid boolean, not 'no'"]
    ),
    "number for a text": own(["datasets.image_folder.title: must be a valid string, not 12"], title=12),
    "name that DVC forgets": Case(
        {"models.size": SMALL}, ["models.size: a name that DVC's run-cache does not look at"]
    ),
    "infinite setting of a loss": Case(
        {"study.losses": ["focal"], "losses.focal": {"gamma": float("inf")}}, ["losses.focal.gamma", "finite"]
    ),
    "two spellings of a class": own(["'A'", "'a'", "label_map"], ("images/A/0.png",)),
    "pattern": own(["datasets.image_folder.patient_pattern: '(P'", "Python pattern"], patient_pattern="(P"),
    "pattern without a group": own(
        ["datasets.image_folder.patient_pattern: 'P[0-9]+' has no group"], patient_pattern="P[0-9]+"
    ),
    "pattern that a file does not match": own(
        ["'a/0.png' does not match datasets.image_folder.patient_pattern"], patient_pattern="HB([0-9]+)"
    ),
    "no table": table(["datasets.image_table.table: '../nowhere.csv' is not a file"], table="../nowhere.csv"),
    "column that is not there": table(["column 'labels'", "label_column", "image, label"], label_column="labels"),
    "two kinds of labels": table(["label_column: 'label' beside class_columns", "one of"], class_columns=["x", "y"]),
    "one class": table(["'x'"], "image,label\na/0.png,x\nb/0.png,x\n"),
    "image outside of root": table(["line 2", "/etc/x.png"], "image,label\n/etc/x.png,x\nb/0.png,y\n"),
    "file for a folder": own(
        ["datasets.image_folder.root: '../images/a/0.png' is not a folder"], root="../images/a/0.png"
    ),
    "folder for a table": table(["datasets.image_table.table: '../images' is not a file"], table="../images"),
    "patterns that leave nothing": own(["include ['*.tif'] and exclude [] leave none of the 8"], include=["*.tif"]),
    "blocks of nothing": own(["datasets.image_folder.groups", "blocks of", "not '100'"], groups="100"),
    "blocks beside patients": own(
        ["groups: 'blocks of 100' beside patient_pattern"], groups="blocks of 100", patient_pattern="(a)"
    ),
    "part of a split beside classes": own(["'train' is the name of a part, 'a' is none"], ("images/train/a/0.png",)),
    "number for a name": own(["datasets.image_folder.label_map.1: must be a valid string"], label_map={1: "a"}),
    "row without a patient": table(
        ["line 3: column 'who' is empty; 1 of 2 rows name a patient"],
        "image,label,who\na/0.png,x,p\nb/0.png,y,\n",
        patient_column="who",
    ),
    "patient called nan": table(
        ["line 3: column 'who' is 'nan'"], "image,label,who\na/0.png,x,p\nb/0.png,y,nan\n", patient_column="who"
    ),
    "image twice": table(["line 3: image 'a/0.png' occurs already in line 2"], "image,label\na/0.png,x\na/0.png,y\n"),
    "labels in one cell": table(
        ["line 2: column 'label' holds several labels, 'x|y'", "separator to '|'"],
        "image,label\na/0.png,x|y\nb/0.png,y\n",
    ),
    "part that is none": table(
        ["column 'part' is 'all'; it must be train, val, test or empty"],
        "image,label,part\na/0.png,x,all\nb/0.png,y,test\n",
        split_column="part",
    ),
    "row of too few fields": table(["line 2: 1 fields, the header has 2"], "image,label\na/0.png\n"),
    "table without rows": table(["no rows below the header"], "image,label\n"),
    "column twice": table(
        ["column 'label'", "occurs twice in the header"], "image,label,label\na/0.png,x,x\nb/0.png,y,y\n"
    ),
    "headers of no DICOM": table(["holds no DICOM image", "image_by asks for"], image_by="sop_instance_uid"),
    "rows of other files": table(["holds none of the 2 images", "check root"], "image,label\nq.png,x\nr.png,y\n"),
    "column with a name of the tables": table(
        ["column 'part'", "rename it, to none of: part"],
        "image,label,part\na/0.png,x,1\nb/0.png,y,2\n",
        extra_columns=["part"],
    ),
}


def message(case: Case, folder: Path) -> str:
    """Return what is said in a project below `folder`, the working directory: by the check, else by stage download."""
    content = copy.deepcopy(TINY)
    for path, value in case.changes.items():
        *parents, last = path.split(".")
        place = content
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
    Path("params.yaml").write_text(yaml.safe_dump(content))
    for seed, name in enumerate([f"images/{label}/{number}.png" for label in "ab" for number in range(4)]):
        write_picture(folder / name, seed)
    for name in case.files:
        path, is_text, text = name.partition("=")
        if is_text:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, errors="surrogateescape")
        else:
            write_picture(folder / path, 99)
    try:
        checks.load()
        download(load(DataSections))
        checks.load()
    except UserError as error:
        return str(error)
    return ""


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    return tmp_path


def test_there_are_enough_kinds():
    assert len(CASES) >= 80


@pytest.mark.parametrize("kind", CASES)
def test_bad_input_is_one_error_before_any_work(kind, project):
    case = CASES[kind]
    text = message(case, project)
    for part in case.said:
        assert part in text
    # One problem, one line: a list of what is allowed may follow on the same.
    assert len(text.removeprefix("params.yaml:\n").splitlines()) == 1
    assert str(project) not in text
    assert not PREPARED.exists()
    assert not Path("data/study/split").exists()


def test_the_study_without_a_mistake_passes(project):
    for changes in (FOLDER, TABLE):
        files = ("labels.csv=image,label\n" + "".join(f"{c}/{n}.png,{c}\n" for c in "ab" for n in range(4)),)
        assert message(Case(changes, [], files), project) == ""
    assert message(Case({}, []), project) == ""
    assert message(Case({**FOLDER, "ensemble.top_k": 99}, []), project) == ""  # all that there are


def test_every_entry_checks(project, capsys, monkeypatch):
    """Stages, commands: the same check stands at the beginning of each."""
    from pipeline import preprocess, split
    from pipeline.commands import check, launch, plan

    assert message(CASES["architecture"], project)
    for entry in (preprocess.main, split.main, lambda: check.main([]), lambda: launch.main([]), lambda: plan.main([])):
        with pytest.raises(SystemExit) as end:
            entry()
        assert end.value.code == 1
        assert "models.small.arch: 'resnet5O'" in capsys.readouterr().err
    with pytest.raises(ParamsError, match="resnet5O"):
        load(DataSections)


def test_a_model_is_built_once_to_check_it(project, monkeypatch):
    from pipeline.learning.networks import models

    built = []
    monkeypatch.setattr(models, "check", lambda name, *_: built.append(name))
    assert message(Case({}, []), project) == ""
    assert built == ["small", "wide"]
    assert message(Case({"train.epochs": 3}, []), project) == ""
    assert built == ["small", "wide"]
    assert message(Case({"models.wide.dropout": 0.1}, []), project) == ""
    assert built == ["small", "wide", "wide"]
