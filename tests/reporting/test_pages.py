"""What holds for every page, for both tasks, for complete and for damaged studies."""

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.report import write_reports
from pipeline.reporting import checks, comparisons, overview, prose, seed_impact
from pipeline.reporting.registry import PAGES
from pipeline.reporting.study import ReportError, from_metrics, load_study
from pipeline.study.files import ENSEMBLES, EVALUATIONS, PROBES, write_csv
from pipeline.study.predictions import METRIC_COLUMNS
from pipeline.uncertainty.comparisons import COLUMNS

ROOT = Path(__file__).parents[2]
PAGE_WIDTH = 896
LINK = re.compile(r"\]\(([^)]+)\)")


def pages(folder):
    return {path: path.read_text() for path in sorted(folder.rglob("*.md"))}


def check_page(path, text):
    assert text.startswith("# ")
    assert text.endswith("\n")
    assert "\n\n\n" not in text
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|NaN", text), re.search(r".*(\bnan\b|\bNone\b|\binf\b|NaN).*", text)[
        0
    ]
    assert not re.search(r"\b1 (seeds|classes|images|patients|trainings|recipes|epochs|files)\b", text)
    assert "/tmp" not in text
    for target in LINK.findall(text):
        if not target.startswith("http"):
            assert (path.parent / target).resolve().is_file(), f"{path}: {target}"
    table = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif table:
            assert len({len(row) for row in table}) == 1, line
            scrolls = table[0][0] == "Learning rate"  # a grid has a column a number, as published grids do
            assert narrowest(table) <= PAGE_WIDTH or scrolls, table[0]
            table = []


def narrowest(table):
    """Return about how wide a table is on GitHub, in px, when every cell is broken wherever it may be."""
    shown = [
        [re.sub(r"\[([^]]*)\]\([^)]*\)|[*`\\]", r"\1", re.sub(r"!\[[^]]*\]\([^)]*\)", "", c)) for c in r] for r in table
    ]
    rows = [row for row in shown if set("".join(row)) - set(":- ")]
    words = [[max(map(len, cell.split()), default=0) for cell in row] for row in rows]
    return sum(8.3 * max(column) + 27 for column in zip(*words))


