"""The page about errors: its numbers against independent ones, what it may claim, and what it must not show."""

import re
import shutil
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from scipy.stats import fisher_exact, hypergeom
from sklearn.metrics import confusion_matrix, recall_score

from pipeline.checking.mistakes import Decisions, co_occurrence, confident_errors, reliability_curve, shared_errors
from pipeline.reporting import formats
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.loading import load_study
from pipeline.reporting.settings import Report
from pipeline.reporting.values import NO_TABLE
from pipeline.reporting.views import calibration, confusion, errors
from pipeline.study.files import EVALUATIONS, PRIVATE_FIGURES
from tests.reporting.conftest import FINDINGS
from tests.reporting.loaded import load_once
from tests.reporting.test_pages import check_page

FIGURES = ["errors-confusion.png", "errors-images.png", "errors-reliability.png"]


def page(study, folder="reports") -> str:
    """Render, check and return the page."""
    folder = Path(folder)
    written = errors.render(study, folder)
    (folder / "README.md").touch()  # the front page, which others write
    path = folder / "errors.md"
    assert written[0] == path
    text = path.read_text()
    check_page(path, text)
    return text


def section(text, title):
    """Return a section, its tables without the padding that lines them up."""
    return re.sub(" +", " ", text.split(f"\n## {title}\n")[1].split("\n## ")[0])


def cells(text, first):
    """Return the cells of the table rows whose first cell is `first`."""
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0] == first]


def changed(results, **arrays):
    """Return `results` with other predictions."""
    return replace(results, predictions=replace(results.predictions, **arrays))


def made_of(truth, called, patients=None, classes=FINDINGS, task="multilabel", sure=0.9) -> Decisions:
    """Return decisions as given: bool [N, K], called bool [S, N, K]."""
    truth, called = np.asarray(truth, bool), np.asarray(called, bool)
    seeds, n, k = called.shape
    return Decisions(
        task=task,
        classes=tuple(classes[:k]),
        seeds=tuple(range(seeds)),
        rows=np.arange(n),
        patients=np.array([f"p{i:04d}" for i in range(n)]) if patients is None else np.asarray(patients),
        truth=truth,
        probabilities=np.where(called, sure, 1 - sure),
        thresholds=np.full((seeds, k), 0.5),
    )


def decided_here(study):
    """Decide once more without the code under test: truth [N, K], probabilities [S, N, K], called [S, N, K]."""
    results = study.chosen
    p = results.predictions
    if study.task == "multiclass":
        scores = softmax(p.test_logits.astype(float), axis=-1)
        called = np.eye(len(study.classes), dtype=bool)[p.test_logits.argmax(axis=-1)]
    else:
        scores = expit(p.test_logits.astype(float))
        rows = results.metrics.query("part == 'val' and metric == 'threshold'").set_index(["seed", "class"])["value"]
        cuts = np.array([[rows[str(s), c] for c in study.classes] for s in p.seeds])
        called = scores >= cuts[:, None, :]
    return p.test_targets.astype(bool), scores, called


def test_the_page_stands_for_both_tasks(here, tmp_path):
    study = load_once(here)
    text = page(study, tmp_path)
    assert f"**{study.chosen.key}**, which has the highest validation macro AUROC of 4 configurations" in text
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == FIGURES
    for title in ("Errors shared by seeds", "Most confident errors", "Confusion", "Subgroups", "Calibration"):
        assert section(text, title).strip()
    again = tmp_path / "again"
    for path in errors.render(study, again):
        assert path.read_bytes() == (tmp_path / path.relative_to(again)).read_bytes(), path


def test_errors_agree_with_the_metrics_table(here):
    study = load_once(here)
    made = errors.decisions(study, study.chosen)
    truth, scores, called = decided_here(study)
    order = [study.chosen.predictions.seeds.tolist().index(s) for s in made.seeds]
    assert made.seeds == tuple(sorted(study.chosen.seeds))
    np.testing.assert_array_equal(made.called, called[order])
    np.testing.assert_allclose(made.probabilities, scores[order], rtol=1e-12)
    for i, seed in enumerate(made.seeds):
        for k, name in enumerate(study.classes):
            recall = recall_score(truth[:, k], made.called[i, :, k])
            assert recall == pytest.approx(study.chosen.get("sensitivity", name, seed).value)


