"""What a search tries next, and that nothing but seed, place and results decides it."""

import optuna
import pytest

from pipeline.searching.proposing import propose, within
from pipeline.searching.record import Trial
from pipeline.settings.search import Range

SPACE = {
    "models.small.lr": Range(low=0.0001, high=0.01, log=True),
    "train.batch_size": [8, 16, None, "a", [1, 2]],
    "train.epochs": Range(low=2, high=6),
    "train.weight_decay": Range(low=0.0, high=0.1, step=0.025),
}
WHOLE = {"train.epochs"}


def searched(count, batch, seed=0):
    """Return the trials of a search whose score is highest at a learning rate of 0.003."""
    trials = []
    for first in range(0, count, batch):
        for i, values in enumerate(propose(SPACE, WHOLE, trials, first, batch, seed)):
            score = None if first + i == 3 else 1 - abs(values["models.small.lr"] - 0.003) * 100
            trials.append(Trial(first + i, values, "failed" if score is None else "finished", score))
    return trials[:count]


@pytest.fixture(scope="module")
def forty():
    return searched(40, 4)


def test_values_lie_in_their_ranges(forty):
    assert all(within(SPACE, WHOLE, trial.values) for trial in forty)
    assert {type(trial.values["train.epochs"]) for trial in forty} == {int}
    assert {trial.values["train.epochs"] for trial in forty} == {2, 3, 4, 5, 6}
    assert {str(trial.values["train.batch_size"]) for trial in forty} == {"8", "16", "None", "a", "[1, 2]"}
    assert {trial.values["train.weight_decay"] for trial in forty} <= {0.0, 0.025, 0.05, 0.075, 0.1}
    assert all(float(f"{t.values['models.small.lr']:.4g}") == t.values["models.small.lr"] for t in forty)


def test_a_search_that_was_ended_or_is_made_longer_goes_on_as_it_would_have(forty):
    assert searched(14, 4) == forty[:14]  # ended within a batch
    known = forty[:20]
    assert propose(SPACE, WHOLE, known, 20, 4, 0) == [trial.values for trial in forty[20:24]]
    assert propose(SPACE, WHOLE, forty, 20, 4, 0) == [trial.values for trial in forty[20:24]]  # later ones do not count
    assert searched(8, 4, seed=1) != forty[:8]


def test_it_finds_the_best_sooner_than_chance(forty):
    def near(trials):
        return sum(abs(trial.values["models.small.lr"] - 0.003) < 0.0007 for trial in trials) / len(trials)

    assert near(forty[20:]) >= 0.3 > 0.15 >= near(forty[:10])  # 0.1 by chance


def test_optuna_itself_has_the_same_best_as_the_record(forty):
    study = optuna.create_study(direction="maximize")
    for trial in forty:
        if trial.score is not None:
            study.add_trial(optuna.trial.create_trial(value=trial.score, user_attrs={"number": trial.number}))
    best = max((t for t in forty if t.score is not None), key=lambda t: t.score)
    assert study.best_trial.user_attrs["number"] == best.number


@pytest.mark.parametrize(
    ("key", "value", "inside"),
    [
        ("models.small.lr", 0.0001, True),
        ("models.small.lr", 0.011, False),
        ("models.small.lr", None, False),
        ("train.batch_size", 16.0, False),
        ("train.epochs", 2.5, False),
        ("train.epochs", True, False),
        ("train.weight_decay", 0.03, False),
    ],
)
def test_whether_a_value_lies_in_its_range(key, value, inside):
    values = {
        "models.small.lr": 0.001,
        "train.batch_size": 8,
        "train.epochs": 3,
        "train.weight_decay": 0.05,
        key: value,
    }
    assert within(SPACE, WHOLE, values) is inside


@pytest.mark.parametrize("range_", [Range(low=0.999, high=0.9999), Range(low=0.10001, high=0.10002, log=True)])
def test_a_narrow_range_has_many_values(range_):
    drawn = {each["train.ema"] for each in propose({"train.ema": range_}, set(), [], 0, 9, 0)}
    assert len(drawn) == 9
    assert all(range_.low <= value <= range_.high for value in drawn)
    assert max(drawn) - min(drawn) > (range_.high - range_.low) / 2
