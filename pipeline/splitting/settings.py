"""Settings of the split: section ``split`` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.study.params import Fraction, Section, Sections, Seed

LEAKS = "augment_before_split"
"""The protocol under which `pipeline.splitting.audit.check` accepts a leak."""


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
    to: int | None = Field(None, ge=1, description="draws per epoch of each class; augment_to only")

    @model_validator(mode="after")
    def _to_belongs_to_augment_to(self) -> Balance:
        if (self.method == "augment_to") != (self.to is not None):
            raise ValueError(
                f"balance.to = {self.to} with method {self.method}; must be a number with augment_to, else null"
            )
        return self


class Split(Section):
    """Who is trained on, who is chosen on, who is only scored. Its seed is not the training seed."""

    method: Literal["official", "grouped", "per_class", "global", "time", "folds"]
    seed: Seed = 0
    folds: int = Field(5, ge=2, description="of method folds")
    fold: int = Field(1, ge=1, description="which of them is tested here; folds + 1 is the first of another deal")
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
            raise ValueError(f"validation + test = {self.validation + self.test:g}; must be less than 1")
        return self


class SplitSections(Sections):
    """The section that stage ``split`` reads."""

    split: Split