def test_shared_errors_are_those_of_the_predictions(here, tmp_path):
    study = load_once(here)
    truth, _, called = decided_here(study)
    wrong = called != truth
    text = section(page(study, tmp_path), "Errors shared by seeds")
    if study.task == "multiclass":
        kinds = {"wrong class": wrong.any(axis=2)}
    else:
        kinds = {"false positive": wrong & ~truth, "false negative": wrong & truth, "all errors": wrong}
    for kind, of in kinds.items():
        times = of.sum(axis=0).ravel()
        n = int((times > 0).sum())
        row = cells(text, kind)[0]
        assert row[1:3] == [str(n), f"{times.sum() / 3:.1f}"]
        assert row[4].startswith(f"{100 * (times == 3).sum() / n:.1f} % [")
        assert row[5].startswith(f"{100 * (times == 1).sum() / n:.1f} % [")
        low, high = map(float, re.search(r"\[(.*), (.*)\]", row[4]).groups())
        assert 0 <= low < 100 * (times == 3).sum() / n < high <= 100


def test_the_interval_of_shared_errors_draws_patients():
    rng = np.random.default_rng(1)
    truth = np.zeros((400, 1), bool)
    once = rng.random(400) < 0.5
    called = np.stack([np.ones(400, bool), once])[..., None]  # the second seed repeats half of the first one's errors
    alone = shared_errors(made_of(truth, called), 400, 0.95, 0).iloc[0]
    assert alone["n"] == 400
    assert alone["every"] == once.mean()
    reach = 1.96 * np.sqrt(once.mean() * (1 - once.mean()) / 400)
    assert alone["every_high"] - alone["every_low"] == pytest.approx(2 * reach, rel=0.2)
    few = np.repeat([f"p{i}" for i in range(20)], 20)
    once = np.repeat(rng.random(20) < 0.5, 20)
    called = np.stack([np.ones(400, bool), once])[..., None]
    clustered = shared_errors(made_of(truth, called, few), 400, 0.95, 0).iloc[0]
    assert clustered["every_high"] - clustered["every_low"] > 6 * reach
    nine = shared_errors(made_of(truth[:90], called[:, :90], np.arange(90) % 9), 400, 0.95, 0).iloc[0]
    assert nine["patients"] == 9
    assert np.isnan([nine["every_low"], nine["one_high"]]).all()
    assert nine["every"] == called[1, :90].mean()


def test_without_an_error_there_is_no_share():
    truth = np.eye(3, dtype=bool)
    table = shared_errors(made_of(truth, [truth, truth]), 100, 0.95, 0)
    assert (table["n"] == 0).all()
    assert table[["every", "one", "every_low"]].isna().all(axis=None)


def test_confident_errors_are_the_extremes(here, tmp_path):
    study = load_once(here)
    truth, scores, called = decided_here(study)
    mean, names = scores.mean(axis=0), study.samples.set_index("row")["sample_id"]
    rows = study.chosen.predictions.test_rows
    text = section(page(study, tmp_path), "Most confident errors")
    for k, name in enumerate(study.classes):
        found = cells(text, name)
        if study.task == "multiclass":
            bad = np.flatnonzero(truth[:, k] & (mean.argmax(axis=1) != k))
            expected = sorted(bad, key=lambda i: -mean[i].max())[:3]
            assert [r[1] for r in found] == [study.classes[mean[i].argmax()] for i in expected]
            found = [[r[0], *r[2:]] for r in found]
            shown = [mean[i].max() for i in expected]
        else:
            mostly = (called != truth).sum(axis=0)[:, k] >= 2
            false = sorted(np.flatnonzero(mostly & ~truth[:, k]), key=lambda i: -mean[i, k])[:3]
            missed = sorted(np.flatnonzero(mostly & truth[:, k]), key=lambda i: mean[i, k])[:3]
            expected = [*false, *missed]
            shown = [mean[i, k] for i in expected]
            for row, i in zip(found, expected):
                labels = [c for c, here in zip(study.classes, truth[i]) if here]
                assert row[-1] == (", ".join(labels) or "none")
                assert row[-2] == f"{(called[:, i, k] != truth[i, k]).sum()} of 3"
        assert [r[1] for r in found] == [names[rows[i]] for i in expected]
        assert [r[2].split(" (")[0] for r in found] == [f"{p:.3f}" for p in shown]


