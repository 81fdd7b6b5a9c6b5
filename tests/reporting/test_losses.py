"""The page of losses: signs, Holm's correction for this page alone, and words that claim no more than was tested."""

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from pipeline.reporting import english, formats
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.figures import losses as figures
from pipeline.reporting.loading import load_study
from pipeline.reporting.values import NO_TABLE, Estimate
from pipeline.reporting.views import losses
from pipeline.study.files import EVALUATIONS
from pipeline.study.prepared import DatasetInfo
from pipeline.uncertainty.claims import false_claim
from tests.reporting.conftest import settings
from tests.reporting.loaded import load_once
from tests.reporting.test_pages import check_page

pytestmark = pytest.mark.drawn

CLASSES = ("Mass", "Pleural_Thickening")


def page(study, folder):
    """Write the page beside the pages that it links to, hold it to what holds for all, and return its text."""
    written = losses.render(study, folder)
    assert written[0] == folder / "losses.md"
    assert written[1:] in ([], [folder / "figures" / "losses.png"])
    assert all(path.stat().st_size for path in written)
    for name in ("README.md", "claims.md", "methods.md", *(f"seeds/{r.key}.md" for r in study.configurations)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    text = written[0].read_text()
    check_page(written[0], text)
    return text


def section(text, title, level="##"):
    return text.split(f"\n{level} {title}\n")[1].split(f"\n{level} ")[0].split("\n## ")[0]


def rows(markdown):
    """Return the cells of the first table of `markdown`, keyed by their first column, and its head under ''."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    width = len(cells[0])
    cells = list(itertools.takewhile(lambda row: len(row) == width, cells))
    return {"": cells[0], **{row[0]: row[1:] for row in cells[2:]}}


def step_down(p):
    """Holm's correction, written as its paper does: the smallest by m, the next by m - 1, never falling."""
    m, adjusted, highest = len(p), {}, 0.0
    for rank, (key, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (m - rank) * value))
        adjusted[key] = highest
    return adjusted


def drawn(path, models, names, seeds=(1, 2, 3), tests=None, by_class=None, lacking=(), bounds=True):
    """Return a study whose configurations have made-up scores, and whose pairs have the p-values of `tests`.

    `tests` maps (model, loss), and `by_class` (model, loss, class), to (p, tost_p): of the loss against the first of
    `names`. Every other pair with the
    first has p 0.9 and 0.9.
    """
    lines = []
    for i, (model, loss) in enumerate(itertools.product(models, names)):
        if (model, loss) in lacking:
            continue
        for part, group in (("test", "macro"), ("val", "macro"), *(("test", c) for c in CLASSES)):
            value = round(0.8 + 0.003 * (i * 7 % 11) + (0.05 if part == "val" else 0.0) - 0.01 * len(group), 4)
            ends = (value - 0.02, value + 0.02) if bounds else ("", "")
            about = [part, group, "auroc"]
            lines += [[model, loss, s, *about, round(value + 0.004 * (k - 1), 4), "", ""] for k, s in enumerate(seeds)]
            lines += [[model, loss, "mean", *about, value if len(seeds) > 1 else value - 0.004, *ends]]
    columns = ["model", "loss", "seed", "part", "class", "metric", "value", "ci_low", "ci_high"]
    pd.DataFrame(lines, columns=columns).to_csv(path / "t.csv", index=False)
    study = from_metrics(path / "t.csv")
    if tests is None:
        return study
    params = settings("multilabel", models, names, seeds[1:]).model_copy(update={"seed": seeds[0]})
    whole = pairs(study, ("macro",), {(*key, "macro"): p for key, p in tests.items()}, names[0])
    classes = pairs(study, CLASSES, by_class or {}, names[0])
    info = DatasetInfo("drawn", "Drawn", "multilabel", CLASSES, True, "CC0", "No citation.", "")
    recorded = replace(study, params=params, dataset=info, audit={})
    return replace(recorded, comparisons=whole.assign(family="recipes"), class_comparisons=classes)


