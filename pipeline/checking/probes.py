"""Shortcut probes: how much of the labels can be told from what no radiologist would look at.

A probe is a logistic regression on a handful of numbers per image, an 8 x 8 thumbnail or facts about the picture (its
size, brightness, border). Where it comes close to a trained model, the model's score does not show that it reads the
images: hospitals, devices and file formats that go with a class would explain it as well. See Zech et al. 2018,
doi:10.1371/journal.pmed.1002683, and Maguolo & Nanni 2021, doi:10.1016/j.inffus.2021.04.008.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.metrics.logistic import fit_logistic, mean_log_loss
from pipeline.study.unknown import hard, known_of, sides

MARGIN = 0.05
"""Macro AUROC by which a model must beat a probe."""


PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths C of the L2 penalty; the validation part chooses."""


_CHUNK = 1024


def thumbnails(images: np.ndarray, side: int = 8) -> np.ndarray:
    """Shrink images to `side` x `side` area means.

    Parameters
    ----------
    images : uint8 or uint16 [N, H, W] or [N, H, W, C]
        May be memory-mapped.
    side : int
        At most H and W.

    Returns
    -------
    float64 [N, side * side * C]
        Grey values in [0, 255], whatever the depth. A pixel that lies across the border of two squares counts in both,
        by its share.

    Raises
    ------
    ValueError
        If an image is smaller than the thumbnail.
    """
    height, width = images.shape[1:3]
    if min(height, width) < side:
        raise ValueError(f"images of {height} x {width} must be at least {side} x {side}")
    down, across = _area_means(height, side), _area_means(width, side)
    parts = []
    for chunk in _chunks(images):
        parts.append(np.einsum("ah,nhwc,bw->nabc", down, chunk, across, optimize=True).reshape(len(chunk), -1))
    return np.concatenate(parts)


def _area_means(size: int, side: int) -> np.ndarray:
    """Return the matrix [side, size] that averages `size` pixels into `side` squares."""
    edges = np.linspace(0, size, side + 1)[:, None]
    overlap = np.minimum(edges[1:], np.arange(1, size + 1)) - np.maximum(edges[:-1], np.arange(size))
    return np.maximum(overlap, 0) * side / size


def _chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield float64 [n, H, W, C] pieces in [0, 255], so that a memory-mapped array is never whole in memory."""
    starts = range(0, len(images), _CHUNK)
    scale = 257 if images.dtype == np.uint16 else 1
    pieces = (np.asarray(images[i : i + _CHUNK], dtype=np.float64) / scale for i in starts)
    return (piece.reshape(*piece.shape[:3], -1) for piece in pieces)


METADATA = (
    "log_width",
    "log_height",
    "mean",
    "sd",
    "lowest",
    "highest",
    "border_mean",
    "border_sd",
    "border_minus_centre",
    "black_share",
    "white_share",
    "most_frequent_value",
    "mode_share",
    "colour",
)
"""Columns of `metadata`."""


def metadata(images: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Describe each image by facts that hold no anatomy.

    Parameters
    ----------
    images : uint8 or uint16 [N, H, W] or [N, H, W, C]
        As prepared; may be memory-mapped.
    widths, heights : int [N]
        Of the files as published, in pixels.

    Returns
    -------
    float64 [N, 14]
        `METADATA`: logarithms of the file's size; mean, SD, lowest and highest grey value; mean and SD of the outermost
        1/16 of each side, and its mean minus that of the rest; shares of pixels up to 5 and from 250; the most frequent
        value and its share; mean absolute difference between colour channels (0 for grey images).
    """
    parts = [_facts(chunk) for chunk in _chunks(images)]
    sizes = np.log(np.stack([np.asarray(widths, dtype=np.float64), np.asarray(heights, dtype=np.float64)], axis=1))
    return np.concatenate([sizes, np.concatenate(parts)], axis=1)


