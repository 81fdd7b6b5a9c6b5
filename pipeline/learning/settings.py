"""Settings of training: sections ``train`` and ``models`` of params.yaml, and test-time augmentation."""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from pipeline.learning.weights import HUB
from pipeline.study.params import Fraction, Name, Probability, Section, Sections
from pipeline.study.runs import StudySections

MASKS = "smp/"
"""With which an architecture is called that gives masks."""


class Jpeg(Section):
    """JPEG compression and back, at a quality drawn for each image."""

    quality: list[Annotated[int, Field(ge=1, le=100)]] = Field([50, 100], min_length=2, max_length=2)
    probability: Probability = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> Jpeg:
        if self.quality[0] > self.quality[1]:
            raise ValueError(f"quality = {self.quality}; must be [lowest, highest]")
        return self


class Erase(Section):
    """Random erasing (Zhong et al. 2017, arXiv 1708.04896): a rectangle is replaced by the image's mean."""

    probability: Probability = 0.5
    area: list[Fraction] = Field([0.02, 0.2], min_length=2, max_length=2, description="share of the image")

    @model_validator(mode="after")
    def _in_order(self) -> Erase:
        if self.area[0] > self.area[1]:
            raise ValueError(f"area = {self.area}; must be [smallest, largest]")
        return self


class RandAugment(Section):
    """Operations that are drawn for each image (Cubuk et al. 2020, arXiv 1909.13719), see `randaugment`."""

    operations: int = Field(2, ge=1, le=10, description="for each image, one after another")
    magnitude: int = Field(9, ge=1, le=30, description="of 30, as torchvision counts")


class Mix(Section):
    """Mixtures of images and labels: mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899)."""

    mixup: float = Field(
        0.2, ge=0, le=10, description="alpha of Beta(alpha, alpha), from which shares are drawn; 0 = none"
    )
    cutmix: float = Field(0.0, ge=0, le=10, description="likewise; with both, an image gets one of them")
    probability: Probability = 1.0

    @model_validator(mode="after")
    def _some(self) -> Mix:
        if not (self.mixup or self.cutmix):
            raise ValueError("mixup = 0 and cutmix = 0; one must be greater than 0, or mix empty")
        return self


class Progressive(Section):
    """Training images that grow from epoch to epoch (arXiv 2104.00298); validation sees them in full size."""

    start: Fraction = Field(0.5, description="side in the first epoch, as a share of the full one")
    until: float = Field(0.75, gt=0, le=1, description="share of the epochs after which they have their full size")


PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "seeds002": {
        "horizontal_flip": 0.5,
        "rotation": 15.0,
        "shift": 0.1,
        "zoom": 0.1,
        "zoom_axes": "separate",
        "fill": "edge",
    },
    "seeds003": {
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "rotation": 20.0,
        "shift": 0.2,
        "fill": "edge",
        "brightness": 0.1,
        "contrast": 0.1,
        "jpeg": {"quality": [50, 100]},
    },
}
"""Whole augmentations by name, as the code of two publications has them.

seeds002 : a COVID-19 radiography notebook: Keras' ImageDataGenerator, whose `zoom_range` draws each axis by itself and
    whose default repeats the edge of the image.
seeds003 : a leukaemia grid: Pillow's ImageEnhance and rotation, OpenCV's JPEG, then shifts by up to 0.2 of the side,
    which its published table does not name. There rotation leaves black corners and shifts repeat the edge, compression
    comes between the two; here one resampling does both and repeats the edge, and compression follows.
"""