def pairs(study, groups, p, base):
    """Compare every pair of configurations, the first named first; p is corrected for all that are tested.

    Pairs of two models, and of two losses beside the baseline, are not tested, so that the family is that of the page.
    """
    found = []
    for (a, b), group in itertools.product(itertools.combinations(study.configurations, 2), groups):
        difference = a.get("auroc", group).value - b.get("auroc", group).value
        other = next((r for r, o in ((a, b), (b, a)) if a.model == b.model and o.loss == base), None)
        p_value, tost = (math.nan,) * 2 if other is None else p.get((other.model, other.loss, group), (0.9, 0.9))
        row = {"first": a.key, "second": b.key, "metric": "auroc", "class": group, "difference": difference}
        row |= {"ci_low": difference - 0.01, "ci_high": difference + 0.03, "p": p_value, "tost_p": tost}
        found.append(row | {"seeds": "vary", "margin": 0.005, "note": ""})
    return corrected(pd.DataFrame(found))


def corrected(table):
    """Return comparisons with p corrected for all that are in the table, as stage ensemble writes them."""
    adjusted = {f"{p}_holm": table.index.map(step_down(table[p].dropna().to_dict()).get) for p in ("p", "tost_p")}
    table = table.assign(**{name: pd.to_numeric(values) for name, values in adjusted.items()})
    return table.assign(distinguishable=table["p_holm"] < 0.05, equivalent=table["tost_p_holm"] < 0.05)


def turned(table):
    """Return the same comparisons with every pair the other way round."""
    other = {"first": "second", "second": "first"}
    return table.rename(columns=other).assign(
        difference=-table["difference"], ci_low=-table["ci_high"], ci_high=-table["ci_low"]
    )[table.columns]


def test_differences_are_those_of_the_predictions(here, tmp_path):
    study = load_once(here)
    text = page(study, tmp_path)
    of = study.configurations[0].predictions
    score = {}
    for r in study.configurations:
        truth, logits = r.predictions.test_targets, r.predictions.test_logits
        scores = softmax(logits, axis=-1) if study.task == "multiclass" else logits
        by_seed = [[roc_auc_score(truth[:, k], z[:, k]) for k in range(len(of.classes))] for z in scores]
        score[r.model, r.loss] = np.mean(by_seed, axis=0)
    keys = study.comparisons[study.comparisons["family"] == "recipes"].set_index(["first", "second"])
    raw = {m: keys.loc[f"{m}-bce", f"{m}-zlpr"] for m in ("densenet", "small_cnn")}
    p_holm, tost = ({m: pair[f"{p}_holm"] for m, pair in raw.items()} for p in ("p", "tost_p"))  # of the whole study
    for model in raw:
        change = score[model, "zlpr"] - score[model, "bce"]
        found = rows(section(text, f"{model}: difference from bce", "###"))
        assert found[""][:2] == ["Loss", "Loss − bce"]
        difference, interval, p, adjusted, equal, false, verdict = found["zlpr"]
        assert difference == english.signed(change.mean())
        low, high = (float(v.replace("−", "-")) for v in interval[1:-1].split(","))
        assert low == pytest.approx(-raw[model]["ci_high"], abs=6e-4)
        assert high == pytest.approx(-raw[model]["ci_low"], abs=6e-4)
        assert low < change.mean() < high
        assert [p, adjusted, equal] == [formats.probability(v) for v in (raw[model]["p"], p_holm[model], tost[model])]
        assert false == formats.chance(float(false_claim(raw[model]["p"]).sceptical))
        assert verdict == ("differ" if p_holm[model] < 0.05 else "within noise")
        classes = rows(section(text, f"{model}: classes", "###"))
        for k, name in enumerate(study.classes):
            positives, cell = classes[name]
            assert int(positives) == of.test_targets[:, k].sum()
            assert cell.strip("*").split()[0] == english.signed(change[k])


