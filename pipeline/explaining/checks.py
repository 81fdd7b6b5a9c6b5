"""What maps must stand without boxes: other weights must change them, and the places they point to must matter.

=============== ====================================================================================================
check           asks
=============== ====================================================================================================
random weights  whether a map changes as more and more of the weights are made random, from the output backwards: one
                that stays shows the picture, not what was learned (Adebayo et al. 2018, arXiv 1810.03292)
deletion,       how fast the probability falls as the places are replaced by grey in the order of the map, and rises as
insertion       they are put into a blurred image (Petsiuk et al. 2018, arXiv 1806.07421)
border          how much of the map lies in the outermost tenth of the image, where there is seldom a finding
=============== ====================================================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline.explaining import scores
from pipeline.explaining.maps import Maps, enlarge, in_batches, inputs_of, paired_agreement
from pipeline.explaining.names import (
    AGREEMENT,
    BORDERS,
    DELETION,
    INSERTION,
    MAP,
    OTHER_IMAGES,
    RANDOM,
    RANDOM_ORDER,
)
from pipeline.learning.networks.models import Classifier
from pipeline.metrics.ranks import average_ranks
from pipeline.metrics.registry import Scale

COLUMNS = ["check", "step", "value", "low", "high", "images", "patients"]

SHARES = {"output layer": 0.0, "last quarter": 0.25, "last half": 0.5, "last three quarters": 0.75, "all": 1.0}
"""How much of a network's layers gets random weights, from the output backwards."""
STEPS = 10
"""Parts in which an image is deleted, or put in."""
BORDER = 0.1
"""Of a side."""
_BLUR = 0.05
"""Standard deviation of the blur, of a side."""


def randomised(network: Classifier, seed: int) -> Iterator[tuple[str, Classifier]]:
    """Yield copies of a network with random weights in more and more of its layers, as `SHARES` says.

    Layers get weights as they do before training; a parameter of a layer that does not say how is shuffled.

    Parameters
    ----------
    network : Classifier
        Is not changed.
    seed : int
        Of the weights.
    """
    changed = copy.deepcopy(network)
    every = [*changed.backbone.modules(), *(changed.late.modules() if changed.late is not None else ())]
    layers = [module for module in every if next(module.parameters(recurse=False), None) is not None]
    done = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, share in SHARES.items():
            until = max(1, round(share * len(layers)))
            for module in layers[::-1][done:until]:
                _randomise(module)
            done = until
            yield name, changed.eval()


def _randomise(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            order = torch.randperm(parameter.numel()).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlate maps by the ranks of their places (Spearman).

    Parameters
    ----------
    first, second : float [N, h, w]
        Maps of the same images.

    Returns
    -------
    float64 [N]
        NaN where a map is constant.
    """
    a, b = (average_ranks(maps.reshape(len(maps), -1), axis=1) for maps in (first, second))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), length, out=np.full(len(a), np.nan), where=length > 1e-9)


def say_nothing(maps: np.ndarray, margin: tuple[int, int] = (0, 0)) -> bool:
    """Whether each of some maps [N, h, w] is the same in every place but the `margin`, which no network can see."""
    (y, x), (height, width) = margin, maps.shape[1:]
    inner = maps[:, y : height - y, x : width - x]
    return not bool((np.ptp(inner, axis=(1, 2)) > 1e-6).any())


def curves(
    networks: Sequence[Classifier],
    images: np.ndarray,
    classes: np.ndarray,
    heats: np.ndarray,
    task: str,
    metadata: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Delete images, and put them in, in the order of their maps.

    Parameters
    ----------
    networks : sequence of Classifier
        Training runs, in evaluation mode; their probabilities are averaged.
    images : float32 [N, C, H, W]
        As the networks take them.
    classes : int [N]
        Whose probability is followed.
    heats : float [N, H, W]
        The highest place first; places of the same height in the order of rows.
    task : {"multilabel", "multiclass"}
        Sigmoid or softmax.
    metadata : float32 [N, I], optional
        Of networks that take some; they stay.

    Returns
    -------
    deletion, insertion : float64 [N]
        Area under the probability over the share of the image, by the trapezoidal rule: of a good map the deletion is
        low and the insertion high.
    """
    n, channels, height, width = images.shape
    order = np.argsort(-heats.reshape(n, -1), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(height * width)[None], axis=1)
    mean = networks[0].mean.reshape(-1).cpu().numpy()
    grey = np.broadcast_to(mean.reshape(-1, 1, 1) if len(mean) == channels else mean.mean(), (channels, height, width))
    areas = np.zeros((2, n))
    for i in range(n):
        first = rank[i].reshape(height, width)
        blurred = np.stack([cv2.GaussianBlur(each, (0, 0), _BLUR * height) for each in images[i]])
        shown = [first < round(step / STEPS * height * width) for step in range(STEPS + 1)]
        versions = [np.where(there, grey, images[i]) for there in shown]
        versions += [np.where(there, images[i], blurred) for there in shown]
        known = None if metadata is None else np.repeat(metadata[i : i + 1], len(versions), axis=0)
        probability = _probabilities(networks, np.stack(versions).astype(np.float32), int(classes[i]), task, known)
        areas[:, i] = np.trapezoid(probability.reshape(2, -1), dx=1 / STEPS, axis=1)
    return areas[0], areas[1]


def _probabilities(
    networks: Sequence[Classifier], images: np.ndarray, k: int, task: str, metadata: np.ndarray | None
) -> np.ndarray:
    inputs = inputs_of(images, metadata, next(networks[0].parameters()).device)
    with torch.no_grad():
        logits = [network(*inputs).double() for network in networks]
    found = [each.sigmoid() if task == "multilabel" else each.softmax(1) for each in logits]
    return torch.stack(found).mean(0)[:, k].cpu().numpy()


def random_orders(n: int, height: int, width: int, seed: int) -> np.ndarray:
    """Return maps that point anywhere, as coarse as heat maps are: float32 [n, height, width]."""
    cells = np.random.default_rng(seed).random((n, 8, 8), np.float32)
    return np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in cells])