def test_pictured_errors_are_few_and_each_image_is_there_once():
    rng = np.random.default_rng(2)
    truth = rng.random((200, 5)) < 0.3
    made = made_of(truth, rng.random((3, 200, 5)) < 0.5)
    chosen = errors.pictured(confident_errors(made), made.rows)
    assert len(chosen) == 10
    assert chosen["place"].is_unique
    assert chosen.groupby(["kind", "class"]).size().max() == 1
    assert len(errors.pictured(confident_errors(made), made.rows, most=4)) == 4


def test_copies_of_an_image_count_once():
    truth = np.zeros((6, 1), bool)
    made = replace(made_of(truth, np.ones((1, 6, 1))), rows=np.array([7, 7, 7, 8, 9, 10]))
    found = confident_errors(made)
    assert made.rows[found["place"]].tolist() == [7, 8, 9]


def planted(n=300, patients=None, seed=3):
    """Call the first finding wrongly where the second is, and the third at random."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 4)) < [0.1, 0.2, 0.2, 0.2]
    called = np.zeros((n, 4), bool)
    called[:, 0] = truth[:, 0] | (truth[:, 1] & (rng.random(n) < 0.6))
    called[:, 2] = truth[:, 2] | (rng.random(n) < 0.1)
    return made_of(truth, called[None], patients)


def test_co_occurrence_is_fisher_with_holm():
    made = planted()
    table = co_occurrence(made, 0.95).set_index(["called", "present"])
    assert table.index.tolist() == list(permutations(FINDINGS[:4], 2))
    p = {}
    for a, b in permutations(range(4), 2):
        absent = ~made.truth[:, a]
        false, there = made.called[0, absent, a], made.truth[absent, b]
        row = table.loc[(FINDINGS[a], FINDINGS[b])]
        assert (row["n_false"], row["n_both"]) == (false.sum(), (false & there).sum())
        assert row["patients"] == absent.sum()  # one image per patient here
        if not false.any():
            assert np.isnan(row["p"])
            continue
        assert row["expected"] == pytest.approx(false.sum() * there.mean())
        assert row["lift"] == pytest.approx((false & there).sum() / row["expected"])
        assert row["prevalence"] == pytest.approx(there.mean())
        assert row["share_low"] < row["n_both"] / row["n_false"] + 1e-12 <= row["share_high"] + 1e-12
        counts = pd.crosstab(false, there).reindex(index=[True, False], columns=[True, False], fill_value=0)
        p[a, b] = fisher_exact(counts)[1]
        assert row["p"] == pytest.approx(p[a, b], rel=1e-9)
        # and by hand: all tables of these margins that are no likelier than the one seen
        chances = hypergeom(len(false), there.sum(), false.sum()).pmf(np.arange(false.sum() + 1))
        assert row["p"] == pytest.approx(
            chances[chances <= chances[(false & there).sum()] * (1 + 1e-7)].sum(), rel=1e-6
        )
    ranked = sorted(p.values())
    stepped = np.maximum.accumulate(np.minimum(1, np.array(ranked) * np.arange(len(ranked), 0, -1)))
    for (a, b), value in p.items():
        assert table.loc[(FINDINGS[a], FINDINGS[b]), "p_holm"] == pytest.approx(stepped[ranked.index(value)])
    held = table[table["p_holm"] < 0.05]
    assert held.index.tolist() == [(FINDINGS[0], FINDINGS[1])]
    assert held["more"].all()


def test_images_of_one_patient_are_not_counted_as_independent():
    few = planted(8, patients=[f"p{i}" for i in range(8)], seed=11)
    repeated = {
        key: np.repeat(getattr(few, key), 40, axis=axis)
        for key, axis in (("rows", 0), ("patients", 0), ("truth", 0), ("probabilities", 1))
    }
    many = replace(few, **repeated)
    ours, plain = co_occurrence(many, 0.95), co_occurrence(few, 0.95)
    np.testing.assert_allclose(ours["p"], plain["p"])
    np.testing.assert_array_equal(ours["n_false"], 40 * plain["n_false"])
    as_images = replace(many, patients=np.arange(len(many.rows)).astype(str))
    assert co_occurrence(as_images, 0.95)["p"].min() < 1e-6 < 0.05 < ours["p"].min()


def test_only_pairs_that_survive_holm_are_claimed(here, tmp_path, monkeypatch):
    study = load_once(here)
    if study.task == "multiclass":
        assert "Fisher" not in page(study, tmp_path)
        return
    table = co_occurrence(errors.decisions(study, study.chosen), 0.95)
    tested = table["p_holm"].notna().sum()
    assert (table["p_holm"] < 0.05).sum() == 0
    text = page(study, tmp_path)
    assert "**No pair is significant: all lifts are within noise.**" in text
    sentence = f"Of {tested} pairs of findings that could be tested, none is significant after Holm's correction"
    assert f"{sentence}: for no pair is one finding" in text
    # a pair below 0.05 that Holm does not let through is not claimed; one that it lets through is
    nominal = table.assign(p=np.where(table["p"].notna(), 0.03, np.nan))
    nominal["p_holm"] = np.where(nominal["p"].notna(), np.minimum(1, 0.03 * tested), np.nan)
    assert "No pair is significant" in with_pairs(study, nominal, tmp_path, monkeypatch)
    first = nominal.index[nominal["p"].notna()][0]
    nominal.loc[first, ["p_holm", "more"]] = [0.01, False]
    pair = nominal.loc[first]
    readable = [pair[c].replace("_", " ") for c in ("present", "called")]
    claim = f"**1 pair is significant: {readable[0]} is less frequent on the false positives of {readable[1]}.**"
    assert claim in with_pairs(study, nominal, tmp_path, monkeypatch)
    none = with_pairs(study, table.assign(p=np.nan, p_holm=np.nan), tmp_path, monkeypatch)
    assert "No pair can be tested" in none
    assert "is significant" not in none
    assert "are significant" not in none
    every = nominal.assign(p_holm=np.where(nominal["p"].notna(), 0.01, np.nan), more=True)
    many = with_pairs(study, every, tmp_path, monkeypatch)
    assert f"**{tested} pairs are significant: " in many
    assert f"; and {tested - 10} more.**" in many


def with_pairs(study, pairs, folder, monkeypatch) -> str:
    """Render the page with other pairs of findings."""
    with monkeypatch.context() as patch:
        patch.setattr(errors, "co_occurrence", lambda *_: pairs)
        return page(study, folder)


def test_confusion_matrix_and_recall(here, tmp_path):
    study = load_once(here)
    if study.task == "multilabel":
        return
    p = study.chosen.predictions
    truth = p.test_targets.argmax(axis=1)
    mean = np.mean([confusion_matrix(truth, logits.argmax(axis=1)) for logits in p.test_logits], axis=0)
    text = section(page(study, tmp_path), "Confusion")
    for k, name in enumerate(study.classes):
        row = cells(text, name)[0]
        assert row[1:-1] == [str((truth == k).sum()), *(f"{n:.1f}" for n in mean[k])]
        assert row[-1] == formats.estimated(study.chosen.get("sensitivity", name))
        assert float(row[-1].split()[0]) == pytest.approx(mean[k, k] / mean[k].sum(), abs=5e-4)
    off = np.where(np.eye(len(mean), dtype=bool), -1, mean)
    i, j = np.unravel_index(off.argmax(), off.shape)
    first = text.split("The most frequent confusions")[1].split("\n| ")[2]
    assert first.startswith(f"{study.classes[i]} | {study.classes[j]} | {off[i, j]:.1f} |")


def test_many_classes_have_a_list_and_no_matrix(here, tmp_path, monkeypatch):
    study = load_once(here)
    monkeypatch.setattr(confusion, "_WIDEST_MATRIX", 2)
    monkeypatch.setattr("pipeline.reporting.figures.errors._MOST_CLASSES", 2)
    text = page(study, tmp_path)
    assert "errors-confusion.png" not in text
    assert not (tmp_path / "figures" / "errors-confusion.png").exists()
    if study.task == "multiclass":
        assert cells(text, "Truth") == [
            ["Truth", "n", "Recall [95 % CI]"],
            ["Truth", "Predicted", *cells(text, "Truth")[1][2:]],
        ]


def test_subgroups_are_those_of_the_table_and_not_compared(here, tmp_path):
    study = load_once(here)
    text = section(page(study, tmp_path), "Subgroups")
    shown = study.chosen.subgroups.query("seed == 'mean' and `class` in ('macro', 'overall')")
    metrics = ["auroc"] if study.task == "multilabel" else ["accuracy", "balanced_accuracy"]
    for (_, name), rows in shown.groupby(["variable", "subgroup"]):
        by = rows.set_index("metric")
        row = cells(text, name)[0]
        assert row[1] == f"{by['n'].iloc[0]:.0f}"
        assert [c.split()[0] for c in row[-len(metrics) :]] == [f"{by.loc[m, 'value']:.3f}" for m in metrics]
    assert "their differences are tested" in text
    assert "No subgroup results are recorded for age." in text


def test_missing_subgroups_are_named(here, tmp_path):
    study = load_once(here)
    without = tuple(replace(r, subgroups=NO_TABLE) for r in study.configurations)
    text = page(replace(study, configurations=without), tmp_path)
    assert section(text, "Subgroups").strip() == ("— No subgroup results are recorded for sex, view, or age.")


def test_a_subgroup_of_few_patients_says_so(here, tmp_path):
    study = load_once(here)
    table = study.chosen.subgroups.copy()
    few = table["subgroup"] == "AP"
    table.loc[few, ["value", "ci_low", "ci_high"]] = np.nan
    table.loc[few, "note"] = "fewer than 10 patients (3)"
    configurations = tuple(replace(r, subgroups=table) if r is study.chosen else r for r in study.configurations)
    text = section(page(replace(study, configurations=configurations), tmp_path), "Subgroups")
    assert set(cells(text, "AP")[0][-1:]) == {"—"}
    assert "- — AP: fewer than 10 patients (3)." in text


def test_calibration_numbers(here, tmp_path):
    study = load_once(here)
    text = section(page(study, tmp_path), "Calibration")
    for configuration in study.configurations:
        before, after = cells(text, configuration.key)
        for row, suffix in ((before, ""), (after, "_calibrated")):
            estimates = [formats.estimated(configuration.get(f"{m}{suffix}")) for m in ("ece", "brier", "log_loss")]
            floor = configuration.get(f"ece_floor{suffix}").value
            assert row[2:] == [estimates[0], f"{floor:.3f}", *estimates[1:]]
    p = study.chosen.predictions
    if study.task == "multiclass":
        scores = softmax(p.test_logits.astype(float), axis=-1)
        brier = ((scores - p.test_targets) ** 2).sum(axis=-1).mean()
    else:
        scores = expit(p.test_logits.astype(float))
        brier = ((scores - p.test_targets) ** 2).mean()
        for k, name in enumerate(study.classes):
            row = cells(text, name)[0]
            share = p.test_targets[:, k].mean()
            assert row[1:4] == [str(p.test_targets[:, k].sum()), f"{share:.3f}", f"{scores[..., k].mean():.3f}"]
    assert cells(text, study.chosen.key)[0][4].startswith(f"{brier:.3f} [")


def test_the_worst_calibrated_classes_are_named_with_their_positives(here, tmp_path):
    study = load_once(here)
    if study.task == "multiclass":
        return
    text = section(page(study, tmp_path), "Calibration")
    values = {c: study.chosen.get("ece_calibrated", c) for c in study.classes}
    worst = max(values, key=lambda c: values[c].value)
    sentence = f"After calibration the ECE is highest for {worst.replace('_', ' ')} ("
    assert sentence in text
    assert f", {values[worst].n_positive:.0f} positives)" in text.split(sentence)[1].split("and")[0]


@pytest.mark.drawn
def test_classes_with_few_positives_are_not_drawn(here, tmp_path):
    study = load_once(here)
    text = page(study, tmp_path)
    drawn, few = calibration.drawn_classes(study, study.chosen)
    if study.task == "multiclass":
        assert (drawn, few) == (["overall"], [])
        return
    positives = dict(zip(study.classes, study.chosen.predictions.test_targets.sum(axis=0)))
    assert drawn == [c for c in study.classes if positives[c] >= 10] != list(study.classes)
    assert f"Not drawn, having fewer than 10 positive images: Hernia ({positives['Hernia']})." in text


def test_reliability_curve_pools_seeds_and_merges_bins(here):
    study = load_once(here)
    table, p = study.chosen.reliability, study.chosen.predictions
    single = study.task == "multiclass"
    name = "overall" if single else study.classes[0]
    curve = reliability_curve(table, name, False)
    scores = softmax(p.test_logits, axis=-1).max(axis=-1) if single else expit(p.test_logits[..., 0])
    right = p.test_logits.argmax(axis=-1) == p.test_targets.argmax(axis=1) if single else p.test_targets[:, 0]
    n = len(p.test_rows)
    assert curve["n"].sum() == pytest.approx(n)
    assert len(curve) == 3  # 120 images: 8 a bin, so that five are merged
    assert (curve["n"] * curve["probability"]).sum() / n == pytest.approx(scores.mean(), rel=1e-5)
    assert (curve["n"] * curve["frequency"]).sum() / n == pytest.approx(np.mean(right))
    assert curve["probability"].is_monotonic_increasing
    many = table.assign(n=50 * table["n"])
    assert len(reliability_curve(many, name, False)) == table[table["class"] == name]["bin"].nunique()


def test_images_of_people_stay_out_of_the_reports(make):
    study = load_study(make(synthetic=False))
    Path("reports/figures").mkdir(parents=True)
    stale = Path("reports/figures/errors-images.png")
    stale.write_bytes(b"an earlier figure")
    text = page(study)
    assert not stale.exists()
    assert (PRIVATE_FIGURES / "errors-images.png").is_file()
    assert [p.name for p in sorted(Path("reports").rglob("*.png"))] == [
        "errors-confusion.png",
        "errors-reliability.png",
    ]
    assert "![The most confident errors]" not in text
    assert "[The most confident errors](../data/figures/errors-images.png) (this file exists only on" in text
    assert "The label may be what is wrong: nobody reviewed it." in text
    public = replace(study, params=study.params.model_copy(update={"report": Report(private_figures=False)}))
    assert "![The most confident errors](figures/errors-images.png)" in page(public)


def test_one_seed_and_one_configuration(make):
    study = load_study(make(models=("densenet",), replicates=()))
    text = page(study)
    assert "This page describes the errors of **densenet-bce**, the only configuration (1 seed; test set," in text
    shared = section(text, "Errors shared by seeds")
    assert shared.strip() == (
        "— There is only one seed: whether another training run makes the same errors is not known."
    )
    assert "range" not in text.lower()
    assert "Seeds wrong" not in text
    assert "| Threshold |" in re.sub(" +", " ", text)
    assert "at least one of its" not in text


def test_two_seeds(make):
    study = load_study(make(models=("densenet",)))
    text = page(study)
    assert "By both seeds" in text
    assert "are wrong under both seeds and" in text
    assert "all 2 seeds" not in text
    made = errors.decisions(study, study.chosen)
    both = made.wrong.all(axis=0)
    found = confident_errors(made, each=1000)
    assert len(found) == both.sum()
    assert (found["wrong"] == 2).all()


def test_a_class_without_a_threshold_is_left_out_and_named(make):
    study = load_study(make(models=("densenet",)))
    metrics = study.configurations[0].metrics.copy()
    gone = (metrics["metric"] == "threshold") & (metrics["class"] == "Hernia")
    metrics.loc[gone, ["value", "note"]] = [np.nan, "no positive in validation"]
    configuration = replace(study.configurations[0], metrics=metrics)
    text = page(replace(study, configurations=(configuration,)))
    assert "Hernia has no threshold (no positive in validation), so no error of it is counted." in text
    assert not cells(section(text, "Most confident errors"), "Hernia")
    made = errors.decisions(study, configuration)
    assert made.decided.tolist() == [True] * 4 + [False]
    assert not made.wrong[..., 4].any()
    assert "Hernia" not in co_occurrence(made, 0.95)["called"].tolist()
    metrics.loc[metrics["metric"] == "threshold", "value"] = np.nan
    text = page(replace(study, configurations=(replace(configuration, metrics=metrics),)))
    assert "have no threshold" in text
    assert "There is none: no image is decided wrongly by more than half of the seeds." in text
    assert "errors-images.png" not in text
    assert not confident_errors(errors.decisions(study, replace(configuration, metrics=metrics))).size


def test_a_seed_whose_logits_are_not_finite_is_left_out(make):
    study = load_study(make(models=("densenet",)))
    p = study.configurations[0].predictions
    broken = p.test_logits.copy()
    broken[p.seeds.tolist().index(12), 3, 1] = np.nan
    configuration = changed(study.configurations[0], test_logits=broken)
    text = page(replace(study, configurations=(configuration,)))
    assert "The logits of seed 12 are not finite; errors are those of the other seeds." in text
    assert "— There is only one seed" in text
    configuration = changed(configuration, test_logits=np.full_like(broken, np.nan))
    shutil.rmtree("reports")
    assert errors.render(replace(study, configurations=(configuration,)), Path("reports")) == []
    assert not Path("reports").exists()


def test_missing_and_collapsed_cells_are_announced(make):
    study = make(collapsed=12)
    (EVALUATIONS / "small_cnn-bce" / "metrics.csv").unlink()
    text = page(load_study(study))
    assert "**Missing results.**" in text
    assert "**Collapsed.** 1 training run learned nothing" in text


def test_tables_that_older_evaluations_lack(make):
    study = load_study(make(models=("densenet",)))
    bare = replace(
        study.configurations[0], reliability=NO_TABLE, disagreement=NO_TABLE, subgroups=NO_TABLE, confusion=NO_TABLE
    )
    text = page(replace(study, configurations=(bare,), boxes=NO_TABLE))
    assert "The reliability of densenet-bce is not recorded." in text
    assert "is not recorded for this configuration" in text
    assert "boxes mark" not in text
    assert not Path("reports/figures/errors-reliability.png").exists()


def test_a_perfect_configuration_has_no_errors(make):
    study = load_study(make(models=("densenet",)))
    p = study.configurations[0].predictions
    right = np.where(p.test_targets, 20.0, -20.0).astype(np.float32)
    configuration = changed(study.configurations[0], test_logits=np.stack([right, right]))
    text = page(replace(study, configurations=(configuration,)))
    shared = section(text, "Errors shared by seeds")
    assert cells(shared, "all errors")[0] == ["all errors", "0", "0.0", "0", "—", "—"]
    assert "- — no error, no share." in shared
    assert "There is none: no image is decided wrongly" in text
    assert "No two findings can be examined together" in text


def test_there_is_no_page_without_predictions(tmp_path):
    rows = [["m", "l", s, "test", "macro", "auroc", 0.8] for s in (1, 2)]
    rows += [["m", "l", s, "val", "macro", "auroc", 0.8] for s in (1, 2)]
    path = tmp_path / "bare.csv"
    pd.DataFrame(rows, columns=["model", "loss", "seed", "part", "class", "metric", "value"]).to_csv(path, index=False)
    assert errors.render(from_metrics(path), tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


def test_a_perfect_configuration_of_single_labels_has_no_errors(here, tmp_path):
    study = load_once(here)
    if study.task == "multilabel":
        return
    p = study.chosen.predictions
    right = changed(study.chosen, test_logits=np.where(p.test_targets, 20.0, -20.0)[None].repeat(3, axis=0))
    study = replace(study, configurations=tuple(right if r is study.chosen else r for r in study.configurations))
    text = page(study, tmp_path)
    assert "There is none: on every image the true class has the highest mean probability over seeds." in text
    assert not (tmp_path / "figures" / "errors-images.png").exists()