def test_p_is_corrected_for_the_comparisons_of_the_study(tmp_path):
    p = {("a", "focal"): 0.009, ("a", "zlpr"): 0.02, ("b", "focal"): 0.3, ("b", "zlpr"): 0.02, ("b", "asl"): 0.8}
    equal = {("a", "asl"): 0.001, ("a", "focal"): 0.014}
    keys = [(m, lo) for m in "ab" for lo in ("focal", "zlpr", "asl")]
    tests = {key: (p.get(key, 0.9), equal.get(key, 0.5)) for key in keys}
    study = drawn(tmp_path, "ab", ("bce", "focal", "zlpr", "asl"), tests=tests)
    text = page(study, tmp_path)
    adjusted = step_down({key: value[0] for key, value in tests.items()})
    refuted = step_down({key: value[1] for key, value in tests.items()})
    assert adjusted["a", "focal"] == pytest.approx(0.054)  # 28 pairs of configurations would make 0.252 of it
    for model, loss in keys:
        row = rows(section(text, f"{model}: difference from bce", "###"))[loss]
        assert row[2:5] == [f"{v[model, loss]:.3f}" for v in ({k: t[0] for k, t in tests.items()}, adjusted, refuted)]
        assert row[6] == ("equivalent" if (model, loss) == ("a", "asl") else "within noise")
    assert (
        "- Significant difference from bce in test macro AUROC (paired by patient, Holm-corrected for 6 comparisons of "
        "the study): none of 6."
    ) in text
    assert "shown to differ from it by less than 0.005: 1 of 6; within a, asl." in text
    assert "neither a difference nor equivalence is shown: 5 of 6." in text
    found = losses.differences(study, study.comparisons, losses.by_model(study), "bce", ("macro",))
    assert {(d.model, d.loss): d.p_holm for d in found} == pytest.approx(adjusted)
    # One comparison less, and the smallest survives: 5 x 0.009.
    study = drawn(tmp_path, "ab", ("bce", "focal", "zlpr", "asl"), tests=tests, lacking={("b", "asl")})
    row = rows(section(page(study, tmp_path), "a: difference from bce", "###"))["focal"]
    assert [*row[3:5], row[6]] == ["0.045", "0.056", "differ"]


def test_pairs_of_other_families_models_and_metrics_are_not_read(tmp_path):
    study = drawn(tmp_path, "ab", ("bce", "zlpr"), tests={("a", "zlpr"): (0.2, 0.5), ("b", "zlpr"): (0.3, 0.5)})
    before = page(study, tmp_path)
    real = study.comparisons.assign(tier=1)
    decoy = real.assign(p=0.0, p_holm=0.0, difference=0.4)
    for other in (decoy.assign(family="ensembles", tier=2),):
        mixed = replace(study, comparisons=pd.concat([other, real, other], ignore_index=True))
        assert page(mixed, tmp_path) == before


def test_the_sign_is_that_of_loss_minus_baseline_whichever_way_round_the_pair_stands(tmp_path):
    names = ("bce", "focal", "zlpr")
    study = drawn(tmp_path, "ab", names, tests={("a", "focal"): (0.001, 0.9)}, by_class={("b", "zlpr", "Mass"): (0, 1)})
    before = page(study, tmp_path)
    other = replace(
        study, comparisons=turned(study.comparisons), class_comparisons=turned(study.class_comparisons).iloc[::-1]
    )
    assert page(other, tmp_path) == before
    of = {(r.model, r.loss): r for r in study.configurations}
    change = of["a", "focal"].get("auroc").value - of["a", "bce"].get("auroc").value
    assert change > 0.002
    row = rows(section(before, "a: difference from bce", "###"))["focal"]
    # The pair stands as bce minus focal, with an interval of -0.01 to +0.03 around it.
    assert row[:2] == [f"+{change:.3f}", f"[{change - 0.03:+.3f}, {change + 0.01:+.3f}]".replace("-", "−")]
    assert "1 of 4; within a, focal is above bce." in before
    change = of["b", "zlpr"].get("auroc", "Mass").value - of["b", "bce"].get("auroc", "Mass").value
    cell = f"{change:+.3f} [{change - 0.03:+.3f}, {change + 0.01:+.3f}]".replace("-", "−")
    classes = section(before, "b: classes", "###")
    assert rows(classes)["Mass"][2] == f"**{cell}**"
    assert f"Mass (zlpr {'above' if change > 0 else 'below'})" in classes


def test_what_is_below_is_called_below(tmp_path):
    names = ("bce", "focal", "zlpr", "asl")
    study = drawn(tmp_path, "a", names, tests={("a", lo): (0.001, 0.9) for lo in names[1:]})
    values = {r.loss: r.get("auroc").value for r in study.configurations}
    above = [lo for lo in names[1:] if values[lo] > values["bce"]]
    below = [lo for lo in names[1:] if values[lo] < values["bce"]]
    text = page(study, tmp_path)
    assert (len(above), len(below)) == (3, 0)
    assert (
        "Holm-corrected for 3 comparisons of the study): 3 of 3; within a, focal, zlpr, and asl are above bce." in text
    )
    study = replace(study, comparisons=study.comparisons.assign(difference=[0.1, -0.1, 0.2, 0, 0, 0]))
    assert "3 of 3; within a, zlpr is above bce and focal and asl are below bce." in page(study, tmp_path)


