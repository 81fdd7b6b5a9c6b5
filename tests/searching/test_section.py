"""Section search of params.yaml: mistakes are told by key, value and what is allowed, before anything is done."""

import pytest

from pipeline.searching.running import whole_numbers
from pipeline.settings import parse
from pipeline.settings.checks import check
from pipeline.settings.search import held_values
from pipeline.study.params import ParamsError
from tests.tiny import TINY

LR = {"models.small.lr": {"low": 0.001, "high": 0.1, "log": True}}


def with_search(over, section=None, **sections):
    search = {"model": "small", "loss": "bce", "over": over, **(section or {})}
    return parse({**TINY, **sections, "search": search})


def test_nothing_is_no_search():
    assert [parse({**TINY, "search": empty}).search for empty in ({}, None)] == [None, None]
    assert parse(TINY).search is None
    assert with_search(LR).search.trials == 20


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({}, "search.over: empty; must have a key such as train.weight_decay"),
        ({"split.seed": [1, 2]}, "search.over.split.seed: all trials must have the same images and parts"),
        ({"evaluate.seed": [1, 2]}, "must be train.KEY, models.small.KEY or losses.bce.KEY"),
        ({"train": [1, 2]}, "search.over.train: all trials must have the same images"),
        ({"train.": [1, 2]}, "search.over.train.: all trials must have the same images"),
        ({"models.wide.lr": [0.1, 0.2]}, "search.over.models.wide.lr: is no setting of small-bce, which is searched"),
        ({"models.small": [1, 2]}, "search.over.models.small: is no setting of small-bce"),
        ({"train.threads": [1, 2]}, "search.over.train.threads: 'threads' is how trials are computed or compared"),
        ({"models.small.select": ["auroc", "dice"]}, "'select' is how trials are computed or compared"),
        ({"train.epochs": 3}, "search.over.train.epochs: must be {low: …, high: …} or a list of values, not 3"),
        ({"train.epochs": [3]}, "search.over.train.epochs: [3]; must be at least two values, each once"),
        ({"train.epochs": [3, 3]}, "search.over.train.epochs: [3, 3]; must be at least two values, each once"),
        ({"train.epochs": {"low": 2}}, "search.over.train.epochs.high: missing"),
        ({"train.ema": {"low": 0.9, "hi": 1}}, "search.over.train.ema.hi: unknown key (did you mean 'high'?)"),
        ({"train.epochs": {"low": 3, "high": 3}}, "search.over.train.epochs: low = 3, high = 3; low must be less than"),
        (
            {"models.small.lr": {"low": 0, "high": 1, "log": True}},
            "log = true with low = 0; low must be greater than 0",
        ),
        ({"train.momentum": {"low": 0, "high": 0.5, "step": 1}}, "step = 1; must be at most high - low = 0.5"),
        ({"train.swa": {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}}, "one of them must be left out"),
        ({"train.batch_size": [1, 8]}, "train.batch_size: 1 cannot be: train.batch_size: must be at least 2, not 1"),
        (
            {"models.small.lr": {"low": 1, "high": 11}},
            "models.small.lr: 11 cannot be: models.small.lr: must be at most 10",
        ),
        ({"models.small.lr": {"low": "1e-4", "high": 0.1}}, "models.small.lr.low: must be a number, not '1e-4'"),
        ({"train.momentum": {"low": False, "high": 0.5}}, "train.momentum.low: must be a number, not False"),
        ({"train.momentum": {"low": 0, "high": float("nan")}}, "train.momentum.high: must be a number, not nan"),
        ({"train.momentum": {"low": 0, "high": 10**400}}, "train.momentum.high: must be a number, not 1000"),
        ({"train.momentum": {"low": 0, "high": 0.5, "step": 0}}, "train.momentum: step = 0; must be greater than 0"),
        ({"train.batch_size": {"low": 8, "high": 64, "step": 0.5}}, "train.batch_size: 8.5 cannot be"),
        ({"train.nothing": [1, 2]}, "search.over.train.nothing: 1 cannot be: train.nothing: unknown key"),
        ({"train.augment": ["none", "x"]}, "search.over.train.augment: 'x' cannot be:"),
        ({"train.augment": ["none", "seeds002"], "train.augment.noise": [0.1, 0.2]}, "holds train.augment.noise"),
        (
            {"train.epochs": [3, 9], "train.warmup_epochs": {"low": 0.0, "high": 3.0}},
            "search.over: train.epochs = 3, train.warmup_epochs = 3.0 cannot be together",
        ),
    ],
)
def test_a_range_that_cannot_be_is_told(over, told):
    with pytest.raises(ParamsError) as error:
        with_search(over)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"model": "large"}, "search.over.models.small.lr: is no setting of large-bce"),
        ({"loss": "asl"}, "search.loss: 'asl' is not in the study; must be one of: bce, zlpr"),
        ({"trials": 0}, "search.trials: must be at least 1, not 0"),
        ({"seeds": [1, 1]}, "search.seeds: [1, 1]; must name each seed once"),
        ({"pruner": "median"}, "search.pruner: unknown key"),
    ],
)
def test_a_mistake_in_the_section_is_told(section, told):
    with pytest.raises(ParamsError) as error:
        with_search(LR, section)
    assert told in str(error.value)


