"""The page of the ensembles: signs, Holm's correction, weights, and no claim that the tests do not carry."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import nodes

from pipeline.reporting import english, formats, page
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.loading import load_study
from pipeline.reporting.values import NO_TABLE
from pipeline.reporting.views import ensembles, losses, readme, verdict
from pipeline.reporting.views.ensemble_differences import differences
from pipeline.reporting.views.ensemble_members import fitted
from pipeline.reporting.views.ensembles import render
from pipeline.study.files import ENSEMBLES, EVALUATIONS
from pipeline.study.predictions import Predictions
from pipeline.uncertainty.claims import false_claim
from tests.reporting.loaded import load_once
from tests.reporting.test_pages import check_page

CLAIM = re.compile(r"\bbetter\b|\bbest\b|outperform|superior|significant|\bwins?\b")


def front(folder):
    """Write the front page, which the page links."""
    folder.mkdir()
    for name in ("README.md", "claims.md", "clinical-ensemble.md"):
        (folder / name).touch()


def checked(study, folder):
    """Render, check and return the page."""
    front(folder)
    path = render(study, folder)[0]
    text = path.read_text()
    check_page(path, text)
    return text


def rows(markdown, heading):
    """Return the cells of the first table below `heading`, the first row the heads."""
    below = markdown[markdown.index(heading) :]
    lines = below[below.index("\n|") + 1 :].split("\n\n")[0].splitlines()
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for i, line in enumerate(lines) if i != 1]


def text_of(study):
    """Render the page without its figure."""
    return page.render("ensembles.md", page=ensembles.view(study), pictured=False)


def section(text, title):
    """Return a section; empty where there is none."""
    return text.partition(f"\n## {title}\n")[2].split("\n## ")[0]


def in_short(study):
    """Return the sentences of the summary."""
    return [line.removeprefix("- ") for line in section(text_of(study), "In short").strip().splitlines()]


def holm(p):
    """Holm's step-down correction, by its definition."""
    order, adjusted, largest = np.argsort(p, kind="stable"), np.empty(len(p)), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = largest
    return adjusted


def with_pairs(study, pairs):
    """Return `study` with these comparisons of its chosen configuration and of a training run with its ensembles."""
    table = pd.DataFrame(pairs).assign(family="ensembles", margin=0.005, seeds="fixed", note="")
    defaults = {"ci_low": -0.01, "ci_high": 0.03, "p": 0.04, "distinguishable": False, "equivalent": False}
    for column, value in defaults.items():
        if column not in table:
            table[column] = value
    return replace(study, comparisons=table)


def described(study, **changed):
    """Return `study` with its ensembles described as given: name to what differs from a mean of two training runs."""
    member = {"model": "densenet", "loss": "bce", "val_auroc": 0.8, "weight": None}
    two = [{**member, "seed": 42}, {**member, "seed": 12}]
    base = {"method": "mean", "set": "all", "fitted_on": "nothing", "val_auroc": 0.8, "members": two, "parameters": {}}
    return replace(study, described={name: {**base, **change} for name, change in changed.items()})


def test_the_page_holds_what_every_page_holds_and_is_written_again_byte_by_byte(here, tmp_path):
    study = load_once(here)
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        front(folder)
        written.append(render(study, folder))
        assert [p.relative_to(folder).as_posix() for p in written[-1]] == ["ensembles.md", "figures/ensembles.png"]
        check_page(folder / "ensembles.md", (folder / "ensembles.md").read_text())
    for first, second in zip(*written):
        assert first.read_bytes() == second.read_bytes()