@pytest.fixture(scope="module")
def reports(root) -> Path:
    """Return the reports of a whole study, written as stage report writes them, and hold what that may import."""
    folder, study = root
    (folder / "params.yaml").write_text(json.dumps(study.model_dump(mode="json", exclude_unset=True)))
    code = (
        "import sys; from pipeline.report import main; main([]); "
        "heavy = {'torch', 'timm', 'sklearn', 'cv2', 'matplotlib.pyplot'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    command, env = [sys.executable, "-c", code], {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "README.md" in done.stdout
    return folder / "reports"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_written_again_byte_by_byte(name, here, reports, tmp_path):
    study = load_study(here)
    shutil.copytree(reports, tmp_path, dirs_exist_ok=True)  # it links what lies there already
    written = PAGES[name](study, tmp_path)
    assert written
    for path in written:
        path.unlink()
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert PAGES[name](study, tmp_path) == written
    assert {p for p in tmp_path.rglob("*") if p.is_file()} - before == set(written)
    for path in written:
        assert path.stat().st_size
        assert path.read_bytes() == (reports / path.relative_to(tmp_path)).read_bytes(), path


def test_pages_of_a_whole_study(here, reports):
    study = load_study(here)
    found = pages(reports)
    assert [p.relative_to(reports).as_posix() for p in found] == [
        "README.md",
        "data.md",
        "ensembles.md",
        "errors.md",
        "losses.md",
        *(f"model_cards/{r.key}.md" for r in sorted(study.configurations, key=lambda r: r.key)),
        "models.md",
        *(f"seeds/{r.key}.md" for r in sorted(study.configurations, key=lambda r: r.key)),
    ]
    for path, text in found.items():
        check_page(path, text)
        assert "> [!WARNING]\n> **Synthetic images.**" in text
        assert "[!CAUTION]" not in text
    front = found[reports / "README.md"]
    for metric in ("Accuracy", "Balanced accuracy"):
        assert (metric in front) == (study.task == "multiclass")
    assert f"SHA-256 `{study.audit['sha256'][:12]}" in front
    assert "no patient, no group, and no identical image" in front
    assert r"cannot be read: 2; empty \| blank: 1" in front
    assert "1 image is identical to an earlier one" in front
    assert "Findings are drawn, not diagnosed." in front
    pictures = {p.name for p in (reports / "figures").iterdir()}
    expected = {"forest.png", "roc.png", "curves.png", "data-classes.png", "data-samples.png", "data-clahe.png"}
    expected |= {"data-pairs.png"} if study.task == "multilabel" else set()
    expected |= {f"{kind}-{r.key}.png" for r in study.configurations for kind in ("seeds", "roc", "curves")}
    assert expected <= pictures


def test_metrics_json_has_no_seed_and_only_numbers(here, tmp_path):
    study = load_study(here)
    PAGES["summary"](study, tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert list(content) == [r.key for r in (*study.configurations, *study.ensembles)]
    assert not any(str(seed) in key for key in content for seed in study.configurations[0].seeds)
    for key, leaves in content.items():
        assert set(leaves) <= {"val", "test", "n_seeds"}
        for part in ("val", "test"):
            assert all(isinstance(v, float) and round(v, 6) == v for v in leaves[part].values())
        assert {"auroc", "auroc_ci_low", "auroc_ci_high", "average_precision", "f1"} <= set(leaves["test"])
        assert ("auroc_sd" in leaves["test"]) == ("n_seeds" in leaves) == (not key.startswith("ensemble"))
    best = study.configurations[0]
    assert content[best.key]["test"]["auroc"] == round(best.get("auroc").value, 6)


def test_tables_for_plots(here, tmp_path):
    study = load_study(here)
    PAGES["summary"](study, tmp_path)
    curves, roc = pd.read_csv(tmp_path / "curves.csv"), pd.read_csv(tmp_path / "roc.csv")
    assert curves.columns.tolist() == ["cell", "epoch", "train_loss", "val_loss", "val_auroc"]
    assert curves["cell"].nunique() == 12
    assert roc["cell"].unique().tolist() == [r.key for r in (*study.configurations, *study.ensembles)]
    assert roc.groupby("cell").size().max() <= 200
    pr = pd.read_csv(tmp_path / "pr.csv")
    assert pr.columns.tolist() == ["cell", "recall", "precision"]
    assert pr["cell"].unique().tolist() == roc["cell"].unique().tolist()


def test_confusions_are_counted_of_the_decisions_behind_the_metrics(here, tmp_path):
    study = load_study(here)
    PAGES["summary"](study, tmp_path)
    table = pd.read_csv(tmp_path / "confusion.csv", keep_default_na=False)
    assert table["cell"].unique().tolist() == [r.key for r in study.configurations]
    for results in study.configurations:
        counts = table[table["cell"] == results.key].pivot(index="actual", columns="predicted", values="n")
        for name in study.classes:
            positive = results.get("auroc", name).n_positive
            hit = counts.loc[name, name] / (len(results.seeds) * positive)
            assert hit == pytest.approx(results.get("sensitivity", name).value)
        if study.task == "multiclass":
            assert counts.to_numpy().sum() == len(results.seeds) * len(results.predictions.test_targets)
        else:
            none = ~results.predictions.test_targets.any(axis=1)
            assert counts.loc["none"].sum() >= len(results.seeds) * none.sum() > 0


@pytest.mark.parametrize("name", ["cells", "confusion_cells"])
def test_templates_of_plots_have_their_anchors(name):
    template = (ROOT / ".dvc" / "plots" / f"{name}.json").read_text()
    json.loads(template)
    for anchor in ("<DVC_METRIC_DATA>", "<DVC_METRIC_X>", "<DVC_METRIC_Y>", '"cell"', '"rev"'):
        assert anchor in template


def test_missing_and_collapsed_cells_come_first(make):
    study = make(collapsed=12)
    (EVALUATIONS / "small_cnn-bce" / "metrics.csv").unlink()
    (ENSEMBLES / "metrics.csv").unlink()
    results = load_study(study)
    assert results.missing == ("small_cnn-bce, all seeds (42, 12)", "the ensembles")
    write_reports(results, Path("reports"))
    front = Path("reports/README.md").read_text()
    check_page(Path("reports/README.md"), front)
    head = front[: front.index("## The question")]
    assert "small_cnn-bce, all seeds (42, 12); the ensembles" in head
    assert "1 training learned nothing: densenet-bce, seed 12: chance" in head
    assert "means over a" not in head
    page = Path("reports/seeds/densenet-bce.md").read_text()
    assert "seed 12: chance" in page
    assert "small_cnn" not in page


def test_a_missing_seed_is_named(make, settings):
    study = make(models=("densenet",))
    more = settings("multilabel", ("densenet",), ("bce",), (12, 99))
    assert load_study(study).missing == ()
    assert load_study(more).missing == ("densenet-bce, seed 99",)


def test_nothing_at_all_is_an_error(make):
    study = make(models=("densenet",))
    (EVALUATIONS / "densenet-bce" / "metrics.csv").unlink()
    with pytest.raises(ReportError, match="none of the 2 cells has results; run: dvc repro evaluate"):
        load_study(study)


def test_a_left_over_folder_is_not_reported(make, settings):
    make()
    fewer = settings("multilabel", ("densenet",), ("bce",), (12,))
    assert [r.key for r in load_study(fewer).configurations] == ["densenet-bce"]


def test_one_recipe_one_seed(make):
    study = load_study(make(models=("densenet",), replicates=(), synthetic=False))
    write_reports(study, Path("reports"))
    for path, text in pages(Path("reports")).items():
        check_page(path, text)
        assert "Synthetic images" not in text
        assert "±" not in text or path.name == "README.md"
    front = Path("reports/README.md").read_text()
    assert "The only recipe, **densenet-bce**" in front
    assert "1 model × 1 loss × 1 seed (42) = 1; none missing, none collapsed" in front
    assert "How well does densenet, trained with bce, tell apart" in front


def judged(results, p):
    """Return `results` with these p values in seeds.csv, a class each; None where there was no test."""
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
            "differ in",
        ),
        ([0.9, None, None], "in the one class tested (smallest adjusted p 0.900)", "differ in"),
        ([None, None, None], "In no class could the seeds be tested", "noise"),
        ([0.001, 0.8, 0.7], "differ in 1 of 3 classes: {0} (p 0.001).** In the other 2 classes the", "choosing"),
        (
            [0.0001, 0.01, 0.7],
            "2 of 3 classes: {0} (p < 0.001) and {1} (p 0.010).** In the other class",
            "choosing",
        ),
        ([0.001, 0.01, 0.02], "differ in 3 of 3 classes", "noise"),
    ],
)
def test_what_is_said_of_seeds_is_what_was_tested(here, p, expected, absent):
    study = load_study(here)
    text = " ".join(seed_impact.separation(study, judged(study.configurations[0], p)))
    assert expected.format(*study.classes) in text
    assert absent not in text
    assert ("Not tested: " in text) == (p[1] is None and p[0] is not None)


