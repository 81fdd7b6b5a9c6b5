"""Which values are tried next: Optuna's TPE sampler, fed with the results so far.

No state of the sampler is kept. A batch of trials follows from the search's seed, the number of its first trial, and
the results of all before it: a search that was killed goes on as it would have, and how many trials run side by side
changes nothing but the time.

Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011; Watanabe, arXiv 2304.11127.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.searching.record import Trial
from pipeline.settings.search import DIGITS, Range, as_word

STARTUP = 10
"""Trials that are drawn at random before any result counts, as is Optuna's default."""


def propose(
    space: Mapping[str, Range | list[Any]],
    whole: set[str],
    trials: Sequence[Trial],
    first: int,
    count: int,
    seed: int | Sequence[int],
    higher_is_better: bool = True,
) -> list[dict[str, Any]]:
    """Return the values of the next trials.

    Parameters
    ----------
    space : mapping
        Key to its range, or the list of its values.
    whole : set of str
        Keys of ranges of whole numbers.
    trials : sequence of Trial
        The results that count: those of the trials below `first`.
    first, count : int
        Number of the first trial of the batch, and how many it has.
    seed : int or sequence of int
        Of the search; within a fold, also the fold's number.
    higher_is_better : bool
        Whether the best score is the highest.

    Returns
    -------
    list of dict
        Key to value. Numbers of a range without a step have four significant digits, or more where the range is narrow.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {key: _distribution(of, key in whole) for key, of in space.items()}
    derived = int(np.random.SeedSequence([*np.atleast_1d(seed), first]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Those of the batch that have no result yet count as bad, so that they do not all lie in one place.
        sampler = optuna.samplers.TPESampler(seed=derived, n_startup_trials=STARTUP, constant_liar=True)
        study = optuna.create_study(direction="maximize" if higher_is_better else "minimize", sampler=sampler)
        for trial in trials:
            if trial.number < first:
                study.add_trial(_known(trial, space, distributions))
        asked = [study.ask(distributions).params for _ in range(count)]
    return [{key: _value(of, params[key]) for key, of in space.items()} for params in asked]


def within(space: Mapping[str, Range | list[Any]], whole: set[str], values: Mapping[str, Any]) -> bool:
    """Whether values lie in a space, so that they can be a trial of it."""
    return all(_is_in(of, values.get(key), key in whole) for key, of in space.items())


def _is_in(of: Range | list[Any], value: Any, whole: bool) -> bool:
    if isinstance(of, list):
        return as_word(value) in {as_word(each) for each in of}
    if isinstance(value, bool) or not isinstance(value, int | float) or not of.low <= value <= of.high:
        return False
    if whole and value != int(value):
        return False
    steps = (value - of.low) / of.step if of.step else 0.0
    return math.isclose(steps, round(steps), abs_tol=1e-9)


def _distribution(of: Range | list[Any], whole: bool) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(of, list):
        return CategoricalDistribution([as_word(value) for value in of])
    if whole:
        return IntDistribution(int(of.low), int(of.high), log=of.log, step=int(of.step or 1))
    return FloatDistribution(float(of.low), float(of.high), log=of.log, step=of.step)


def _known(trial: Trial, space: Mapping[str, Range | list[Any]], distributions: dict[str, Any]) -> Any:
    from optuna.trial import TrialState, create_trial

    params = {
        key: as_word(trial.values[key]) if isinstance(of, list) else trial.values[key] for key, of in space.items()
    }
    if trial.score is None:
        return create_trial(params=params, distributions=distributions, state=TrialState.FAIL)
    return create_trial(params=params, distributions=distributions, value=trial.score)


def _value(of: Range | list[Any], drawn: Any) -> Any:
    if isinstance(of, list):
        return json.loads(drawn)
    if isinstance(drawn, int):
        return drawn
    if of.step:
        return float(f"{drawn:.12g}")
    # Between 0.999 and 0.9999 four digits would be ten values.
    digits = max(DIGITS, DIGITS - 1 + math.ceil(math.log10(max(abs(of.low), abs(of.high)) / (of.high - of.low))))
    return min(max(float(f"{drawn:.{digits}g}"), float(of.low)), float(of.high))
