"""The typed, validated view of params.yaml, and the one enumeration of the study's cells.

Sections are pydantic models: an unknown key, a value out of range or a name that does not exist is refused with the
key's path, the value and what is allowed. ``datasets.<name>`` and ``losses.<name>`` are checked by the file of that
data set or loss (`pipeline.datasets`, `pipeline.learning.losses`), so that adding one is adding one file.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from pipeline.errors import UserError

PARAMS_FILE = Path("params.yaml")

Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
"""No dot (DVC's key separator) and no dash (it joins model and loss in folder names)."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class ParamsError(UserError):
    """params.yaml says something that cannot be run. The message names key, value and what is allowed."""


class Section(BaseModel):
    """A part of params.yaml: unknown keys refused, values fixed once read, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Study(Section):
    """Which cells the study has: every model with every loss, under `seed` and every replicate."""

    models: list[Name] = Field(min_length=1)
    losses: list[Name] = Field(min_length=1)
    replicates: list[Seed] = []


class Clahe(Section):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994)."""

    enabled: bool = True
    clip: float = Field(2.0, gt=0, le=100)
    tiles: int = Field(8, ge=1, le=64)
    order: Literal["before_resize", "after_resize"] = "before_resize"


class Duplicates(Section):
    """Which images count as the same: identical pixels always, similar ones if `near`."""

    near: bool = True
    hamming: int = Field(4, ge=0, le=16, description="bits of 64 in which perceptual hashes of candidates may differ")
    correlation: float = Field(0.995, gt=0, le=1, description="of 32 x 32 thumbnails, to confirm a candidate")
    conflicting_labels: Literal["exclude", "keep"] = "exclude"


class Preprocess(Section):
    """From published image files to one uint8 array."""

    size: int = Field(ge=16, le=2048)
    channels: Literal[1, 3] = 1
    keep_aspect: Literal["stretch", "pad", "crop"] = "stretch"
    clahe: Clahe = Clahe()
    duplicates: Duplicates = Duplicates()
    threads: int = Field(2, ge=1, le=256)


class PerClass(Section):
    """Images of each class in each part, for method per_class; what a class has beyond them is unused."""

    train: int = Field(700, ge=1)
    validation: int = Field(150, ge=1)
    test: int = Field(150, ge=1)


class Balance(Section):
    """How often training images are drawn, class by class; the other parts are never balanced."""

    method: Literal["none", "undersample", "oversample", "augment_to"] = Field(
        "none",
        description="each class to the draws of the smallest, of the largest, or to `to`; multi-label: oversample only",
    )
    to: int | None = Field(None, ge=1, description="draws of each class an epoch; augment_to only")

    @model_validator(mode="after")
    def _to_belongs_to_augment_to(self) -> Balance:
        if (self.method == "augment_to") != (self.to is not None):
            raise ValueError(
                f"balance.to = {self.to} with method {self.method}; allowed: a number with augment_to alone"
            )
        return self


class Split(Section):
    """Who is trained on, who is chosen on, who is only scored. Its seed is not the training seed."""

    method: Literal["official", "grouped", "per_class", "global"]
    seed: Seed = 0
    validation: Fraction
    test: Fraction
    per_class: PerClass = PerClass()
    balance: Balance = Balance()
    protocol: Literal["split_first", "augment_before_split"] = Field(
        "split_first", description="augment_before_split = a published leak, for study only; method global"
    )
    allow_missing_classes: bool = False

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Split:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test = {self.validation + self.test:g}; allowed: less than 1")
        return self


class Jpeg(Section):
    """JPEG compression and back, at a quality drawn for each image."""

    quality: list[Annotated[int, Field(ge=1, le=100)]] = Field([50, 100], min_length=2, max_length=2)
    probability: Probability = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> Jpeg:
        if self.quality[0] > self.quality[1]:
            raise ValueError(f"quality = {self.quality}; allowed: [lowest, highest]")
        return self


class Erase(Section):
    """Random erasing (Zhong et al. 2017, arXiv 1708.04896): a rectangle is replaced by the image's mean."""

    probability: Probability = 0.5
    area: list[Fraction] = Field([0.02, 0.2], min_length=2, max_length=2, description="share of the image")

    @model_validator(mode="after")
    def _in_order(self) -> Erase:
        if self.area[0] > self.area[1]:
            raise ValueError(f"area = {self.area}; allowed: [smallest, largest]")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "seeds002": {"horizontal_flip": 0.5, "rotation": 15.0, "shift": 0.1, "zoom": 0.1},
    "seeds003": {
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "rotation": 20.0,
        "brightness": 0.1,
        "contrast": 0.1,
        "jpeg": {"quality": [50, 100]},
    },
}
"""Whole augmentations by name: of a published COVID-19 radiography notebook and of a published leukaemia grid."""


