"""Probabilities at another prevalence than the one they were made for.

Where only the frequencies of the classes differ between two populations, and not how each class looks, a probability is
carried from one to the other by Bayes' theorem: log-odds move by the difference of the log-odds of the prevalences.

Elkan, "The foundations of cost-sensitive learning", IJCAI 2001. Saerens, Latinne & Decaestecker, "Adjusting the outputs
of a classifier to new a priori probabilities", Neural Comput 14(1), 2002, doi:10.1162/089976602753284446.
"""

from __future__ import annotations

import numpy as np

from pipeline.metrics.thresholds import probabilities

_ROUNDS, _STILL = 2000, 1e-10
LEAST = 1e-6
"""Prevalences are held within this and 1 minus this: at 0 a class could never be found again."""


def at_prevalence(logits: np.ndarray, task: str, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Move logits from one prevalence to another.

    Parameters
    ----------
    logits : float [..., K]
        Whose sigmoid or softmax are calibrated probabilities at prevalence `before`.
    task : {"multilabel", "multiclass"}
        Each class by itself, or all together.
    before, after : float [K]
        In [0, 1]; of a multiclass task they sum to 1.

    Returns
    -------
    float64 [..., K]
    """
    old, new = (np.clip(np.asarray(p, dtype=np.float64), LEAST, 1 - LEAST) for p in (before, after))
    moved = np.log(new) - np.log(old)
    if task == "multilabel":
        moved = moved - np.log1p(-new) + np.log1p(-old)
    return np.asarray(logits, dtype=np.float64) + moved


def estimated_prevalence(logits: np.ndarray, task: str, before: np.ndarray) -> np.ndarray:
    """Estimate the prevalence of a sample without its labels, by maximum likelihood (EM).

    Parameters
    ----------
    logits : float [N, K]
        Whose sigmoid or softmax are calibrated probabilities at prevalence `before`.
    task : {"multilabel", "multiclass"}
        Each class by itself, or all together.
    before : float [K]
        In [0, 1].

    Returns
    -------
    float64 [K]
        What the sample's prevalence would have to be for its mean corrected probability to be equal to it.
    """
    estimate = np.clip(np.asarray(before, dtype=np.float64), LEAST, 1 - LEAST)
    for _ in range(_ROUNDS):
        new = probabilities(at_prevalence(logits, task, before, estimate), task).mean(axis=0)
        still = np.abs(new - estimate).max() < _STILL
        estimate = np.clip(new, LEAST, 1 - LEAST)
        if still:
            break
    return estimate
