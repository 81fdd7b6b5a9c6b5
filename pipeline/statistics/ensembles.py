"""Combining the predictions of several models."""

from __future__ import annotations

import numpy as np

from pipeline.statistics.thresholds import probabilities


def mean_probability_logits(logits: np.ndarray, task: str) -> np.ndarray:
    """Average the members' probabilities, and give the average as logits.

    Parameters
    ----------
    logits : float [M, N, K]
        Of M members.
    task : {"multilabel", "multiclass"}
        Decides between sigmoid and softmax.

    Returns
    -------
    float32 [N, K]
        Whose sigmoid or softmax is the members' mean probability, up to probabilities within 1e-12 of 0 and 1.
    """
    mean = np.mean([probabilities(member, task) for member in logits], axis=0)
    mean = np.clip(mean, 1e-12, 1 - 1e-12)
    result = np.log(mean) if task == "multiclass" else np.log(mean) - np.log1p(-mean)
    return result.astype(np.float32)