class Augment(Section):
    """Random changes of training images, drawn per sample; or the name of one of `PRESETS` in place of the map.

    Names mean what torchvision means by them: `brightness` and `contrast` as ``ColorJitter``; `rotation`, `shift` and
    `zoom` as ``RandomAffine`` (degrees; translate; scale from 1 - zoom to 1 + zoom).
    """

    horizontal_flip: Probability = 0.5
    vertical_flip: Probability = 0.0
    rotation: float = Field(0.0, ge=0, le=180, description="degrees, either way")
    shift: float = Field(0.0, ge=0, le=0.5, description="fraction of the side, either way")
    zoom: float = Field(0.0, ge=0, le=0.5, description="fraction, in or out")
    zoom_axes: Literal["joint", "separate"] = Field("joint", description="separate = a draw per axis, as in Keras")
    fill: Literal["black", "edge"] = Field("black", description="what comes in from outside; edge = the nearest pixel")
    interpolation: Literal["nearest", "bilinear"] = Field(
        "bilinear",
        description="of what is rotated, shifted or zoomed; the first keeps noise and edges as sharp as they are",
    )
    brightness: float = Field(0.0, ge=0, le=1, description="grey levels times 1 - brightness to 1 + brightness")
    contrast: float = Field(0.0, ge=0, le=1, description="likewise, distances from the image's mean grey level")
    brightness_offset: float = Field(0.0, ge=0, le=1, description="added: fraction of the grey range, up or down")
    jpeg: Jpeg | None = None
    rand: RandAugment | None = None
    noise: float = Field(0.0, ge=0, le=1, description="highest SD of Gaussian noise, fraction of the grey range")
    erase: Erase | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in PRESETS:
            raise ValueError(f"{value!r} is not a preset; use one of: {', '.join(PRESETS)}, or a map of ranges")
        nothing = {name: field.default for name, field in cls.model_fields.items()} | {"horizontal_flip": 0.0}
        return nothing | PRESETS[value]

    @model_validator(mode="after")
    def _filled_alike(self) -> Augment:
        if self.rand is not None and self.fill != "black":
            raise ValueError(f"fill = {self.fill} with rand, which fills with black; must be black, or rand empty")
        return self

    @property
    def geometric(self) -> bool:
        """Whether images are resampled."""
        return bool(self.rotation or self.shift or self.zoom)

    def operations(self) -> dict[str, Any]:
        """Return what is on, by key: a range or probability, or a map; how it is done is not among it."""
        how = {"zoom_axes", "fill", "interpolation"}
        return {
            name: value
            for name, value in self.model_dump(exclude=how).items()
            if (value.get("probability", 1) if isinstance(value, dict) else value)
        }


class Plateau(Section):
    """The learning rate falls by `factor` after more than `patience` epochs without a better validation metric."""

    factor: float = Field(0.1, gt=0, lt=1)
    patience: int = Field(1, ge=0)