def test_classes_are_asked_below_their_pair(tmp_path):
    keys = [(m, "zlpr", c) for m in "ab" for c in CLASSES]
    p = dict(zip(keys, (0.012, 0.03, 0.5, 0.6)))
    tests = {("a", "zlpr"): (1e-9, 0.9), ("b", "zlpr"): (1e-9, 0.9)}
    study = drawn(tmp_path, "ab", ("bce", "zlpr"), tests=tests, by_class={k: (v, 0.9) for k, v in p.items()})
    text = page(study, tmp_path)
    adjusted = step_down(p)
    assert [v < 0.05 for v in adjusted.values()] == [True, False, False, False]
    for model, _, name in keys:
        cell = rows(section(text, f"{model}: classes", "###"))[name][1]
        assert cell.startswith("**") == (adjusted[model, "zlpr", name] < 0.05)
    for_all = "where the two configurations differ in the mean over classes: "
    assert f"{for_all}1 of 2 (bold): Mass (zlpr above).\n" in text
    assert f"{for_all}none of 2.\n" in text
    assert "2 comparisons of configurations, as on the [first page](README.md), and " in text
    assert "in the same family, each below its pair of configurations, 4 comparisons of single classes: " in text


def test_a_class_without_a_test_says_why(tmp_path):
    study = drawn(tmp_path, "a", ("bce", "zlpr"), tests={}, by_class={("a", "zlpr", "Mass"): (0.04, 0.9)})
    table = study.class_comparisons
    few = table["class"] == "Pleural_Thickening"
    numbers = ["ci_low", "ci_high", "p", "tost_p"]
    table.loc[few, numbers] = np.nan
    table = corrected(table)
    study = replace(study, class_comparisons=table)
    table["note"] = np.where(few, "fewer than 10 positive patients (5)", None)
    text = section(page(study, tmp_path), "a: classes", "###")
    assert rows(text)["Pleural_Thickening"][1].endswith(" [—]")
    assert "- — Pleural_Thickening: fewer than 10 positive patients (5)." in text
    assert "where the two configurations differ in the mean over classes: 1 of 1 (bold): Mass (zlpr above)." in text
    assert rows(text)["Mass"][1].startswith("**")  # a test that was not made does not count in the correction
    table[numbers] = np.nan
    text = page(replace(study, class_comparisons=corrected(table.assign(note="too few"))), tmp_path)
    assert "No class could be tested." in text
    assert "single classes" not in text


def test_many_losses_have_half_widths_that_fit(tmp_path):
    names = ("bce", "focal", "zlpr", "asl", "hill")
    study = drawn(tmp_path, "a", names, tests={}, by_class={("a", "asl", "Mass"): (1e-6, 0.9)})
    text = section(page(study, tmp_path), "a: classes", "###")
    assert rows(text)[""] == ["Class", "n positive", *names[1:]]
    assert all(cell.strip("*").endswith("(0.020)") for cell in rows(text)["Mass"][1:])
    assert [cell.startswith("**") for cell in rows(text)["Mass"][1:]] == [False, False, True, False]
    assert "half the width of the 95 % CI" in text


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        (
            {},
            "test macro AUROC (paired by patient, Holm-corrected for 1 comparison of the study): none of 1.\n",
        ),
        ({}, "- Equivalent to bce, that is, shown to differ from it by less than 0.005: none of 1.\n"),
        ({}, "- Within noise, that is, neither a difference nor equivalence is shown: 1 of 1.\n"),
        ({("a", "zlpr"): (0.04, 0.5)}, "Holm-corrected for 1 comparison of the study): 1 of 1; within a, zlpr is"),
        ({("a", "zlpr"): (0.5, 0.04)}, "differ from it by less than 0.005: 1 of 1; within a, zlpr.\n"),
    ],
)
def test_one_comparison(tmp_path, tests, expected):
    text = page(drawn(tmp_path, "a", ("bce", "zlpr"), tests=tests), tmp_path)
    assert expected in text
    assert "2 losses are compared within model a. The baseline is **bce**, the first in `study.losses`" in text
    assert ("equivalence is shown: 1 of 1." in text) == (not tests)
    assert ("equivalence is shown: none of 1." in text) == bool(tests)


