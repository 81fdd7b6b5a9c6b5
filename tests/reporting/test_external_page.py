"""The page of external test sets, of results made here: grades, and classes that are known of different images."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from pipeline.external.results import External
from pipeline.external.scoring import on, score_pair
from pipeline.reporting import page
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.views import external
from pipeline.scoring.part import PartLogits
from pipeline.study.predictions import METRIC_COLUMNS

GRADES = ("none", "mild", "severe")
ABOUT = {
    "dataset": {
        "title": "Elsewhere",
        "task": "multiclass",
        "synthetic": False,
        "patients_known": True,
        "licence": "own",
        "notes": [],
    },
    "mapping": {"shared": list(GRADES), "only_here": [], "only_there": []},
    "pairs": {name: name for name in GRADES},
    "unmapped": "exclude",
    "compared": list(GRADES),
    "not_compared": {},
    "images": {"prepared": 80, "unreadable": 0, "left_out": {}, "used": 80, "groups": 80},
    "positives": dict.fromkeys(GRADES, 20),
    "known": dict.fromkeys(GRADES, 80),
    "overlap": {},
    "skipped": {},
}


def part(n, seed, task="multiclass", share=None):
    rng = np.random.default_rng(seed)
    targets = np.eye(3, dtype=np.uint8)[rng.choice(3, n, p=share)]
    logits = (targets * 1.5 + rng.normal(size=(2, n, 3))).astype(np.float32)
    return PartLogits(logits, targets, np.array([f"p{i}" for i in range(n)]))


def rendered(folder, task, here, there, about):
    """Write the page of one configuration of two seeds; return its text."""
    compared = about["compared"]
    table = score_pair(
        task,
        GRADES,
        ["1", "2"],
        part(90, 1),
        *(on(side, task, GRADES, compared) if task == "multiclass" else side for side in (here, there)),
        {"draws": 50, "confidence": 0.95, "seed": 0},
        ordered=task == "multiclass",
        compared=compared if len(compared) < len(GRADES) else None,
    ).assign(model="m", loss="ce")
    own = table[table["part"] == "here"].assign(part="test", ensemble="")
    results = Results("m", "ce", (1, 2), own.reindex(columns=METRIC_COLUMNS))
    study = StudyResults(
        "Eyes",
        task,
        GRADES,
        (results,),
        external=(
            External("x", about, table, pd.DataFrame(), pd.DataFrame(), pd.DataFrame(columns=["model", "loss"])),
        ),
    )
    with page.about(study):
        external.render(study, folder)
    return re.sub(" +", " ", (folder / "external.md").read_text())


def test_grades_have_their_kappa_and_their_distance_on_both_sides(tmp_path):
    here, there = part(100, 2), part(80, 3)
    text = rendered(tmp_path, "multiclass", here, there, ABOUT)
    sides = [
        np.mean([cohen_kappa_score(p.targets.argmax(1), z.argmax(1), weights="quadratic") for z in p.logits])
        for p in (here, there)
    ]
    off = [np.abs(p.targets.argmax(1) - p.logits.argmax(2)).mean() for p in (here, there)]
    found = {
        name: re.search(rf"\| {name} \| ([\d.]+) .*?\| ([\d.]+) ", text).groups() for name in ("QWK", "MAE, grades")
    }
    assert [float(each) for each in found["QWK"]] == pytest.approx(sides, abs=5e-4)
    assert [float(each) for each in found["MAE, grades"]] == pytest.approx(off, abs=5e-4)
    assert "| Within one grade | " in text


def test_means_on_the_page_are_over_the_classes_compared(tmp_path):
    here, there = part(100, 2), part(80, 3, share=[0.5, 0.5, 0])
    about = ABOUT | {"compared": ["none", "mild"], "not_compared": {"severe": "no positive image in the external set"}}
    text = rendered(tmp_path, "multiclass", here, there, about)
    means = []
    for z in there.logits:
        truth, decided = there.targets.argmax(1), z.argmax(1)
        of = [2 * ((truth == k) & (decided == k)).sum() / ((truth == k).sum() + (decided == k).sum()) for k in (0, 1)]
        means.append(np.mean(of))
    assert float(re.search(r"\| F1 \| .*?\| ([\d.]+) ", text).group(1)) == pytest.approx(np.mean(means), abs=5e-4)


def test_shares_are_of_the_images_whose_label_is_known(tmp_path):
    here, there = part(100, 2), part(80, 3)
    whole = rendered(tmp_path / "whole", "multilabel", here, there, ABOUT)
    assert "Shares are of 100 images here and 80 images there." in whole
    all_of_class = here.targets[:, 0].sum()
    assert f"| none | none | {all_of_class} ({all_of_class}.0 %) | 20 (25.0 %) | yes |" in whole
    targets = here.targets.astype(np.float32)
    targets[:10, 0] = np.nan
    known = dict(zip(GRADES, (80, 60, 80)))
    text = rendered(
        tmp_path / "some",
        "multilabel",
        here._replace(targets=targets),
        there,
        ABOUT | {"known": known},
    )
    n = int(np.nansum(targets[:, 0]))
    assert f"| none | none | {n} of 90 ({n / 0.9:.1f} %) | 20 of 80 (25.0 %) | yes |" in text
    assert f" of 100 ({here.targets[:, 1].sum()}.0 %) | 20 of 60 (33.3 %) | yes |" in text
    assert "Shares are of the images with a known label of the class." in text