class Train(Section):
    """How a model is trained. What differs between models stands under ``models``."""

    epochs: int = Field(ge=1, le=10_000)
    batch_size: int = Field(ge=2, le=65_536)
    accumulate: int = Field(1, ge=1, le=1024, description="batches per step, whose gradients are averaged")
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd (Nesterov's); adamw has its own")
    weight_decay: float = Field(0.05, ge=0, le=1)
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="learning rate of a layer as a share of the next one's; null = the same for all"
    )
    schedule: Literal["cosine", "one_cycle", "plateau", "constant"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0)
    plateau: Plateau = Plateau()
    select: Literal["auroc", "macro_f1", "qwk", "dice", "mae", "rmse"] = Field(
        "auroc",
        description="validation metric of the best epoch and of early stopping; macro_f1: single-label only; "
        "qwk: ordered classes only; dice: segmentation, and nothing else there; mae, rmse: regression, likewise",
    )
    patience: int = Field(5, ge=1, description="epochs without a better validation metric before stopping")
    clip_grad: float | None = Field(None, gt=0)
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights per step; null = none")
    ema_warmup: bool = Field(False, description="ema's decay rises from 0 with the steps n, as 1 - (1 + n)^(-2/3)")
    swa: Fraction | None = Field(
        None, description="share of the epochs after which weights are averaged at a constant rate; null = never"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced = all classes have the same share in the loss; single-label only"
    )
    augment: Augment = Augment()
    mix: Mix | None = None
    progressive: Progressive | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tf32: bool = Field(False, description="19-bit products in float32 arithmetic on CUDA")
    compile: bool = Field(False, description="torch.compile, on CUDA only")
    residency: Literal["auto", "device", "host", "memmap"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(2, ge=1, le=256)
    log_every: int = Field(1, ge=1, description="epochs between two lines")

    @model_validator(mode="after")
    def _fit_together(self) -> Train:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs = {self.warmup_epochs:g}; must be less than epochs ({self.epochs})")
        if self.ema_warmup and self.ema is None:
            raise ValueError("ema_warmup = true without ema; set the decay that it rises to, for example ema: 0.999")
        if self.ema is not None and self.swa is not None:
            raise ValueError(f"ema = {self.ema:g} and swa = {self.swa:g}: two averages; one of them must be empty")
        if self.swa is not None and self.warmup_epochs > self.before_averages:
            risen = math.ceil(self.warmup_epochs)
            enough = f"swa must be at least {risen / self.epochs:.3g}, or warmup_epochs at most {self.before_averages}"
            raise ValueError(
                f"swa = {self.swa:g} with warmup_epochs = {self.warmup_epochs:g}: averaging would begin after "
                f"{self.before_averages} of {self.epochs} epochs, while the learning rate rises; "
                + (enough if risen < self.epochs else f"warmup_epochs must be at most {self.before_averages}")
            )
        return self

    @property
    def before_averages(self) -> int:
        """Whole epochs before `swa` begins to average: at least one is left for it; all of them where it is off."""
        return self.epochs if self.swa is None else min(self.epochs - 1, round(self.swa * self.epochs))

    def deciding(self) -> dict[str, Any]:
        """Return what decides the weights, JSON-compatible: not where the images are held, nor what is printed.

        So a study whose images no longer fit goes on with another ``residency``, and trains nothing again.
        """
        return self.model_dump(mode="json", exclude={"log_every", "residency"})


class Input(Section):
    """Mean and standard deviation, per channel, by which a network's images are normalised; values in [0, 1]."""

    mean: list[float] = Field(min_length=1, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=1, max_length=3)

    @model_validator(mode="after")
    def _one_or_three_channels(self) -> Input:
        if len(self.mean) != len(self.std) or len(self.mean) == 2:
            raise ValueError(f"mean = {self.mean}, std = {self.std}; must be 1 or 3 numbers each")
        if not all(0 <= value <= 1 for value in self.mean) or not all(value <= 1 for value in self.std):
            raise ValueError(
                f"mean = {self.mean}, std = {self.std}; must be between 0 and 1, of values that go from 0 to 1: divide "
                "those of values from 0 to 255 by 255"
            )
        return self


class Last(Section):
    """The last `last` layers of the network and its head are trained, counted as Keras counts ``model.layers``."""

    last: int = Field(ge=1)


class Teacher(Section):
    """What a network learns from beside its labels (knowledge distillation, arXiv 1503.02531)."""

    file: str = Field(min_length=1, description="what medmatrix teach has written")
    temperature: float = Field(2.0, gt=0, le=100, description="by which logits of both are divided")
    weight: float = Field(0.5, gt=0, le=1, description="of the teacher in the loss; 1 - weight is that of the labels")


def _each_optional(section: type[Section]) -> dict[str, Any]:
    """Return the fields of `section` as `create_model` takes them, each with null as its default."""
    annotations: dict[str, Any] = {name: field.annotation for name, field in section.model_fields.items()}
    return {name: (annotation | None, None) for name, annotation in annotations.items()}


_Overrides = create_model("_Overrides", __base__=Section, __module__=__name__, **_each_optional(Train))


class Model(_Overrides):
    """A named configuration of an architecture: a timm name, ``baseline_cnn``, or ``smp/NAME`` for masks.

    Every key of ``train`` may stand here too: it holds for this model alone.
    """

    arch: str = Field(min_length=1)
    lr: float = Field(gt=0, le=10)
    head_lr: float | None = Field(None, gt=0, le=10, description="of the head; null = lr")
    pretrained: bool = Field(False, description="weights that timm fetches from its hub")
    weights: str | None = Field(None, min_length=1, description="a file, a folder with one, package:NAME or timm/NAME")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="that the weights file must have")
    input: Input | None = Field(None, description="as the weights were trained; null = as timm's table says")
    trainable: Literal["all", "head"] | Last = "all"
    head: Literal["linear", "cosine"] = "linear"
    hidden: int | None = Field(None, ge=1, le=65_536, description="units of a hidden layer before the logits")
    dropout: float | None = Field(None, ge=0, lt=1, description="before the logits; null = the architecture's own")
    drop_path: float | None = Field(None, ge=0, lt=1, description="stochastic depth (arXiv 1603.09382)")
    options: dict[str, Any] = {}
    teacher: Teacher | None = Field(None, description="what it learns from beside the labels; null = nothing")
    metadata: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, description="columns of the data set's table that the head takes beside the image; null = none"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_hub(cls, value: Any) -> Any:
        """Turn ``weights: timm/NAME`` into what it says: pretrained weights of the hub, of that name."""
        if not isinstance(value, dict) or not str(value.get("weights") or "").startswith(HUB):
            return value
        arch, name = str(value.get("arch")), str(value["weights"]).removeprefix(HUB)
        if arch not in (name, name.partition(".")[0]):
            raise ValueError(f"weights = timm/{name} with arch = {arch}; arch must be {name.partition('.')[0]}")
        if value.get("sha256") is not None:
            raise ValueError(
                f"sha256 with weights = timm/{name}: the hub's file is told by its name; sha256 must be empty, or "
                "weights a file that was fetched by hand"
            )
        return value | {"arch": name, "pretrained": True, "weights": None}

    @model_validator(mode="after")
    def _weights_make_sense(self) -> Model:
        if self.pretrained and self.weights:
            raise ValueError(f"pretrained: true with weights = {self.weights}; use one of them")
        if self.trainable != "all" and not (self.pretrained or self.weights):
            raise ValueError(
                f"trainable = {self.trainable}: layers that are not trained need weights; use all, or set "
                "pretrained: true or weights: FILE"
            )
        if self.sha256 and not self.weights:
            raise ValueError("sha256 without weights; set weights: FILE beside it")
        if self.metadata and (twice := sorted({n for n in self.metadata if self.metadata.count(n) > 1})):
            raise ValueError(f"metadata = {self.metadata}: names '{twice[0]}' twice; name it once")
        if self.teacher and self.gives_masks:
            raise ValueError(f"teacher with arch = {self.arch}, which gives masks; must be empty")
        if self.metadata and self.gives_masks:
            raise ValueError(f"metadata = {self.metadata} with arch = {self.arch}, which gives masks; must be empty")
        return self

    def without_paths(self) -> Self:
        """Return the same with the names alone of the files of weights and teacher, without their folders."""
        weights, teacher = self.weights, self.teacher
        return self.model_copy(
            update={
                "weights": weights and PurePath(weights).name,
                "teacher": teacher and teacher.model_copy(update={"file": PurePath(teacher.file).name}),
            }
        )

    def deciding(self) -> dict[str, Any]:
        """Return what decides the weights beside `Train.deciding`, JSON-compatible.

        Not the folders of files, nor the checksum that is demanded: what files hold stands beside it in a record.
        """
        return self.without_paths().model_dump(mode="json", exclude={"sha256", *Train.model_fields})

    @property
    def gives_masks(self) -> bool:
        """Whether it is a network of segmentation, see `pipeline.learning.networks.segmentation`."""
        return self.arch.startswith(MASKS)


class Tta(Section):
    """Test-time augmentation: logits are averaged over the image and its changes."""

    horizontal_flip: bool = False
    vertical_flip: bool = False
    shift: float = Field(0.0, ge=0, le=0.25, description="fraction of the side, each of four ways; 0 = none")


class TrainingSections(Sections):
    """The sections that a training run reads; what stands under the name of a loss is checked by its class."""

    train: Train
    models: dict[Name, Model]
    losses: dict[Name, dict[str, Any] | None]


class RunSections(StudySections, TrainingSections):
    """The sections that say which training runs a study has and with which settings each is trained."""


def train_settings(params: TrainingSections, model: str) -> Train:
    """Merge the keys of training under ``models.<model>`` into ``train``; maps are merged key by key.

    Raises
    ------
    ValidationError
        If the two together cannot be; it was refused when params.yaml was read.
    """
    return _merged(params.train, params.models[model])


def _merged(train: Train, model: Model) -> Train:
    def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
        both = {k: merge(base[k], v) for k, v in over.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
        return {**base, **over, **both}

    over = model.model_dump(include=set(Train.model_fields) & model.model_fields_set, exclude_unset=True)
    return Train.model_validate(merge(train.model_dump(), over))
