"""The images and the split of a variant, made in its workplace."""

from __future__ import annotations

import pandas as pd

from pipeline.splitting.making import write_split
from pipeline.study.errors import UserError
from pipeline.study.prepared import read_dataset, read_samples
from pipeline.variants.settings import PrepareSections


class VariantError(UserError):
    """A variant cannot be compared with the study. The message names both."""


def keep_split(name: str, params: PrepareSections, samples: pd.DataFrame, split: pd.DataFrame) -> None:
    """Give the variant's images the parts that they have in the study, by their ids.

    Parameters
    ----------
    name : str
        Of the variant, for messages.
    params : PrepareSections
        As the variant has them.
    samples, split : DataFrame
        Of the study: `pipeline.study.prepared.read_samples` and `pipeline.study.parts.read_split`.

    Raises
    ------
    VariantError
        If an image of one is missing in the other: the same images could not be compared.
    """
    own = read_samples()
    ours, theirs = set(samples["sample_id"]), set(own["sample_id"])
    if ours != theirs:
        lost, gained = sorted(ours - theirs), sorted(theirs - ours)
        said = [f"lacks {len(lost)} images of the study ('{lost[0]}')"] if lost else []
        said += [f"has {len(gained)} that the study has not ('{gained[0]}')"] if gained else []
        raise VariantError(
            f"variants.{name}: {' and '.join(said)}, so that the two cannot be compared; data/study/prepared/"
            f"excluded.csv and variants/{name}/study/prepared/excluded.csv say why; near-duplicates and limits of size "
            "must be those of the study"
        )
    new_row = dict(zip(own["sample_id"].tolist(), own["row"].tolist()))
    id_of = dict(zip(samples["row"].tolist(), samples["sample_id"].tolist()))
    table = split.assign(row=[new_row[id_of[row]] for row in split["row"]]).sort_values("row", kind="stable")
    write_split(own, table.reset_index(drop=True), list(read_dataset().classes), params.split)
