"""Signs that a training learned nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def collapse_sign(history: Sequence[float], auroc: float, targets: np.ndarray, probabilities: np.ndarray) -> str | None:
    """Name the sign by which a trained cell shows that it learned nothing, or return None.

    Parameters
    ----------
    history : sequence of float
        Validation macro AUROC of each epoch.
    auroc : float
        Validation macro AUROC of the weights that were kept, NaN if undefined.
    targets : 0/1 [N, K]
        Validation truth.
    probabilities : float [N, K]
        Validation predictions of the weights that were kept.

    Returns
    -------
    str or None
        "undefined ...", "constant ...", "chance ..." or "one class ...".

    Notes
    -----
    Chance level is 0.5 plus two standard errors of a macro AUROC of pure noise. A class with p positives and q
    negatives has the variance (p + q + 1) / (12 p q) under the null (Mann & Whitney 1947, doi:10.1214/aoms/1177730491);
    classes are taken as independent, which errs towards not calling a cell collapsed.
    """
    if not np.isfinite(auroc):
        return "undefined validation AUROC"
    if np.ptp(probabilities, axis=0).max() < 1e-6:
        return "constant predictions"
    if len(history) > 1 and np.ptp(np.asarray(history)) < 1e-6:
        return "constant validation AUROC"
    positives = targets.sum(0).astype(float)
    negatives = len(targets) - positives
    both = (positives > 0) & (negatives > 0)
    variance = (len(targets) + 1) / (12 * positives[both] * negatives[both])
    chance = 0.5 + 2 * np.sqrt(variance.sum()) / both.sum()
    if auroc <= chance:
        return f"chance: validation AUROC {auroc:.3f}, noise reaches {chance:.3f}"
    if (targets.sum(1) == 1).all() and np.allclose(probabilities.sum(1), 1, atol=1e-3):
        chosen = np.unique(probabilities.argmax(1))
        if len(chosen) == 1 and len(np.unique(targets.argmax(1))) > 1:
            return "one class predicted for every image"
    return None
