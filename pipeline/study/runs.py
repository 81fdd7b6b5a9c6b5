"""Which training runs a study has, and what they are called."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from pipeline.study.params import Name, Section, Sections, Seed


class Study(Section):
    """Which training runs the study has: every model with every loss, under `seed` and every further seed."""

    models: list[Name] = Field(min_length=1)
    losses: list[Name] = Field(min_length=1)
    replicates: list[Seed] = []


class Configuration(NamedTuple):
    """A model trained with a loss, under any seed."""

    model: str
    loss: str

    def __str__(self) -> str:
        """Folder and metric key, the same as DVC's ``${key}``."""
        return f"{self.model}-{self.loss}"


class Run(NamedTuple):
    """One training run: a configuration under one seed."""

    model: str
    loss: str
    seed: int

    def __str__(self) -> str:
        """Text for people and in tables: "cnn-bce seed 42"."""
        return f"{self.configuration} seed {self.seed}"

    @property
    def configuration(self) -> Configuration:
        """The run without its seed."""
        return Configuration(self.model, self.loss)

    @property
    def name(self) -> str:
        """Name of DVC's item and of the log, without a space: model-loss-seed."""
        return f"{self.model}-{self.loss}-{self.seed}"


class VariantRun(Run):
    """A training run of a variant of the study; equal to no run of the study itself.

    Parameters
    ----------
    run : Run
        Its model, loss and seed.
    variant : str
        A name under ``variants`` in params.yaml.
    """

    variant: str

    def __new__(cls, run: Run, variant: str) -> VariantRun:
        """Make it."""
        made = super().__new__(cls, *run)
        made.variant = variant
        return made

    def __eq__(self, other: object) -> bool:
        """Whether it is the same run of the same variant."""
        return isinstance(other, VariantRun) and (*self, self.variant) == (*other, other.variant)

    def __ne__(self, other: object) -> bool:
        """Whether it is another."""
        return not self == other

    def __hash__(self) -> int:
        """Hash of what is compared."""
        return hash((*self, self.variant))

    def __str__(self) -> str:
        """Text for people: "cnn-bce seed 42 of fold2"."""
        return f"{super().__str__()} of {self.variant}"

    @property
    def name(self) -> str:
        """Name of DVC's item and of the log: variant-model-loss-seed."""
        return f"{self.variant}-{super().name}"


class StudySections(Sections):
    """The sections that say which training runs there are."""

    seed: Seed
    study: Study


def seeds(params: StudySections) -> list[int]:
    """Return the training seeds of every configuration: `seed`, then the further seeds."""
    return [params.seed, *params.study.replicates]


def runs(params: StudySections) -> list[Run]:
    """Enumerate the study's training runs: models x losses x (seed, then further seeds), in params.yaml's order.

    This is the only enumeration: folders are never searched, because ``dvc repro`` leaves those of runs that have left
    the study.
    """
    return [Run(m, lo, s) for m in params.study.models for lo in params.study.losses for s in seeds(params)]


def every_run(params: StudySections) -> list[Run]:
    """Enumerate `runs`, then those of each variant; `params` without section ``variants`` have none."""
    own = runs(params)
    return own + [VariantRun(run, name) for name in variants_of(params) for run in own]


def variants_of(params: StudySections) -> list[str]:
    """Return the names of the study's variants; none where section ``variants`` is not among those that were read."""
    return list(getattr(params, "variants", {}))


def configurations(params: StudySections) -> list[Configuration]:
    """Return the distinct (model, loss) of `runs`, in order."""
    return list(dict.fromkeys(run.configuration for run in runs(params)))
