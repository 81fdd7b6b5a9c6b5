"""Draw one radiograph of a case: anatomy, findings, bones, equipment, exposure."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.phantom.anatomy import Anatomy, Points, blob, body_outline, thorax_of, uniform
from pipeline.datasets.phantom.cohort import Case
from pipeline.datasets.phantom.film import Array, Box, Film, add, plateau, ramp
from pipeline.datasets.phantom.findings import PAINTERS, reshape
from pipeline.datasets.shared.nih_layout import FINDINGS

LUNGS = "lungs"
"""Among the masks of an image: the lungs as far as neither heart nor mediastinum hides them."""


def draw(case: Case, size: int) -> tuple[NDArray[np.uint8], list[Box]]:
    """Draw one image, and say where its findings are: `draw_with_masks`, without the masks."""
    image, boxes, _ = draw_with_masks(case, size)
    return image, boxes


def draw_with_masks(case: Case, size: int) -> tuple[NDArray[np.uint8], list[Box], dict[str, NDArray[np.bool_]]]:
    """Draw one image.

    Every finding has a generator of its own, so that the same case with one finding less differs by that finding only.

    Parameters
    ----------
    case : Case
        Patient, view, findings and seeds.
    size : int
        Width and height in pixels.

    Returns
    -------
    image : ndarray of uint8, shape (size, size)
        Bright is dense, as on a radiograph.
    boxes : list of (finding, x, y, width, height)
        One or more for every finding of the case; fractions in [0, 1], x and y at the top left corner.
    masks : dict of str to bool array, shape (size, size)
        Of the lungs, as `LUNGS`, and of every finding of the case: what its boxes are drawn around.
    """
    film, thorax, (pose, bones, tree, grain, kit), rngs, sides = _posed(case, size)
    heart = film.fill(thorax.heart(), 0.006)
    film.vessels = _vessel_tree(film, thorax, tree) * np.float32(0.20 * thorax.vessels)
    lungs = np.maximum(film.lungs[-1], film.lungs[1])
    seen = _seen(film, heart)
    shade = 1 + 0.06 * film.cloud(pose, 5)
    film.air = lungs
    film.air *= 1 - 0.86 * heart
    film.air *= shade
    film.air *= np.float32(thorax.depth)
    for finding in case.findings:
        PAINTERS[finding](film, thorax, rngs[finding], sides[finding])
    image = _develop(film, thorax, case, heart, pose, bones, kit, grain)
    return image, film.boxes, {LUNGS: seen, **film.masks}


def lungs(case: Case, size: int) -> NDArray[np.bool_]:
    """Return the mask `LUNGS` of `draw_with_masks` alone, which takes a tenth of the time: bool [size, size]."""
    film, thorax = _posed(case, size)[:2]
    return _seen(film, film.fill(thorax.heart(), 0.006))


def _seen(film: Film, heart: Array) -> NDArray[np.bool_]:
    """Return the lungs as far as the heart does not hide them; the mediastinum lies between their outlines."""
    return np.asarray(np.maximum(film.lungs[-1], film.lungs[1]) * (1 - heart) > 0.5)


class HeartSize(NamedTuple):
    """How large the heart of an image is drawn: its width as a share of the image, and of the width of both lungs."""

    width: float
    ratio: float


def heart_size(case: Case) -> HeartSize:
    """Measure the heart that `draw` draws, on its outline."""
    thorax, matrix, *_ = _shape(case)
    outlines = thorax.heart(), np.concatenate([thorax.lung(-1), thorax.lung(1)])
    heart, lungs = (float(np.ptp(points @ matrix[0, :2])) for points in outlines)
    return HeartSize(heart, heart / lungs)


def _posed(
    case: Case, size: int
) -> tuple[Film, Anatomy, list[np.random.Generator], dict[str, np.random.Generator], dict[str, int]]:
    """Return a film with lungs, the thorax, generators of the image and of each finding, and each finding's side."""
    thorax, matrix, general, rngs, sides = _shape(case)
    film = Film(size, matrix)
    for side in (-1, 1):
        film.lungs[side] = film.fill(thorax.lung(side), 0.0035)
    return film, thorax, general, rngs, sides


