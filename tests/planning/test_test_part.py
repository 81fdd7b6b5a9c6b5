"""What the test part allows, before training: counted by hand, and against Newcombe's own figures."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline.planning.test_part import class_plans, test_part
from pipeline.study.parts import Part
from pipeline.uncertainty.sample_size import c_statistic_error


def part(targets, patients):
    n = len(patients)
    zeros = np.zeros(n, np.int64)
    return Part(np.arange(n), np.asarray(targets, np.uint8), np.asarray(patients, dtype=str), zeros + 1, zeros)


def test_patients_are_counted_and_not_images():
    of = part([[1, 0]] * 12 + [[1, 1]] * 3 + [[0, 0]] * 45, [f"p{i // 3}" for i in range(60)])
    common, rare = class_plans(of, ("common", "rare"))
    assert (common.positive, common.negative) == (5, 15)
    assert (rare.positive, rare.negative) == (1, 19)
    assert common.refused
    assert common.half_widths[0] == pytest.approx(1.96 * c_statistic_error(20, 0.25, 0.8), rel=1e-4)
    assert common.half_widths[1] < common.half_widths[0] < rare.half_widths[0]


def test_a_class_that_is_not_there_has_no_numbers():
    (never,) = class_plans(part([[0]] * 30, [f"p{i}" for i in range(30)]), ("never",))
    assert never.refused
    assert np.isnan([*never.half_widths, never.needed]).all()
    (enough,) = class_plans(part([[1], [0]] * 20, [f"p{i}" for i in range(40)]), ("x",))
    assert not enough.refused
    assert 2 * 1.96 * c_statistic_error(enough.needed, 0.5, 0.8) == pytest.approx(0.1, abs=1e-3)


def test_people_are_counted_as_in_the_reports_and_those_who_share_an_image_are_named(tmp_path, monkeypatch):
    module = sys.modules[test_part.__module__]
    there = tmp_path / "there"
    there.touch()
    groups = ["g0", "g0", *(f"g{i}" for i in range(1, 39))]
    samples = pd.DataFrame({"patient_id": [f"p{i}" for i in range(40)]})
    info = SimpleNamespace(patients_known=True, classes=("x",))
    for name, value in {
        **dict.fromkeys(("DATASET", "SAMPLES", "SPLIT"), there),
        "read_dataset": lambda: info,
        "read_samples": lambda: samples,
        "read_parts": lambda names: {"test": part([[1], [0]] * 20, groups)},
    }.items():
        monkeypatch.setattr(module, name, value)
    first = test_part().splitlines()[0]
    assert first == "test part: 40 images of 40 patients (39 where those who share an image count as one, as below)"
    samples["patient_id"] = groups
    assert test_part().splitlines()[0] == "test part: 40 images of 39 patients"


def test_before_the_split_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert test_part() == "test part: known after the split"


test_part.__test__ = False
