"""The 14 findings: what each changes in the anatomy, and how it is painted.

A painter gets the image in the making, the thorax, a generator of its own and the side that it prefers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.datasets.phantom.anatomy import Anatomy, Points, blob, uniform
from pipeline.datasets.phantom.film import Film

STRENGTH: dict[str, tuple[float, float]] = {
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


def reshape(
    thorax: Anatomy, findings: tuple[str, ...], rngs: dict[str, np.random.Generator], sides: dict[str, int]
) -> None:
    """Change the anatomy where a finding does; called before anything is drawn.

    Parameters
    ----------
    thorax : Anatomy
        Changed in place.
    findings : tuple of str
        Those of the case.
    rngs : dict
        The generator of each finding.
    sides : dict
        The side that each finding prefers: -1 image left, 1 image right.
    """
    if "Cardiomegaly" in findings:
        thorax.ratio = uniform(rngs["Cardiomegaly"], STRENGTH["Cardiomegaly"])
    if "Emphysema" in findings:
        grade = uniform(rngs["Emphysema"], STRENGTH["Emphysema"])
        thorax.half *= 1 + 0.05 * grade
        thorax.base = {side: low + 0.075 * grade for side, low in thorax.base.items()}
        thorax.drop *= 1 - 0.75 * grade
        thorax.ratio *= 1 - 0.22 * grade
        thorax.depth *= 1 + 0.22 * grade
    if "Atelectasis" in findings:
        thorax.lift[sides["Atelectasis"]] = uniform(rngs["Atelectasis"], (0.02, 0.07))


def _paint_atelectasis(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    # The raised diaphragm is part of `reshape`: it must be known before the lungs are drawn.
    strength = uniform(rng, STRENGTH["Atelectasis"])
    mask = np.zeros_like(film.air)
    curves: list[tuple[Points, float, float]] = []
    for _ in range(int(rng.integers(1, 4))):
        x, y = thorax.at(side, uniform(rng, (0.72, 0.93)), uniform(rng, (0.30, 0.60)))
        length, tilt = uniform(rng, (0.07, 0.11)), side * uniform(rng, (-0.25, 0.35))
        ends = np.array([[-length, -length * tilt], [0, 0.008], [length, length * tilt]])
        curves.append((ends + np.array([x, y]), uniform(rng, (0.014, 0.026)), 1.0))
    mask = np.maximum(mask, film.lines(curves, 0.003))
    if rng.random() < 0.6:
        inner = thorax.at(side, 0.68, 0.05)
        wedge = np.array([inner, thorax.at(side, 1.04, 0.05), thorax.at(side, 1.04, uniform(rng, (0.45, 0.75)))])
        mask = np.maximum(mask, film.fill(wedge, 0.008))
    film.fog(mask * strength)
    flat = replace(thorax, lift={-1: 0.0, 1: 0.0})
    volume_lost = np.clip(film.fill(flat.lung(side), 0.0035) - film.lungs[side], 0, 1)
    film.box("Atelectasis", np.maximum(mask * film.lungs[side], volume_lost))


def _paint_effusion(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    for each in (side, -side):
        if each != side and rng.random() > 0.35:
            continue
        height = uniform(rng, STRENGTH["Effusion"])
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


def _paint_infiltration(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = uniform(rng, STRENGTH["Infiltration"])
    texture = np.clip(0.75 + 0.45 * film.cloud(rng, 22), 0.2, 1.2)
    both = rng.random() < 0.45
    for each in (side, -side) if both else (side,):
        mask = np.zeros_like(film.air)
        for _ in range(int(rng.integers(2, 4))):
            centre = thorax.at(each, uniform(rng, (0.40, 0.88)), uniform(rng, (0.20, 0.70)))
            patch = blob(centre, uniform(rng, (0.055, 0.095)), uniform(rng, (0.055, 0.10)), rng, 0.35)
            mask = np.maximum(mask, film.fill(patch))
        mask = film.blur(mask, 0.022) * texture
        film.fog(mask * film.blur(film.lungs[each], 0.01) * strength)
        film.box("Infiltration", mask * film.lungs[each])


def _paint_mass(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    strength, radius = uniform(rng, STRENGTH["Mass"]), uniform(rng, (0.042, 0.085))
    centre = thorax.at(side, uniform(rng, (0.25, 0.75)), uniform(rng, (0.30, 0.75)))
    outline = blob(centre, radius, radius * uniform(rng, (0.85, 1.1)), rng, 0.16)
    mask = film.fill(outline, 0.005)
    film.fog(mask * strength)
    mask *= film.lungs[side]
    film.dense += mask * 0.07
    film.box("Mass", mask)


def _paint_nodule(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    for _ in range(int(rng.integers(1, 5))):
        each = side if rng.random() < 0.6 else -side
        strength, radius = uniform(rng, STRENGTH["Nodule"]), uniform(rng, (0.015, 0.029))
        centre = thorax.at(each, uniform(rng, (0.20, 0.85)), uniform(rng, (0.28, 0.85)))
        mask = film.fill(blob(centre, radius, radius, rng, 0.10), 0.003)
        film.fog(mask * strength)
        mask *= film.lungs[each]
        film.dense += mask * 0.06
        film.box("Nodule", mask)


def _paint_pneumonia(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = uniform(rng, STRENGTH["Pneumonia"])
    t = uniform(rng, (0.30, 0.85))
    centre = np.array(thorax.at(side, t, uniform(rng, (0.30, 0.60))))
    outline = blob(tuple(centre), uniform(rng, (0.085, 0.12)), uniform(rng, (0.09, 0.14)), rng, 0.28)
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


def _paint_pneumothorax(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    rim = uniform(rng, STRENGTH["Pneumothorax"])
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


def _paint_consolidation(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = uniform(rng, STRENGTH["Consolidation"])
    upper = rng.random() < 0.45
    fissure = uniform(rng, (0.42, 0.52) if upper else (0.56, 0.68))
    x, y = thorax.at(side, fissure, 0.5)
    slope = side * uniform(rng, (-0.10, 0.25))
    distance = film.y - (y + slope * (film.x - x))
    lobe = np.clip((-distance if upper else distance) / 0.007 + 0.5, 0, 1)
    centre = thorax.at(side, fissure + (-0.20 if upper else 0.22), uniform(rng, (0.35, 0.65)))
    outline = blob(centre, uniform(rng, (0.10, 0.14)), uniform(rng, (0.12, 0.17)), rng, 0.15)
    mask = film.fill(outline, 0.012)
    mask *= lobe
    film.fog(mask * strength)
    film.box("Consolidation", mask * film.lungs[side])


def _paint_edema(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = uniform(rng, STRENGTH["Edema"])
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


def _paint_fibrosis(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    strength = uniform(rng, STRENGTH["Fibrosis"])
    for each in (-1, 1):
        rings: list[tuple[Points, float, float]] = []
        angle = np.linspace(0, 2 * np.pi, 9)
        for _ in range(95):
            t, q = 1.08 - 0.55 * rng.random() ** 1.4, 1 - 0.55 * rng.random() ** 1.3
            x, y = thorax.at(each, t, q)
            radius, squash = uniform(rng, (0.006, 0.014)), uniform(rng, (0.5, 1.0))
            ring = np.stack([x + radius * np.cos(angle), y + squash * radius * np.sin(angle)], 1)
            rings.append((ring, 0.0045, uniform(rng, (0.5, 1.0))))
        net = film.lines(rings, 0.0012)
        haze = film.blur(net, 0.03)
        film.fog(np.clip(strength * (0.9 * net + 0.7 * haze), 0, 0.95))
        film.box("Fibrosis", haze * film.lungs[each], 0.3)


def _paint_pleural_thickening(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    strength, thick = uniform(rng, STRENGTH["Pleural_Thickening"]), uniform(rng, (0.030, 0.052))
    first, last = uniform(rng, (0.05, 0.35)), uniform(rng, (0.80, 1.05))
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


def _paint_hernia(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    strength, radius = uniform(rng, STRENGTH["Hernia"]), uniform(rng, (0.062, 0.095))
    x, y = 0.5 + uniform(rng, (-0.01, 0.05)), thorax.base[1] + 0.01 - radius * uniform(rng, (0.5, 0.9))
    sac = film.fill(blob((x, y), radius, radius * 0.95, rng, 0.06), 0.004)
    gas = film.fill(blob((x, y), radius * 0.78, radius * 0.74, rng, 0.05), 0.003)
    # Gas above, fluid below, a straight level between them.
    gas *= np.clip((y + 0.1 * radius - film.y) / 0.005 + 0.5, 0, 1)
    film.fog(sac * 0.9 * strength)
    film.dense += strength * (0.09 * sac - 0.26 * gas)
    film.box("Hernia", sac)


def _box_heart(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    film.box("Cardiomegaly", film.fill(thorax.heart(), 0.006))


def _box_lungs(film: Film, thorax: Anatomy, rng: np.random.Generator, side: int) -> None:
    film.vessels *= 0.6
    film.box("Emphysema", np.maximum(film.lungs[-1], film.lungs[1]))


PAINTERS: dict[str, Callable[[Film, Anatomy, np.random.Generator, int], None]] = {
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
"""The painter of each finding: it changes the fields of the image and adds its boxes."""
