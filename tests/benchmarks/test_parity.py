"""The comparison with a plain script: arms differ in one thing, differences are paired, a stopped run goes on."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from benchmarks import parity, plain
from pipeline.learning.settings import Train

TRAIN = Train(
    epochs=2,
    batch_size=4,
    warmup_epochs=0.5,
    augment={"horizontal_flip": 0.0, "rotation": 5, "brightness": 0.1, "contrast": 0.2},
)


@pytest.mark.parametrize("arm", parity.ARMS)
def test_an_arm_differs_in_what_it_names_alone(arm):
    before, after = TRAIN.model_dump(), parity.settings_of(TRAIN, arm).model_dump()
    changed = {key for key in before if before[key] != after[key]}
    assert changed == set(parity.ARMS[arm]) - {"drop_path"}  # of the model
    if isinstance(parity.ARMS[arm].get("augment"), dict):
        assert after["augment"] == before["augment"] | parity.ARMS[arm]["augment"]


def test_the_interval_is_that_of_a_paired_t_test():
    one, other = np.array([0.86, 0.84, 0.85, 0.87]), np.array([0.84, 0.83, 0.86, 0.84])
    expected = stats.ttest_rel(one, other).confidence_interval()
    assert parity.interval(one - other) == f"{(one - other).mean():+.3f} [{expected.low:+.3f}, {expected.high:+.3f}]"
    assert parity.interval([0.01]) == "+0.010 [—]"


def test_only_seeds_that_both_have_are_compared(tmp_path):
    entries = [("p", "cnn", arm, seed, value, 1.0) for arm, seed, value in (
        ("product", 1, 0.8), ("plain", 1, 0.7), ("product", 2, 0.9), ("no warm-up", 3, 0.9))]  # fmt: skip
    entries.append(("p", "lite0", "plain", 1, 0.7, 1.0))  # stopped before the product's turn
    table = pd.DataFrame(entries, columns=parity.COLUMNS)
    assert list(parity.lines(table))[2:] == ["| p | cnn | plain | 1 | 0.800 | 0.700 | +0.100 [—] | 1, 1 |"]
    table.to_csv(tmp_path / "t.csv", index=False)
    assert parity.done(tmp_path / "t.csv") == {of[:4] for of in entries}
    assert parity.done(tmp_path / "none.csv") == set()


@pytest.mark.parametrize("single", [False, True])
def test_the_plain_script_learns_what_is_plain(single):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 80)
    images = torch.from_numpy((rng.random((80, 1, 8, 8)) * 60 + 120 * label[:, None, None, None]).astype(np.uint8))
    targets = torch.from_numpy(np.eye(2)[label]).float()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    found = plain.train(
        network, (images[:60], targets[:60]), (images[60:], targets[60:]),
        single_label=single, epochs=2, batch_size=8, lr=0.05, clip=1.0,
    )  # fmt: skip
    assert found[-1] > 0.95
