"""All sections of params.yaml together, and what must hold between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, field_validator, model_validator

from pipeline.datasets.settings import DownloadSections
from pipeline.ensembling.settings import EnsembleSections, FeatureSections
from pipeline.explaining.settings import ExplainSection
from pipeline.external.settings import ExternalSections
from pipeline.imaging.settings import PreprocessSections
from pipeline.learning.settings import Train, train_settings
from pipeline.reporting.settings import About, Report
from pipeline.scoring.settings import EvaluationSections, ProbeSections
from pipeline.settings.search import Search, problem_of_key, problems_of_search
from pipeline.study.params import PARAMS_FILE, describe, read, validate
from pipeline.study.runs import seeds
from pipeline.study.workplaces import params_of
from pipeline.variants.settings import FoldSections, folds_of_study, problems_of

SECTIONS = (
    "seed",
    "dataset",
    "study",
    "datasets",
    "preprocess",
    "split",
    "train",
    "models",
    "losses",
    "evaluate",
    "ensemble",
    "explain",
    "external",
    "variants",
    "search",
    "report",
    "about",
)
"""Keys of params.yaml, in the order of the committed file."""


RESERVED = ("ensemble", "probe", "external")
"""Names of models that stand in the results for something else."""
_RESERVED = ", ".join(RESERVED)
UNSEEN = ("size", "nfiles")
"""Keys that DVC leaves out wherever it looks a result up in its run-cache: what stood below them could go stale."""


class Params(
    DownloadSections,
    PreprocessSections,
    EvaluationSections,
    ProbeSections,
    EnsembleSections,
    FeatureSections,
    ExplainSection,
    ExternalSections,
    FoldSections,
):
    """The whole of params.yaml: every stage's sections, and nothing else."""

    model_config = ConfigDict(extra="forbid")

    search: Search | None = None
    report: Report = Report()
    about: About = About()

    @field_validator("search", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        """Take a section without content for no search."""
        return value or None

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Params:
        problems = [*self._of_names(), *self._of_seeds(), *self._of_models()]
        problems += problems_of(self.variants, self.split, self.preprocess)
        for name in self.variants if not problems else ():
            problems += self._of_found(name)
        if not problems and self.search is not None:
            problems += self._of_search(self.search)
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _of_found(self, name: str) -> Iterator[str]:
        """Yield settings of a fold that no search can have found, or that cannot be beside the study's."""
        found, key = self.variants[name].found, f"variants.{name}.found"
        if not found:
            return
        whose = "a model or loss of this study"
        problems = [
            f"{key}.{each}: {why}"
            for each in found
            if (why := problem_of_key(each, self.study.models, self.study.losses, whose))
        ]
        try:
            if not problems:
                Params.model_validate({**params_of(name, self.model_dump(exclude_unset=True)), "search": {}})
        except KeyError as error:
            problems = [f"{key}: {error.args[0]} lies below something that is no map"]
        except ValidationError as error:
            problems = [f"{key}: {line}" for line in describe(error, Params).splitlines()]
        yield from problems

    def _of_search(self, search: Search) -> Iterator[str]:
        folds = folds_of_study(self).values()
        others = [name for name, variant in self.variants.items() if variant.split and name not in folds]
        if others:
            must = "must be another fold" if self.split.method == "folds" else "must not be there, or search be empty"
            yield (
                f"variants.{others[0]}.split: tests images that a search would choose by, and each fold of a "
                f"cross-validation alone has a search of its own; {must}"
            )
        content = self.model_dump(exclude_unset=True)
        yield from problems_of_search(search, content, Params)
        for name, variant in self.variants.items():
            if set(variant.found) - set(search.over):  # what else is found is overwritten by every trial
                problems = problems_of_search(search, params_of(name, content), Params)
                yield from (f"variants.{name}.found: {problem}" for problem in problems)

    def _of_names(self) -> Iterator[str]:
        for key, defined in (("models", list(self.models)), ("losses", list(self.losses))):
            named: list[str] = getattr(self.study, key)
            for name in named:
                if name not in defined:
                    yield f"study.{key}: '{name}' is not defined; use one of: {', '.join(defined) or 'none is'}"
            for name in sorted({n for n in named if named.count(n) > 1}):
                yield f"study.{key}: '{name}' is listed twice; name it once"
        for name in self.models:
            if name in RESERVED:
                yield f"models.{name}: a name that the results need for something else; must be none of {_RESERVED}"
        if self.dataset not in self.datasets:
            yield f"dataset: '{self.dataset}' has no settings; use one of: {', '.join(self.datasets)}"

        for key, content in (
            ("models", {m: {"options": v.options} for m, v in self.models.items()}),
            ("losses", self.losses),
        ):
            for path in _unseen(content, key):
                yield f"{path}: a name that DVC's run-cache does not look at; must be none of {', '.join(UNSEEN)}"

    def _of_seeds(self) -> Iterator[str]:
        for seed in sorted({s for s in seeds(self) if seeds(self).count(s) > 1}):
            where = f"study.replicates = {self.study.replicates}, seed = {self.seed}"
            yield f"study.replicates: seed {seed} occurs twice ({where}); list each seed once"

    def _of_models(self) -> Iterator[str]:
        for name in self.models:
            try:
                train_settings(self, name)
            except ValidationError as error:
                yield describe(error, Train, f"models.{name} with train")


def _unseen(content: Any, path: str) -> Iterator[str]:
    """Yield the key paths below `path` that end with one of `UNSEEN`."""
    for key, below in content.items() if isinstance(content, Mapping) else ():
        if key in UNSEEN:
            yield f"{path}.{key}"
        yield from _unseen(below, f"{path}.{key}")


def parse(content: dict[str, Any], source: str = "params.yaml") -> Params:
    """Validate the content of a params file.

    Raises
    ------
    ParamsError
        With one line per problem.
    """
    return validate(content, Params, source)


def load(path: Path | str = PARAMS_FILE) -> Params:
    """Read and validate a params file; whether its study can run is for `pipeline.settings.checks` to say.

    Raises
    ------
    ParamsError
        If the file is missing, is no YAML map, or holds something that is not allowed.
    """
    return parse(read(path), str(path))