@pytest.mark.parametrize(
    ("sd", "se", "text"),
    [
        (0.0031, 0.0100, "is 3.2 times smaller than"),
        (0.02, 0.01, "is 2.0 times larger than"),
        (0.01, 0.0101, "is as large as"),
        (0.0, 0.01, "too small to be seen"),
    ],
)
def test_spread_against_sampling_error(sd, se, text):
    assert text in seed_impact.compare(sd, se)


def recipes_table(tmp_path, *bounds):
    lines = ["model,loss,seed,part,class,metric,value,ci_low,ci_high"]
    for i, (low, high) in enumerate(bounds):
        value = (low + high) / 2
        lines += [
            f"m{i},l,mean,test,macro,auroc,{value},{low},{high}",
            f"m{i},l,1,test,macro,auroc,{value},{low},{high}",
        ]
        lines += [f"m{i},l,mean,val,macro,auroc,0.{9 - i},,"]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines))
    return from_metrics(path)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, "With one recipe there is nothing to compare it with."), (2, "not tested"), (3, "not tested")],
)
def test_recipes_are_never_called_different_without_a_test(tmp_path, n, expected):
    bounds = [(0.7, 0.8), (0.81, 0.85), (0.9, 0.95)][:n]  # intervals apart are no test
    sentences = overview.verdict(recipes_table(tmp_path, *bounds))
    assert len(sentences) == 3
    assert expected in sentences[1]
    assert not re.search(r"significant|better|outperform|superior|robust|differ ", " ".join(sentences))


