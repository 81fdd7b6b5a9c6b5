"""Where a search is made: in the study, or, if it has folds, in each fold of it apart from all others (nested)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.settings import Params
from pipeline.settings.search import of_trial
from pipeline.study.files import AUDIT
from pipeline.study.runs import Run, VariantRun
from pipeline.study.workplaces import FOUND, inside
from pipeline.variants.results import audit_of
from pipeline.variants.settings import as_variant, folds_of_study


@dataclass(frozen=True)
class Side:
    """The study, or a fold of it, with a search of its own.

    Parameters
    ----------
    study : Params
        The whole of params.yaml, with section ``search``.
    fold : int or None
        Number of the fold; None where the study has none.
    variant : str or None
        Its name under ``variants``; None is the study itself.
    """

    study: Params
    fold: int | None = None
    variant: str | None = None

    @cached_property
    def params(self) -> Params:
        """The sections as they are within the fold."""
        return as_variant(self.study, self.variant)

    @property
    def of(self) -> str:
        """How it is called behind a trial: " of fold 2", or nothing."""
        return "" if self.fold is None else f" of fold {self.fold}"

    @property
    def audit(self) -> Path:
        """The file about its split."""
        return AUDIT if self.variant is None else audit_of(self.variant)

    @property
    def found(self) -> dict[str, Any]:
        """Settings that the fold has of its own."""
        return {} if self.variant is None else self.study.variants[self.variant].found

    def inside(self) -> AbstractContextManager[None]:
        """Run the body where its parts of the split and its training runs are those of a study."""
        return inside(self.variant)

    def run(self, run: Run) -> Run:
        """Return a training run of the fold by the folder that it has outside of it."""
        return run if self.variant is None else VariantRun(run, self.variant)

    def content(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the content of params.yaml in the project in which a trial with these values is trained."""
        content, search = self.study.model_dump(mode="json", exclude_unset=True), self.study.search
        assert search is not None
        if self.variant is None:
            return of_trial(content, search, values)
        variant = {**content["variants"][self.variant], FOUND: self._with(values)}
        return {**of_trial(content, search, {}), "variants": {self.variant: variant}}

    def to_apply(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the keys of params.yaml that give it these values, and what is written there.

        All that a fold has found stands in one place, as a whole: what is missing there would be the study's, whose
        fold has chosen it by images that are tested here.
        """
        return values if self.variant is None else {f"variants.{self.variant}.{FOUND}": self._with(values)}

    def _with(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return what the fold has found with these values: what one of them holds goes, as it does in a map."""
        kept = {key: of for key, of in self.found.items() if not any(f"{key}.".startswith(f"{new}.") for new in values)}
        return {**kept, **values}


def sides_of(params: Params) -> list[Side]:
    """Return where a study is searched: in each of its folds, by their numbers, or in the study without folds."""
    folds = folds_of_study(params)
    return [Side(params, fold, name) for fold, name in folds.items()] if folds else [Side(params)]