def test_every_difference_is_ensemble_minus_single_and_corrected_after_holm(here, tmp_path):
    study = load_once(here)
    render(study, tmp_path)
    text = (tmp_path / "ensembles.md").read_text()
    file = pd.read_csv(ENSEMBLES / "comparisons.csv")
    file = file[file["family"] == "ensembles"].reset_index(drop=True)
    assert len(file) == 8
    adjusted = file["p_holm"]
    assert (adjusted >= holm(file["p"].to_numpy())[file["p"].argmin()]).all()  # pairs of configurations count, too
    scored = {r.key: r.get("auroc").value for r in (*study.configurations, *study.every_ensemble)}
    differs = []
    for row, p_holm in zip(file.itertuples(), adjusted):
        single, ensemble = row.first, row.second.removeprefix("ensemble-")
        cells = {r[0].strip("*★ "): r for r in rows(text, f"### Compared with {single}\n")}[ensemble]
        gain = scored[row.second] - scored[single]
        assert cells[1] == english.signed(gain)
        assert cells[2] == f"[{english.signed(-row.ci_high)}, {english.signed(-row.ci_low)}]"
        assert cells[3:5] == [formats.escape(formats.probability(p)) for p in (row.p, p_holm)]
        expected = "within noise" if p_holm >= 0.05 else "above" if gain > 0 else "below"
        assert cells[5] == formats.escape(formats.chance(float(false_claim(row.p).sceptical)))
        assert cells[6].split(",")[0] == ("equivalent" if row.equivalent and p_holm >= 0.05 else expected)
        differs.append(p_holm < 0.05)
    assert any(differs)
    if study.task == "multiclass":  # Holm decides: without it one more pair of this fixture would differ
        uncorrected = file["p"].to_numpy() < 0.05
        assert uncorrected.sum() > sum(differs)


def test_a_file_that_holds_ensemble_minus_single_is_read_the_right_way_round(here):
    study = load_once(here)
    turned = study.comparisons.copy()
    turned[["first", "second"]] = turned[["second", "first"]].to_numpy()
    turned[["ci_low", "ci_high"]] = -turned[["ci_high", "ci_low"]].to_numpy()
    turned["difference"] = -turned["difference"]
    there, back = differences(study), differences(replace(study, comparisons=turned))
    assert [d.ensemble for d in there] == [d.ensemble for d in back]
    for a, b in zip(there, back):
        assert a.reference == b.reference
        np.testing.assert_allclose(a.estimate[:3], b.estimate[:3])
        assert a.verdict == b.verdict


def pair(study, difference, **more):
    return {"first": study.chosen.key, "second": study.chosen_ensemble.key, "difference": difference, **more}


@pytest.mark.parametrize(
    ("difference", "p_holm", "differs", "equivalent", "expected"),
    [
        (-0.02, 0.003, True, False, "{name} is **above**: +0.020"),
        (0.02, 0.003, True, False, "{name} is **below**: −0.020"),
        (-0.002, 0.003, True, True, "{name} is **above, by less than 0.005**: +0.002"),
        (-0.02, 0.06, False, False, "the difference of +0.020 [−0.030, +0.010] is **within noise**, p = 0.060"),
        (0.001, 0.9, False, True, "the two are **equivalent**: −0.001"),
        (-0.02, np.nan, False, False, "{name} is not tested (no p value)"),
    ],
)
def test_a_difference_is_called_one_only_after_the_corrected_test(
    here, difference, p_holm, differs, equivalent, expected
):
    study = load_once(here)
    judged = {"p": 0.001, "p_holm": p_holm, "distinguishable": differs, "equivalent": equivalent}
    changed = with_pairs(study, [pair(study, difference, **judged)])
    text = " ".join(in_short(changed))
    assert expected.format(name=study.chosen_ensemble.loss) in text
    assert ("**above" in text or "**below" in text) == differs
    assert not CLAIM.search(text)
    table = section(text_of(changed), "Compared with single models")
    assert bool(re.search(r"\| (above|below)", table)) == differs
    assert ("— not tested: its standard error is not known." in table) == bool(np.isnan(p_holm))


def test_how_many_of_the_others_differ_is_counted(here):
    study = load_once(here)
    verdicts = [("ensemble-mean_all", -0.02, True), ("ensemble-mean_top1", 0.03, True)]
    pairs = [
        {"first": first, "second": e, "difference": d, "p_holm": 0.01, "distinguishable": apart}
        for first, keep in ((study.chosen.key, True), (f"{study.chosen.key} seed 42", False))
        for e, d, apart in [(e, d, a and keep) for e, d, a in verdicts]
    ]
    extra = replace(study.every_ensemble[1], loss="third")
    pairs.append({**pairs[0], "second": extra.key, "distinguishable": False})
    changed = with_pairs(replace(study, every_ensemble=(*study.every_ensemble, extra)), pairs)
    lines = in_short(changed)
    configuration = next(line for line in lines if line.startswith(f"Compared with **{study.chosen.key}**"))
    assert configuration.endswith("Of the 2 others, 1 is below and 1 is within noise.")
    training = next(line for line in lines if line.startswith(f"Compared with **{study.chosen.key} seed 42**"))
    assert "is **within noise**" in training
    assert training.endswith("The other ensemble is within noise.")
    assert "p values are Holm-corrected in the one family of the study" in " ".join(lines)