def compared(study, *apart):
    """Return the study with every pair of its recipes compared, those in `apart` found different."""
    keys = [r.key for r in study.configurations]
    rows = [
        [a, b, "auroc", 0.05, 0.01, 0.09, 0.01, 0.02 if (a, b) in apart else 0.4, (a, b) in apart, "vary"]
        for a, b in itertools.combinations(keys, 2)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS[: len(rows[0])]) if rows else pd.DataFrame(columns=COLUMNS)
    return replace(study, comparisons=table.assign(margin=0.005, equivalent=False, family="recipes"))


@pytest.mark.parametrize(
    ("n", "apart", "expected"),
    [
        (2, [], "for 1 comparison, the two recipes cannot be told apart: their differences are within noise."),
        (2, [("m0-l", "m1-l")], "for 1 comparison, the two recipes differ (m0-l above m1-l)."),
        (3, [], "for 3 comparisons, none of the 3 pairs of recipes can be told apart"),
        (3, [("m0-l", "m2-l")], "1 of 3 pairs of recipes differ (m0-l above m2-l); the other differences are within"),
    ],
)
def test_a_difference_is_called_one_only_if_it_was_found(tmp_path, n, apart, expected):
    study = compared(recipes_table(tmp_path, *[(0.7, 0.8)] * n), *apart)
    assert expected in overview.verdict(study)[1]
    table = comparisons.section(study)
    assert table.count("| differ") == len(apart)
    assert table.count("within noise") == n * (n - 1) // 2 - len(apart)


def test_many_pairs_are_cut_to_those_with_the_chosen_recipe(tmp_path):
    study = compared(recipes_table(tmp_path, *[(0.7, 0.8)] * 7))
    table = comparisons.section(study)
    assert table.count("within noise") == 6
    assert "corrected for all 21 comparisons. Shown are those with m0-l." in table


def test_recipes_that_differ_by_less_than_the_margin_are_called_as_good_as_equal(tmp_path):
    study = compared(recipes_table(tmp_path, *[(0.7, 0.8)] * 2))
    study = replace(study, comparisons=study.comparisons.assign(equivalent=True))
    table = comparisons.section(study)
    assert "| as good as equal |" in table
    assert "a difference of 0.005 or more" in table


def test_signs_of_failure_are_listed_or_denied(here):
    study = load_study(here)
    assert "| constant metric | the validation metric is 0.5 in all 3 epochs |" in checks.signs(study)
    assert "None of the trainings shows one" in checks.signs(replace(study, signs=study.signs[:0]))
    assert checks.signs(replace(study, signs=None)) == ""


