"""Ensembles over folds: each is made anew in every fold, of what the validation part of the fold has chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.ensembling.predictions import alone
from pipeline.ensembling.sets import shown, twin_of
from pipeline.study.files import null, read_json
from pipeline.study.predictions import Predictions
from pipeline.variants.folds import Fold, OutOfFold, macro_auroc, out_of_fold

STAGE = "ensemble_variant"


class Ensembles(NamedTuple):
    """The ensembles of a study, or of a variant.

    Parameters
    ----------
    predictions : dict of str to Predictions
        By name, each alone.
    described : dict of str to dict
        As in members.json: method, set, fitted_on, val_auroc, members, parameters.
    skipped : dict of str to str
        Why a set is not there.
    """

    predictions: dict[str, Predictions]
    described: dict[str, dict[str, Any]]
    skipped: dict[str, str]

    def find(self, method: str, members: str) -> str | None:
        """Return the name of the ensemble by `method` of the set `members`; None where there is none.

        A set of the same training runs as another is not combined twice: the other then stands for it.
        """
        names = [f"{method}_{each}" for each in (members, twin_of(members, self.skipped)) if each is not None]
        return next((name for name in names if name in self.predictions), None)


NO_ENSEMBLES = Ensembles({}, {}, {})


class FoldedEnsemble(NamedTuple):
    """An ensemble over folds: a way to combine the training runs of a set, followed in every fold.

    Parameters
    ----------
    method, members : str
        How, and the name of the set.
    folds : list of Fold
        By number; predictions of the ensemble that was made there.
    described : list of dict
        What members.json says of it, fold by fold.
    tested, validation : float64 [F]
        Macro AUROC of each fold, and of its validation part; NaN where undefined. Where labels were fitted, the latter
        is that of patients left out (`pipeline.ensembling.fitting.fit`).
    """

    method: str
    members: str
    folds: list[Fold]
    described: list[dict[str, Any]]
    tested: np.ndarray
    validation: np.ndarray


class OverFolds(NamedTuple):
    """The ensembles of a cross-validation.

    Parameters
    ----------
    followed : dict of str to FoldedEnsemble
        By "<method>_<set>", those that every fold has.
    others : list of str
        Names of those that some fold has not, for lack of members.
    leading : dict of str to OutOfFold
        Those that lead pages, scored: of each method the best by mean validation over folds, and the mean of all.
    """

    followed: dict[str, FoldedEnsemble]
    others: list[str]
    leading: dict[str, OutOfFold]

    @property
    def best(self) -> str | None:
        """The ensemble with the highest mean validation AUROC over folds, the first of those that tie."""
        values = {name: float(self.followed[name].validation.mean()) for name in self.leading}
        known = {name: value for name, value in values.items() if np.isfinite(value)}
        return max(known, key=known.__getitem__) if known else None


NOT_FOLDED = OverFolds({}, [], {})


def read_ensembles(folder: Path) -> Ensembles:
    """Read what stage ``ensemble_variant`` wrote into `folder`; none where it wrote nothing."""
    if not (folder / "members.json").exists():
        return NO_ENSEMBLES
    predictions = Predictions.load(folder / "predictions.npz", STAGE)
    about = read_json(folder / "members.json", STAGE)
    each = {str(name): alone(predictions, i) for i, name in enumerate(predictions.methods)}
    return Ensembles(each, about["ensembles"], about["skipped"])


def over_folds(
    folds: Mapping[int, Ensembles], *, draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> OverFolds:
    """Follow every ensemble through the folds, and score those that lead.

    Parameters
    ----------
    folds : mapping of int to Ensembles
        By number of the tested fold. A fold without any ensemble is left out.
    draws, confidence, seed : int, float, int
        As for `pipeline.variants.folds.out_of_fold`.

    Returns
    -------
    OverFolds
        Without an ensemble where fewer than two folds have any.
    """
    numbers = sorted(number for number, of in folds.items() if of.predictions)
    if len(numbers) < 2:
        return NOT_FOLDED
    followed, others = {}, []
    for method, members in dict.fromkeys(
        (of["method"], of["set"]) for n in numbers for of in folds[n].described.values()
    ):
        found = [(n, name) for n in numbers if (name := folds[n].find(method, members)) is not None]
        if len(found) < len(numbers):
            others.append(f"{method}_{members}")
            continue
        described = [folds[n].described[name] for n, name in found]
        one = np.zeros(1, np.int64)  # the place among the ensembles of a fold stands where seeds do
        made = [Fold(n, replace(folds[n].predictions[name], seeds=one)) for n, name in found]
        tested = np.array([macro_auroc(of.predictions, "test") for of in made])
        values = [np.nan if of["val_auroc"] is None else of["val_auroc"] for of in described]
        followed[f"{method}_{members}"] = FoldedEnsemble(method, members, made, described, tested, np.array(values))
    values_of = {name: {"method": of.method, "val_auroc": null(of.validation.mean())} for name, of in followed.items()}
    leading = {
        name: out_of_fold(followed[name].folds, draws=draws, confidence=confidence, seed=seed)
        for name in shown(values_of)
    }
    return OverFolds(followed, others, leading)
