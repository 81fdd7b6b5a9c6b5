"""Chest-radiograph-like images that the program draws itself, in the published layout of NIH ChestX-ray14.

The set needs no network and its truth is known: which findings are in which image and where, which files are copies of
each other and which are damaged. It takes the view, the prevalence and the co-occurrence of the 14 findings from
ChestX-ray14, so that class imbalance, several images a patient and correlated labels are those of a real study. It is
no model of radiography: the painters below draw what a textbook describes, from ellipses, bands and noise.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtr, ndtri

from pipeline.datasets import Dataset, DatasetError, Sample, Task
from pipeline.datasets.nih_layout import (
    BOX_ALIASES,
    FINDINGS,
    NO_FINDING,
    iter_samples,
    read_boxes,
    read_entries,
    read_list,
)

_FORMAT = 1
"""Raise it whenever a drawn byte changes, so that folders drawn before are drawn again."""

_STAMP = "phantom.json"
_ENTRIES = "Data_Entry_2017_v2020.csv"
_BOXES = "BBox_List_2017.csv"
_TRAIN_VAL = "train_val_list.txt"
_TEST = "test_list.txt"
_PLANTED = "planted.json"
_THREADS = 2

Array = NDArray[np.float32]
Points = NDArray[np.float64]

# ---------------------------------------------------------------------------------------------------------------------
# The cohort

_TOTAL = 112_120
_COUNTS = dict(
    zip(FINDINGS, (11559, 2776, 13317, 19894, 5782, 6331, 1431, 5302, 4667, 2303, 2516, 1686, 3385, 227), strict=True)
)
"""Images with each finding among the 112,120 of ChestX-ray14 (labels v2020)."""

_PAIRS = """
    Effusion Infiltration 3990, Atelectasis Effusion 3269, Atelectasis Infiltration 3259, Infiltration Nodule 1544,
    Effusion Consolidation 1287, Effusion Mass 1244, Atelectasis Consolidation 1222, Infiltration Consolidation 1220,
    Infiltration Mass 1151, Cardiomegaly Effusion 1060, Effusion Pneumothorax 995, Infiltration Edema 979,
    Infiltration Pneumothorax 943, Effusion Nodule 909, Mass Nodule 894,
    Effusion Pleural_Thickening 850, Atelectasis Pneumothorax 770, Infiltration Pleural_Thickening 750,
    Pneumothorax Emphysema 750, Atelectasis Mass 740, Mass Consolidation 610, Infiltration Pneumonia 600,
    Atelectasis Nodule 590, Effusion Edema 590, Cardiomegaly Infiltration 590, Atelectasis Pleural_Thickening 500,
    Mass Pleural_Thickening 450, Infiltration Emphysema 450, Mass Pneumothorax 430, Nodule Consolidation 430,
    Atelectasis Emphysema 420, Nodule Pleural_Thickening 410, Atelectasis Cardiomegaly 370, Effusion Emphysema 360,
    Infiltration Fibrosis 350, Nodule Pneumothorax 340, Pneumonia Edema 340, Pneumothorax Pleural_Thickening 290,
    Effusion Pneumonia 270, Atelectasis Pneumonia 260, Pneumothorax Consolidation 220, Atelectasis Edema 220,
    Atelectasis Fibrosis 220, Mass Emphysema 210, Effusion Fibrosis 190, Fibrosis Pleural_Thickening 180,
    Cardiomegaly Consolidation 170, Nodule Fibrosis 170, Consolidation Edema 160, Emphysema Pleural_Thickening 150,
    Cardiomegaly Edema 130, Pneumonia Consolidation 120, Nodule Emphysema 120, Mass Fibrosis 120,
    Cardiomegaly Pleural_Thickening 110, Cardiomegaly Nodule 110, Cardiomegaly Mass 100, Mass Edema 130,
    Nodule Edema 130, Consolidation Emphysema 100, Pneumothorax Fibrosis 80, Consolidation Fibrosis 80,
    Nodule Pneumonia 70, Mass Pneumonia 70, Cardiomegaly Fibrosis 50, Cardiomegaly Pneumothorax 50,
    Cardiomegaly Emphysema 45, Cardiomegaly Pneumonia 40, Pneumonia Pneumothorax 40, Pneumothorax Edema 35,
    Consolidation Pleural_Thickening 250, Pneumonia Pleural_Thickening 50, Pneumonia Emphysema 25,
    Edema Emphysema 30, Emphysema Fibrosis 35, Edema Pleural_Thickening 65, Atelectasis Hernia 40,
    Infiltration Hernia 35, Effusion Hernia 20, Mass Hernia 25, Nodule Hernia 10
"""
"""Images of ChestX-ray14 with both findings. The first fifteen are the strongest pairs of Data_Entry_2017.csv as
tabulated publicly; the others are rounded values from memory that were not checked against the file, and pairs that are
not listed are taken as independent. They shape the correlation of the drawn labels and are no result."""

_SHARED = 0.65
"""Share of the latent variance that the images of a patient have in common: follow-ups mostly agree, and change."""

_BEDSIDE = {
    "Atelectasis": 0.25,
    "Cardiomegaly": 0.10,
    "Effusion": 0.35,
    "Infiltration": 0.25,
    "Mass": -0.10,
    "Nodule": -0.20,
    "Pneumonia": 0.30,
    "Pneumothorax": 0.10,
    "Consolidation": 0.40,
    "Edema": 0.80,
    "Emphysema": -0.05,
    "Fibrosis": -0.30,
    "Pleural_Thickening": -0.20,
    "Hernia": -0.30,
}
"""Shift of the latent score for AP images: patients who cannot stand are sicker, and chronic findings are read less."""

_AGEING = {"Atelectasis": 0.1, "Effusion": 0.1, "Emphysema": 0.15, "Fibrosis": 0.2, "Hernia": 0.3, "Cardiomegaly": 0.05}
"""Shift of the latent score per standard deviation of age."""

_LIST_DRAWS = 1024
"""Orders of the patients tried for the official lists."""


@dataclass(frozen=True)
class _Case:
    """One drawn image: whose it is, what it shows and from which seed."""

    patient: int
    follow_up: int
    age: int
    sex: str
    view: str
    findings: tuple[str, ...]
    body_seed: np.random.SeedSequence
    film_seed: np.random.SeedSequence

    @property
    def name(self) -> str:
        return f"{self.patient:08d}_{self.follow_up:03d}.png"


@dataclass(frozen=True)
class _Cohort:
    """Drawn images, the planted faults among them, and the patients of the official test list."""

    cases: list[_Case]
    copies: list[tuple[str, _Case]]
    bad: dict[str, str]
    test_patients: set[int]


def target_prevalence(min_prevalence: float) -> NDArray[np.float64]:
    """Share of images with each finding that the cohort is drawn to.

    Parameters
    ----------
    min_prevalence : float
        Rarer findings are lifted to it.

    Returns
    -------
    ndarray of float64, shape (14,)
        In [0, 1], in the order of `FINDINGS`; ChestX-ray14, labels v2020.
    """
    return np.maximum(np.array([_COUNTS[f] for f in FINDINGS]) / _TOTAL, min_prevalence)


def pair_counts() -> dict[tuple[str, str], int]:
    """Images of ChestX-ray14 with both findings of a pair, in the order of `FINDINGS` within the pair.

    The fifteen strongest pairs are published counts, the others approximate (see ``_PAIRS``); unlisted pairs are
    absent.
    """
    pairs: dict[tuple[str, str], int] = {}
    for entry in _PAIRS.split(","):
        first, second, count = entry.split()
        a, b = sorted((first, second), key=FINDINGS.index)
        pairs[a, b] = int(count)
    return pairs


def _both_positive(low_a: float, low_b: float, rho: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(a > low_a, b > low_b) of two standard normals, for every correlation in `rho`.

    The derivative of this probability by the correlation is the bivariate density (Plackett 1954), which a
    Gauss-Legendre rule integrates from independence.
    """
    nodes, weights = np.polynomial.legendre.leggauss(24)
    r = rho[:, None] * (nodes + 1) / 2
    one = 1 - r**2
    density = np.exp(-(low_a**2 - 2 * r * low_a * low_b + low_b**2) / (2 * one)) / (2 * np.pi * np.sqrt(one))
    return ndtr(-low_a) * ndtr(-low_b) + rho / 2 * (density @ weights)


