"""What heat maps, their scores and their checks are called in files; without torch, as the reports read them."""

from __future__ import annotations

from pipeline.study.runs import Configuration

METRICS = ("pointing", "energy", "overlap", "pixel_ap")
MEAN = "mean"
"""The map of a configuration: the mean over its training runs."""
BASELINES = ("mean box", "centre", "uniform")
EVERY = "every class"
AGREEMENT, RANDOM, DELETION, INSERTION, BORDERS = "agreement", "random weights", "deletion", "insertion", "border"
"""The checks."""
OTHER_IMAGES = "none: another image's map"
MAP, RANDOM_ORDER = "map", "random order"
"""Steps of checks."""


def explanation_name(configuration: Configuration, method: str) -> str:
    """Name of the heat maps of a configuration by a method, the same as DVC's ``${key}``."""
    return f"{configuration}-{method}"
