"""Identical images, and the groups of images that must stay in one part of the split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def pixel_hash(image: NDArray[np.uint8]) -> str:
    """SHA-256 over shape and pixels, as 64 hex digits: the same for a picture stored in two formats or under two names.

    Parameters
    ----------
    image : uint8 [H, W] or [H, W, C]
        As decoded, before anything is changed.
    """
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


def groups(patient_ids: Sequence[str], hashes: Sequence[str]) -> list[str]:
    """Group images so that neither a patient nor a picture is in two groups.

    Groups are the connected components of the graph that joins every image with its patient and with its pixels: two
    patients who share one picture form one group with all their images.

    Parameters
    ----------
    patient_ids, hashes : sequence of str [N]
        Patient and `pixel_hash` of each image.

    Returns
    -------
    list of str [N]
        Group of each image, named after the smallest patient id in it.
    """
    if len(patient_ids) == 0:
        return []
    patients, patient = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
    pictures, picture = np.unique(np.asarray(hashes, dtype=str), return_inverse=True)
    nodes = len(patients) + len(pictures)
    edges = coo_array((np.ones(len(patient), np.uint8), (patient, len(patients) + picture)), shape=(nodes, nodes))
    _, component = connected_components(edges.tocsr(), directed=False)
    # `patients` is sorted, so the first patient of a component is its smallest.
    _, first = np.unique(component[: len(patients)], return_index=True)
    names = dict(zip(component[first].tolist(), patients[first].tolist(), strict=True))
    return [names[c] for c in component[patient].tolist()]


def duplicates_of(sample_ids: Sequence[str], hashes: Sequence[str]) -> list[str]:
    """Name, for each image, the first image with the same pixels.

    Parameters
    ----------
    sample_ids, hashes : sequence of str [N]
        Id and `pixel_hash` of each image.

    Returns
    -------
    list of str [N]
        Id of the first image with the same pixels, "" for that image itself.
    """
    first: dict[str, str] = {}
    return [
        "" if first.setdefault(pixels, sample) == sample else first[pixels]
        for sample, pixels in zip(sample_ids, hashes, strict=True)
    ]