def _latent_correlation() -> NDArray[np.float64]:
    """Correlation of the latent normals whose thresholds give the co-occurrence of ChestX-ray14 (tetrachoric)."""
    share = {f: _COUNTS[f] / _TOTAL for f in FINDINGS}
    grid = np.linspace(-0.6, 0.9, 601)
    correlation = np.eye(len(FINDINGS))
    for (a, b), count in pair_counts().items():
        joint = _both_positive(-ndtri(share[a]), -ndtri(share[b]), grid)
        i, j = FINDINGS.index(a), FINDINGS.index(b)
        correlation[i, j] = correlation[j, i] = np.interp(count / _TOTAL, joint, grid)
    # Pairwise estimates need not fit together; the nearest matrix without negative eigenvalues does.
    values, vectors = np.linalg.eigh(correlation)
    correlation = (vectors * np.maximum(values, 1e-4)) @ vectors.T
    scale = np.sqrt(np.diag(correlation))
    return correlation / np.outer(scale, scale)


def _visits(rng: np.random.Generator, total: int) -> list[int]:
    """Images of each patient: mostly one to three, a tail to twelve, `total` in all."""
    visits: list[int] = []
    left = total
    while left:
        count = min(1 + int(rng.geometric(0.36) - 1), 12, left)
        if rng.random() < 0.10:
            count = min(count + int(rng.integers(2, 9)), 12, left)
        visits.append(count)
        left -= count
    return visits


def _sample_cohort(settings: Data, root: np.random.SeedSequence) -> _Cohort:
    """Draw patients, visits, findings, official lists and planted faults."""
    rng = np.random.default_rng(root.spawn(1)[0])
    total = settings.images - settings.duplicates
    visits = _visits(rng, total)
    people = len(visits)
    person = np.repeat(np.arange(people), visits)
    follow_up = np.concatenate([np.arange(v) for v in visits])
    numbers = np.sort(rng.choice(np.arange(1, 30_806), people, replace=False))
    age = np.clip(rng.normal(47, 17, people), 4, 90)
    sex = np.where(rng.random(people) < 0.565, "M", "F")
    frailty = rng.standard_normal(people)
    bedside = 0.8 * frailty[person] + 0.6 * rng.standard_normal(total) > ndtri(0.6)

    root_of_correlation = np.linalg.cholesky(_latent_correlation())
    chronic = rng.standard_normal((people, len(FINDINGS))) @ root_of_correlation.T
    acute = rng.standard_normal((total, len(FINDINGS))) @ root_of_correlation.T
    latent = math.sqrt(_SHARED) * chronic[person] + math.sqrt(1 - _SHARED) * acute
    latent += bedside[:, None] * np.array([_BEDSIDE[f] for f in FINDINGS])
    latent += ((age[person] - 47) / 17)[:, None] * np.array([_AGEING.get(f, 0.0) for f in FINDINGS])
    # Thresholds by rank, not by quantile of the normal: the prevalence is then met for every seed.
    positive = np.zeros(latent.shape, bool)
    for j, share in enumerate(target_prevalence(settings.min_prevalence)):
        positive[np.argsort(-latent[:, j], kind="stable")[: round(share * total)], j] = True

    bodies, films = root.spawn(people), root.spawn(total)
    cases = [
        _Case(
            patient=int(numbers[p]),
            follow_up=int(follow_up[i]),
            age=int(age[p]) + int(follow_up[i]) // 3,
            sex=str(sex[p]),
            view="AP" if bedside[i] else "PA",
            findings=tuple(f for f, there in zip(FINDINGS, positive[i], strict=True) if there),
            body_seed=bodies[p],
            film_seed=films[i],
        )
        for i, p in enumerate(person)
    ]
    chosen = _test_people(rng, person, positive, settings.test_fraction)
    test_patients = {int(numbers[p]) for p in chosen}
    bad, copies = _plant(rng, cases, test_patients, films, settings)
    return _Cohort(cases, copies, bad, test_patients)


def _test_people(
    rng: np.random.Generator, person: NDArray[np.int64], positive: NDArray[np.bool_], fraction: float
) -> NDArray[np.int64]:
    """Patients of the official test list.

    Of `_LIST_DRAWS` random orders of the patients, each cut at `fraction` of the images, the one is taken in which the
    rarest findings are divided most evenly. This looks at labels only and is what stratification by patient does; a
    plain draw would often leave a rare finding without a single test patient.
    """
    people = int(person.max()) + 1
    images = np.bincount(person, minlength=people)
    counts = np.stack([np.bincount(person, weights=positive[:, j], minlength=people) for j in range(len(FINDINGS))], 1)
    whole = np.maximum(counts.sum(0), 1)
    best, best_score = np.arange(1), np.inf
    for _ in range(_LIST_DRAWS):
        order = rng.permutation(people)
        cut = int(np.searchsorted(np.cumsum(images[order]), fraction * images.sum())) + 1
        share = counts[order[:cut]].sum(0) / whole
        score = float(np.abs(share - fraction)[counts.sum(0) > 0].max())
        if score < best_score:
            best, best_score = order[:cut], score
    return best


_BAD_KINDS = ("truncated", "empty", "rgba", "16-bit", "text")
_UNREADABLE = ("truncated", "empty", "text")