class Augment(Section):
    """Random changes of training images, drawn a sample; or the name of one of `PRESETS` in place of the map."""

    horizontal_flip: Probability = 0.5
    vertical_flip: Probability = 0.0
    rotation: float = Field(0.0, ge=0, le=180, description="degrees, either way")
    shift: float = Field(0.0, ge=0, le=0.5, description="fraction of the side, either way")
    zoom: float = Field(0.0, ge=0, le=0.5, description="fraction, in or out")
    brightness: float = Field(0.0, ge=0, le=1, description="fraction of the grey range, up or down")
    contrast: float = Field(0.0, ge=0, le=1, description="fraction, up or down")
    jpeg: Jpeg | None = None
    noise: float = Field(0.0, ge=0, le=1, description="highest SD of Gaussian noise, fraction of the grey range")
    erase: Erase | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in PRESETS:
            raise ValueError(f"{value!r} is not a preset; allowed: {', '.join(PRESETS)}, or a map of ranges")
        nothing = {name: field.default for name, field in cls.model_fields.items()} | {"horizontal_flip": 0.0}
        return nothing | PRESETS[value]


class Plateau(Section):
    """The learning rate falls by `factor` after more than `patience` epochs without a better validation metric."""

    factor: float = Field(0.1, gt=0, lt=1)
    patience: int = Field(1, ge=0)


class Train(Section):
    """How a cell is trained. What differs between models stands under ``models``."""

    epochs: int = Field(ge=1, le=10_000)
    batch_size: int = Field(ge=2, le=65_536)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd (Nesterov's); adamw has its own")
    weight_decay: float = Field(0.05, ge=0, le=1)
    schedule: Literal["cosine", "one_cycle", "plateau", "constant"] = "cosine"
    warmup_epochs: float = Field(1.0, ge=0)
    plateau: Plateau = Plateau()
    select: Literal["auroc", "macro_f1"] = Field(
        "auroc", description="validation metric of the best epoch and of early stopping; macro_f1: single-label only"
    )
    patience: int = Field(5, ge=1, description="epochs without a better validation metric before stopping")
    clip_grad: float | None = Field(None, gt=0)
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights a step; null = none")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced = all classes have the same share in the loss; single-label only"
    )
    augment: Augment = Augment()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tf32: bool = Field(False, description="19-bit products in float32 arithmetic on CUDA")
    compile: bool = Field(False, description="torch.compile, on CUDA only")
    residency: Literal["auto", "device", "host", "memmap"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(2, ge=1, le=256)
    log_every: int = Field(1, ge=1, description="epochs between two lines")

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Train:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs = {self.warmup_epochs:g}; allowed: less than epochs ({self.epochs})")
        return self


class Input(Section):
    """Mean and standard deviation, a channel, by which a network's images are normalised; values in [0, 1]."""

    mean: list[float] = Field(min_length=1, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=1, max_length=3)

    @model_validator(mode="after")
    def _one_or_three_channels(self) -> Input:
        if len(self.mean) != len(self.std) or len(self.mean) == 2:
            raise ValueError(f"mean = {self.mean}, std = {self.std}; allowed: 1 or 3 numbers each")
        return self


class Last(Section):
    """The last `last` layers of the network and its head are trained, counted as Keras counts ``model.layers``."""

    last: int = Field(ge=1)


_Overrides = create_model(
    "_Overrides",
    __base__=Section,
    __module__=__name__,
    **{name: (field.annotation | None, None) for name, field in Train.model_fields.items()},
)


class Model(_Overrides):
    """A named configuration of an architecture: a timm name, or ``baseline_cnn``.

    Every key of ``train`` may stand here too: it holds for this model alone.
    """

    arch: str = Field(min_length=1)
    lr: float = Field(gt=0, le=10)
    head_lr: float | None = Field(None, gt=0, le=10, description="of the head; null = lr")
    pretrained: bool = Field(False, description="weights that timm fetches from its hub")
    weights: str | None = Field(None, min_length=1, description="a .safetensors or .pth file, or a folder with one")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="that the weights file must have")
    input: Input | None = Field(None, description="as the weights were trained; null = as timm's table says")
    trainable: Literal["all", "head"] | Last = "all"
    head: Literal["linear", "cosine"] = "linear"
    hidden: int | None = Field(None, ge=1, le=65_536, description="units of a hidden layer before the logits")
    dropout: float | None = Field(None, ge=0, lt=1, description="before the logits; null = the architecture's own")
    drop_path: float | None = Field(None, ge=0, lt=1, description="stochastic depth (arXiv 1603.09382)")
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _weights_make_sense(self) -> Model:
        if self.pretrained and self.weights:
            raise ValueError("pretrained: true with weights; allowed: one of them")
        if self.trainable != "all" and not (self.pretrained or self.weights):
            raise ValueError(
                f"trainable = {self.trainable}: layers that are not trained need weights; allowed: all, or pretrained: "
                "true, or weights: FILE"
            )
        if self.sha256 and not self.weights:
            raise ValueError("sha256 without weights; allowed: with weights: FILE")
        return self