_Drawn = tuple[Anatomy, NDArray[np.float64], list[np.random.Generator], dict[str, np.random.Generator], dict[str, int]]


def _shape(case: Case) -> _Drawn:
    """Return anatomy and pose of a case, the generators of what is drawn next and of findings, and their sides."""
    # SeedSequence.spawn counts its children; a fresh copy makes the drawing repeatable.
    own = np.random.SeedSequence(case.image_seed.entropy, spawn_key=case.image_seed.spawn_key).spawn(5 + len(FINDINGS))
    kin = np.random.SeedSequence(case.body_seed.entropy, spawn_key=case.body_seed.spawn_key).spawn(2)
    body, habit = (np.random.default_rng(s) for s in kin)
    general = [np.random.default_rng(s) for s in own[:5]]
    rngs = {f: np.random.default_rng(s) for f, s in zip(FINDINGS, own[5:], strict=True)}
    # The side of a lesion is the patient's, its form the image's: follow-ups resemble each other and change.
    sides = {f: 1 if habit.random() < 0.5 else -1 for f in FINDINGS}
    thorax = thorax_of(body, general[0], case)
    reshape(thorax, case.findings, rngs, sides)
    return thorax, _pose(general[0]), general, rngs, sides


def _develop(
    film: Film,
    thorax: Anatomy,
    case: Case,
    heart: Array,
    pose: np.random.Generator,
    bones: np.random.Generator,
    kit: np.random.Generator,
    grain: np.random.Generator,
) -> NDArray[np.uint8]:
    """Put tissue, bones, air and lesions together and expose the image."""
    supine = case.view == "AP"
    body = film.fill(body_outline(thorax), 0.006)
    tissue = ramp(film.y, thorax.base[1] - 0.06, 0.18)
    tissue *= 0.24
    tissue += 0.60
    add(tissue, film.cloud(bones, 6), 0.03)
    add(tissue, plateau((film.x - 0.5) / (thorax.mediastinum * 1.05)), 0.15)
    # The upper heart and the great vessels fade into the mediastinum.
    heart *= ramp(film.y, 0.32, 0.20)
    add(tissue, heart, 0.11)
    wave = film.y * 46 + uniform(bones, (0, 3))
    np.sin(wave, out=wave)
    wave *= wave
    cubed = wave * wave
    cubed *= wave
    cubed *= plateau((film.x - 0.5) / 0.035)
    add(tissue, cubed, -0.035)
    trachea = plateau((film.x - 0.5) / 0.017)
    trachea *= ramp(film.y, 0.40, -0.05)
    add(tissue, trachea, -0.07)
    gas = bones.random()
    if gas < 0.7:
        bubble = blob((0.60, thorax.base[1] + 0.10), 0.05 + 0.03 * gas, 0.025 + 0.02 * gas, bones, 0.2)
        add(tissue, film.fill(bubble, 0.006), -0.20)
    if case.sex == "F" and case.age > 14:
        for side in (-1, 1):
            nipple = 0.5 + side * 0.21, thorax.base[side] - 0.02
            cup = blob(nipple, 0.13, 0.10 + 0.03 * thorax.fat, bones, 0.05)
            add(tissue, film.fill(cup, 0.010), 0.07)
    add(tissue, _ribs(film, thorax, bones), 0.085)
    image = tissue
    image *= body
    film.air *= film.clear
    image -= film.air
    film.vessels *= film.air
    add(image, film.vessels, 1.6 / thorax.depth)
    image += film.dense
    if supine and kit.random() < 0.7:
        add(image, _equipment(film, thorax, kit), 0.30)
    gamma = uniform(pose, (0.85, 1.25))
    contrast = uniform(pose, (0.72, 0.92) if supine else (0.85, 1.05))
    offset = uniform(pose, (0.0, 0.12) if supine else (-0.03, 0.08))
    np.clip(image, 0, 1.15, out=image)
    cv2.pow(image, gamma, image)
    image *= contrast
    image += offset
    add(image, film.cloud(pose, 3), 0.04)
    add(image, grain.standard_normal((film.size, film.size), dtype=np.float32), 0.022 if supine else 0.015)
    image *= 255
    np.clip(image, 0, 255, out=image)
    pixels = image.astype(np.uint8)
    corner = int(film.size * 0.93), int(film.size * 0.10)
    thick = max(1, film.size // 256)
    cv2.putText(pixels, "L", corner, cv2.FONT_HERSHEY_SIMPLEX, film.size / 512, 235, thick, cv2.LINE_AA)
    return pixels


def _pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """Affine map, shape (2, 3), from anatomical coordinates to fractions of the image."""
    angle = math.radians(float(rng.normal(0, 2.2)))
    scale = np.array([rng.uniform(0.94, 1.10), rng.uniform(0.94, 1.10)])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
    centre = np.array([0.5, 0.48])
    shift = centre + np.array([rng.uniform(-0.035, 0.035), rng.uniform(-0.03, 0.04)])
    return np.column_stack([turn, shift - turn @ centre])


def _ribs(film: Film, thorax: Anatomy, rng: np.random.Generator) -> Array:
    """Posterior ribs (clear) and anterior ribs (faint) of both sides, with the clavicles."""
    curves: list[tuple[Points, float, float]] = []
    gap, start = uniform(rng, (0.066, 0.076)), thorax.top + uniform(rng, (-0.015, 0.02))
    s = np.linspace(0, 1, 12)
    for side in (-1, 1):
        for i in range(9):
            y0 = start + i * gap
            reach = float(thorax.width((y0 + 0.07 - thorax.top) / (thorax.base[side] - thorax.top))) + 0.008
            y = y0 - 0.020 * np.sin(np.pi * np.minimum(s * 1.6, 1)) + (0.055 + 0.010 * i) * s**2
            curves.append((np.stack([0.5 + side * (0.03 + (reach - 0.03) * s), y], 1), 0.019, 0.9))
            front = np.stack([0.5 + side * (reach - (reach - 0.09) * s), y[-1] + 0.12 * s**0.8], 1)
            curves.append((front, 0.020, 0.45))
        lift = uniform(rng, (-0.02, 0.025))
        x = 0.5 + side * (0.035 + 0.36 * s)
        curves.append((np.stack([x, thorax.top + 0.055 + lift - 0.10 * s + 0.03 * np.sin(3 * s)], 1), 0.026, 1.0))
    return film.lines(curves, 0.0035)


def _vessel_tree(film: Film, thorax: Anatomy, rng: np.random.Generator) -> Array:
    """Hila and branching vessels that taper towards the pleura."""
    curves: list[tuple[Points, float, float]] = []
    s = np.linspace(0, 1, 6)[:, None]
    for side in (-1, 1):
        hilum = np.array(thorax.at(side, 0.50 if side < 0 else 0.47, 0.10))
        for angle in np.linspace(-1.30, 1.50, 7) + rng.normal(0, 0.14, 7):
            length = 0.15 + 0.13 * abs(math.sin(angle)) + uniform(rng, (-0.03, 0.03))
            toward = np.array([side * math.cos(angle), math.sin(angle)])
            bend = np.array([-toward[1], toward[0]]) * uniform(rng, (-0.07, 0.07))
            start = hilum + np.array([0.0, 0.035 * math.sin(angle)])
            stem = start + toward * length * s + bend * (s * s)
            curves += [(stem[:3], 0.010, 0.9), (stem[2:5], 0.007, 0.65), (stem[4:], 0.005, 0.45)]
            for turn in (-0.6, 0.6):
                fork = angle + turn + uniform(rng, (-0.2, 0.2))
                toward_fork = np.array([side * math.cos(fork), math.sin(fork)])
                twig = stem[int(rng.integers(1, 4))] + toward_fork * length * uniform(rng, (0.3, 0.6)) * s[:4]
                curves += [(twig, 0.005, 0.5)]
        curves.append((hilum + np.array([[0, -0.035], [side * 0.012, 0.0], [0, 0.04]]), 0.026, 0.8))
    return film.lines(curves, 0.003)


def _equipment(film: Film, thorax: Anatomy, rng: np.random.Generator) -> Array:
    """Electrocardiogram leads and a tube, as on bedside radiographs."""
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
