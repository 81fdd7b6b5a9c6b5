"""The parts of the split as training, scoring and statistics read them."""

import numpy as np
import pandas as pd
import pytest

from pipeline.study.files import DATASET, PREPARED, SAMPLES, SPLIT, write_csv, write_json
from pipeline.study.parts import read_parts
from pipeline.uncertainty.bootstrap import patient_draws

N = 240


def test_what_must_not_cross_parts_is_drawn_as_one(tmp_path, monkeypatch):
    """Files of several "patients" that share an image are one unit of the bootstrap: column group_id, not patient_id.

    Twins in pairs, both right or both wrong: the standard error of the accuracy is that of half as many images, root 2
    of what drawing them one by one would make it.
    """
    monkeypatch.chdir(tmp_path)
    PREPARED.mkdir(parents=True)
    about = dict.fromkeys(("title", "licence", "citation", "url"), "")
    info = {"name": "drawn", "task": "multilabel", "classes": ["a"], "synthetic": True, **about}
    write_json(DATASET, info | {"patients_known": True, "notes": [], "source": {}})
    rows = np.arange(N)
    ids = {"sample_id": [f"i{i}" for i in rows], "patient_id": [f"p{i}" for i in rows]}
    twins = [f"g{i // 2}" for i in rows]
    table = pd.DataFrame({"row": rows, **ids, "group_id": twins, "duplicate_of": "", "width": 9, "height": 9})
    write_csv(SAMPLES, table.assign(official_split="", a=rows % 2))
    write_csv(SPLIT, pd.DataFrame({"row": rows, "part": "test", "copies": 1, "augmented": 0}))
    part = read_parts(["test"])["test"]
    assert part.patients.tolist() == twins

    right = np.repeat(np.random.default_rng(0).random(N // 2) < 0.8, 2)
    counts, index = patient_draws(part.patients, 4000, 0)
    weights = counts[:, index].astype(float)
    drawn = (weights * right).sum(axis=1) / weights.sum(axis=1)
    p = right.mean()
    assert drawn.std() == pytest.approx(np.sqrt(p * (1 - p) / (N / 2)), rel=0.04)
    one_by_one = patient_draws(table["patient_id"].to_numpy(str), 4000, 0)[0]
    assert (one_by_one * right).sum(axis=1).std() / N == pytest.approx(np.sqrt(p * (1 - p) / N), rel=0.04)