@pytest.mark.parametrize(
    ("models", "names", "expected"),
    [
        ("ab", ("ce", "kl"), "2 losses are compared within each of 2 models."),
        ("ab", ("ce", "kl"), "Holm-corrected for 2 comparisons of the study): none of 2."),
        ("ab", ("ce", "kl"), "nor equivalence is shown: 2 of 2."),
        ("abc", ("ce", "kl", "focal"), "3 losses are compared within each of 3 models."),
        ("abc", ("ce", "kl", "focal"), "nor equivalence is shown: 6 of 6."),
    ],
)
def test_several_comparisons(tmp_path, models, names, expected):
    assert expected in page(drawn(tmp_path, models, names, tests={}), tmp_path)


def test_a_difference_can_be_there_and_too_small_to_matter(tmp_path):
    study = drawn(tmp_path, "a", ("bce", "zlpr"), tests={("a", "zlpr"): (0.001, 0.001)})
    text = page(study, tmp_path)
    found = losses.differences(study, study.comparisons, losses.by_model(study), "bce", ("macro",))
    assert [d.outcome for d in found] == ["differ"]  # as the figure draws it
    assert rows(section(text, "a: difference from bce", "###"))["zlpr"][-1] == "differ, but by less than 0.005"
    assert "nor equivalence is shown: none of 1." in text


def test_the_level_is_that_of_the_study(tmp_path):
    study = drawn(tmp_path, "a", ("bce", "zlpr"), tests={("a", "zlpr"): (0.03, 0.9)})
    assert rows(section(page(study, tmp_path), "a: difference from bce", "###"))["zlpr"][-1] == "differ"
    strict = study.params.evaluate.model_copy(update={"confidence": 0.99})
    study = replace(study, params=study.params.model_copy(update={"evaluate": strict}))
    row = rows(section(page(study, tmp_path), "a: difference from bce", "###"))
    assert row["zlpr"][-1] == "within noise"
    assert row[""][2] == "99 % CI"