def outside(heats: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the share of maps [N, H, W] that lies in the border, NaN of a map that is 0 all over, and the border's."""
    height, width = heats.shape[1:]
    y, x = max(1, round(BORDER * height)), max(1, round(BORDER * width))
    border = np.ones((height, width), bool)
    border[y:-y, x:-x] = False
    whole = heats.sum(axis=(1, 2), dtype=np.float64)
    inside = heats[:, border].sum(axis=1, dtype=np.float64)
    return np.divide(inside, whole, out=np.full(len(heats), np.nan), where=whole > 0), float(border.mean())


class Checked(NamedTuple):
    """The images of the checks.

    Parameters
    ----------
    images : float32 [N, C, H, W]
        As the networks take them.
    classes : int64 [N]
        Whose map is asked for.
    patients : str [N]
        Groups that are drawn as a whole.
    task : {"multilabel", "multiclass"}
        Of the study.
    metadata : float32 [N, I] or None
        Of networks that take some.
    """

    images: np.ndarray
    classes: np.ndarray
    patients: np.ndarray
    task: str
    metadata: np.ndarray | None = None


def check(
    make: Callable[[Sequence[Classifier]], AbstractContextManager[Maps]],
    networks: Sequence[Classifier],
    of: Checked,
    margin: tuple[int, int] = (0, 0),
    **bootstrap: Any,
) -> pd.DataFrame:
    """Run every check.

    Parameters
    ----------
    make : callable
        Returns what makes the maps of some networks of the same shape.
    networks : sequence of Classifier [S]
        The training runs; weights are made random in the first.
    of : Checked
        Images.
    margin : (int, int)
        Cells at the edges of the maps that no network can see, see `pipeline.explaining.layers.Layer`: always 0, they
        would make any two maps alike.
    **bootstrap
        draws, confidence and seed of `pipeline.explaining.scores.means`.

    Returns
    -------
    DataFrame
        `COLUMNS`: check and step, the mean over the images with its interval, and what it rests on.
    """
    with make(networks) as maps:
        made = every_map(maps, of.images, of.classes, of.metadata)
    (y, x), (height, width) = margin, of.images.shape[2:]
    inner = np.s_[..., y : made.shape[2] - y, x : made.shape[3] - x]
    heats = enlarge(np.ascontiguousarray(made.mean(axis=0)[:, None]), height, width)[:, 0]
    rows: list[list[Any]] = []

    def enter(name: str, step: str, values: np.ndarray, scale: Scale) -> None:
        known = np.isfinite(values)
        rows.append([name, step, *scores.means(values[known, None], of.patients[known], scale, **bootstrap)[0]])

    if len(networks) > 1:
        enter(AGREEMENT, "", paired_agreement(made[inner]), "correlation")
    first = made[0][inner]
    enter(RANDOM, OTHER_IMAGES, similarity(first, np.roll(first, 1, axis=0)), "correlation")
    for step, changed in randomised(networks[0], bootstrap.get("seed", 0)):
        with make([changed]) as maps:
            alike = similarity(first, every_map(maps, of.images, of.classes, of.metadata)[0][inner])
        enter(RANDOM, step, alike, "correlation")
    orders = {MAP: heats, RANDOM_ORDER: random_orders(len(heats), height, width, bootstrap.get("seed", 0))}
    areas = {
        name: curves(networks, of.images, of.classes, order, of.task, of.metadata) for name, order in orders.items()
    }
    for at, name in enumerate((DELETION, INSERTION)):
        for order, found in areas.items():
            enter(name, order, found[at], "share")
        enter(name, f"{MAP} - {RANDOM_ORDER}", areas[MAP][at] - areas[RANDOM_ORDER][at], "correlation")
    shares, area = outside(heats)
    enter(BORDERS, MAP, shares, "share")
    rows.append([BORDERS, "its share of the image", area, np.nan, np.nan, len(heats), len(np.unique(of.patients))])
    return pd.DataFrame(rows, columns=COLUMNS)


def every_map(maps: Maps, images: np.ndarray, classes: np.ndarray, metadata: np.ndarray | None = None) -> np.ndarray:
    """Return the maps of images [N, C, H, W] for a class of each, float32 [S, N, h, w], `BATCH` images at a time."""
    made = []
    for place, some in in_batches(images):
        known = [] if metadata is None else [metadata[place]]
        made.append(maps.paired(some, classes[place], *known))
    return np.concatenate(made, axis=1)