def _facts(pixels: np.ndarray) -> np.ndarray:
    """Return the columns of `METADATA` after the sizes, for pixels [n, H, W, C]."""
    grey = pixels.mean(axis=-1)
    n, height, width = grey.shape
    rim_h, rim_w = max(1, height // 16), max(1, width // 16)
    border = np.ones((height, width), dtype=bool)
    border[rim_h:-rim_h, rim_w:-rim_w] = False
    rim, centre, flat = grey[:, border], grey[:, ~border], grey.reshape(n, -1)
    counts = np.stack([np.bincount(image, minlength=256) for image in flat.round().astype(np.int64)])
    colour = np.abs(np.diff(pixels, axis=-1)).mean(axis=(1, 2, 3)) if pixels.shape[-1] > 1 else np.zeros(n)
    return np.stack(
        [
            flat.mean(axis=1),
            flat.std(axis=1),
            flat.min(axis=1),
            flat.max(axis=1),
            rim.mean(axis=1),
            rim.std(axis=1),
            rim.mean(axis=1) - centre.mean(axis=1),
            (flat <= 5).mean(axis=1),
            (flat >= 250).mean(axis=1),
            counts.argmax(axis=1),
            counts.max(axis=1) / flat.shape[1],
            colour,
        ],
        axis=1,
    )


@threadpool_limits.wrap(limits=1, user_api="blas")
def probe(
    features: np.ndarray, targets: np.ndarray, split: Sequence[str] | np.ndarray, task: str
) -> dict[str, np.ndarray]:
    """Fit a probe on the training part and predict the other two.

    Parameters
    ----------
    features : float [N, F]
        Of every image, as `thumbnails` and `metadata` give them.
    targets : 0/1 [N, K]
        NaN where a label is not known. Rows of the test part are not read.
    split : str [N]
        "train", "val", "test"; anything else is left out.
    task : {"multilabel", "multiclass"}
        One regression per class, or one softmax.

    Returns
    -------
    dict of str to float32 [n, K]
        Logits of "val" and "test", rows in the order of `split`, to be scored like a model's (`evaluation.evaluate`).
        A class of which training has one kind of truth only has the same logit everywhere.

    Raises
    ------
    ValueError
        If shapes do not fit, or training or validation is empty.
    """
    parts = np.asarray(split)
    if len(features) != len(targets) or parts.shape != (len(targets),):
        raise ValueError(
            f"{len(features)} images, targets {np.shape(targets)}, split {parts.shape}; expected N of each"
        )
    train, val = (np.flatnonzero(parts == name) for name in ("train", "val"))
    if not len(train) or not len(val):
        raise ValueError(f"{len(train)} training and {len(val)} validation images; there must be at least 1 of each")
    labels = hard(np.asarray(targets))  # soft ones say nothing to a probe
    train_truth, val_truth = labels[train], labels[val]
    models = [_fit(np.asarray(features)[train], train_truth, task, penalty) for penalty in PENALTIES]
    losses = [mean_log_loss(np.asarray(features)[val] @ w + b, val_truth, task) for w, b in models]
    weights, intercepts = models[int(np.argmin(losses))]
    return {
        name: (np.asarray(features)[parts == name] @ weights + intercepts).astype(np.float32)
        for name in ("val", "test")
    }


def _fit(features: np.ndarray, targets: np.ndarray, task: str, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [F, K] and intercepts [K]."""
    n_features, n_classes = features.shape[1], targets.shape[1]
    weights, intercepts = np.zeros((n_features, n_classes)), _constant(targets, task)
    if task == "multilabel":
        for k in range(n_classes):
            seen = slice(None) if (known := known_of(targets)) is None else known[:, k]
            if (fitted := fit_logistic(features[seen], targets[seen, k], penalty)) is not None:
                weights[:, k], intercepts[k] = fitted[0][0], fitted[1][0]
        return weights, intercepts
    present = np.flatnonzero(targets.any(axis=0))
    if len(present) < 2:
        return weights, intercepts
    truth = np.searchsorted(present, targets.argmax(axis=1))
    fitted = fit_logistic(features, truth, penalty, len(present))
    assert fitted is not None  # every class of `truth` is present
    rows, offsets = fitted
    if len(present) == 2:
        rows, offsets = np.vstack([np.zeros_like(rows), rows]), np.append(0.0, offsets)
    weights[:, present], intercepts[present] = rows.T, offsets
    # A class that training lacks stays at the least that any other has at the mean image: never the largest there.
    at_mean = features.mean(axis=0) @ weights[:, present] + intercepts[present]
    intercepts[np.setdiff1d(np.arange(n_classes), present)] = at_mean.min() - np.log(len(targets) + 1)
    return weights, intercepts


def _constant(targets: np.ndarray, task: str) -> np.ndarray:
    """Return logits [K] of the shares of the classes, half an image added to each side so that they are finite."""
    positives, negatives = sides(targets)
    counts, total = positives + 0.5, positives + negatives + 1.0
    return np.log(counts) - (np.log(total - counts) if task == "multilabel" else 0)


def alarm(model_auroc: float, probe_auroc: float, name: str, margin: float = MARGIN) -> str | None:
    """Say that a probe comes close to a model.

    Parameters
    ----------
    model_auroc, probe_auroc : float
        Macro AUROC on the same images; NaN where undefined.
    name : str
        Of the probe, for the sentence.
    margin : float
        At or within which it is close.

    Returns
    -------
    str or None
        None also where one of the two is undefined.
    """
    if not model_auroc - probe_auroc <= margin + 1e-12:
        return None
    return (
        f"the model's macro AUROC of {model_auroc:.3f} is not more than {100 * margin:g} points above the "
        f"{probe_auroc:.3f} of the probe '{name}': it may rest on a shortcut"
    )