def test_probes_stand_beside_the_chosen_recipe_and_the_close_one_is_named(here, reports):
    study = load_study(here)
    written = pd.read_csv(PROBES / "metrics.csv").query("part == 'test' and metric == 'auroc'")
    macro = written[written["class"] == "macro"].set_index("loss")
    reached = study.chosen.get("auroc").value
    section = (reports / "README.md").read_text().split("### Shortcut probes")[1].split("\n#")[0]
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    assert cells[0] == ["Probe", "What it sees", "Test macro AUROC [95 % CI]", f"{study.chosen.key} less the probe"]
    found = {name: (score, difference) for name, _, score, difference in cells[2:]}
    for name, row in macro.iterrows():
        score = f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        assert found[name] == (score, prose.signed(reached - row["value"]))
    assert reached - macro.loc["thumbnail", "value"] > 0.05 > reached - macro.loc["metadata", "value"]
    assert (
        f"**The model's macro AUROC of {reached:.3f} is not more than 5 points above the "
        f"{macro.loc['metadata', 'value']:.3f} of the probe 'metadata': it may rest on a shortcut.**"
    ) in section
    assert "the probe 'thumbnail'" not in section
    assert not any("probe" in r.key for r in (*study.configurations, *study.ensembles))
    assert "probe" not in (reports / "metrics.json").read_text()


def test_far_probes_are_called_so_and_unknown_numbers_are_not(here):
    study = load_study(here)
    thumbnail, _ = study.probes
    text = checks.probes(replace(study, probes=(thumbnail,)))
    assert f"{study.chosen.key} is more than 5 points above every probe" in text
    assert "shortcut." not in text
    undefined = thumbnail.metrics.assign(value=math.nan, ci_low=math.nan, ci_high=math.nan, note="one class only")
    text = checks.probes(replace(study, probes=(replace(thumbnail, metrics=undefined),)))
    assert re.search(r"\| thumbnail \|[^|]+\| +— \| +— \|", text)
    assert "above every probe" not in text
    assert "nothing is known of whether" in text
    assert "one class only" in text


@pytest.mark.parametrize("table", [None, "header"])
def test_without_probes_there_is_no_section(make, table):
    study = make(models=("densenet",), replicates=())
    path = PROBES / "metrics.csv"
    path.unlink()
    if table:
        write_csv(path, pd.DataFrame(columns=METRIC_COLUMNS))
    results = load_study(study)
    assert results.probes == ()
    assert checks.probes(results) == ""


def suits(p_holm, suits=False):
    """What stage evaluate writes of two classes and their mean."""
    row = {"n_seeds": 3, "best_seed": "1", "p_holm": p_holm, "suits": suits, "replication": 0.4, "chance": 1 / 3}
    return pd.DataFrame(
        [{"class": name, **row, "winners_gap": 0.012} for name in ("Mass", "Pleural_Thickening", "macro")]
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (suits(0.4), "in every class (smallest adjusted p 0.400): **no seed suits a class.**"),
        (suits(0.01, True), "than exchange alone makes it in Mass and Pleural Thickening (smallest adjusted p 0.010)"),
        (suits(math.nan), "No class has enough patients to ask whether a seed suits it."),
    ],
)
def test_whether_a_seed_suits_a_class_is_what_exchanging_found(here, table, expected):
    results = replace(load_study(here).configurations[0], suits=table, interaction={"p": 0.2})
    text = " ".join(seed_impact._suits(results))
    assert expected in text
    assert ("the interaction of seed and class has p 0.200" in text) == (table["p_holm"].notna().any())
    assert ("in 40 % of cases (chance: 33 %; mean of 2 classes), and its AUROC there is 0.0120 lower" in text) == (
        table["p_holm"].notna().any()
    )
    assert seed_impact._suits(replace(results, suits=None)) == []


def test_the_gain_of_an_ensemble_is_its_tested_difference(here):
    study = load_study(here)
    row = study.comparisons.set_index(["first", "second"]).loc[(study.chosen.key, study.chosen_ensemble.key)]
    sentence = overview.verdict(study)[2]
    assert prose.signed(-row["difference"]) in sentence
    assert ("within noise" in sentence) != bool(row["distinguishable"])


def test_validation_chooses_not_test(tmp_path):
    study = recipes_table(tmp_path, (0.6, 0.7), (0.8, 0.9))
    assert study.chosen.key == "m0-l"
    assert "**m0-l**" in overview.verdict(study)[0]
