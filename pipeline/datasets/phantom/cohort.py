"""The cohort: patients, visits, findings and official lists of the drawn set, and the faults planted in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from pipeline.datasets.shared.nih_layout import FINDINGS

TOTAL = 112_120
"""Images of ChestX-ray14."""
COUNTS = dict(
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

BAD_KINDS = ("truncated", "empty", "rgba", "16-bit", "text")
"""Kinds of damaged and unusual files, two planted of each."""
UNREADABLE = ("truncated", "empty", "text")
"""Those of `BAD_KINDS` that hold no image."""


class Settings(Protocol):
    """What a drawing depends on: the fields of `pipeline.datasets.phantom.dataset.Data`, which are described there."""

    @property
    def images(self) -> int:
        """Rows of the set, copies and damaged files included."""

    @property
    def size(self) -> int:
        """Width and height in pixels."""

    @property
    def seed(self) -> int:
        """Seed of everything that is drawn."""

    @property
    def masked(self) -> str:
        """Structures whose masks are drawn beside the images: "lungs", "findings", or "" for none."""

    @property
    def min_prevalence(self) -> float:
        """Share of the images to which rarer findings are lifted, in [0, 1]."""

    @property
    def test_fraction(self) -> float:
        """Share of the images in the official test list, in [0, 1]."""

    @property
    def duplicates(self) -> int:
        """Copies to plant."""

    @property
    def bad_files(self) -> bool:
        """Whether to plant damaged files."""


@dataclass(frozen=True)
class Case:
    """One drawn image: whose it is, what it shows and from which seeds."""

    patient: int
    follow_up: int
    age: int
    sex: str
    view: str
    findings: tuple[str, ...]
    body_seed: np.random.SeedSequence
    image_seed: np.random.SeedSequence

    @property
    def name(self) -> str:
        """File name, as published: patient (8 digits) and number of the visit (3 digits)."""
        return f"{self.patient:08d}_{self.follow_up:03d}.png"


@dataclass(frozen=True)
class Cohort:
    """Drawn images, the planted faults among them, and the patients of the official test list."""

    cases: list[Case]
    copies: list[tuple[str, Case]]
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
    return np.maximum(np.array([COUNTS[f] for f in FINDINGS]) / TOTAL, min_prevalence)


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


def sample_cohort(settings: Settings, root: np.random.SeedSequence) -> Cohort:
    """Draw patients, visits, findings, official lists and planted faults.

    Parameters
    ----------
    settings : Settings
        How many images, and what is planted; its `seed` and `size` are not read.
    root : SeedSequence
        Source of every generator; its children are spawned here.

    Returns
    -------
    Cohort
        The same for the same settings and a fresh sequence of the same entropy.
    """
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

    bodies, images = root.spawn(people), root.spawn(total)
    cases = [
        Case(
            patient=int(numbers[p]),
            follow_up=int(follow_up[i]),
            age=int(age[p]) + int(follow_up[i]) // 3,
            sex=str(sex[p]),
            view="AP" if bedside[i] else "PA",
            findings=tuple(f for f, there in zip(FINDINGS, positive[i], strict=True) if there),
            body_seed=bodies[p],
            image_seed=images[i],
        )
        for i, p in enumerate(person)
    ]
    chosen = _test_people(rng, person, positive, settings.test_fraction)
    test_patients = {int(numbers[p]) for p in chosen}
    bad, copies = _plant(rng, cases, test_patients, settings)
    return Cohort(cases, copies, bad, test_patients)


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
    share = {f: COUNTS[f] / TOTAL for f in FINDINGS}
    grid = np.linspace(-0.6, 0.9, 601)
    correlation = np.eye(len(FINDINGS))
    for (a, b), count in pair_counts().items():
        joint = _both_positive(-ndtri(share[a]), -ndtri(share[b]), grid)
        i, j = FINDINGS.index(a), FINDINGS.index(b)
        correlation[i, j] = correlation[j, i] = np.interp(count / TOTAL, joint, grid)
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


def _plant(
    rng: np.random.Generator,
    cases: list[Case],
    test_patients: set[int],
    settings: Settings,
) -> tuple[dict[str, str], list[tuple[str, Case]]]:
    """Choose the damaged files and the copies.

    Images with a finding that was lifted to the least prevalence are left alone, so that no fault removes one of the
    few positives. A copy keeps the findings, the view and the seeds of its original and gets a name of its own.
    """
    rare = {f for f in FINDINGS if COUNTS[f] / TOTAL < max(settings.min_prevalence, 0.03)}
    free = [c for c in cases if not rare & set(c.findings)]
    order = [free[i] for i in rng.permutation(len(free))]
    bad: dict[str, str] = {}
    if settings.bad_files:
        for kind in BAD_KINDS * 2:
            bad[order.pop().name] = kind

    last: dict[int, int] = {}
    for case in cases:
        last[case.patient] = max(last.get(case.patient, -1), case.follow_up)
    owners = {case.patient: case for case in cases}
    patients = sorted(owners)
    copies: list[tuple[str, Case]] = []
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
        copy = Case(
            patient=owner.patient,
            follow_up=last[owner.patient],
            age=owner.age,
            sex=owner.sex,
            view=original.view,
            findings=original.findings,
            body_seed=original.body_seed,
            image_seed=original.image_seed,
        )
        copies.append((original.name, copy))
    return bad, copies