def test_validation_chooses_and_the_test_part_does_not(here):
    study = load_once(here)
    best = study.chosen_ensemble
    other = next(e for e in study.every_ensemble if e is not best)

    def scored(results, val, test):
        metrics = results.metrics.copy()
        for part, value in (("val", val), ("test", test)):
            of = (metrics["part"] == part) & (metrics["class"] == "macro") & (metrics["metric"] == "auroc")
            metrics.loc[of, "value"] = value
        return replace(results, metrics=metrics)

    two = scored(best, 0.7, 0.95), scored(other, 0.8, 0.75)
    changed = replace(study, ensembles=two, every_ensemble=two, comparisons=NO_TABLE)
    text = " ".join(in_short(changed))
    assert f"**{other.loss}** has the highest validation macro AUROC of 2 ensembles (0.800)" in text
    assert "its test macro AUROC is 0.750" in text
    assert "not tested in this report" in text
    tied = replace(changed, ensembles=(scored(best, 0.8, 0.9), two[1]), every_ensemble=(scored(best, 0.8, 0.9), two[1]))
    assert [e.loss for e in tied.tied_ensembles] == [best.loss, other.loss]
    text = " ".join(in_short(tied))
    assert (
        f"**{best.loss}** has the highest validation macro AUROC of 2 ensembles (0.800), as has {other.loss}, "
        "and comes first among them in the order of the study; its test macro AUROC is 0.900"
    ) in text
    assert "to three decimals" not in text
    nearly = scored(best, 0.80004, 0.9), two[1]
    close = replace(changed, ensembles=nearly, every_ensemble=nearly)
    assert close.tied_ensembles == ()
    assert f"{other.loss} has the same validation value to three decimals." in " ".join(in_short(close))


def test_ensembles_that_tie_are_no_choice_on_the_first_page(here, tmp_path):
    """As many values of exactly 1: which of them comes first says nothing."""
    study = load_once(here)

    def at(results, value):
        metrics = results.metrics.copy()
        of = (metrics["part"] == "val") & (metrics["class"] == "macro") & (metrics["metric"] == "auroc")
        metrics.loc[of, "value"] = value
        return replace(results, metrics=metrics)

    equal = tuple(at(e, 1.0) for e in study.ensembles)
    tied = replace(study, ensembles=equal, every_ensemble=equal)
    with page.about(tied):
        readme.render(tied, tmp_path)
    text = (tmp_path / "README.md").read_text()
    names = english.listing(f"**{e.loss}**" for e in equal)
    assert (
        f"{names} tie for the highest validation AUROC (1.000); validation cannot choose between them, and the first "
        f"in the order of the study is shown: **{equal[0].loss}** has a test macro AUROC of"
    ) in text
    assert "The ensemble with the highest" not in text
    apart = (at(equal[0], 0.9), *equal[1:])
    other = replace(study, ensembles=apart, every_ensemble=apart)
    with page.about(other):
        readme.render(other, tmp_path)
    assert (
        f"The ensemble with the highest validation AUROC, **{equal[1].loss}**, has a test"
        in (tmp_path / "README.md").read_text()
    )


def test_weights_and_their_sum_are_printed(here):
    study = load_once(here)
    member = {"model": "densenet", "loss": "bce", "val_auroc": 0.81}
    weighted = [{**member, "seed": s, "weight": w} for s, w in ((42, 0.75), (12, 0.2497), (22, 0.0003))]
    plain = [{**m, "weight": None} for m in weighted]
    changed = described(
        study,
        mean_all={"members": plain},
        mean_top1={"method": "slsqp", "fitted_on": "validation labels", "members": weighted},
    )
    table = rows(text_of(changed), "### all: 3 training runs")
    assert table[0] == ["Training run", "Validation AUROC", "Weight, slsqp"]
    assert [r[2] for r in table[1:]] == ["0.750", "0.250", "0.000", "1.000"]
    assert table[-1][0] == "**Sum**"
    off = described(study, mean_all={"members": [{**m, "weight": 0.3} for m in weighted]})
    assert rows(text_of(off), "### all")[-1][-1] == "0.900"  # computed, not asserted