@pytest.mark.parametrize("method", ["folds", "grouped"])
def test_a_study_that_tests_the_images_a_search_would_choose_by_is_refused(method):
    split, fold = {**TINY["split"], "method": method}, {"fold2": {"split": {"fold": 2}}} if method == "folds" else {}
    assert with_search(LR, split=split, variants=fold).search.trials == 20
    with pytest.raises(ParamsError, match=r"variants\.other\.split: tests images that a search would choose by"):
        with_search(LR, split=split, variants={**fold, "other": {"split": {"seed": 1}}})


def test_what_a_fold_has_found_beside_the_search_is_held_to_its_ranges():
    split = {**TINY["split"], "method": "folds"}
    variants = {"fold2": {"split": {"fold": 2}, "found": {"models.small.lr": 0.02, "train.warmup_epochs": 1.5}}}
    assert with_search({"train.epochs": [2, 4]}, split=split, variants=variants)
    with pytest.raises(
        ParamsError, match=r"variants\.fold2\.found: search\.over\.train\.epochs: 1 cannot be: .*warmup"
    ):
        with_search({"train.epochs": [1, 4]}, split=split, variants=variants)


@pytest.mark.parametrize(
    ("over", "sections", "told"),
    [
        (
            {"losses.bce.pos_weight_cap": {"low": -1.0, "high": 3.0}},
            {},
            "search.over.losses.bce.pos_weight_cap: -1.0 can",
        ),
        (
            {"losses.bce.gamma": [1.0, 2.0]},
            {},
            "search.over.losses.bce.gamma: 1.0 cannot be: losses.bce.gamma: unknown",
        ),
        ({"train.class_weights": ["none", "balanced"]}, {}, "'balanced' cannot be: train.class_weights"),
        (
            {"train.batch_size": [8, 16]},
            {"models": {**TINY["models"], "small": {**TINY["models"]["small"], "batch_size": 4}}},
            "search.over.train.batch_size: changes nothing of how small-bce is trained",
        ),
    ],
)
def test_what_only_the_data_set_the_loss_or_the_model_can_tell(over, sections, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError) as error:
        check(with_search(over, **sections))
    assert told in str(error.value)


def test_ranges_of_whole_numbers_are_those_of_settings_that_take_no_others(prepared):
    over = {
        "train.epochs": {"low": 2, "high": 4},
        "train.augment.rotation": {"low": 0, "high": 10},
        "models.small.options.hidden": {"low": 4, "high": 8},
        "losses.bce.pos_weight_cap": {"low": 1, "high": 3},
    }
    params = with_search(over)
    content = params.model_dump(mode="json", exclude_unset=True)
    assert whole_numbers(params.search, content) == {"train.epochs", "models.small.options.hidden"}


def test_a_preset_and_the_map_that_it_stands_for_are_one_value():
    lists = {"train.augment": [{"rotation": 5}, "seeds002"], "train.clip_grad": [None, 1], "train.swa": [0.5, 0.75]}
    given = {"augment": "seeds002", "clip_grad": 1.0}
    params = with_search(lists, train={**TINY["train"], **given})
    assert held_values(params.search, params) == {"train.augment": "seeds002", "train.clip_grad": 1, "train.swa": None}
    params = with_search(lists, train={**TINY["train"], "augment": {"rotation": 5.0, "shift": 0.0}, "swa": 0.75})
    held = held_values(params.search, params)
    assert (held["train.augment"], held["train.swa"]) == ({"rotation": 5}, 0.75)
    params = with_search(lists, train={**TINY["train"], "augment": {"rotation": 6}})
    assert held_values(params.search, params)["train.augment"]["rotation"] == 6


def test_a_model_without_a_key_of_its_own_has_that_of_all_models():
    over = {"models.small.momentum": [0.5, 0.9], "models.small.augment.noise": {"low": 0.0, "high": 0.1}}
    own = {**TINY["models"]["small"], "augment": {"shift": 0.1}}
    train = {**TINY["train"], "momentum": 0.5, "augment": {"noise": 0.02}}
    params = with_search(over, train=train, models={**TINY["models"], "small": own})
    assert held_values(params.search, params) == {"models.small.momentum": 0.5, "models.small.augment.noise": 0.02}
    params = with_search(over, train=train, models={**TINY["models"], "small": {**own, "momentum": 0.9}})
    assert held_values(params.search, params)["models.small.momentum"] == 0.9
