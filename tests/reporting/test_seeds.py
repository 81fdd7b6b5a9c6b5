"""The pages of seeds say what was tested, and no more."""

import math
import re
from dataclasses import replace

import pandas as pd
import pytest

from pipeline.reporting import page
from pipeline.reporting.values import NO_TABLE
from pipeline.reporting.views import seeds
from pipeline.reporting.views.seed_noise import Noise
from tests.reporting.loaded import load_once


def seed_page(study, results):
    """Return the facts of the page of `results`, without figures."""
    return seeds.facts(study, results, seeds.Drawn(False, False, False))


def rendered(shown):
    return page.render("seeds/configuration.md", page=shown)


def section(study, results, title):
    return rendered(seed_page(study, results)).split(f"\n## {title}\n")[1].split("\n## ")[0]


def summary(study, results):
    """Return the sentences of the summary, one item per bullet."""
    lines = [line for line in section(study, results, "Summary").splitlines() if line]
    assert all(line.startswith("- ") for line in lines)
    return [line.removeprefix("- ") for line in lines]


def leads(study, results):
    return [line for line in summary(study, results) if line.startswith("Seed ")]


def judged(results, p):
    """Return `results` with these p values in seeds.csv, one per class; None where there was no test."""
    p = pd.Series(p, dtype=float)
    classes = results.spread.iloc[: len(p)].reset_index(drop=True)
    macro = results.spread[results.spread["class"] == "macro"]
    spread = pd.concat([classes.assign(p_holm=p, distinguishable=p < 0.05), macro.assign(distinguishable=False)])
    return replace(results, spread=spread)


@pytest.mark.parametrize(
    ("p", "expected", "absent"),
    [
        (
            [0.9, 0.8, 0.7],
            "in any of the 3 classes tested (smallest adjusted p 0.700): choosing a seed",
            "seeds differ significantly in",
        ),
        ([0.9, None, None], "in the one class tested (smallest adjusted p 0.900)", "seeds differ significantly in"),
        ([None, None, None], "The seeds could not be compared in any class, so none can be called better.", "noise"),
        (
            [0.001, 0.8, 0.7],
            "seeds differ significantly in 1 of 3 classes: {0} (p 0.001).** In the other 2 classes, the",
            "choosing",
        ),
        (
            [0.0001, 0.01, 0.7],
            "2 of 3 classes: {0} (p < 0.001) and {1} (p 0.010).** In the other class, the order of the seeds is",
            "choosing",
        ),
        ([0.001, 0.01, 0.02], "seeds differ significantly in 3 of 3 classes", "noise"),
    ],
)
def test_what_is_said_of_seeds_is_what_was_tested(here, p, expected, absent):
    study = load_once(here)
    text = " ".join(summary(study, judged(study.configurations[0], p)))
    assert expected.format(*study.classes) in text
    assert absent not in text
    assert ("Not tested: " in text) == (p[1] is None and p[0] is not None)
    apart = sum(value is not None and value < 0.05 for value in p)
    assert ("between these trained networks, [not between their seeds]" in text) == bool(apart)


@pytest.mark.parametrize("differ", [False, True])
def test_what_is_said_of_macro_auroc_is_what_was_tested(here, differ):
    study = load_once(here)
    results = study.configurations[0]
    macro = results.spread["class"] == "macro"
    spread = results.spread.assign(distinguishable=results.spread["distinguishable"].where(~macro, differ))
    text = " ".join(summary(study, replace(results, spread=spread.assign(p_holm=spread["p_holm"].where(~macro, 0.04)))))
    which = "at least one pair" if differ else "no pair"
    assert f"Macro AUROC: {which} of seeds differs significantly (paired by patient, smallest adjusted p 0.040)" in text
    assert ("choosing a seed for a class from" in text) == differ


@pytest.mark.parametrize(
    ("sd", "se", "text"),
    [
        (0.0031, 0.0100, "The standard error of the test set (0.0100) is 3.2 times the SD over seeds (0.0031)"),
        (0.02, 0.01, "The SD over seeds (0.0200) is 2.0 times the standard error of the test set (0.0100)"),
        (0.01, 0.0101, "The SD over seeds (0.0100) is about as large as the standard error of the test set (0.0101)"),
        (0.0, 0.01, "The SD over seeds (0.0000) is too small to be seen beside the standard error of the test set"),
    ],
)
def test_spread_against_sampling_error(here, sd, se, text):
    study = load_once(here)
    shown = replace(seed_page(study, study.configurations[0]), noise=Noise(sd, se))
    assert f"\n- {text}" in rendered(shown)


def suits(p_holm, suits=False):
    """What stage evaluate writes of two classes and their mean."""
    row = {"n_seeds": 3, "best_seed": "1", "p_holm": p_holm, "suits": suits, "replication": 0.4, "chance": 1 / 3}
    return pd.DataFrame(
        [{"class": name, **row, "winners_gap": 0.012} for name in ("Mass", "Pleural_Thickening", "macro")]
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            suits(0.4),
            "in no class is the range over seeds larger than expected by chance (smallest adjusted p 0.400), so "
            "**there is no evidence that a seed suits a class.**",
        ),
        (
            suits(0.01, True),
            "the range over seeds is larger than expected by chance in Mass and Pleural Thickening (smallest adjusted "
            "p 0.010).",
        ),
        (suits(math.nan), "No class has enough patients to test whether a seed suits it."),
    ],
)
def test_whether_a_seed_suits_a_class_is_what_exchanging_found(here, table, expected):
    study = load_once(here)
    results = replace(study.configurations[0], suits=table, interaction={"p": 0.2})
    text = " ".join(summary(study, results))
    assert expected in text
    assert ("Interaction of seed and class over all classes: p 0.200." in text) == (table["p_holm"].notna().any())
    assert ("in 40 % of cases (chance: 33 %; mean of 2 classes), and its AUROC there is 0.0120 lower" in text) == (
        table["p_holm"].notna().any()
    )
    assert seed_page(study, replace(results, suits=NO_TABLE)).suits is None
    text = " ".join(summary(study, replace(results, suits=NO_TABLE)))
    assert not re.search("suits|Exchanging|Halving|Interaction", text)


def test_what_all_pages_repeat_is_on_the_first_of_them(here, tmp_path):
    study = load_once(here)
    first, *others = [path for path in seeds.render(study, tmp_path) if path.suffix == ".md"]
    text = first.read_text()
    assert first == tmp_path / "seeds" / "README.md"
    for results, path in zip(study.configurations, others, strict=True):
        assert f"[{results.key}]({path.name})" in text
        assert "](README.md)" in path.read_text()
    assert "Seeds whose AUROC agrees in 4 decimals are tied." in text
    assert "comparable between the seeds of a configuration, not between losses" in text
    assert ("one threshold per class, chosen on the validation set" in text) == (study.task == "multilabel")