class Tta(Section):
    """Test-time augmentation: logits are averaged over the image and its changes."""

    horizontal_flip: bool = False
    vertical_flip: bool = False
    shift: float = Field(0.0, ge=0, le=0.25, description="fraction of the side, each of four ways; 0 = none")


class Evaluate(Section):
    """Scoring. Thresholds and calibration are chosen on the validation part."""

    bootstrap: int = Field(2000, ge=100, le=1_000_000, description="patient-bootstrap draws")
    interval: Literal["bca", "percentile"] = "bca"
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    margin: float = Field(0.005, gt=0, lt=0.5, description="difference of macro AUROC that is as good as none")
    seed: Seed = 0
    tta: Tta = Tta()
    probes: bool = Field(True, description="score thumbnails and facts about the picture beside the models")
    batch_size: int = Field(256, ge=1, le=65_536)
    threads: int = Field(2, ge=1, le=256)

    def draws(self) -> dict[str, Any]:
        """Return the draws of patients, as arguments of the functions of `pipeline.statistics` that draw."""
        return {"draws": self.bootstrap, "confidence": self.confidence, "seed": self.seed}


class Ensemble(Section):
    """Combinations of cells; the best cells and recipes are those of the validation part."""

    top_k: int = Field(ge=1)
    features: bool = Field(False, description="also a new head on the joined features of the best top_k cells")


class Report(Section):
    """What the pages show."""

    private_figures: bool | None = Field(
        None, description="keep figures that show images out of git; null = for all data sets but drawn ones"
    )


class Params(Section):
    """The whole of params.yaml."""

    seed: Seed
    dataset: Name
    study: Study
    datasets: dict[str, dict[str, Any] | None]
    preprocess: Preprocess
    split: Split
    train: Train
    models: dict[Name, Model]
    losses: dict[Name, dict[str, Any] | None]
    evaluate: Evaluate = Evaluate()
    ensemble: Ensemble
    report: Report = Report()

    @model_validator(mode="after")
    def _names_exist_and_are_unique(self) -> Params:
        problems = []
        for key, defined in (("models", self.models), ("losses", self.losses)):
            named = getattr(self.study, key)
            for name in named:
                if name not in defined:
                    problems.append(f"study.{key}: '{name}' is not defined; allowed: {', '.join(defined)}")
            for name in sorted({n for n in named if named.count(n) > 1}):
                problems.append(f"study.{key}: '{name}' is listed twice; allowed: once")
        if self.dataset not in self.datasets:
            problems.append(f"dataset: '{self.dataset}' has no settings; allowed: {', '.join(self.datasets)}")
        for seed in sorted({s for s in seeds(self) if seeds(self).count(s) > 1}):
            where = f"study.replicates = {self.study.replicates}, seed = {self.seed}"
            problems.append(f"study.replicates: seed {seed} occurs twice ({where}); allowed: each seed once")
        if self.ensemble.top_k > len(cells(self)):
            problems.append(
                f"ensemble.top_k: {self.ensemble.top_k} of {len(cells(self))} cells; allowed: 1 to {len(cells(self))}"
            )
        for name, model in self.models.items():
            try:
                _merged(self.train, model)
            except ValidationError as error:
                problems.append(describe(error, Train, f"models.{name} with train"))
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Recipe(NamedTuple):
    """A model trained with a loss, under any seed."""

    model: str
    loss: str

    def __str__(self) -> str:
        """Folder and metric key, the same as DVC's ``${key}``."""
        return f"{self.model}-{self.loss}"


