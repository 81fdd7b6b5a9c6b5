"""Configurations and ensembles of a study compared with each other, in the one family that p is corrected for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from pipeline.ensembling.predictions import CombinedRuns, Gathered
from pipeline.ensembling.sets import asked, one_family, questions
from pipeline.scoring.settings import Evaluate
from pipeline.study.runs import Configuration, Run
from pipeline.uncertainty.comparisons import compare_measured, measured_auroc


def compare(
    study: Gathered,
    references: tuple[Configuration, Run],
    ensembles: Sequence[CombinedRuns],
    chosen: str | None,
    settings: Evaluate,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test every pair of configurations, and every ensemble against what validation would choose without it.

    Parameters
    ----------
    study : Gathered
        The predictions of all training runs.
    references : (Configuration, Run)
        The configuration and the training run that validation chooses.
    ensembles : sequence of CombinedRuns
        All of them.
    chosen : str or None
        Name of the one that validation chooses.
    settings : Evaluate
        Draws, confidence and margin.

    Returns
    -------
    pairs, by_class : DataFrame
        As from `sets.one_family`.
    """
    labels, (configuration, run) = study.labels, references
    alone = {str(c): p.test_logits for c, p in study.configurations.items()}
    competitors = {**alone, str(run): study.test[run][None]}
    combined = {f"ensemble-{e.name}": e.test_logits[None] for e in ensembles}
    truth = labels.test_targets, labels.test_patients
    once = [name for name, logits in alone.items() if len(logits) == 1]
    assumed = dict.fromkeys(once, settings.seed_sd) if settings.seed_sd is not None else None
    measured = measured_auroc(labels.task, competitors | combined, *truth, draws=settings.bootstrap, seed=settings.seed)
    sides = [*alone], [str(configuration), str(run)], [*combined]
    every = {pair for pairs in asked(*sides).values() for pair in pairs}
    pairwise = partial(compare_measured, confidence=settings.confidence, margin=settings.margin, seed=settings.seed)
    # What is assumed of the spread over seeds is that of the mean over the classes.
    by_class = pairwise({name: measured[name] for name in alone}, classes=list(labels.classes))
    return one_family(
        questions(pairwise(measured, seed_sd=assumed, pairs=every), *sides),
        by_class[by_class["class"] != "macro"],
        chosen and f"ensemble-{chosen}",
        1 - settings.confidence,
    )
