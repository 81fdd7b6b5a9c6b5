"""The metrics of subgroups."""

import numpy as np
import pandas as pd
import pytest

from pipeline.scoring.evaluation import evaluate
from pipeline.scoring.rows import COLUMNS
from pipeline.scoring.subgroups import age_bands, evaluate_subgroups
from tests.scoring.example import CLASSES, part, pick


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_subgroups_are_scored_like_a_part_of_their_own(task):
    logits, targets, patients = part(task, 2, n=400)
    groups = np.array(["F", "M", "F", "M", "F"] * 80, dtype=object)
    groups[:7] = [None, "", np.nan, None, "", "", ""]
    of = logits, targets, patients
    table = evaluate_subgroups(task, CLASSES, [1, 2, 3], of, groups, draws=400, seed=4).metrics
    assert table.columns.tolist() == ["subgroup", *COLUMNS]
    assert table["subgroup"].drop_duplicates().tolist() == ["F", "M", "unknown"]
    here = groups == "F"
    whole = evaluate(
        task,
        CLASSES,
        [1, 2, 3],
        part(task, 1),
        (logits[:, here], targets[here], patients[here]),
        draws=400,
        seed=4,
    ).metrics
    names = ("auroc", "average_precision") if task == "multilabel" else ("accuracy", "balanced_accuracy")
    want = pick(whole, part="test")
    want = want[want["metric"].isin(names)].reset_index(drop=True)
    got = pick(table, subgroup="F")[COLUMNS].reset_index(drop=True)
    ends, others = ["ci_low", "ci_high"], [c for c in COLUMNS if c not in ("ci_low", "ci_high", "note")]
    pd.testing.assert_frame_equal(got[others], want[others], check_exact=True)
    # The draws are those of the whole part, so that another number of its patients is in each.
    assert (got["ci_low"].isna() == want["ci_low"].isna()).all()
    width = (want["ci_high"] - want["ci_low"]).to_numpy()[:, None]
    assert (np.abs(got[ends] - want[ends]) < 0.25 * width + 0.01)[want["ci_low"].notna()].all(axis=None)
    few = pick(table, subgroup="unknown")
    assert few[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert set(few["note"]) == {f"fewer than 10 patients ({len(set(patients[:7]))})"}
    assert (few["n"] == 7).all()
    assert len(few) == 2 * 4


def test_age_bands():
    ages = [0, 17.9, 18, 39, 40, 64, 65, 79, 80, 120, 121, 414, -1, np.nan]
    want = ["0-17"] * 2 + ["18-39"] * 2 + ["40-64"] * 2 + ["65-79"] * 2 + ["80+"] * 2 + ["unknown"] * 4
    assert age_bands(ages).tolist() == want