def test_the_page_is_written_again_byte_by_byte(here, tmp_path):
    study = load_once(here)
    first, second = (losses.render(study, tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert len(first) == 2


def test_metrics_are_those_of_the_study_and_validation_marks_the_best(here, tmp_path):
    study = load_once(here)
    text = page(study, tmp_path)
    shown = {"multilabel": ["F1", "Sensitivity", "Specificity"], "multiclass": ["Accuracy", "Macro F1", "Kappa"]}
    for model in ("densenet", "small_cnn"):
        table: dict[str, list[str]] = {}
        for block in section(text, model).split("### ")[0].split("\n\n"):  # three tables, side by side
            for key, cells in rows(block).items() if block.startswith("|") else ():
                table.setdefault(key, []).extend(cells if key else cells[1:])
        assert {"AUROC", "AP", "MCC", "Brier score ↓", "ECE ↓", "Log-loss ↓", *shown[study.task]} <= set(table[""])
        configurations = [r for r in study.configurations if r.model == model]
        best = max(configurations, key=lambda r: r.get("auroc", part="val").value)
        for r in configurations:
            name = f"[{r.loss}](seeds/{r.key}.md)"
            row = table[f"**{name}** ★" if r is best else name]
            assert row[table[""].index("AUROC")] == formats.estimated(r.get("auroc"))
            assert row[table[""].index("SD of AUROC over seeds")] == f"{np.std(r.values('auroc'), ddof=1):.3f}"
            assert row[table[""].index("Log-loss ↓")] == formats.estimated(r.get("log_loss"))
    patients = len(np.unique(study.configurations[0].predictions.test_patients))
    assert section(text, "densenet").startswith(f"\nTest set, n = 120 images of {patients} patients;")
    assert "| zlpr   | zlpr   | defaults   |" in text
    for words in ("the thresholds, and the loss marked", "each class is decided at its own threshold"):
        assert (words in text) == (study.task == "multilabel")
    assert "a low value of one says nothing" in text


def test_the_test_part_marks_nothing(tmp_path):
    study = drawn(tmp_path, "a", ("bce", "zlpr"), tests={})
    best = max(study.configurations, key=lambda r: r.get("auroc").value)
    metrics = best.metrics.copy()
    metrics.loc[metrics["part"] == "val", "value"] = 0.5
    study = replace(
        study, configurations=tuple(replace(r, metrics=metrics) if r is best else r for r in study.configurations)
    )
    table = rows(section(page(study, tmp_path), "a"))
    assert f"[{best.loss}](seeds/{best.key}.md)" in table
    assert any("★" in name for name in table)


def test_settings_of_losses_are_shown(tmp_path):
    study = drawn(tmp_path, "a", ("bce", "zlpr"), tests={})
    named = {"bce": {}, "zlpr": {"kind": "zlpr_old", "temperature": 2.0, "cap": 10}}
    study = replace(study, params=study.params.model_copy(update={"losses": named}))
    assert rows(section(page(study, tmp_path), "The losses"))["zlpr"] == ["zlpr_old", "temperature 2.0, cap 10"]


def test_a_model_that_lacks_a_loss(tmp_path):
    names = ("bce", "focal", "zlpr")
    study = drawn(tmp_path, "ab", names, tests={}, lacking={("b", "focal")})
    study = replace(study, missing=("b-focal, all seeds (1, 2, 3)",))
    text = page(study, tmp_path)
    assert "2 to 3 losses are compared within each of 2 models." in text
    assert "b-focal, all seeds" in text
    assert [*rows(section(text, "b: difference from bce", "###"))] == ["", "zlpr"]
    assert "Holm-corrected for 3 comparisons of the study)" in text


def test_a_model_that_lacks_the_baseline_or_all_but_one(tmp_path):
    study = drawn(
        tmp_path, "abc", ("bce", "focal", "zlpr"), tests={}, lacking={("b", "bce"), ("c", "bce"), ("c", "focal")}
    )
    text = page(study, tmp_path)
    assert "Within b, bce has no results, so nothing is compared with it there." in text
    assert "bce has no results with this model, so no loss is compared with it." in section(text, "b")
    assert "b: against bce" not in text
    assert section(text, "c").strip() == "With this model only zlpr has results, so there is nothing to compare."
    assert "Holm-corrected for 2 comparisons of the study): none of 2." in text
    assert "nor equivalence is shown: 2 of 2." in text


def test_a_pair_that_was_not_compared(tmp_path):
    study = drawn(tmp_path, "ab", ("bce", "zlpr"), tests={("b", "zlpr"): (0.04, 0.9)})
    table = study.comparisons
    study = replace(study, comparisons=corrected(table[table["first"] != "a-bce"]))
    text = page(study, tmp_path)
    assert rows(section(text, "a: difference from bce", "###"))["zlpr"] == ["—"] * 6 + ["not tested"]
    assert "- — zlpr: not compared by stage ensemble." in text
    assert rows(section(text, "b: difference from bce", "###"))["zlpr"][-1] == "differ"
    assert "- Not tested: 1 comparison." in text
    text = page(replace(study, comparisons=table.iloc[:0]), tmp_path)
    assert "are not tested: not compared by stage ensemble. Treat them as within noise." in text


def test_a_difference_without_an_error_has_no_test(tmp_path):
    study = drawn(tmp_path, "a", ("bce", "zlpr"), tests={})
    nothing = dict.fromkeys(("ci_low", "ci_high", "p", "tost_p"), math.nan)
    study = replace(study, comparisons=corrected(study.comparisons.assign(**nothing, note=math.nan)))
    text = page(study, tmp_path)
    assert rows(section(text, "a: difference from bce", "###"))["zlpr"][1:] == ["—"] * 5 + ["not tested"]
    assert "- — zlpr: the uncertainty of the difference could not be estimated." in text


def test_without_comparisons_nothing_is_tested(tmp_path):
    study = replace(drawn(tmp_path, "a", ("bce", "zlpr"), tests={}), comparisons=NO_TABLE, class_comparisons=NO_TABLE)
    text = page(study, tmp_path)
    assert "not tested: stage ensemble has not compared them. Treat them as within noise." in text
    assert "difference from bce" not in text
    assert "Holm" not in text


def test_one_seed(make, tmp_path):
    study = load_study(make(models=("densenet",), losses=("bce", "zlpr"), replicates=()))
    text = page(study, tmp_path / "reports")
    assert "SD of AUROC" not in text
    assert "these verdicts are about these training runs, not about other seeds" in text
    assert "includes the variation over training seeds" not in text


def test_a_loss_with_fewer_seeds_than_another(tmp_path):
    study = drawn(tmp_path, "a", ("bce", "zlpr", "asl"), tests={})
    last = study.configurations[-1]
    one = replace(last, seeds=(1,), metrics=last.metrics[last.metrics["seed"].isin(["1", "mean"])])
    table = study.comparisons.copy()
    table.loc[table["second"] == "a-asl", "seeds"] = "fixed"
    text = page(replace(study, configurations=(*study.configurations[:-1], one), comparisons=table), tmp_path)
    assert "- — SD of asl: fewer than two seeds with a value." in text
    assert "The standard error of asl within a includes the sampling of patients only" in text
    assert "includes the variation over training seeds" in text


def test_collapsed_training_runs_are_named(make, tmp_path):
    study = load_study(make(models=("densenet",), losses=("bce", "zlpr"), replicates=(12,), collapsed=12))
    text = page(study, tmp_path / "reports")
    assert "2 training runs learned nothing: densenet-bce, seed 12: chance" in text
    assert "† includes a training run that learned nothing" in text
    assert "2 training runs that learned nothing are included in these means: bce (seed 12) and zlpr (seed 12)." in text
    healthy = tuple(replace(r, runs=()) if r.loss == "bce" else r for r in study.configurations)
    text = page(replace(study, configurations=healthy), tmp_path / "c")
    assert "1 training run that learned nothing is included in these means: zlpr (seed 12)." in text
    assert "†" not in page(
        replace(study, configurations=tuple(replace(r, runs=()) for r in study.configurations)), tmp_path / "b"
    )


def test_many_pairs_are_counted_not_named(tmp_path):
    names = ("bce", "focal", "zlpr", "asl", "hill", "two_way")
    tests = {(m, lo): (1e-9, 1e-9) for m in "ab" for lo in names[1:]}
    study = drawn(tmp_path, "ab", names, tests=tests)
    value = {(r.model, r.loss): r.get("auroc").value for r in study.configurations}
    assert [sum(value[m, lo] > value[m, "bce"] for lo in names[1:]) for m in "ab"] == [5, 0]
    text = page(study, tmp_path).split("![")[0]
    assert "Holm-corrected for 10 comparisons of the study): 10 of 10 (5 above, 5 below bce; see the tables)." in text
    assert "by less than 0.005: 10 of 10 (see the tables)." in text
    fewer = {key: p if key in list(tests)[:8] else (0.9, 0.9) for key, p in tests.items()}
    text = page(drawn(tmp_path, "ab", names, tests=fewer), tmp_path).split("![")[0]
    assert (
        "8 of 10; within a, focal, zlpr, asl, hill, and two_way are above bce; within b, focal, zlpr, and asl are "
        "below bce." in text
    )
    assert "0.005: 8 of 10; within a, focal, zlpr, asl, hill, and two_way; within b, focal, zlpr, and asl." in text


def test_one_loss_is_no_comparison(make, tmp_path):
    study = load_study(make(losses=("bce",)))
    assert losses.render(study, tmp_path / "reports") == []
    assert not (tmp_path / "reports").exists()


def test_a_bare_table_tests_nothing(tmp_path):
    study = drawn(tmp_path, "ab", ("zlpr", "bce"))
    text = page(study, tmp_path)
    assert "The baseline is **zlpr**, the first in the table." in text
    assert "Differences between losses are not tested: the table holds no predictions." in text
    assert "comparing intervals is not a test" in text
    assert not re.search(r"differ |above|below|equal|quivalen|ignificant|Holm|bootstrap|Chosen on", text)
    assert "a low value of one says nothing" in text
    of = next(r for r in study.configurations if r.key == "b-bce")
    assert formats.estimated(of.get("auroc")) in section(text, "b")


def test_a_bare_table_with_little_in_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("model,loss,seed,part,class,metric,value\nm,b,1,test,Mass,auroc,0.7\nm,a,1,test,Mass,auroc,0.8\n")
    text = page(from_metrics(path), tmp_path)
    assert "figures/losses.png" not in text
    assert "The table has no metric of the whole test set." in text
    path.write_text("model,loss,seed,part,class,metric,value\nm,b,1,test,macro,f1,0.7\nm,a,1,test,macro,f1,0.8\n")
    table = rows(section(page(from_metrics(path), tmp_path), "m"))
    assert table[""] == ["Loss", "Seeds", "F1"]
    assert table["[a](seeds/m-a.md)"] == ["1", "0.800 [—]"]


def test_losses_of_a_bare_table_stand_in_one_order(tmp_path):
    lines = ["m,b,1", "m,a,1", "n,a,1", "n,b,1"]
    text = "model,loss,seed,part,class,metric,value\n" + "".join(f"{of},test,macro,auroc,0.7\n" for of in lines)
    (tmp_path / "t.csv").write_text(text)
    models = losses.by_model(from_metrics(tmp_path / "t.csv"))
    assert {m: [r.loss for r in rows] for m, rows in models.items()} == {"m": ["b", "a"], "n": ["b", "a"]}


def captured(monkeypatch, study, folder):
    """Return the figure that the page draws."""
    kept = []
    monkeypatch.setattr(figures, "save", lambda drawn, path: kept.append(drawn) or path)
    losses.render(study, folder)
    return kept[0]


def test_the_figure_shows_the_numbers_of_the_page(tmp_path, monkeypatch):
    tests = {("a", "focal"): (1e-6, 0.9), ("b", "zlpr"): (0.5, 1e-6)}
    study = drawn(tmp_path, "ab", ("bce", "focal", "zlpr"), tests=tests)
    panels = np.array(captured(monkeypatch, study, tmp_path).axes).reshape(2, 2)
    models = losses.by_model(study)
    compared = losses.differences(study, study.comparisons, models, "bce", ("macro",))
    for model, (scores, change) in zip(models, panels):
        assert scores.get_title("left") == model
        names = [label.get_text().split()[0] for label in scores.get_yticklabels()]
        assert names == ["bce", "focal", "zlpr"]
        marks = {int(line.get_ydata()[0]): line.get_xdata()[0] for line in scores.lines if line.get_marker() == "o"}
        assert marks == {y: r.get("auroc").value for y, r in enumerate(models[model])}
        ticks = {int(line.get_ydata()[0]): [*line.get_xdata()] for line in scores.lines if line.get_marker() == "|"}
        assert ticks == {y: [*r.values("auroc")] for y, r in enumerate(models[model])}
        marks = {int(line.get_ydata()[0]): line for line in change.lines if line.get_marker() in "osD"}
        of = [d for d in compared if d.model == model]
        assert [marks[y].get_xdata()[0] for y in (1, 2)] == [d.estimate.value for d in of]
        shapes = {"differ": "s", "equivalent": "D", "within noise": "o"}
        assert [marks[y].get_marker() for y in (1, 2)] == [shapes[d.outcome] for d in of]
        ends = {int(line.get_ydata()[0]): [*line.get_xdata()] for line in change.lines if len(line.get_xdata()) == 2}
        assert [ends[y] for y in (1, 2)] == [[d.estimate.low, d.estimate.high] for d in of]


def test_the_figure_explains_the_marks_it_has_and_no_others(tmp_path, monkeypatch):
    def keys(study):
        return [text.get_text() for text in captured(monkeypatch, study, tmp_path).legends[0].get_texts()]

    plain = keys(drawn(tmp_path, "a", ("bce", "zlpr"), seeds=(1,), bounds=False))
    assert plain == ["one seed", "bce, mean", "best on validation"]
    full = keys(drawn(tmp_path, "a", ("bce", "zlpr"), tests={("a", "zlpr"): (0.001, 0.9)}))
    assert full[:3] == ["mean over seeds, 95 % CI", "one seed", "bce, mean"]
    assert full[3:] == ["differ", "equivalence margin (± 0.005)", "best on validation"]


def test_twelve_losses_of_three_models_fit(tmp_path, monkeypatch):
    names = tuple(f"calibrated_negative_entropy_{i}" for i in range(12))
    figure = captured(monkeypatch, drawn(tmp_path, ("a", "b", "c"), names, tests={}), tmp_path)
    figure.get_layout_engine().execute(figure)
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        boxes = [label.get_window_extent(renderer) for label in axes.get_yticklabels() if label.get_text()]
        assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))
        assert all(box.x0 >= 0 for box in boxes)
        assert axes.get_window_extent(renderer).width > 250


def test_nothing_to_draw(tmp_path):
    line = figures.Line("a", Estimate(), np.array([]))
    about = {"baseline": "a", "margin": math.nan, "interval_name": "CI", "keys": {}}
    assert figures.forest([figures.Panel("m", (line, line), math.nan)], tmp_path / "f.png", **about) is None
    assert figures.forest([], tmp_path / "f.png", **about) is None


def test_missing_runs_are_named(make, tmp_path):
    params = make(models=("densenet", "small_cnn"), losses=("bce", "zlpr"), replicates=())
    (EVALUATIONS / "small_cnn-zlpr" / "metrics.csv").unlink()
    text = page(load_study(params), tmp_path / "reports")
    assert "small_cnn-zlpr, all seeds (42)" in text
    assert "2 losses are compared within model densenet." in text
    assert "With this model only bce has results" in section(text, "small_cnn")