def test_networks_without_weight_are_not_counted_as_run(here):
    study = load_once(here)
    member = {"model": "densenet", "loss": "bce", "val_auroc": 0.81}
    weighted = [{**member, "seed": s, "weight": w} for s, w in ((42, 0.75), (12, 0.25), (22, 1e-17))]
    changed = described(study, **{study.chosen_ensemble.loss: {"members": weighted}})
    text = " ".join(in_short(changed))
    assert "runs 2 networks for every image; the other 1 member has a weight below 0.0005" in text


def test_a_collapsed_member_is_marked(make):
    study = load_study(make(collapsed=12))
    text = section(text_of(study), "Members and weights")
    assert "densenet-bce seed 12 (collapsed)" in text
    assert "densenet-bce seed 42 (collapsed)" not in text


def test_a_difference_by_a_failed_training_is_nobodys_gain_on_any_page(make, tmp_path):
    """Seed 12 learned nothing: every significant difference that it is part of is its failure, in the same words."""
    study = load_study(make(losses=("bce", "zlpr"), collapsed=12))
    study = replace(study, class_comparisons=study.class_comparisons.assign(p=0.0, p_holm=0.0, distinguishable=True))
    table = study.comparisons.assign(difference=0.173, p=0.0, p_holm=0.0, distinguishable=True, equivalent=False)
    study = replace(study, comparisons=table)
    assert study.failing >= {study.chosen.key, f"{study.chosen.key} seed 12", study.chosen_ensemble.key}
    assert f"{study.chosen.key} seed 42" not in study.failing
    found = verdict.verdict(study)
    assert found.gain.outcome == "failed training"
    assert not found.comparison.apart
    assert len(found.comparison.failed) == len(found.comparison.pairs)
    assert {d.verdict for d in differences(study) if not d.reference.endswith("seed 42")} == {"failed training"}
    models = losses.by_model(study)
    of_losses = losses.differences(study, study.comparisons, models, "bce", ("macro",))
    assert {d.outcome for d in of_losses} == {"failed training"}
    assert not any(d.apart for d in of_losses)
    for written in (losses.render(study, tmp_path), render(study, tmp_path)):
        text = written[0].read_text()
        assert "failure" in text
        assert " above " not in text.split("## ")[0]
    alone = replace(study, configurations=tuple(replace(r, runs=()) for r in study.configurations))
    assert verdict.verdict(alone).gain.outcome == "differ"  # the same tests without a failed training


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"thresholds": [[0.1, 0.4], [0.2, 0.3]]},
            "2 × 2 thresholds (members × classes) with the highest F1, 0.100 to 0.400",
        ),
        ({"distinct_reference_scores": [[80, 79], [80, 80]]}, "ranks among 79 to 80 distinct validation scores"),
        (
            {"penalty": 1.0, "coefficients": [[0.5, -0.25]], "intercepts": [0.1], "unfitted_classes": [0]},
            "1 × 2 coefficients, −0.250 to 0.500, and 1 intercept; C = 1, the weakest penalty tried, chosen from "
            "0.001, 0.01, 0.1, and 1 by log-loss on held-out patients; mean logit, for lack of positives or negatives, "
            "in {first}",
        ),
        (
            {"penalty": 0.1, "coefficients": [[0.5, 0.2]] * 2, "intercepts": [0, 0], "unfitted_classes": []},
            "and 2 intercepts; C = 0.1, chosen",
        ),
        (
            {"features": 1024, "loss": "bce", "lr": 0.004, "best_epoch": 3},
            "a head on 1,024 features, trained with bce at learning rate 0.004; epoch 3 was chosen on the "
            "validation set",
        ),
        ({"scale": 2}, "scale, as in members.json"),
        ({}, ""),
    ],
)
def test_what_was_fitted_is_said_in_words(here, parameters, expected):
    study = load_once(here)
    said = fitted_besides_weights(study, parameters)
    assert expected.format(first=study.classes[0]) in said
    assert bool(said) == bool(expected)


