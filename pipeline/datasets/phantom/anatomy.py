"""Shape of a thorax: outlines of lungs, heart and body in anatomical coordinates, without a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.phantom.cohort import Case

Points = NDArray[np.float64]


@dataclass
class Anatomy:
    """Shape of one thorax in anatomical coordinates: x to the image's right, y down, the image is about [0, 1]."""

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
        return round_off(np.array(points))


def thorax_of(body: np.random.Generator, pose: np.random.Generator, case: Case) -> Anatomy:
    """Thorax of a patient (`body`) as it is caught on one radiograph (`pose`)."""
    half, long = uniform(body, (0.315, 0.375)), uniform(body, (0.0, 1.0))
    ratio, mediastinum, lift = uniform(body, (0.0, 1.0)), uniform(body, (0.050, 0.066)), uniform(body, (0.0, 0.03))
    fat, vessels = uniform(body, (0.0, 1.0)), uniform(body, (0.75, 1.2))
    breath = uniform(pose, (-0.02, 0.025))
    supine = case.view == "AP"
    base = 0.715 + 0.05 * long + breath - (0.055 if supine else 0.0)
    return Anatomy(
        half=half * (0.98 if supine else 1.0),
        top=0.135 + 0.02 * float(pose.uniform(-1, 1)) + (0.015 if supine else 0.0),
        base={-1: base - lift, 1: base + 0.012},
        drop=0.095,
        ratio=(0.415 if supine else 0.385) + 0.085 * ratio,
        mediastinum=mediastinum * (1.2 if supine else 1.0),
        depth=uniform(pose, (0.36, 0.44)) if supine else uniform(pose, (0.42, 0.50)),
        vessels=vessels,
        fat=fat,
    )


def body_outline(thorax: Anatomy) -> Points:
    """Outline of neck, shoulders and flanks, shape (n, 2)."""
    flank = thorax.half + 0.055 + 0.05 * thorax.fat
    half = [(0.085, -0.20), (0.09, 0.03), (0.20, 0.095), (0.36, 0.13), (0.47, 0.22), (0.52, 0.38)]
    half += [(flank + 0.05, 0.45), (flank + 0.01, 0.56), (flank + 0.02, 0.80), (flank + 0.05, 1.25)]
    right = np.array(half)
    left = right * np.array([-1, 1])
    return round_off(np.concatenate([right, left[::-1]]) + np.array([0.5, 0]))


def blob(centre: tuple[float, float], rx: float, ry: float, rng: np.random.Generator, rough: float) -> Points:
    """Closed outline, shape (40, 2), around `centre` whose radius varies by the share `rough`."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = np.ones_like(angle)
    for k in (2, 3, 5):
        radius += rough / math.sqrt(k) * rng.uniform(-1, 1) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.stack([centre[0] + rx * radius * np.cos(angle), centre[1] + ry * radius * np.sin(angle)], 1)


def round_off(points: Points) -> Points:
    """Closed outline with its corners cut twice (Chaikin's scheme)."""
    for _ in range(2):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1).reshape(-1, 2)
    return points


def uniform(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """Draw one number, uniformly from `span`."""
    return float(rng.uniform(*span))
