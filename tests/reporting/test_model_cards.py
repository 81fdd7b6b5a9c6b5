"""Model cards: headings of the paper, numbers of the tables, and nothing that was not recorded."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.learning.settings import Model
from pipeline.reporting import page
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.loading import load_study
from pipeline.reporting.registry import PAGES
from pipeline.reporting.values import NO_TABLE
from pipeline.reporting.views import doubts, methods, model_card, model_settings
from pipeline.reporting.views.model_card import render
from pipeline.study.files import AUDIT, EVALUATIONS, write_json
from tests.reporting.loaded import load_once
from tests.reporting.test_pages import check_page

HEADINGS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]
"""Mitchell et al. 2019, Figure 1, in its order."""


UNKNOWN = "not recorded"


def cards(study, folder):
    """Write the pages that cards link to, then the cards; return the text of each by its configuration."""
    for name in ("methods", "data", "seeds", "readme"):
        PAGES[name](study, folder)
    written = render(study, folder)
    assert [p.relative_to(folder).as_posix() for p in written] == [
        f"model_cards/{r.key}.md" for r in study.configurations
    ]
    for path in written:
        check_page(path, path.read_text())
    return {path.stem: path.read_text() for path in written}


def card(study, results):
    """Return the text of one card."""
    return page.render("model_card.md", **model_card.facts(study, results))


def caveats(study, results):
    """Return the last section of a card."""
    return card(study, results).split("## Caveats and recommendations")[1]


def table(text, heading):
    """Return the rows of the first table below `heading`, keyed by the first cell."""
    below = text[text.index(heading) :]
    lines = below[below.index("|") :].split("\n\n")[0].splitlines()
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for i, line in enumerate(lines) if i != 1]
    return {row[0]: row[1:] for row in cells}


def runs_changed(study, **changed):
    """Return the first configuration with these entries in the records of its training runs; ... removes one."""
    first = study.configurations[0]
    runs = tuple({k: v for k, v in {**run, **changed}.items() if v is not ...} for run in first.runs)
    return replace(first, runs=runs)


def test_headings_are_those_of_the_paper_and_bytes_repeat(here, tmp_path):
    study = load_once(here)
    first = cards(study, tmp_path / "a")
    for text in first.values():
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
        assert "**Out of scope: clinical use of any kind**" in text
        assert "Unitary results" in text
        assert "intersections" in text.lower()
    second = cards(study, tmp_path / "b")
    assert first == second


def test_numbers_are_those_of_metrics_csv(here, tmp_path):
    study = load_once(here)
    written = cards(study, tmp_path)
    for configuration in study.configurations:
        metrics = pd.read_csv(EVALUATIONS / configuration.key / "metrics.csv", dtype={"seed": "str"})
        mean = metrics[(metrics["seed"] == "mean") & metrics["class"].isin(["macro", "overall"])]
        test = mean[mean["part"] == "test"]
        overall = table(written[configuration.key], "### Unitary results")
        seeds = metrics[(metrics["class"] == "macro") & (metrics["part"] == "test") & (metrics["metric"] == "auroc")]
        spread = seeds.loc[seeds["seed"] != "mean", "value"].std(ddof=1)
        row = test[(test["metric"] == "auroc") & (test["class"] == "macro")].iloc[0]
        interval = f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        assert overall["AUROC"] == [f"{row['value']:.3f}", interval, f"{spread:.3f}"]
        calibration = table(written[configuration.key], "\nProbabilities:")
        whole = "overall" if study.task == "multiclass" else "macro"
        for column, name in enumerate(("ece", "ece_calibrated")):
            row = test[(test["metric"] == name) & (test["class"] == whole)].iloc[0]
            assert np.isnan([row["ci_low"], row["ci_high"]]).all()  # no interval of it holds its level
            expected = f"{row['value']:.3f} [—]"
            assert calibration["Calibration error (ECE)"][column] == expected
        trainings = table(written[configuration.key], "| Seed ")
        assert [int(s) for s in list(trainings)[1:]] == list(configuration.seeds)


def test_thresholds_are_the_mean_and_range_over_the_seeds(here, tmp_path):
    study = load_once(here)
    text = cards(study, tmp_path)[study.configurations[0].key]
    metrics = pd.read_csv(EVALUATIONS / study.configurations[0].key / "metrics.csv", dtype={"seed": "str"})
    chosen = metrics[(metrics["metric"] == "threshold") & (metrics["part"] == "val") & (metrics["seed"] != "mean")]
    if study.task == "multiclass":
        assert chosen.empty
        assert "there is no threshold" in text
        return
    found = table(text, "Decision thresholds, on the probability")
    for name, of in chosen.groupby("class"):
        values = of["value"]
        assert found[name][1:] == [f"{values.mean():.3f}", f"{values.min():.3f}", f"{values.max():.3f}"]


def test_subgroups_are_those_of_the_table(here, tmp_path):
    study = load_once(here)
    key = study.configurations[0].key
    text = cards(study, tmp_path)[key]
    file = pd.read_csv(EVALUATIONS / key / "subgroups.csv")
    whole = file[(file["seed"] == "mean") & file["class"].isin(["macro", "overall"])]
    lead = "accuracy" if study.task == "multiclass" else "auroc"
    section = text[text.index("### Subgroups") : text.index("## Ethical")]
    for row in whole[whole["metric"] == lead].itertuples():
        line = next(
            cells
            for line in section.splitlines()
            if (cells := [c.strip() for c in line.split("|")[1:-1]])[:2] == [row.variable, row.subgroup]
        )
        assert line[2] == str(row.n)
        assert line[-2].startswith(f"{row.value:.3f}" if np.isfinite(row.value) else "—")
    assert "Differences between subgroups are not tested" in section
    assert "intersections are not measured" in section
    assert not re.search(r"\bbetter\b|\bworse\b|fair\b|unbiased", section)


def test_what_was_not_recorded_is_said_to_be_so(here):
    study = load_once(here)
    bare = runs_changed(study, macs=..., parameters=..., weights=..., device=..., versions=..., git_commit=...)
    found = table(card(study, bare), "## Model details")
    for name in ("Parameters", "Multiply-accumulates per image", "Initial weights", "Device", "Versions", "Code"):
        assert found[name] == [UNKNOWN], name
    assert found["Trained parameters"] == ["123,000"]
    assert found["Developers, contact, date, licence of the trained weights"] == [UNKNOWN]
    nothing = replace(study.configurations[0], runs=())
    found = table(card(study, nothing), "## Model details")
    assert found["Parameters"] == [UNKNOWN]
    assert found["Architecture"] == [f"{UNKNOWN} (depth 3)"]


def test_training_runs_that_differ_are_counted(here):
    study = load_once(here)
    first = study.configurations[0]
    runs = ({**first.runs[0], "device": "NVIDIA"}, {**first.runs[1], "device": None}, first.runs[2])
    found = table(card(study, replace(first, runs=runs)), "## Model details")["Device"]
    assert found == [f"NVIDIA (1 training run); cpu (1 training run); {UNKNOWN} (1 training run)"]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (None, "random, from the seed"),
        ({"hub": "timm/resnet50.a1_in1k"}, "hub timm/resnet50.a1_in1k, licence not recorded"),
        ({"hub": "timm/vgg16.tv_in1k", "licence": "bsd-3-clause"}, "hub timm/vgg16.tv_in1k, licence bsd-3-clause"),
        (
            {"file": "r.safetensors", "sha256": "ab" * 32},
            f"file r.safetensors, SHA-256 {'ab' * 32}, licence not recorded",
        ),
    ],
)
def test_the_origin_of_the_weights(here, weights, expected):
    study = load_once(here)
    text = card(study, runs_changed(study, weights=weights))
    assert table(text, "## Model details")["Initial weights"] == [expected]


def test_a_teacher_is_named_with_all_that_it_was(here):
    study = load_once(here)
    first = study.configurations[0]
    assert "Teacher" not in table(card(study, first), "## Model details")
    own = Model(arch="a", lr=0.1, teacher={"file": "t/mean_all.npz"})
    params = study.params.model_copy(update={"models": dict.fromkeys(study.params.models, own)})
    teacher = {"name": "mean_all", "members": ["a", "b"], "sha256": "cd" * 32, "temperature": 2.0, "weight": 0.5}
    of_runs = runs_changed(study, teacher=teacher)
    found = table(card(replace(study, params=params), of_runs), "## Model details")
    taught = "mean_all, 2 training runs; temperature 2, weight 0.5 in the loss"
    assert found["Teacher"] == [f"{taught}; SHA-256 {'cd' * 32}"]
    both = replace(study, params=params, configurations=(of_runs,))
    expected = "mean_all (2 training runs), temperature 2, weight 0.5"
    assert model_settings.taught_by(both, first.model) == expected
    assert [s.others["teacher"] for s in model_settings.model_settings(both) if s.name == first.model] == [expected]


def test_loss_and_own_settings_are_those_of_params(here):
    study = load_once(here)
    first = study.configurations[0]
    losses = {**study.params.losses, first.loss: {"kind": "asl", "margin": 0.05, "cap": None}}
    own = Model(arch="a", lr=0.1, head_lr=0.2, epochs=3, options={"depth": 9})
    params = study.params.model_copy(update={"losses": losses, "models": dict.fromkeys(study.params.models, own)})
    found = table(card(replace(study, params=params), first), "## Model details")
    assert found["Loss"] == [f"{first.loss} (kind asl), margin 0.05"]
    assert found["Learning rate"] == ["0.1, head 0.2"]
    assert found["Training settings"][0].startswith("epochs 3,")
    assert found["Architecture"][0].endswith("(depth 9)")
    mix = {"mixup": 0.2, "cutmix": 1.0, "probability": 0.5}
    recipes = {"accumulate": 2, "mix": mix, "progressive": {"start": 0.5, "until": 0.75}, "drop_path": 0.1}
    own = Model.model_validate({"arch": "a", "lr": 0.1, **recipes, "augment": {"interpolation": "nearest"}})
    params = study.params.model_copy(update={"models": dict.fromkeys(study.params.models, own)})
    said = table(card(replace(study, params=params), first), "## Model details")["Training settings"][0]
    for phrase in (
        "accumulate 2, mix mixup 0.2 cutmix 1 probability 0.5",
        "progressive start 0.5 until 0.75",
        "drop_path 0.1",
        "interpolation nearest",
    ):
        assert phrase in said
    assert "accumulate" not in found["Training settings"][0]


def test_a_close_probe_warns_and_a_far_one_does_not(here):
    study = load_once(here)
    first = study.configurations[0]
    scores = {p.loss: p.get("auroc").value for p in study.probes}
    reached = first.get("auroc").value
    assert reached - scores["thumbnail"] > 0.05 > reached - scores["metadata"]
    assert [probe.name for probe in doubts.probes(study, first).close] == ["metadata"]
    text = caveats(study, first)
    alarm = 'shortcut probe "metadata" by more than 5 points: it may rest on a shortcut.**'
    assert f"{alarm} This does not show that it does." in text
    assert 'probe "thumbnail"' not in text
    assert "exceeds every probe" not in text
    far = replace(study, probes=study.probes[:1])
    assert doubts.probes(far, first).close == []
    assert f"{first.key} exceeds every probe by more than 5 points" in caveats(far, first)
    unknown = study.probes[0].metrics.assign(value=np.nan, ci_low=np.nan, ci_high=np.nan)
    blind = replace(study, probes=(replace(study.probes[0], metrics=unknown),))
    text = caveats(blind, first)
    assert "Where a number is missing, it is unknown whether" in text
    assert "exceeds every probe" not in text
    assert "No shortcut probe was scored" in caveats(replace(study, probes=()), first)


def test_signs_are_of_this_configuration_alone(here):
    study = load_once(here)
    first, second = study.configurations[:2]
    none = "- Signs of failure on the validation set: none was seen."
    assert "(constant metric)" in caveats(study, first)
    assert none not in caveats(study, first)
    assert none in caveats(study, second)
    assert "Sign of failure" not in caveats(study, second)
    seed = second.seeds[0]
    twins = pd.DataFrame(
        [(f"{second.key} seed {seed}", "identical_metrics", f"all 9 metrics are those of {first.key} seed 4")],
        columns=["cell", "gate", "sentence"],
    )
    assert 42 in first.seeds
    assert none in caveats(replace(study, signs=twins), first)  # seed 4 is not seed 42
    named = twins.assign(sentence=f"all 9 metrics are those of {first.key} seed 42")
    assert "(identical metrics)" in caveats(replace(study, signs=named), first)
    assert "- Signs of failure: not examined." in caveats(replace(study, signs=NO_TABLE), first)


def test_what_all_configurations_share_stands_once(here, tmp_path):
    study = load_once(here)
    shared = page.render("methods.md", **methods.facts(study, {"roc": False, "curves": False}))
    written = cards(study, tmp_path)
    for sentence in ("Licence: CC0", "bootstrap draws of whole patients", "label noise", "15 bins of equal mass"):
        assert sentence in shared or study.synthetic
        assert not any(sentence in text for text in written.values()), sentence
    for text in written.values():
        assert {"#data", "#limits", "#how-the-numbers-were-computed"} <= set(re.findall(r"methods\.md(#[^)]+)", text))


def test_synthetic_and_real_images_are_told_apart(make, tmp_path):
    drawn = cards(load_study(make()), tmp_path / "a")["densenet-bce"]
    assert "> **Synthetic images.**" in drawn
    assert "**The images are synthetic: a program drew them.**" in drawn
    assert "It was trained on synthetic images only." in drawn
    shutil.rmtree(EVALUATIONS)
    real = cards(load_study(make(synthetic=False)), tmp_path / "b")["densenet-bce"]
    assert "ynthetic" not in real
    assert "The images show people." in real
    assert "used under the data set's licence: CC0." in real
    assert "ynthetic" not in Path(tmp_path / "b" / "methods.md").read_text()
    assert "label noise is neither measured nor corrected" in Path(tmp_path / "b" / "methods.md").read_text()


def test_collapsed_and_missing_training_runs_are_named(make, settings, tmp_path):
    make(models=("densenet",), collapsed=12)
    study = load_study(settings("multilabel", ("densenet",), ("bce",), (12, 99)))
    text = cards(study, tmp_path)["densenet-bce"]
    assert "densenet-bce, seed 99" in text.split("## Model details")[0]
    assert "**Collapsed**, seed 12: chance: validation AUROC 0.501" in text
    assert table(text, "| Seed ")["12"][-1].startswith("chance")
    assert table(text, "| Seed ")["42"][-1] == "no"


def test_one_seed_and_no_subgroups(make, tmp_path):
    params = make(models=("densenet",), replicates=())
    (EVALUATIONS / "densenet-bce" / "subgroups.csv").unlink()
    text = cards(load_study(params), tmp_path)["densenet-bce"]
    assert "1 training run, each a model of its own; the numbers below are of this one." in text
    assert "SD" not in text
    assert "Not known: neither subgroups nor their intersections are measured." in text
    assert "Whether it performs worse for some people than for others is not known." in text
    assert "Listed by the data set, but not measured: age, sex, and view." in text


def test_a_leak_is_said(make, tmp_path):
    params = make(models=("densenet",))
    audit = json.loads(AUDIT.read_text())
    write_json(AUDIT, {**audit, "patients_in_two_parts": 2})
    text = cards(load_study(params), tmp_path)["densenet-bce"]
    assert "the numbers are not estimates of performance" in text
    assert "no patient, no group" not in text + Path(tmp_path / "methods.md").read_text()


def test_empty_intervals_have_their_reason(here, tmp_path):
    study = load_once(here)
    first = study.configurations[0]
    metrics = first.metrics.copy()
    test = metrics["part"] == "test"
    metrics.loc[test, ["ci_low", "ci_high"]] = np.nan
    metrics.loc[test, "note"] = "fewer than 10 patients (4)"
    changed = replace(study, configurations=(replace(first, metrics=metrics), *study.configurations[1:]))
    text = cards(changed, tmp_path)[first.key]
    assert "fewer than 10 patients (4)" in text
    assert table(text, "### Unitary results")["AUROC"][1] == "—"


def test_a_bare_table_has_no_card(tmp_path):
    (tmp_path / "t.csv").write_text("model,loss,seed,part,class,metric,value\nm,l,1,test,macro,auroc,0.8")
    assert render(from_metrics(tmp_path / "t.csv"), tmp_path / "r") == []
    assert not Path(tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("record", "unknown"),
    [
        (None, False),
        ({"hub": "timm/resnet50.a1_in1k"}, False),
        ({"package": "lite 0.1.0", "file": "w.pth", "sha256": "0"}, False),
        ({"file": "w.pth", "sha256": "0"}, True),
        ({"file": "w.pth", "sha256": "0", "trained on": "images that are not recorded"}, True),
        ({"file": "w.pth", "sha256": "0", "trained on": "the training images of the same split"}, False),
    ],
)
def test_of_weights_whose_images_are_not_known_it_is_said_of_the_test_images(here, record, unknown):
    study = load_once(here)
    changed = [
        replace(c, runs=tuple({**run, "weights": record} for run in c.runs)) if c == study.configurations[0] else c
        for c in study.configurations
    ]
    of = replace(study, configurations=tuple(changed))
    said = "Whether the initial weights had been trained on its images is not recorded"
    assert (said in card(of, of.configurations[0])) == unknown
    assert said not in card(of, of.configurations[-1])
    page_of_methods = page.render("methods.md", **methods.facts(of, {"roc": False, "curves": False}))
    about = f"Whether the initial weights of {changed[0].model} had been trained on its images is not recorded"
    assert (about in page_of_methods) == unknown
