"""Settings of variants: section ``variants`` of params.yaml, a name for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import ValidationError, field_validator, model_validator

from pipeline.imaging.settings import Preprocess, PreprocessSections
from pipeline.splitting.settings import Split, SplitSections
from pipeline.study.params import Name, Section, Sections, describe
from pipeline.study.workplaces import merged, params_of


class Variant(Section):
    """What a variant has other than the study: keys of one of two sections, map by map.

    Parameters
    ----------
    split : dict
        Of section ``split``: other images are tested, such as another fold.
    preprocess : dict
        Of section ``preprocess``: other pictures of the same images, with the study's split.
    found : dict
        Of a fold: key of ``train``, ``models`` or ``losses``, with dots, to the value that the fold's own search found.
        It takes the place of the study's as a whole, which another fold's search may have found.
    """

    split: dict[str, Any] = {}
    preprocess: dict[str, Any] = {}
    found: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_thing_differs(self) -> Variant:
        if bool(self.split) == bool(self.preprocess):
            raise ValueError("must have keys of split, or of preprocess: one of them, so that one thing differs")
        return self


SectionsT = TypeVar("SectionsT", bound="VariantSections")


class VariantSections(Sections):
    """The section of variants."""

    variants: dict[Name, Variant] = {}

    @field_validator("variants", mode="before")
    @classmethod
    def _nothing_is_no_variant(cls, value: Any) -> Any:
        """Take a section without content for one without a variant."""
        return {} if value is None else value


class FoldSections(SplitSections, VariantSections):
    """The sections that say which folds a study has."""


class PrepareSections(PreprocessSections, SplitSections):
    """The sections that stage ``prepare_variant`` reads, as the variant has them."""


def problems_of(variants: dict[str, Variant], split: Split, preprocess: Preprocess) -> Iterator[str]:
    """Yield what is wrong with the sections that variants make of those of the study."""
    seen = {split.model_dump_json() + preprocess.model_dump_json(): "the study itself"}
    for name, variant in variants.items():
        made: list[Section] = []
        for section, changes in ((split, variant.split), (preprocess, variant.preprocess)):
            key = f"variants.{name}.{'split' if section is split else 'preprocess'}"
            try:
                made.append(type(section).model_validate(merged(section.model_dump(), changes)))
            except ValidationError as error:
                yield describe(error, type(section), key)
        if len(made) == 2:
            content = "".join(section.model_dump_json() for section in made)
            if content in seen:
                yield f"variants.{name}: is the same as {seen[content]}; must differ from it"
            seen.setdefault(content, f"variants.{name}")
            if variant.found and (variant.preprocess or not is_fold_of(split_of(variant, split), split)):
                yield (
                    f"variants.{name}.found: what a search has found in a fold; must be empty, as variants.{name} is "
                    "not a fold of this study (split.method: folds, and no key of split but fold)"
                )


def is_fold_of(other: Split, split: Split) -> bool:
    """Whether a split differs from the study's by the tested fold alone."""
    return split.method == "folds" and other.model_copy(update={"fold": split.fold}) == split


def folds_of_study(params: FoldSections) -> dict[int, str | None]:
    """Return the number of each fold that the study has, in their order, to the variant that tests it.

    None is the study itself. Without ``split.method: folds`` there is no fold.
    """
    if params.split.method != "folds":
        return {}
    found: dict[int, str | None] = {params.split.fold: None}
    for name, variant in params.variants.items():
        own = split_of(variant, params.split)
        if not variant.preprocess and is_fold_of(own, params.split):
            found[own.fold] = name
    return dict(sorted(found.items()))


def as_variant(params: SectionsT, name: str | None) -> SectionsT:
    """Return the sections as a variant has them; as they are for None, the study itself."""
    if name is None:
        return params
    return type(params).model_validate(params_of(name, params.model_dump(exclude_unset=True)))


def preprocess_of(variant: Variant, preprocess: Preprocess) -> Preprocess:
    """Return section ``preprocess`` as a variant has it."""
    return Preprocess.model_validate(merged(preprocess.model_dump(), variant.preprocess))


def split_of(variant: Variant, split: Split) -> Split:
    """Return section ``split`` as a variant has it."""
    return Split.model_validate(merged(split.model_dump(), variant.split))