class Cell(NamedTuple):
    """One training: a recipe under one seed."""

    model: str
    loss: str
    seed: int

    @property
    def recipe(self) -> Recipe:
        """The cell without its seed."""
        return Recipe(self.model, self.loss)


def seeds(params: Params) -> list[int]:
    """Return the training seeds of every recipe: `seed`, then the replicates."""
    return [params.seed, *params.study.replicates]


def cells(params: Params) -> list[Cell]:
    """Enumerate the cells of the study: models x losses x (seed, then replicates), in params.yaml's order.

    This is the only enumeration: folders are never searched, because ``dvc repro`` leaves those of cells that have
    left the study.
    """
    return [Cell(m, lo, s) for m in params.study.models for lo in params.study.losses for s in seeds(params)]


def recipes(params: Params) -> list[Recipe]:
    """Return the distinct (model, loss) of `cells`, in order."""
    return list(dict.fromkeys(cell.recipe for cell in cells(params)))


def train_settings(params: Params, model: str) -> Train:
    """Merge what ``models.<model>`` says of training into ``train``; maps are merged key by key.

    Raises
    ------
    ValidationError
        If the two together cannot be; `Params` has refused that when it was read.
    """
    return _merged(params.train, params.models[model])


def _merged(train: Train, model: Model) -> Train:
    def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
        both = {k: merge(base[k], v) for k, v in over.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
        return {**base, **over, **both}

    over = model.model_dump(include=set(Train.model_fields) & model.model_fields_set, exclude_unset=True)
    return Train.model_validate(merge(train.model_dump(), over))


def describe(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Write a pydantic error as one line a problem: key path, value, what is allowed.

    Parameters
    ----------
    error : ValidationError
        As raised by ``model.model_validate``.
    model : type of BaseModel
        What was validated; its field names are the allowed keys.
    prefix : str
        Key path of `model` in params.yaml.
    """
    lines = []
    for item in error.errors():
        path = [str(p) for p in item["loc"] if p not in ("[key]",)]
        key = ".".join([*([prefix] if prefix else []), *path])
        given = item["input"]
        if item["type"] == "extra_forbidden":
            allowed = [field.alias or name for name, field in _section_at(model, path[:-1]).model_fields.items()]
            close = difflib.get_close_matches(path[-1], allowed, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            lines.append(f"{key}: unknown key{hint}; allowed: {', '.join(allowed)}")
        elif item["type"] == "missing":
            lines.append(f"{key}: missing; it has no default")
        elif item["type"] == "value_error":
            message = str(item["ctx"]["error"])
            lines += [f"{key}: {line}" if key and key != line.split(":")[0] else line for line in message.split("\n")]
        else:
            allowed = re.sub(r"^(Input|Value|String) should (be|match) ?", "", item["msg"])
            lines.append(f"{key}: {given!r} is not allowed; allowed: {allowed}")
    return "\n".join(lines)


def _section_at(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """Follow `path` through nested sections and maps of sections."""
    for part in path:
        if not (isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields):
            continue  # a key of a map: the map's value type was entered with the map's own name
        annotation = model.model_fields[part].annotation
        for candidate in (annotation, *getattr(annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return model


def parse(content: dict[str, Any], source: str = "params.yaml") -> Params:
    """Validate the content of a params file.

    Raises
    ------
    ParamsError
        With a line for each problem.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(f"{source}:\n{describe(error, Params)}") from None


class _Loader(yaml.SafeLoader):
    """YAML as DVC reads it: ``1e-3`` is a number (YAML 1.2), a key that is written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.value != "<<"]
        for key in {k for k in keys if keys.count(k) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is written twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$"),
    list("-+0123456789."),
)


def load(path: Path | str = PARAMS_FILE) -> Params:
    """Read and validate a params file.

    Raises
    ------
    ParamsError
        If the file is missing, is no YAML map, or says something that cannot be run.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run from the root of the project") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: {type(content).__name__}; allowed: a map of sections")
    return parse(content, str(path))
