"""Settings of variants: section ``variants`` of params.yaml, a name for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError, field_validator, model_validator

from pipeline.imaging.settings import Preprocess, PreprocessSections
from pipeline.splitting.settings import Split, SplitSections
from pipeline.study.params import Name, Section, Sections, describe
from pipeline.study.workplaces import merged


class Variant(Section):
    """What a variant has other than the study: keys of one of two sections, map by map.

    Parameters
    ----------
    split : dict
        Of section ``split``: other images are tested, such as another fold.
    preprocess : dict
        Of section ``preprocess``: other pictures of the same images, with the study's split.
    """

    split: dict[str, Any] = {}
    preprocess: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_thing_differs(self) -> Variant:
        if bool(self.split) == bool(self.preprocess):
            raise ValueError("must have keys of split, or of preprocess: one of them, so that one thing differs")
        return self


class VariantSections(Sections):
    """The section of variants."""

    variants: dict[Name, Variant] = {}

    @field_validator("variants", mode="before")
    @classmethod
    def _nothing_is_no_variant(cls, value: Any) -> Any:
        """Take a section without content for one without a variant."""
        return {} if value is None else value


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


def preprocess_of(variant: Variant, preprocess: Preprocess) -> Preprocess:
    """Return section ``preprocess`` as a variant has it."""
    return Preprocess.model_validate(merged(preprocess.model_dump(), variant.preprocess))


def split_of(variant: Variant, split: Split) -> Split:
    """Return section ``split`` as a variant has it."""
    return Split.model_validate(merged(split.model_dump(), variant.split))
