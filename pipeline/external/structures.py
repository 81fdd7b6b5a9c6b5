"""Which structure of an external set of segmentation is which of the study, several of theirs to one if need be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import Task
from pipeline.external.classes import mapping_problems
from pipeline.external.settings import ExternalSet

TASK = "segmentation"


def structure_problems(
    where: str, ours: Sequence[str] | None, theirs_task: Task, theirs: Sequence[str] | None, settings: ExternalSet
) -> list[str]:
    """Name what an external set of a study of segmentation cannot be, or cannot ask for, one line each.

    Parameters
    ----------
    where : str
        Key path of the set, as ``external.clinic``.
    ours, theirs : sequence of str or None
        Structures of the study and of the set; None where they are not known yet.
    theirs_task
        Of the set.
    settings : ExternalSet
        What stands below `where`.
    """
    if theirs_task != TASK:
        return [f"{where}.dataset: '{settings.dataset}' has no masks as it is set up here; must have task: {TASK}"]
    lines = []
    if settings.unmapped is not None:
        lines.append(
            f"{where}.unmapped: '{settings.unmapped}' is about images of other classes; must be empty for {TASK}"
        )
    if "recalibrate" in settings.model_fields_set and settings.recalibrate:
        lines.append(
            f"{where}.recalibrate: {settings.recalibrate}; must be empty or 0 for {TASK}, where nothing is calibrated"
        )
    lines += [
        f"{where}.classes: '{their}' stands for no structure of the study; must name one, or be left out"
        for their, our in settings.classes.items()
        if our is None
    ]
    named = {their: our for their, our in settings.classes.items() if our is not None}
    if lines and not named:
        return lines
    return lines + mapping_problems(where, TASK, ours, theirs_task, theirs, named, None)


def pairs_of(ours: Sequence[str], theirs: Sequence[str], given: Mapping[str, str | None]) -> dict[str, str]:
    """Return theirs to ours: what the settings say, or equal names."""
    return {their: our for their, our in given.items() if our} or {name: name for name in theirs if name in ours}


def joined(
    masks: NDArray[np.uint8], theirs: Sequence[str], pairs: Mapping[str, str], ours: Sequence[str]
) -> NDArray[np.bool_]:
    """Return the masks of structures of the study: where any of those that are mapped to one is.

    Parameters
    ----------
    masks : uint8 [N, H, W, T]
        Of the set; 0 is outside.
    theirs : sequence of str [T]
        Structures of the set.
    pairs : mapping of str to str
        Theirs to ours.
    ours : sequence of str [K]
        Of the study, each of which any of theirs is mapped to.

    Returns
    -------
    bool [N, K, H, W]
    """
    of_theirs = np.moveaxis(np.asarray(masks) > 0, -1, 1)
    return np.stack(
        [of_theirs[:, [i for i, their in enumerate(theirs) if pairs.get(their) == name]].any(axis=1) for name in ours],
        axis=1,
    )
