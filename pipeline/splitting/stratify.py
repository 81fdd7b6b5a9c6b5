"""Iterative stratification of whole groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def stratify(
    group_ids: Sequence[str], labels: NDArray[np.uint8], fractions: Mapping[str, float], seed: int
) -> NDArray[np.str_]:
    """Deal groups to parts so that every class is spread as the images are.

    Iterative stratification, with a group in the place of a sample: the rarest class still undealt is dealt first.
    Images without a positive class count as a class of their own. Three things differ from the reference.

    * A group goes to the part that lacks most of the class relative to its share, with half the group already counted
      (Sainte-Laguë's rule), and the largest groups are dealt first. By the absolute lack, the first groups would all
      go to the largest part, and the other parts would be left with patients of one image each.
    * A part that has its share of images takes no more, so no part exceeds its share by more than a group, but for:
    * When only as many groups of a class are left as parts are without it, those parts get one each.

    Parameters
    ----------
    group_ids : sequence of str [N]
        Group of each image.
    labels : uint8 [N, K]
        0/1.
    fractions : mapping of str to float
        Share of the images of each part, summing to 1.
    seed : int
        Shuffles groups that are alike. The result does not depend on the order of the images.

    Returns
    -------
    str [N]
        Part of each image.

    References
    ----------
    K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, algorithm 1.
    """
    names, group = np.unique(np.asarray(group_ids, dtype=str), return_inverse=True)
    columns = np.column_stack([labels != 0, ~labels.any(axis=1)])
    counts = np.column_stack([np.bincount(group, column, len(names)) for column in columns.T]).astype(np.int64)
    sizes = np.bincount(group, minlength=len(names)).tolist()
    shuffled = np.random.default_rng(seed).permutation(len(names))

    parts = range(len(fractions))
    share = np.array(list(fractions.values()))
    # Plain lists: the loop below reads and changes single numbers, for which numpy is many times slower.
    lacking_images = (share * len(group)).tolist()
    wanted = (share[:, None] * counts.sum(axis=0)).tolist()
    lacking = [list(row) for row in wanted]
    dealt = np.zeros((len(fractions), counts.shape[1]), int).tolist()
    part_of = np.full(len(names), -1)

    while (undealt := part_of < 0).any():
        left = counts[undealt].sum(axis=0)
        rarest = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        members = shuffled[undealt[shuffled] & (counts[shuffled, rarest] > 0)]
        members = members[np.argsort(-counts[members, rarest], kind="stable")]
        for position, (member, held) in enumerate(zip(members.tolist(), counts[members].tolist(), strict=True)):
            without = [p for p in parts if dealt[p][rarest] == 0]
            open_parts = [p for p in parts if lacking_images[p] > 0] or list(parts)
            choice = without if 0 < len(members) - position <= len(without) else open_parts
            need = [(lacking[p][rarest] - held[rarest] / 2) / wanted[p][rarest] for p in choice]
            part = choice[need.index(max(need))]
            part_of[member] = part
            lacking_images[part] -= sizes[member]
            for column, count in enumerate(held):
                if count:
                    lacking[part][column] -= count
                    dealt[part][column] += count
    return np.array(list(fractions))[part_of[group]]