def fitted_besides_weights(study, parameters):
    """Return what the page says of the parameters of a method; empty text for nothing."""
    text = section(text_of(described(study, mean_all={"parameters": parameters})), "Members and weights")
    return " ".join(re.findall(r"^- mean: (.*)\.$", text, re.MULTILINE))


def test_what_weights_rest_on_is_stated(here):
    study = load_once(here)
    labels = described(study, mean_all={"method": "stack", "fitted_on": "validation labels"}, mean_top1={})
    text = section(text_of(labels), "Methods")
    val = Predictions.load(ENSEMBLES / "predictions.npz")
    assert f"n = {len(val.val_rows)} images of {len(set(val.val_patients))} patients" in text
    least = int(val.val_targets.sum(axis=0).min())
    assert f"{least} positive image" in text
    assert "cross-fitted" in text
    assert "All validation values are nevertheless optimistic" in text
    assert "cross-fitted" not in text_of(described(study, mean_all={}))


def test_skipped_ensembles_have_their_reasons(here):
    study = load_once(here)
    text = section(text_of(study), "Not built")
    assert "| slsqp_top1 " in text
    assert "one member alone needs no weights" in text
    assert "Not built" not in text_of(replace(study, skipped={}))


def test_one_seed_one_configuration_one_ensemble(make, tmp_path):
    study = load_study(make(models=("densenet",), replicates=()))
    one = study.every_ensemble[:1]
    key = study.configurations[0].key
    changed = described(replace(study, ensembles=one, every_ensemble=one, skipped={}), mean_all={})
    members = changed.described["mean_all"]["members"][:1]
    changed = described(changed, mean_all={"members": members})
    pairs = [{"first": f, "second": one[0].key, "difference": -0.02, "p_holm": 0.2} for f in (key, f"{key} seed 42")]
    changed = with_pairs(changed, pairs)
    text = checked(changed, tmp_path / "r")
    assert "1 ensemble (1 method × 1 set of members) built from 1 training run." in text
    assert "(seed 42 alone)" in text
    assert "is the only ensemble (validation macro AUROC" in text
    assert "others" not in text
    assert "Not built" not in text


def test_missing_and_collapsed_cells_are_named_first(make, tmp_path):
    params = make(collapsed=12)
    shutil.rmtree(EVALUATIONS / "small_cnn-bce")
    study = load_study(params)
    head = checked(study, tmp_path / "r").split("## In short")[0]
    assert "small_cnn-bce, all seeds (42, 12)" in head
    assert "1 training run learned nothing: densenet-bce, seed 12" in head


def test_an_ensemble_without_interval_or_value_says_why(here, tmp_path):
    study = load_once(here)
    metrics = study.chosen_ensemble.metrics.copy()
    test = metrics["part"] == "test"
    metrics.loc[test, ["value", "ci_low", "ci_high"]] = np.nan
    metrics.loc[test, "note"] = "the logits are not finite"
    broken = replace(study.chosen_ensemble, metrics=metrics)
    kept = tuple(broken if e.key == broken.key else e for e in study.every_ensemble)
    changed = replace(study, ensembles=kept, every_ensemble=kept)
    text = checked(changed, tmp_path / "r")
    assert "its test macro AUROC is not available (the logits are not finite)" in text
    assert f"- — {broken.loss}: the logits are not finite." in text
    alone = replace(changed, ensembles=(broken,), every_ensemble=(broken,))
    assert len(render(alone, tmp_path / "s")) == 1  # no figure without a number
    assert "ensembles.png" not in (tmp_path / "s" / "ensembles.md").read_text()


def test_without_ensembles_there_is_no_page(make, tmp_path):
    params = make(models=("densenet",))
    (ENSEMBLES / "metrics.csv").unlink()
    assert render(load_study(params), tmp_path / "r") == []
    assert not (tmp_path / "r").exists()