def _plant(
    rng: np.random.Generator,
    cases: list[_Case],
    test_patients: set[int],
    films: list[np.random.SeedSequence],
    settings: Data,
) -> tuple[dict[str, str], list[tuple[str, _Case]]]:
    """Choose the damaged files and the copies.

    Images with a finding that was lifted to the least prevalence are left alone, so that no fault removes one of the
    few positives. A copy keeps the findings, the view and the seeds of its original and gets a name of its own.
    """
    rare = {f for f in FINDINGS if _COUNTS[f] / _TOTAL < max(settings.min_prevalence, 0.03)}
    free = [c for c in cases if not rare & set(c.findings)]
    order = [free[i] for i in rng.permutation(len(free))]
    bad: dict[str, str] = {}
    if settings.bad_files:
        for kind in _BAD_KINDS * 2:
            bad[order.pop().name] = kind

    last = {}
    for case in cases:
        last[case.patient] = max(last.get(case.patient, -1), case.follow_up)
    owners = {case.patient: case for case in cases}
    patients = sorted(owners)
    copies: list[tuple[str, _Case]] = []
    for k in range(settings.duplicates):
        original = order.pop()
        owner = original
        if k >= settings.duplicates // 2:
            # Every other copy that is filed wrongly also crosses the official lists.
            crossing = (k - settings.duplicates // 2) % 2 == 0
            home = original.patient in test_patients
            fitting = [p for p in patients if p != original.patient and ((p in test_patients) != home) == crossing]
            owner = owners[fitting[int(rng.integers(len(fitting)))]]
        last[owner.patient] += 1
        copy = _Case(
            patient=owner.patient,
            follow_up=last[owner.patient],
            age=owner.age,
            sex=owner.sex,
            view=original.view,
            findings=original.findings,
            body_seed=original.body_seed,
            film_seed=original.film_seed,
        )
        copies.append((original.name, copy))
    return bad, copies


# ---------------------------------------------------------------------------------------------------------------------
# The film: anatomy

_STRENGTH: dict[str, tuple[float, float]] = {
    "Atelectasis": (0.65, 0.95),
    "Cardiomegaly": (0.54, 0.68),
    "Effusion": (0.04, 0.38),
    "Infiltration": (0.22, 0.52),
    "Mass": (0.70, 0.95),
    "Nodule": (0.75, 1.00),
    "Pneumonia": (0.50, 0.75),
    "Pneumothorax": (0.08, 0.36),
    "Consolidation": (0.75, 0.95),
    "Edema": (0.32, 0.70),
    "Emphysema": (0.50, 1.00),
    "Fibrosis": (0.55, 1.00),
    "Pleural_Thickening": (0.70, 0.95),
    "Hernia": (0.60, 1.00),
}
"""How strong a lesion is drawn, uniformly between weakest and strongest. Share of the lung's darkness that it takes
away, except: Cardiomegaly (heart width as a share of the thorax), Effusion (height of the fluid as a share of the
lung), Pneumothorax (width of the air rim at the apex as a share of the lung), Emphysema, Fibrosis and Hernia (share of
the full-blown picture)."""


@dataclass
class _Anatomy:
    """Shape of one thorax in anatomical coordinates: x to the image's right, y down, the film is about [0, 1]."""

    half: float
    top: float
    base: dict[int, float]
    drop: float
    ratio: float
    mediastinum: float
    depth: float
    vessels: float
    fat: float
    lift: dict[int, float] = field(default_factory=lambda: {-1: 0.0, 1: 0.0})

    def width(self, t: Points | float) -> Points:
        """Distance of the chest wall from the midline at relative height `t` (0 apex, 1 dome, beyond: angle)."""
        t = np.asarray(t, float)
        cap = np.sqrt(np.clip(1 - (1 - np.clip(t / 0.22, 0, 1)) ** 2, 0, 1))
        return self.half * (0.36 + 0.64 * np.sin(np.clip(t * 1.15 + 0.08, 0, 1) * np.pi / 2)) * (0.40 + 0.60 * cap)

    def medial(self, t: Points | float) -> Points:
        """Distance of the lung's inner edge from the midline at relative height `t`."""
        return self.mediastinum * (0.75 + 0.35 * np.clip(np.asarray(t, float), 0, 1))

    def at(self, side: int, t: float, q: float) -> tuple[float, float]:
        """Point at relative height `t` and share `q` of the way from the inner edge to the wall; -1: image left."""
        inner, outer = float(self.medial(t)), float(self.width(t))
        return 0.5 + side * (inner + q * (outer - inner)), self.top + t * (self.base[side] - self.top)

    def dome(self, side: int, x: Points) -> Points:
        """Height of the diaphragm at positions `x`: a dome that falls to the costophrenic angle."""
        q = np.clip((side * (x - 0.5) - self.mediastinum) / (self.half - self.mediastinum), 0, 1.05)
        raised = self.lift[side] * np.clip(1 - ((q - 0.42) / 0.58) ** 2, 0, 1)
        return self.base[side] - raised + self.drop * (np.abs(q - 0.38) / 0.62) ** 2.4

    def lung(self, side: int) -> Points:
        """Outline of a lung, shape (n, 2)."""
        floor = self.base[side] + self.drop
        t = np.linspace(0, (floor - self.top) / (self.base[side] - self.top), 28)
        y = self.top + t * (self.base[side] - self.top)
        wall = np.stack([0.5 + side * self.width(t), y], 1)
        x = np.linspace(0.5 + side * float(self.width(t[-1])), 0.5 + side * self.mediastinum, 20)
        floor_line = np.stack([x, self.dome(side, x)], 1)
        t = np.linspace(1, 0, 10)
        inner = np.stack([0.5 + side * self.medial(t), self.top + 0.012 + t * (self.base[side] - self.top)], 1)
        return np.concatenate([wall, floor_line, inner])

    def heart(self) -> Points:
        """Outline of the heart with the aortic knob, shape (n, 2)."""
        wide = 2 * self.half * self.ratio
        right, left = 0.31 * wide, 0.69 * wide
        low, m = self.base[1] + 0.30 * self.drop, self.mediastinum
        tall = 0.20 + 0.30 * (wide - 0.20)
        # Clockwise from the aortic knob: (share of the height above `low`, distance from the midline).
        left_border = [(1.75, m), (1.62, m + 0.020), (1.42, m + 0.018), (1.25, m + 0.006), (1.05, m + 0.016)]
        left_border += [(0.75, 0.5 * (left + m)), (0.42, 0.90 * left), (0.16, left), (0.0, 0.80 * left)]
        right_border = [(-0.04, 0.2 * right), (0.0, 0.75 * right), (0.28, right), (0.62, 0.92 * right)]
        right_border += [(1.0, max(0.70 * right, m)), (1.3, m), (1.75, 0.9 * m)]
        points = [(0.5 + x, low - h * tall) for h, x in left_border]
        points += [(0.5 - x, low - h * tall) for h, x in right_border]
        return _round_off(np.array(points))


class _Film:
    """Fields of one image in the making, and the way from anatomical coordinates to its pixels."""

    def __init__(self, size: int, matrix: NDArray[np.float64]) -> None:
        self.size = size
        self.matrix = matrix * size
        inverse = np.linalg.inv(np.vstack([self.matrix, [0, 0, 1]])).astype(np.float32)
        pixel = np.arange(size, dtype=np.float32) + np.float32(0.5)
        self.x: Array = inverse[0, 0] * pixel[None, :] + (inverse[0, 1] * pixel[:, None] + inverse[0, 2])
        self.y: Array = inverse[1, 0] * pixel[None, :] + (inverse[1, 1] * pixel[:, None] + inverse[1, 2])
        self.air: Array = np.zeros((size, size), np.float32)
        self.clear: Array = np.ones((size, size), np.float32)
        self.dense: Array = np.zeros((size, size), np.float32)
        self.vessels: Array = np.zeros((size, size), np.float32)
        self.lungs: dict[int, Array] = {}
        self.boxes: list[tuple[str, float, float, float, float]] = []

    def _pixels(self, points: Points) -> NDArray[np.int32]:
        moved = points @ self.matrix[:, :2].T + self.matrix[:, 2] - 0.5
        return np.round(moved * 16).astype(np.int32)

    def blur(self, mask: Array, sigma: float) -> Array:
        """Gaussian blur with `sigma` in anatomical units; wide ones at a quarter of the size, which looks the same."""
        pixels = sigma * self.size
        if pixels > 6:
            small = cv2.resize(mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
            small = cv2.GaussianBlur(small, (0, 0), pixels / 4)
            return cv2.resize(small, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return cv2.GaussianBlur(mask, (0, 0), max(pixels, 0.3))

    def fill(self, points: Points, sigma: float = 0.0) -> Array:
        """Mask in [0, 1] of a polygon, blurred by `sigma`."""
        canvas = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(canvas, [self._pixels(points)], 255, cv2.LINE_AA, 4)
        mask = canvas.astype(np.float32)
        mask *= np.float32(1 / 255)
        return self.blur(mask, sigma) if sigma else mask

    def lines(self, curves: list[tuple[Points, float, float]], sigma: float = 0.0) -> Array:
        """Mask in [0, 1] of curves, each with its width (anatomical units) and its brightness."""
        canvas = np.zeros((self.size, self.size), np.uint8)
        pixels = np.split(
            self._pixels(np.concatenate([points for points, _, _ in curves])),
            np.cumsum([len(points) for points, _, _ in curves])[:-1],
        )
        for moved, (_, width, value) in zip(pixels, curves, strict=True):
            thick = width * self.size
            # Lines thinner than a pixel are drawn one pixel wide and fainter, which keeps small sizes alike.
            level = int(255 * min(value, 1.0) * min(thick, 1.0))
            cv2.polylines(canvas, [moved], False, level, max(1, round(thick)), cv2.LINE_AA, 4)
        mask = canvas.astype(np.float32)
        mask *= np.float32(1 / 255)
        return self.blur(mask, sigma) if sigma else mask

    def cloud(self, rng: np.random.Generator, cells: int) -> Array:
        """Smooth noise in about [-1, 1] with `cells` bumps across."""
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        return cv2.resize(grid, (self.size, self.size), interpolation=cv2.INTER_CUBIC)

    def fog(self, opacity: Array) -> None:
        """Take `opacity`, a share in [0, 1], of the lungs' darkness away."""
        self.clear *= 1 - np.clip(opacity, 0, 1)

    def box(self, finding: str, mask: Array, share: float = 0.2) -> None:
        """Note the rectangle around the part of `mask` that exceeds `share` of its maximum."""
        x, y, w, h = cv2.boundingRect((mask > share * mask.max()).astype(np.uint8))
        if w and h and float(mask.max()) > 0.02:
            n = self.size
            self.boxes.append((finding, x / n, y / n, w / n, h / n))


def _round_off(points: Points) -> Points:
    """Closed outline with its corners cut twice (Chaikin's scheme)."""
    for _ in range(2):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1).reshape(-1, 2)
    return points


def _plateau(z: Array) -> Array:
    """exp(-z⁴), in place: one in the middle, zero outside, without a power, which is slow on whole images."""
    z *= z
    z *= z
    np.negative(z, out=z)
    return np.exp(z, out=z)


def _ramp(values: Array, start: float, width: float) -> Array:
    """Zero below `start`, one beyond `start` + `width`, linear between; falls where `width` is negative."""
    ramp = values - start
    ramp /= width
    return np.clip(ramp, 0, 1, out=ramp)


def _add(onto: Array, mask: Array, weight: float) -> None:
    """``onto += weight * mask`` without an array between, whose allocation takes longer than the sum."""
    cv2.scaleAdd(mask, weight, onto, onto)


def _uniform(rng: np.random.Generator, span: tuple[float, float]) -> float:
    return float(rng.uniform(*span))


def _anatomy(body: np.random.Generator, pose: np.random.Generator, case: _Case) -> _Anatomy:
    """Thorax of a patient (`body`) as it is caught on one film (`pose`)."""
    half, long = _uniform(body, (0.315, 0.375)), _uniform(body, (0.0, 1.0))
    ratio, mediastinum, lift = _uniform(body, (0.0, 1.0)), _uniform(body, (0.050, 0.066)), _uniform(body, (0.0, 0.03))
    fat, vessels = _uniform(body, (0.0, 1.0)), _uniform(body, (0.75, 1.2))
    breath = _uniform(pose, (-0.02, 0.025))
    supine = case.view == "AP"
    base = 0.715 + 0.05 * long + breath - (0.055 if supine else 0.0)
    return _Anatomy(
        half=half * (0.98 if supine else 1.0),
        top=0.135 + 0.02 * float(pose.uniform(-1, 1)) + (0.015 if supine else 0.0),
        base={-1: base - lift, 1: base + 0.012},
        drop=0.095,
        ratio=(0.415 if supine else 0.385) + 0.085 * ratio,
        mediastinum=mediastinum * (1.2 if supine else 1.0),
        depth=_uniform(pose, (0.36, 0.44)) if supine else _uniform(pose, (0.42, 0.50)),
        vessels=vessels,
        fat=fat,
    )


def _pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """Affine map, shape (2, 3), from anatomical coordinates to fractions of the image."""
    angle = math.radians(float(rng.normal(0, 2.2)))
    scale = np.array([rng.uniform(0.94, 1.10), rng.uniform(0.94, 1.10)])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
    centre = np.array([0.5, 0.48])
    shift = centre + np.array([rng.uniform(-0.035, 0.035), rng.uniform(-0.03, 0.04)])
    return np.column_stack([turn, shift - turn @ centre])


def _body_outline(thorax: _Anatomy) -> Points:
    """Neck, shoulders and flanks."""
    flank = thorax.half + 0.055 + 0.05 * thorax.fat
    half = [(0.085, -0.20), (0.09, 0.03), (0.20, 0.095), (0.36, 0.13), (0.47, 0.22), (0.52, 0.38)]
    half += [(flank + 0.05, 0.45), (flank + 0.01, 0.56), (flank + 0.02, 0.80), (flank + 0.05, 1.25)]
    right = np.array(half)
    left = right * np.array([-1, 1])
    return _round_off(np.concatenate([right, left[::-1]]) + np.array([0.5, 0]))


def _ribs(film: _Film, thorax: _Anatomy, rng: np.random.Generator) -> Array:
    """Posterior ribs (clear) and anterior ribs (faint) of both sides, with the clavicles."""
    curves: list[tuple[Points, float, float]] = []
    gap, start = _uniform(rng, (0.066, 0.076)), thorax.top + _uniform(rng, (-0.015, 0.02))
    s = np.linspace(0, 1, 12)
    for side in (-1, 1):
        for i in range(9):
            y0 = start + i * gap
            reach = float(thorax.width((y0 + 0.07 - thorax.top) / (thorax.base[side] - thorax.top))) + 0.008
            y = y0 - 0.020 * np.sin(np.pi * np.minimum(s * 1.6, 1)) + (0.055 + 0.010 * i) * s**2
            curves.append((np.stack([0.5 + side * (0.03 + (reach - 0.03) * s), y], 1), 0.019, 0.9))
            front = np.stack([0.5 + side * (reach - (reach - 0.09) * s), y[-1] + 0.12 * s**0.8], 1)
            curves.append((front, 0.020, 0.45))
        lift = _uniform(rng, (-0.02, 0.025))
        x = 0.5 + side * (0.035 + 0.36 * s)
        curves.append((np.stack([x, thorax.top + 0.055 + lift - 0.10 * s + 0.03 * np.sin(3 * s)], 1), 0.026, 1.0))
    return film.lines(curves, 0.0035)


def _vessel_tree(film: _Film, thorax: _Anatomy, rng: np.random.Generator) -> Array:
    """Hila and branching vessels that taper towards the pleura."""
    curves: list[tuple[Points, float, float]] = []
    s = np.linspace(0, 1, 6)[:, None]
    for side in (-1, 1):
        hilum = np.array(thorax.at(side, 0.50 if side < 0 else 0.47, 0.10))
        for angle in np.linspace(-1.30, 1.50, 7) + rng.normal(0, 0.14, 7):
            length = 0.15 + 0.13 * abs(math.sin(angle)) + _uniform(rng, (-0.03, 0.03))
            toward = np.array([side * math.cos(angle), math.sin(angle)])
            bend = np.array([-toward[1], toward[0]]) * _uniform(rng, (-0.07, 0.07))
            start = hilum + np.array([0.0, 0.035 * math.sin(angle)])
            stem = start + toward * length * s + bend * (s * s)
            curves += [(stem[:3], 0.010, 0.9), (stem[2:5], 0.007, 0.65), (stem[4:], 0.005, 0.45)]
            for turn in (-0.6, 0.6):
                fork = angle + turn + _uniform(rng, (-0.2, 0.2))
                toward_fork = np.array([side * math.cos(fork), math.sin(fork)])
                twig = stem[int(rng.integers(1, 4))] + toward_fork * length * _uniform(rng, (0.3, 0.6)) * s[:4]
                curves += [(twig, 0.005, 0.5)]
        curves.append((hilum + np.array([[0, -0.035], [side * 0.012, 0.0], [0, 0.04]]), 0.026, 0.8))
    return film.lines(curves, 0.003)


def _equipment(film: _Film, thorax: _Anatomy, rng: np.random.Generator) -> Array:
    """Electrocardiogram leads and a tube, as on bedside films."""
    curves: list[tuple[Points, float, float]] = []
    s = np.linspace(0, 1, 16)
    for _ in range(int(rng.integers(1, 4))):
        start, end = rng.uniform([0.1, 0.2], [0.9, 0.45]), rng.uniform([0.0, 0.75], [1.0, 1.0])
        sway = rng.uniform(-0.12, 0.12)
        x = start[0] + (end[0] - start[0]) * s + sway * np.sin(np.pi * s)
        curves.append((np.stack([x, start[1] + (end[1] - start[1]) * s], 1), 0.006, 0.55))
        curves.append((np.array([start, start + 0.001]), 0.022, 0.8))
    if rng.random() < 0.5:
        y = np.linspace(-0.05, 0.36, 10)
        curves.append((np.stack([0.5 + 0.006 * np.sin(9 * y), y], 1), 0.011, 0.7))
    return film.lines(curves, 0.001)


# ---------------------------------------------------------------------------------------------------------------------
# The film: findings. A painter gets the film, the thorax, a generator of its own and the side that it prefers.


def _blob(centre: tuple[float, float], rx: float, ry: float, rng: np.random.Generator, rough: float) -> Points:
    """Closed outline around `centre` whose radius varies by the share `rough`."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = np.ones_like(angle)
    for k in (2, 3, 5):
        radius += rough / math.sqrt(k) * rng.uniform(-1, 1) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.stack([centre[0] + rx * radius * np.cos(angle), centre[1] + ry * radius * np.sin(angle)], 1)


def _paint_atelectasis(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    # The raised diaphragm is part of `_reshape`: it must be known before the lungs are drawn.
    strength = _uniform(rng, _STRENGTH["Atelectasis"])
    mask = np.zeros_like(film.air)
    curves: list[tuple[Points, float, float]] = []
    for _ in range(int(rng.integers(1, 4))):
        x, y = thorax.at(side, _uniform(rng, (0.72, 0.93)), _uniform(rng, (0.30, 0.60)))
        length, tilt = _uniform(rng, (0.07, 0.11)), side * _uniform(rng, (-0.25, 0.35))
        ends = np.array([[-length, -length * tilt], [0, 0.008], [length, length * tilt]])
        curves.append((ends + np.array([x, y]), _uniform(rng, (0.014, 0.026)), 1.0))
    mask = np.maximum(mask, film.lines(curves, 0.003))
    if rng.random() < 0.6:
        inner = thorax.at(side, 0.68, 0.05)
        wedge = np.array([inner, thorax.at(side, 1.04, 0.05), thorax.at(side, 1.04, _uniform(rng, (0.45, 0.75)))])
        mask = np.maximum(mask, film.fill(wedge, 0.008))
    film.fog(mask * strength)
    flat = replace(thorax, lift={-1: 0.0, 1: 0.0})
    volume_lost = np.clip(film.fill(flat.lung(side), 0.0035) - film.lungs[side], 0, 1)
    film.box("Atelectasis", np.maximum(mask * film.lungs[side], volume_lost))


def _paint_effusion(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    for each in (side, -side):
        if each != side and rng.random() > 0.35:
            continue
        height = _uniform(rng, _STRENGTH["Effusion"])
        floor = thorax.base[each] + thorax.drop
        level = floor - height * (floor - thorax.top)
        q = np.clip((each * (film.x - 0.5) - thorax.mediastinum) / (thorax.half - thorax.mediastinum), 0, 1)
        # The meniscus: fluid climbs along the wall, and a little along the mediastinum.
        surface = level - 0.085 * (q * q) ** 2 - 0.02 * (1 - q) ** 2
        here = np.clip(each * (film.x - 0.5) / 0.01, 0, 1)
        mask = np.clip((film.y - surface) / 0.022 + 0.5, 0, 1) * here
        film.fog(mask * 0.94)
        mask *= film.lungs[each]
        film.dense += mask * 0.05
        film.box("Effusion", mask)


def _paint_infiltration(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = _uniform(rng, _STRENGTH["Infiltration"])
    texture = np.clip(0.75 + 0.45 * film.cloud(rng, 22), 0.2, 1.2)
    both = rng.random() < 0.45
    for each in (side, -side) if both else (side,):
        mask = np.zeros_like(film.air)
        for _ in range(int(rng.integers(2, 4))):
            centre = thorax.at(each, _uniform(rng, (0.40, 0.88)), _uniform(rng, (0.20, 0.70)))
            patch = _blob(centre, _uniform(rng, (0.055, 0.095)), _uniform(rng, (0.055, 0.10)), rng, 0.35)
            mask = np.maximum(mask, film.fill(patch))
        mask = film.blur(mask, 0.022) * texture
        film.fog(mask * film.blur(film.lungs[each], 0.01) * strength)
        film.box("Infiltration", mask * film.lungs[each])


def _paint_mass(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    strength, radius = _uniform(rng, _STRENGTH["Mass"]), _uniform(rng, (0.042, 0.085))
    centre = thorax.at(side, _uniform(rng, (0.25, 0.75)), _uniform(rng, (0.30, 0.75)))
    outline = _blob(centre, radius, radius * _uniform(rng, (0.85, 1.1)), rng, 0.16)
    mask = film.fill(outline, 0.005)
    film.fog(mask * strength)
    mask *= film.lungs[side]
    film.dense += mask * 0.07
    film.box("Mass", mask)


def _paint_nodule(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    for _ in range(int(rng.integers(1, 5))):
        each = side if rng.random() < 0.6 else -side
        strength, radius = _uniform(rng, _STRENGTH["Nodule"]), _uniform(rng, (0.015, 0.029))
        centre = thorax.at(each, _uniform(rng, (0.20, 0.85)), _uniform(rng, (0.28, 0.85)))
        mask = film.fill(_blob(centre, radius, radius, rng, 0.10), 0.003)
        film.fog(mask * strength)
        mask *= film.lungs[each]
        film.dense += mask * 0.06
        film.box("Nodule", mask)


def _paint_pneumonia(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = _uniform(rng, _STRENGTH["Pneumonia"])
    t = _uniform(rng, (0.30, 0.85))
    centre = np.array(thorax.at(side, t, _uniform(rng, (0.30, 0.60))))
    outline = _blob(tuple(centre), _uniform(rng, (0.085, 0.12)), _uniform(rng, (0.09, 0.14)), rng, 0.28)
    mask = film.fill(outline, 0.012)
    # Air bronchograms: the airways stay dark in lung that has filled up.
    hilum = np.array(thorax.at(side, 0.5, 0.05))
    s = np.linspace(0, 1, 5)[:, None]
    curves: list[tuple[Points, float, float]] = []
    for _ in range(6):
        aim = centre + rng.uniform(-0.11, 0.11, 2)
        near = hilum + 0.35 * (centre - hilum)
        curves.append((near + (aim - near) * s, 0.009, 1.0))
    air = film.lines(curves, 0.002)
    film.fog(mask * strength * (1 - 0.7 * air))
    film.box("Pneumonia", mask * film.lungs[side])


def _paint_pneumothorax(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    rim = _uniform(rng, _STRENGTH["Pneumothorax"])
    t = (film.y - thorax.top) / (thorax.base[side] - thorax.top)
    levels = np.linspace(-0.1, 1.3, 57)
    wall = np.interp(t, levels, thorax.width(levels)).astype(np.float32)
    # The lung's own edge, drawn away from the wall: far at the apex, touching near the base.
    pulled = rim * (thorax.half - thorax.mediastinum)
    edge = wall - pulled * np.clip(1.05 - 0.8 * t, 0, 1)
    edge = np.minimum(edge, thorax.half * 3.2 * np.clip(t - 0.45 * rim, 0.0, 1.0) ** 0.5)
    across = side * (film.x - 0.5) - edge
    lung = film.lungs[side]
    mask = np.clip(across / 0.006, 0, 1) * lung
    film.vessels *= 1 - mask
    film.clear *= 1 - 0.22 * np.clip(-across / 0.006, 0, 1) * lung
    film.air *= 1 + 0.22 * mask
    line = across / 0.0045
    film.dense += 0.16 * np.exp(-line * line) * lung
    film.box("Pneumothorax", mask)


def _paint_consolidation(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = _uniform(rng, _STRENGTH["Consolidation"])
    upper = rng.random() < 0.45
    fissure = _uniform(rng, (0.42, 0.52) if upper else (0.56, 0.68))
    x, y = thorax.at(side, fissure, 0.5)
    slope = side * _uniform(rng, (-0.10, 0.25))
    distance = film.y - (y + slope * (film.x - x))
    lobe = np.clip((-distance if upper else distance) / 0.007 + 0.5, 0, 1)
    centre = thorax.at(side, fissure + (-0.20 if upper else 0.22), _uniform(rng, (0.35, 0.65)))
    outline = _blob(centre, _uniform(rng, (0.10, 0.14)), _uniform(rng, (0.12, 0.17)), rng, 0.15)
    mask = film.fill(outline, 0.012) * lobe
    film.fog(mask * strength)
    film.box("Consolidation", mask * film.lungs[side])


def _paint_edema(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = _uniform(rng, _STRENGTH["Edema"])
    texture = np.clip(0.85 + 0.3 * film.cloud(rng, 30), 0, 1.2)
    for each in (-1, 1):
        x, y = thorax.at(each, 0.52, 0.30)
        wing = np.exp(-(((film.x - x) / 0.11) ** 2) - ((film.y - y) / 0.18) ** 2)
        wing *= film.blur(film.lungs[each], 0.01)
        film.fog(wing * texture * strength)
        kerley: list[tuple[Points, float, float]] = []
        for t in np.linspace(0.72, 1.05, 8):
            start, end = thorax.at(each, t, 0.80), thorax.at(each, t, 0.99)
            kerley.append((np.array([start, (end[0], end[1] + 0.004)]), 0.005, 0.9))
        lines = film.lines(kerley, 0.001) * film.lungs[each]
        film.dense += 0.12 * lines
        film.box("Edema", np.maximum(wing * film.lungs[each], lines))
    # Blood is shifted to the upper lobes.
    film.vessels *= 1 + 0.9 * strength * np.clip((0.45 - film.y) / 0.15, 0, 1)


def _paint_fibrosis(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = _uniform(rng, _STRENGTH["Fibrosis"])
    for each in (-1, 1):
        rings: list[tuple[Points, float, float]] = []
        angle = np.linspace(0, 2 * np.pi, 9)
        for _ in range(95):
            t, q = 1.08 - 0.55 * rng.random() ** 1.4, 1 - 0.55 * rng.random() ** 1.3
            x, y = thorax.at(each, t, q)
            radius, squash = _uniform(rng, (0.006, 0.014)), _uniform(rng, (0.5, 1.0))
            ring = np.stack([x + radius * np.cos(angle), y + squash * radius * np.sin(angle)], 1)
            rings.append((ring, 0.0045, _uniform(rng, (0.5, 1.0))))
        net = film.lines(rings, 0.0012)
        haze = film.blur(net, 0.03)
        film.fog(np.clip(strength * (0.9 * net + 0.7 * haze), 0, 0.95))
        film.box("Fibrosis", haze * film.lungs[each], 0.3)


def _paint_pleural_thickening(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    strength, thick = _uniform(rng, _STRENGTH["Pleural_Thickening"]), _uniform(rng, (0.030, 0.052))
    first, last = _uniform(rng, (0.05, 0.35)), _uniform(rng, (0.80, 1.05))
    t = np.linspace(first, last, 24)
    y = thorax.top + t * (thorax.base[side] - thorax.top)
    profile = np.sin(np.linspace(0, np.pi, 24)) ** 0.4 * (1 + 0.25 * np.sin(np.linspace(0, 9, 24) + rng.uniform(0, 6)))
    outer = np.stack([0.5 + side * (thorax.width(t) + 0.02), y], 1)
    inner = np.stack([0.5 + side * (thorax.width(t) - thick * profile), y], 1)
    mask = film.fill(np.concatenate([outer, inner[::-1]]), 0.002)
    film.fog(mask * strength)
    mask *= film.lungs[side]
    film.dense += 0.08 * mask
    film.box("Pleural_Thickening", mask)


def _paint_hernia(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    strength, radius = _uniform(rng, _STRENGTH["Hernia"]), _uniform(rng, (0.062, 0.095))
    x, y = 0.5 + _uniform(rng, (-0.01, 0.05)), thorax.base[1] + 0.01 - radius * _uniform(rng, (0.5, 0.9))
    sac = film.fill(_blob((x, y), radius, radius * 0.95, rng, 0.06), 0.004)
    gas = film.fill(_blob((x, y), radius * 0.78, radius * 0.74, rng, 0.05), 0.003)
    # Gas above, fluid below, a straight level between them.
    gas *= np.clip((y + 0.1 * radius - film.y) / 0.005 + 0.5, 0, 1)
    film.fog(sac * 0.9 * strength)
    film.dense += strength * (0.09 * sac - 0.26 * gas)
    film.box("Hernia", sac)


def _box_heart(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    film.box("Cardiomegaly", film.fill(thorax.heart(), 0.006))


def _box_lungs(film: _Film, thorax: _Anatomy, rng: np.random.Generator, side: int) -> None:
    film.vessels *= 0.6
    film.box("Emphysema", np.maximum(film.lungs[-1], film.lungs[1]))


_PAINTERS: dict[str, Callable[[_Film, _Anatomy, np.random.Generator, int], None]] = {
    "Atelectasis": _paint_atelectasis,
    "Cardiomegaly": _box_heart,
    "Effusion": _paint_effusion,
    "Infiltration": _paint_infiltration,
    "Mass": _paint_mass,
    "Nodule": _paint_nodule,
    "Pneumonia": _paint_pneumonia,
    "Pneumothorax": _paint_pneumothorax,
    "Consolidation": _paint_consolidation,
    "Edema": _paint_edema,
    "Emphysema": _box_lungs,
    "Fibrosis": _paint_fibrosis,
    "Pleural_Thickening": _paint_pleural_thickening,
    "Hernia": _paint_hernia,
}


def _reshape(
    thorax: _Anatomy, findings: tuple[str, ...], rngs: dict[str, np.random.Generator], sides: dict[str, int]
) -> None:
    """Change the anatomy where a finding does: before anything is drawn."""
    if "Cardiomegaly" in findings:
        thorax.ratio = _uniform(rngs["Cardiomegaly"], _STRENGTH["Cardiomegaly"])
    if "Emphysema" in findings:
        grade = _uniform(rngs["Emphysema"], _STRENGTH["Emphysema"])
        thorax.half *= 1 + 0.05 * grade
        thorax.base = {side: low + 0.075 * grade for side, low in thorax.base.items()}
        thorax.drop *= 1 - 0.75 * grade
        thorax.ratio *= 1 - 0.22 * grade
        thorax.depth *= 1 + 0.22 * grade
    if "Atelectasis" in findings:
        thorax.lift[sides["Atelectasis"]] = _uniform(rngs["Atelectasis"], (0.02, 0.07))


def draw(case: _Case, size: int) -> tuple[NDArray[np.uint8], list[tuple[str, float, float, float, float]]]:
    """Draw one image.

    Every finding has a generator of its own, so that the same case with one finding less differs by that finding only.

    Parameters
    ----------
    case : _Case
        Patient, view, findings and seeds.
    size : int
        Width and height in pixels.

    Returns
    -------
    image : ndarray of uint8, shape (size, size)
        Bright is dense, as on a radiograph.
    boxes : list of (finding, x, y, width, height)
        One or more for every finding of the case; fractions in [0, 1], x and y at the top left corner.
    """
    # SeedSequence.spawn counts its children; a fresh copy makes the drawing repeatable.
    own = np.random.SeedSequence(case.film_seed.entropy, spawn_key=case.film_seed.spawn_key).spawn(5 + len(FINDINGS))
    kin = np.random.SeedSequence(case.body_seed.entropy, spawn_key=case.body_seed.spawn_key).spawn(2)
    body, habit = (np.random.default_rng(s) for s in kin)
    pose, bones, tree, grain, kit = (np.random.default_rng(s) for s in own[:5])
    rngs = {f: np.random.default_rng(s) for f, s in zip(FINDINGS, own[5:], strict=True)}
    # The side of a lesion is the patient's, its form the film's: follow-ups resemble each other and change.
    sides = {f: 1 if habit.random() < 0.5 else -1 for f in FINDINGS}

    thorax = _anatomy(body, pose, case)
    _reshape(thorax, case.findings, rngs, sides)
    film = _Film(size, _pose(pose))
    for side in (-1, 1):
        film.lungs[side] = film.fill(thorax.lung(side), 0.0035)
    heart = film.fill(thorax.heart(), 0.006)
    film.vessels = _vessel_tree(film, thorax, tree) * np.float32(0.20 * thorax.vessels)
    lungs = np.maximum(film.lungs[-1], film.lungs[1])
    shade = 1 + 0.06 * film.cloud(pose, 5)
    film.air = lungs
    film.air *= 1 - 0.86 * heart
    film.air *= shade
    film.air *= np.float32(thorax.depth)
    for finding in case.findings:
        _PAINTERS[finding](film, thorax, rngs[finding], sides[finding])
    image = _develop(film, thorax, case, heart, pose, bones, kit, grain)
    return image, film.boxes


def _develop(
    film: _Film,
    thorax: _Anatomy,
    case: _Case,
    heart: Array,
    pose: np.random.Generator,
    bones: np.random.Generator,
    kit: np.random.Generator,
    grain: np.random.Generator,
) -> NDArray[np.uint8]:
    """Put tissue, bones, air and lesions together and expose the film."""
    supine = case.view == "AP"
    body = film.fill(_body_outline(thorax), 0.006)
    tissue = _ramp(film.y, thorax.base[1] - 0.06, 0.18)
    tissue *= 0.24
    tissue += 0.60
    _add(tissue, film.cloud(bones, 6), 0.03)
    _add(tissue, _plateau((film.x - 0.5) / (thorax.mediastinum * 1.05)), 0.15)
    # The upper heart and the great vessels fade into the mediastinum.
    heart *= _ramp(film.y, 0.32, 0.20)
    _add(tissue, heart, 0.11)
    wave = film.y * 46 + _uniform(bones, (0, 3))
    np.sin(wave, out=wave)
    wave *= wave
    cubed = wave * wave
    cubed *= wave
    cubed *= _plateau((film.x - 0.5) / 0.035)
    _add(tissue, cubed, -0.035)
    trachea = _plateau((film.x - 0.5) / 0.017)
    trachea *= _ramp(film.y, 0.40, -0.05)
    _add(tissue, trachea, -0.07)
    gas = bones.random()
    if gas < 0.7:
        bubble = _blob((0.60, thorax.base[1] + 0.10), 0.05 + 0.03 * gas, 0.025 + 0.02 * gas, bones, 0.2)
        _add(tissue, film.fill(bubble, 0.006), -0.20)
    if case.sex == "F" and case.age > 14:
        for side in (-1, 1):
            nipple = 0.5 + side * 0.21, thorax.base[side] - 0.02
            cup = _blob(nipple, 0.13, 0.10 + 0.03 * thorax.fat, bones, 0.05)
            _add(tissue, film.fill(cup, 0.010), 0.07)
    _add(tissue, _ribs(film, thorax, bones), 0.085)
    image = tissue
    image *= body
    film.air *= film.clear
    image -= film.air
    film.vessels *= film.air
    _add(image, film.vessels, 1.6 / thorax.depth)
    image += film.dense
    if supine and kit.random() < 0.7:
        _add(image, _equipment(film, thorax, kit), 0.30)
    gamma = _uniform(pose, (0.85, 1.25))
    contrast = _uniform(pose, (0.72, 0.92) if supine else (0.85, 1.05))
    offset = _uniform(pose, (0.0, 0.12) if supine else (-0.03, 0.08))
    np.clip(image, 0, 1.15, out=image)
    cv2.pow(image, gamma, image)
    image *= contrast
    image += offset
    _add(image, film.cloud(pose, 3), 0.04)
    _add(image, grain.standard_normal((film.size, film.size), dtype=np.float32), 0.022 if supine else 0.015)
    image *= 255
    np.clip(image, 0, 255, out=image)
    pixels = image.astype(np.uint8)
    corner = int(film.size * 0.93), int(film.size * 0.10)
    thick = max(1, film.size // 256)
    cv2.putText(pixels, "L", corner, cv2.FONT_HERSHEY_SIMPLEX, film.size / 512, 235, thick, cv2.LINE_AA)
    return pixels


# ---------------------------------------------------------------------------------------------------------------------
# The files


def _encode(image: NDArray[np.uint8], kind: str) -> bytes:
    """PNG file of `image`, damaged or converted as `kind` says ("" for neither)."""
    if kind == "empty":
        return b""
    if kind == "text":
        return b"This is a line of text in a file that is called .png.\n"
    pixels: NDArray[Any] = image
    if kind == "rgba":
        pixels = cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA)
    elif kind == "16-bit":
        pixels = image.astype(np.uint16) * 257
    # Film grain has no repetitions to look for; without the search files are smaller and a third faster to write.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    done, encoded = cv2.imencode(".png", pixels, options)
    if not done:
        raise DatasetError("OpenCV could not encode a PNG; reinstall opencv-python-headless")
    data = encoded.tobytes()
    return data[: int(0.4 * len(data))] if kind == "truncated" else data


def _own_files(folder: Path) -> list[Path]:
    """Files in `folder` that a drawing writes, whichever its settings."""
    digit = "[0-9]"
    images = sorted((folder / "images").glob(f"{digit * 8}_{digit * 3}.png"))
    tables = [folder / name for name in (_STAMP, _ENTRIES, _BOXES, _TRAIN_VAL, _TEST, _PLANTED)]
    return [path for path in (*tables, *images) if path.is_file()]


def _write_all(folder: Path, settings: Data, threads: int = _THREADS) -> None:
    """Draw the set of `settings` into `folder`; the bytes do not depend on `threads`."""
    cohort = _sample_cohort(settings, np.random.SeedSequence(settings.seed))
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    copies: dict[str, list[str]] = {}
    for original, copy in cohort.copies:
        copies.setdefault(original, []).append(copy.name)

    def one(case: _Case) -> list[tuple[str, float, float, float, float]]:
        kind = cohort.bad.get(case.name, "")
        image, boxes = draw(case, settings.size)
        data = _encode(image, kind)
        for name in (case.name, *copies.get(case.name, ())):
            (images / name).write_bytes(data)
        return [] if kind in _UNREADABLE else boxes

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            boxes = dict(zip((c.name for c in cohort.cases), pool.map(one, cohort.cases), strict=True))
    finally:
        cv2.setNumThreads(before)
    for original, copy in cohort.copies:
        boxes[copy.name] = boxes[original]
    rows = sorted((*cohort.cases, *(copy for _, copy in cohort.copies)), key=lambda c: c.name)
    _write_tables(folder, settings, rows, boxes, cohort)


def _write_tables(
    folder: Path,
    settings: Data,
    rows: list[_Case],
    boxes: dict[str, list[tuple[str, float, float, float, float]]],
    cohort: _Cohort,
) -> None:
    """Write the published tables, with their odd headers, and the truth about the planted faults."""
    with open(folder / _ENTRIES, "w", newline="", encoding="utf-8") as file:
        file.write(
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
            "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
        )
        spacing = round(0.143 * 2560 / settings.size, 6)
        writer = csv.writer(file, lineterminator="\n")
        for c in rows:
            labels = "|".join(sorted(c.findings)) or NO_FINDING
            patient = (c.name, labels, c.follow_up, c.patient, c.age, c.sex, c.view)
            writer.writerow((*patient, settings.size, settings.size, spacing, spacing))
    aliases = {name: alias for alias, name in BOX_ALIASES.items()}
    with open(folder / _BOXES, "w", newline="", encoding="utf-8") as file:
        file.write("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
        writer = csv.writer(file, lineterminator="\n")
        for c in rows:
            for finding, *fractions in boxes[c.name]:
                # The published file gives pixels of a 1024 x 1024 image, whichever the size of the files at hand.
                writer.writerow((c.name, aliases.get(finding, finding), *(round(1024 * f, 6) for f in fractions)))
    for name, wanted in ((_TRAIN_VAL, False), (_TEST, True)):
        listed = [c.name for c in rows if (c.patient in cohort.test_patients) == wanted]
        (folder / name).write_text("\n".join(listed) + "\n", encoding="utf-8")
    truth = {
        "duplicates": [
            {
                "original": original,
                "copy": copy.name,
                "same_patient": original[:8] == copy.name[:8],
                "crosses_lists": (int(original[:8]) in cohort.test_patients) != (copy.patient in cohort.test_patients),
            }
            for original, copy in cohort.copies
        ],
        "bad_files": [
            {"name": name, "kind": kind, "readable": kind not in _UNREADABLE}
            for name, kind in sorted(cohort.bad.items())
        ],
    }
    (folder / _PLANTED).write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")


class Data(Dataset):
    """Drawn chest films with the labels' statistics of ChestX-ray14.

    Parameters
    ----------
    images : int
        Rows of the set, planted copies and damaged files included: copies are rows of their own, damaged files take
        the place of drawn images.
    size : int
        Width and height in pixels.
    seed : int
        Seed of everything that is drawn; unrelated to the seeds of splits and trainings.
    min_prevalence : float
        Share of the images to which rarer findings are lifted, so that every part of a split holds positives;
        0 keeps the prevalence of ChestX-ray14.
    test_fraction : float
        Share of the images in the official test list, by patient.
    duplicates : int
        Pixel-identical copies under other names: half filed under the same patient, half under another one, and every
        other one of these in the other official list.
    bad_files : bool
        Plant two files each that are truncated, empty, RGBA, 16-bit and text. RGBA and 16-bit files are readable.
    """

    name: ClassVar[str] = "phantom"
    title: ClassVar[str] = "Phantom: drawn chest films after ChestX-ray14"
    task: ClassVar[Task] = "multilabel"
    synthetic: ClassVar[bool] = True
    licence: ClassVar[str] = "Apache-2.0 (drawn by this project)"
    citation: ClassVar[str] = (
        "Drawn by this project (pipeline/datasets/phantom.py). Prevalence and co-occurrence after X. Wang et al., "
        "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR 2017, 3462-3471."
    )
    url: ClassVar[str] = ""
    notes: ClassVar[tuple[str, ...]] = (
        "The images are synthetic: a program drew them from simple shapes, and no result on them says anything about "
        "patients or about how a model performs on real radiographs.",
        "With the default settings Cardiomegaly, Pneumonia, Edema, Emphysema, Fibrosis and Hernia are lifted from "
        "0.2-2.5 % to 3 % of the images, so that every part of the split holds positives.",
        "The official lists are drawn by patient and balanced for the rare findings; pixel-identical copies and "
        "damaged files are planted on purpose and listed in planted.json.",
    )

    images: int = Field(1500, ge=200, le=200_000)
    size: int = Field(256, ge=64, le=1024)
    seed: int = Field(7, ge=0, lt=2**32)
    min_prevalence: float = Field(0.03, ge=0.0, le=0.15)
    test_fraction: float = Field(0.25, ge=0.1, le=0.5)
    duplicates: int = Field(12, ge=0, le=40)
    bad_files: bool = True

    @property
    def classes(self) -> tuple[str, ...]:
        """The 14 findings of ChestX-ray14 in the published order."""
        return FINDINGS

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Draw the set into `folder`, or leave it if exactly this drawing is there.

        An earlier or interrupted drawing is removed first; other files in the folder are not touched. The stamp is
        removed first and written last, so that a folder with a stamp holds a whole drawing.

        Returns
        -------
        dict
            Format version, settings, and the numbers of images, patients, listed images, boxes and planted faults.
        """
        folder = Path(folder)
        stamp = folder / _STAMP
        wanted = {"format": _FORMAT, "settings": self.model_dump()}
        try:
            written = json.loads(stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            written = None
        whole = written is not None and {k: written.get(k) for k in wanted} == wanted
        if whole and len(_own_files(folder)) == written["files"]:
            return written["found"]
        stamp.unlink(missing_ok=True)
        for path in _own_files(folder):
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        _write_all(folder, self)
        found = wanted | self._found(folder)
        stamp_new = folder / f"{_STAMP}.new"
        files = len(_own_files(folder)) + 1
        stamp_new.write_text(json.dumps(wanted | {"files": files, "found": found}, indent=2) + "\n", encoding="utf-8")
        stamp_new.replace(stamp)
        return found

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the images in the order of their names; raises `DatasetError` if the set was not drawn."""
        folder = Path(folder)

        def images(name: str) -> Callable[[], bytes]:
            return (folder / "images" / name).read_bytes

        yield from iter_samples(
            read_entries(folder / _ENTRIES),
            images,
            read_list(folder / _TRAIN_VAL),
            read_list(folder / _TEST),
        )

    def boxes(self, folder: Path) -> pd.DataFrame:
        """Boxes of every lesion of every readable image, as `Dataset.boxes` describes."""
        return read_boxes(Path(folder) / _BOXES)

    def _found(self, folder: Path) -> dict[str, Any]:
        entries = read_entries(folder / _ENTRIES)
        planted = json.loads((folder / _PLANTED).read_text(encoding="utf-8"))
        return {
            "images": len(entries),
            "patients": int(entries["patient_id"].nunique()),
            "train_val_images": len(read_list(folder / _TRAIN_VAL)),
            "test_images": len(read_list(folder / _TEST)),
            "boxes": len(read_boxes(folder / _BOXES)),
            "planted_duplicates": len(planted["duplicates"]),
            "planted_bad_files": len(planted["bad_files"]),
        }
