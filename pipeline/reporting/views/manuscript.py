"""Facts of the methods section for a manuscript: settings and records of the study, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.learning.settings import Model, Train, train_settings
from pipeline.metrics.calibration import ECE_BINS
from pipeline.reporting import references
from pipeline.reporting.references import References
from pipeline.reporting.results import StudyResults
from pipeline.reporting.views import initial_weights, model_settings, provenance
from pipeline.reporting.views.design import Design, test_time
from pipeline.reporting.views.design import design as design_of
from pipeline.reporting.views.flow import Flow, flow
from pipeline.reporting.views.initial_weights import InitialWeights

MOST_MODELS = 6
"""Models that are described one by one; of more, their architectures alone."""


class LossText(NamedTuple):
    """A loss: its name in the study, its kind, its settings, and the works on it."""

    name: str
    kind: str
    settings: dict[str, Any]
    works: tuple[str, ...]


class ModelText(NamedTuple):
    """A model: its settings, those of training that are its own, recorded weights, the works on it and its recipes."""

    name: str
    model: Model
    own: dict[str, Any]
    works: tuple[str, ...]
    start: InitialWeights | None
    taught_by: str
    recipes: list[str]


@dataclass(frozen=True)
class Manuscript:
    """What the sentences name.

    Parameters
    ----------
    study : StudyResults
        A whole one.
    design, flow
        As on the page.
    train : Train
        Settings of all models that have none of their own.
    models : list of ModelText
        Of the study, in its order.
    losses : list of LossText
        Likewise.
    augment : dict
        Random changes of training images that are on.
    published_validation : bool
        Whether the data set has a validation part of its own.
    test_time : list of str
        Variants of an image whose logits are averaged.
    methods : list of str
        Of the ensembles, in alphabetical order.
    versions, devices, precisions : list of str
        As recorded by the training runs.
    refs : References
        Numbers what the text cites.
    ece_bins : int
        Bins of the expected calibration error.
    """

    study: StudyResults
    design: Design
    flow: Flow
    train: Train
    models: list[ModelText]
    losses: list[LossText]
    augment: dict[str, Any]
    published_validation: bool
    test_time: list[str]
    methods: list[str]
    versions: list[str]
    devices: list[str]
    precisions: list[str]
    refs: References
    ece_bins: int = ECE_BINS

    @property
    def of_timm(self) -> bool:
        """Whether any architecture is one of timm's."""
        return any(m.model.arch != "baseline_cnn" for m in self.models)

    @property
    def one_by_one(self) -> bool:
        """Whether models are described one by one."""
        return len(self.models) <= MOST_MODELS

    @property
    def architectures(self) -> list[tuple[str, tuple[str, ...]]]:
        """Distinct architectures with the works on them."""
        return list(dict.fromkeys((m.model.arch, m.works) for m in self.models))

    @property
    def rates(self) -> list[float]:
        """Learning rates, ascending."""
        return sorted({m.model.lr for m in self.models})


def manuscript(study: StudyResults) -> Manuscript | None:
    """Return what the sentences name; None for a bare table, of which nothing is known."""
    design = design_of(study)
    if design is None:
        return None
    params, recorded = study.params, provenance.provenance(study)
    return Manuscript(
        study,
        design,
        flow(study),
        design.train,
        [_model(study, name, design.train) for name in params.study.models],
        [_loss(name, params.losses[name]) for name in params.study.losses],
        design.train.augment.operations(),
        bool((study.samples["official_split"] == "val").any()) if "official_split" in study.samples else False,
        test_time(study),
        sorted({of["method"] for of in study.described.values()}),
        [text for text, _ in recorded.versions.values],
        [text for text, _ in recorded.device.values],
        [text for text, _ in recorded.precision.values],
        References(),
    )


def _model(study: StudyResults, name: str, common: Train) -> ModelText:
    model, trained = study.params.models[name], train_settings(study.params, name)
    taught = model_settings.taught_by(study, name)
    differs = {key for key in Train.model_fields if getattr(trained, key) != getattr(common, key)}
    own = {key: value for key, value in model_settings.own(model).items() if key in differs}
    works = references.of_architecture(model.arch)
    start = initial_weights.of_model(study, name)
    return ModelText(name, model, dict(_flat(own)), works, start, taught, _works_of(own))


def _flat(settings: Mapping[str, Any], of: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings that are set, those of a map by its name and their own."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{of}{key} ")
        elif value is not None:
            yield f"{of}{key}", value


def _works_of(settings: Mapping[str, Any]) -> list[str]:
    """Return what the recipes among settings of training are cited by, as section `train` cites them."""
    mix, augment = (settings.get(key) or {} for key in ("mix", "augment"))
    named = {
        **{key: settings.get(key) for key in ("ema", "layer_decay", "swa", "progressive")},
        **{key: mix.get(key) for key in ("mixup", "cutmix")},
        **{key: augment.get(key) for key in ("rand", "erase")},
    }
    schedule = settings.get("schedule")
    return [key for key, value in named.items() if value] + [s for s in ("cosine", "one_cycle") if s == schedule]


def _loss(name: str, settings: dict[str, Any] | None) -> LossText:
    others = dict(settings or {})
    kind = str(others.pop("kind", name))
    return LossText(name, kind, others, references.of_loss(kind, others))