def test_a_bare_table_gives_what_it_holds(tmp_path):
    lines = ["model,loss,seed,part,class,metric,value,ci_low,ci_high,n"]
    for model, loss, seed in (("m", "l", "1"), ("m", "l", "2"), ("ensemble", "mean", ""), ("ensemble", "vote", "")):
        value = 0.8 if loss == "vote" else 0.75
        lines.append(f"{model},{loss},{seed},test,macro,auroc,{value},{value - 0.02},{value + 0.02},90")
        lines.append(f"{model},{loss},{seed},val,macro,auroc,{value - 0.1},,,")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    study = from_metrics(tmp_path / "t.csv")
    text = checked(study, tmp_path / "r")
    assert (tmp_path / "r" / "figures" / "ensembles.png").stat().st_size
    assert "The table holds 2 ensembles; the members are not recorded." in text
    assert "**vote** has the highest validation macro AUROC of 2 ensembles (0.700)" in text
    assert "0.800 [0.780, 0.820]" in text
    assert "not tested in this report" in text
    assert not re.search(r"## (Methods|Members|Compared|Not built)", text)
    without = from_metrics_without_ensembles(tmp_path)
    assert render(without, tmp_path / "s") == []
    assert not (tmp_path / "s").exists()


def from_metrics_without_ensembles(tmp_path):
    (tmp_path / "u.csv").write_text("model,loss,seed,part,class,metric,value\nm,l,1,test,macro,auroc,0.8")
    return from_metrics(tmp_path / "u.csv")


def test_a_bare_table_without_validation_chooses_nothing(tmp_path):
    lines = ["model,loss,seed,part,class,metric,value", "m,l,1,test,macro,auroc,0.8"]
    lines += ["ensemble,mean,,test,macro,auroc,0.9", "ensemble,vote,,test,macro,auroc,0.7"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    study = from_metrics(tmp_path / "t.csv")
    text = checked(study, tmp_path / "r")
    assert "No ensemble has a validation AUROC, so none is chosen" in text
    assert "★" not in text


def test_the_stage_writes_what_the_page_reads(here):
    """members.json as the fixture writes it has the keys of `pipeline.ensemble.describe`."""
    content = json.loads((ENSEMBLES / "members.json").read_text())
    for of in content["ensembles"].values():
        assert set(of) == {"method", "set", "fitted_on", "val_auroc", "members", "parameters"}
    from pipeline.ensembling.fitting import METHODS

    source = (page.TEMPLATES / "ensembles.md").read_text()
    defined = page._environment().parse(source).find_all(nodes.Assign)
    words = next(node.node.as_const() for node in defined if node.target.name == "METHODS")
    assert set(METHODS) | {"features"} == set(words)
    assert "not described here" not in text_of(described(load_once(here), **{m: {"method": m} for m in words}))


def test_weights_of_every_method_that_the_stage_fits_are_described(here):
    """Every method's own `describe` becomes a column of weights or a sentence, never a list of keys."""
    from pipeline.ensembling.fitting import METHODS, fit

    rng = np.random.default_rng(3)
    targets = (rng.random((60, 2)) < 0.4).astype(np.uint8)
    logits = (targets * 1.5 + rng.normal(size=(3, 60, 2))).astype(np.float32)
    patients = np.repeat(np.arange(30), 2)
    study = load_once(here)
    for method in METHODS:
        parameters = fit(method, logits, targets, "multilabel", patients).combiner.describe()
        weights = parameters.pop("weights", None)
        text = fitted_besides_weights(study, parameters)
        assert "members.json" not in text
        assert (weights is not None) == (method in ("slsqp", "greedy"))
        assert bool(text) == (method in ("rank_mean", "vote", "stack"))
        assert (fitted(parameters, ("a", "b")) is not None) == bool(text)


@pytest.mark.pictures
def test_the_figure_is_drawn_for_many_sets(here, tmp_path):
    study = load_once(here)
    many = [replace(study.every_ensemble[0], loss=f"mean_set{i}") for i in range(28)]
    changed = replace(study, every_ensemble=tuple(many))
    path = render(changed, tmp_path)[1]
    from PIL import Image

    with Image.open(path) as picture:
        assert picture.height > 28 * 40  # a line of 0.33 inch each
        assert picture.width < 2000
    assert Path(path).stat().st_size < 300_000
