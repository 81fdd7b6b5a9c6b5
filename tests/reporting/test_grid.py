"""Grids of learning rate and dropout: a published one typed in, and grids that params.yaml describes.

`data/leukemia_grid.csv` holds the four tables of a published leukaemia study: 48 trainings of InceptionResNetV2 and
NASNetLarge under two ways of splitting (option 1 and 2). As printed, but for this:

- accuracies are per cent and losses are 100 times the loss there; both are divided by 100 here, and recall is called
  sensitivity; precision, recall and F1 are those of the test part;
- the second table is headed InceptionResNetV2, option 1, as the first; the text says that it is NASNetLarge's;
- its rows of learning rate 0.1 list the dropout 0.4 three times. They are typed as what they say they are, three
  trainings of one setting, under the seeds 0, 1 and 2; all other seeds are written 0, as none is given.
"""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.learning.settings import Last, Model
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.figures import models as figures
from pipeline.reporting.loading import load_study
from pipeline.reporting.views import grid, models
from tests.reporting.loaded import load_once
from tests.reporting.test_pages import check_page

pytestmark = pytest.mark.drawn

TYPED = Path(__file__).parent / "data" / "leukemia_grid.csv"
TITLES = ["InceptionResNetV2_option1", "NASNetLarge_option1", "InceptionResNetV2_option2", "NASNetLarge_option2"]
PARTS = {"train": "Training", "val": "Validation", "test": "Test"}
COLUMNS = {(m, p): f"{name} {m}" for m in ("accuracy", "loss") for p, name in PARTS.items()}
COLUMNS |= {("precision", "test"): "Test precision", ("sensitivity", "test"): "Test recall", ("f1", "test"): "Test F1"}

SUMS = {
    ("accuracy", "test"): 35.8067,
    ("accuracy", "train"): 36.6443,
    ("accuracy", "val"): 35.9535,
    ("f1", "test"): 33.73,
    ("loss", "test"): 181.8057,
    ("loss", "train"): 179.852,
    ("loss", "val"): 181.764,
    ("precision", "test"): 33.14,
    ("sensitivity", "test"): 35.94,
}
"""Sums over the 48 published rows, added up from the published tables and not from the file."""


def render(study, folder):
    """Write the page where the pages it links to are, and return its text."""
    folder.mkdir(exist_ok=True)
    for name in ("README.md", "methods.md"):
        (folder / name).touch()
    (folder / "seeds").mkdir(exist_ok=True)
    for results in study.configurations:
        (folder / "seeds" / f"{results.key}.md").touch()
    written = models.render(study, folder)
    assert all(path.stat().st_size for path in written)
    return (folder / "models.md").read_text()


def tables_of(text):
    """Return the rows of the first table below every heading of the third level, a dict a row."""
    found = {}
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
        if cells:
            found[part.splitlines()[0]] = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    return found


def plain(cell):
    """Return a cell without bold, link and spread over seeds."""
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", cell.replace("*", "")).split(" ±")[0]


def place(row):
    return float(plain(row["Learning rate"])), float(plain(row["Dropout"]))


@pytest.fixture(scope="module")
def typed():
    table = pd.read_csv(TYPED, dtype={"value": "str"})
    named = table["model"].str.extract(r"^(?P<grid>\w+)_lr(?P<lr>[\d.]+)_do(?P<dropout>[\d.]+)$")
    return table.assign(grid=named["grid"], lr=named["lr"].astype(float), dropout=named["dropout"].astype(float))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leukemia")
    text = render(from_metrics(TYPED), folder)
    check_page(folder / "models.md", text)
    return text


def test_all_rows_of_the_published_tables_are_typed(typed):
    trainings = typed.groupby(["grid", "lr", "dropout", "seed"], sort=False).size()
    assert len(trainings) == 48
    assert set(trainings) == {9}
    assert typed.drop_duplicates(["grid", "lr", "dropout", "seed"])["grid"].value_counts().to_dict() == dict.fromkeys(
        TITLES, 12
    )
    sums = typed.assign(value=typed["value"].astype(float)).groupby(["metric", "part"])["value"].sum()
    assert {key: round(value, 4) for key, value in sums.items()} == SUMS


def test_every_number_of_the_published_tables_is_on_the_page(page, typed):
    found = tables_of(page)
    assert [title for title in found if title in TITLES] == TITLES
    compared = 0
    for title in TITLES:
        rows = {place(row): row for row in found[title]}
        own = typed[typed["grid"] == title]
        assert list(rows) == sorted(set(zip(own["lr"], own["dropout"])), key=lambda p: (-p[0], -p[1]))
        for row in own.itertuples():
            digits = 4 if row.metric in ("accuracy", "loss") else 3
            cell = rows[row.lr, row.dropout][COLUMNS[row.metric, row.part]]
            assert plain(cell) == f"{float(row.value):.{digits}f}", (title, row)
            compared += 1
    assert compared == 48 * 9


def test_collapsed_trainings_are_those_whose_loss_is_that_of_certain_mistakes(page, typed):
    wide = typed.assign(value=typed["value"].astype(float)).pivot_table(
        index=["grid", "lr", "dropout", "seed"], columns=["part", "metric"], values="value"
    )
    certain = pd.Series(True, wide.index)
    for part in PARTS:
        certain &= np.isclose(wide[part, "loss"], (1 - wide[part, "accuracy"]) * 16.118, rtol=1e-3)
    assert certain.sum() == 15
    expected = {key[:3] for key, value in certain.items() if value}
    found = tables_of(page)
    marked = {(t, *place(row)) for t in TITLES for row in found[t] if "collapsed" in row["Remark"]}
    assert marked == expected
    assert not any("collapsed" in row["Remark"] and "best" in row["Remark"] for t in TITLES for row in found[t])
    assert "- Collapsed: 0.1 / 0.4 (seeds 0, 1, and 2). Loss = (1 − accuracy) × 16.118 on every set" in page


def own_of(typed, title, part):
    """Return the accuracies of a grid."""
    rows = typed[(typed["grid"] == title) & (typed["metric"] == "accuracy") & (typed["part"] == part)]
    return rows.astype({"value": float})


def test_the_best_by_validation_is_bold_and_not_the_best_by_test(page, typed):
    found = tables_of(page)
    expected = {
        "InceptionResNetV2_option1": {(0.0001, 0.0)},
        "NASNetLarge_option1": {(0.001, 0.0), (0.0001, 0.4)},  # the same nine numbers
        "InceptionResNetV2_option2": {(0.001, 0.2)},  # the study names (0.0001, 0), which is the best by the test part
        "NASNetLarge_option2": {(0.001, 0.2)},
    }
    for title, best in expected.items():
        validated = own_of(typed, title, "val")
        top = validated[validated["value"] == validated["value"].max()]
        assert set(zip(top["lr"], top["dropout"])) == best
        bold = [row for row in found[title] if row["Learning rate"].startswith("**")]
        assert {place(row) for row in bold} == best
        assert all(cell.startswith("**") and cell.endswith("**") for row in bold for cell in row.values())
        remark = "best on validation" if len(best) == 1 else "best on validation, tied"
        assert {row["Remark"].strip("*") for row in bold} == {remark}
    tested = own_of(typed, "InceptionResNetV2_option2", "test").nlargest(1, "value")
    assert set(zip(tested["lr"], tested["dropout"])) == {(0.0001, 0.0)}
    assert page.split("## Grids")[1].count("**[") == 5
    assert "validation accuracy of its table" in page


def test_trainings_with_the_same_numbers_are_named(page, tmp_path):
    assert "- **Identical in all 9 numbers: NASNetLarge_option1 0.001 / 0 and 0.0001 / 0.4.**" in page
    assert (
        "- Identical in all 9 numbers: InceptionResNetV2_option1 0.1 / 0.4, 0.1 / 0.2, 0.1 / 0, and 0.01 / 0.4; "
        "NASNetLarge_option1 0.1 / 0.4 (seeds 0, 1, and 2). All of them collapsed."
    ) in page
    assert page.count("Identical in all") == 4
    # One number that differs in its last digit, and the two are trainings of their own.
    text = TYPED.read_text()
    row = "NASNetLarge_option1_lr0.0001_do0.4,ce,0,test,overall,loss,0.094"
    changed = text.replace(f"{row}7", f"{row}8")
    assert changed != text
    (tmp_path / "changed.csv").write_text(changed)
    again = render(from_metrics(tmp_path / "changed.csv"), tmp_path / "out")
    assert again.count("Identical in all") == 3
    assert "NASNetLarge_option1 0.001 / 0 and" not in again


def test_many_recipes_are_represented_by_the_best_of_their_grids(page):
    summary = page.split("\n## Training, validation, and test accuracy")[1].split("\n## ")[0]
    assert summary.count("](seeds/") == 5
    assert "the other 41 configurations are in the grids' tables below" in summary


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50_lr0.001_do0.2", ("resnet50", 0.001, 0.2)),
        ("resnet50-lr1e-4-dropout0", ("resnet50", 1e-4, 0.0)),
        ("a_lr_b_lr.5", ("a_lr_b", 0.5, None)),
        ("inceptionresnetv2_lr0p0001_do0p2", ("inceptionresnetv2", 0.0001, 0.2)),
        ("net_lr1E+0_do.25", ("net", 1.0, 0.25)),
        ("net_lr0.1_v2", None),
        ("net_lr", None),
        ("net_lr0_do0.1", None),
        ("net_lr0.1_do2", None),
        ("lr0.1", None),
    ],
)
def test_names_that_place_a_model(tmp_path, name, expected):
    path = tmp_path / "t.csv"
    path.write_text(f"model,loss,seed,part,class,metric,value\n{name},ce,0,val,overall,accuracy,0.5\n")
    found = grid._place(from_metrics(path), name)
    assert (found and found[1:]) == expected


def bare(folder, *rows):
    """Return a study of a metrics table with rows of model, seed, part, metric, value."""
    groups = {"auroc": "macro", "precision": "macro", "sensitivity": "macro", "f1": "macro"}
    lines = [f"{m},ce,{s},{p},{groups.get(k, 'overall')},{k},{v}" for m, s, p, k, v in rows]
    (folder / "table.csv").write_text("\n".join(["model,loss,seed,part,class,metric,value", *lines]) + "\n")
    return from_metrics(folder / "table.csv")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_three_models_make_a_grid(tmp_path, n):
    study = bare(tmp_path, *((f"net_lr0.{i + 1}", 1, "val", "accuracy", 0.5 + i / 10) for i in range(n)))
    found = grid.grids(study)
    assert len(found) == (n == 3)
    text = render(study, tmp_path / "out")
    assert ("## Grids" in text) == (n == 3)
    check_page(tmp_path / "out" / "models.md", text)
    if n == 3:
        rows = tables_of(text)["net"]
        assert list(rows[0]) == ["Learning rate", "Validation accuracy", "Remark"]
        assert [plain(r["Learning rate"]) for r in rows] == ["0.3", "0.2", "0.1"]


def test_among_equal_validation_accuracies_the_lowest_loss_is_best(tmp_path):
    losses = {"0.1": 0.3, "0.2": 0.2, "0.3": 0.2, "0.4": 0.1}
    rows = [(f"net_lr{lr}", 1, "val", "accuracy", 0.8 if lr == "0.4" else 0.9) for lr in losses]
    study = bare(tmp_path, *rows, *((f"net_lr{lr}", 1, "val", "loss", v) for lr, v in losses.items()))
    (found,) = grid.grids(study)
    assert {p.lr for p in grid.best(study, found)} == {0.2, 0.3}


@pytest.mark.parametrize(
    ("numbers", "classes", "expected"),
    [
        ((0.25, 0.25, 0.10), None, True),
        ((0.2683, 0.25, 0.11), 4, True),
        ((0.8977, 1 / 3, 0.315), None, True),  # the majority's share of three classes
        ((0.8963, 1 / 2, 0.4727), 2, True),
        ((0.25, 0.25, 0.20), None, False),  # all classes are predicted, by chance
        ((0.3733, 0.39, 0.28), 4, False),  # two classes are predicted
        ((0.50, 0.50, 0.50), None, False),
        ((0.98, 0.98, 0.98), None, False),
        ((0.98, 0.98, 0.98), 1, False),
        ((math.nan, 0.25, 0.10), None, False),
        ((0.0, 0.0, 0.0), None, False),
    ],
)
def test_numbers_of_one_class_for_every_image(numbers, classes, expected):
    assert grid.of_one_class(*numbers, classes) == expected


def test_one_class_is_what_always_answering_it_scores():
    truth = np.repeat([0, 1, 2], [70, 20, 10])
    hits = np.array([70, 0, 0])
    f1 = 2 * hits / (np.bincount(truth) + np.array([100, 0, 0]))
    recall = hits / np.bincount(truth)
    assert grid.of_one_class(0.7, recall.mean(), f1.mean())


@pytest.mark.parametrize("seed", [1, "mean"])
def test_signs_of_a_collapse_without_losses(tmp_path, seed):
    one = {"accuracy": 0.3, "sensitivity": 0.25, "f1": 0.12}
    rows = [("net_lr1", seed, "test", k, v) for k, v in one.items()]
    rows += [(f"net_lr{lr}", seed, "test", k, 0.9) for lr in (0.1, 0.01) for k in one]
    rows += [(f"net_lr{lr}", seed, "val", "accuracy", v) for lr, v in ((1, 0.95), (0.1, 0.9), (0.01, 0.8))]
    study = bare(tmp_path, *rows)
    text = render(study, tmp_path / "out")
    check_page(tmp_path / "out" / "models.md", text)
    remarks = [row["Remark"].strip("*") for row in tables_of(text)["net"]]
    assert remarks == ["collapsed", "best on validation", ""]
    assert "- Collapsed: 1 / own. Recall and F1 are those of one class for every image." in text


def test_a_bare_grid_of_a_multilabel_study(tmp_path):
    scores = {1: 0.5, 0.1: 0.81, 0.01: 0.79}
    rows = [(f"net_lr{lr}_do0", 1, p, "auroc", v) for lr, v in scores.items() for p in ("train", "val", "test")]
    study = bare(tmp_path, *rows)
    assert study.task == "multilabel"
    text = render(study, tmp_path / "out")
    check_page(tmp_path / "out" / "models.md", text)
    rows = tables_of(text)["net"]
    assert list(rows[0])[2:5] == ["Training AUROC", "Validation AUROC", "Test AUROC"]
    assert [row["Remark"].strip("*") for row in rows] == ["collapsed", "best on validation", ""]
    assert "AUROC 0.5: all images have the same score." in text
    assert "highest validation AUROC of its table" in text


def test_where_every_training_collapsed_none_is_best(tmp_path):
    rows = [(f"net_lr{lr}", 1, p, k, v) for lr in (1, 2, 3) for p in PARTS for k, v in SATURATED.items()]
    study = bare(tmp_path, *rows)
    (found,) = grid.grids(study)
    assert grid.best(study, found) == ()
    text = render(study, tmp_path / "out").split("## Grids")[1]
    assert "**[" not in text
    assert "best on validation" not in text
    assert (tmp_path / "out" / "figures" / "models-grid.png").exists()


SATURATED = {"accuracy": 0.5, "loss": 8.059}


# --- grids that params.yaml describes -----------------------------------------------------------------------------

POINTS = {"a": (0.1, 0.0), "b": (0.01, 0.0), "c": (0.01, 0.4), "d": (0.001, None)}


def described(study, **changes):
    """Return `study` with models that form a grid, but for `changes` of a model."""
    made = {
        name: Model(arch="net", lr=lr, **({} if dropout is None else {"dropout": dropout}), **changes.get(name, {}))
        for name, (lr, dropout) in POINTS.items()
        if name in study.params.study.models
    }
    return replace(study, params=study.params.model_copy(update={"models": made}))


@pytest.fixture
def multilabel(make):
    return described(load_study(make(models=tuple(POINTS), replicates=(12,))))


def test_a_grid_of_params_has_the_numbers_of_its_recipes(multilabel, tmp_path):
    text = render(multilabel, tmp_path / "out")
    check_page(tmp_path / "out" / "models.md", text)
    rows = tables_of(text)["net"]
    assert [(plain(r["Learning rate"]), plain(r["Dropout"])) for r in rows] == [
        ("0.1", "0"),
        ("0.01", "0.4"),
        ("0.01", "0"),
        ("0.001", "own"),
    ]
    by_name = {r.model: r for r in multilabel.configurations}
    for name, row in zip("acbd", rows):
        metrics = by_name[name].metrics
        assert f"](seeds/{name}-bce.md)" in row["Learning rate"]
        assert row["Seeds"].strip("*") == "2"
        for metric, part, group, head, digits in (
            ("sensitivity", "test", "macro", "Test recall", 3),
            ("precision", "test", "macro", "Test precision", 3),
            ("auroc", "val", "macro", "Validation AUROC", 4),
            ("auroc", "train", "macro", "Training AUROC", 4),
            ("loss", "test", "overall", "Test loss", 4),
        ):
            one = metrics[(metrics["metric"] == metric) & (metrics["part"] == part) & (metrics["class"] == group)]
            values = one[one["seed"] != "mean"]["value"].to_numpy()
            assert len(values) == 2
            assert row[head].strip("*") == f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
        interval = metrics[(metrics["metric"] == "auroc") & (metrics["class"] == "macro") & (metrics["seed"] == "mean")]
        low, high = interval[interval["part"] == "test"][["ci_low", "ci_high"]].iloc[0]
        assert row["95 % CI"].strip("*") == f"[{low:.3f}, {high:.3f}]"
    validated = {r.model: r.get("auroc", part="val").value for r in multilabel.configurations}
    bold = [n for n, row in zip("acbd", rows) if row["Learning rate"].startswith("**")]
    assert bold == [max(validated, key=validated.get)]


def test_models_that_differ_in_more_form_no_grid(multilabel):
    assert [g.name for g in grid.grids(multilabel)] == ["net"]
    other = {"weights": "w.pth", "trainable": Last(last=3)}
    changed = described(multilabel, a=other)
    assert [len(g.points) for g in grid.grids(changed)] == [3]
    assert grid.grids(described(multilabel, a=other, b={"epochs": 3})) == ()
    assert grid.grids(described(multilabel, a={"hidden": 8}, b={"hidden": 8})) == ()


def test_the_ratio_of_the_heads_learning_rate_counts_and_its_value_does_not(multilabel):
    scaled = {name: {"head_lr": 10 * lr} for name, (lr, _) in POINTS.items()}
    assert len(grid.grids(described(multilabel, **scaled))) == 1
    fixed = {name: {"head_lr": 0.5} for name in POINTS}
    assert [len(g.points) for g in grid.grids(described(multilabel, **fixed))] == []


def test_dropout_may_be_an_option_of_the_architecture(multilabel):
    made = {
        n: Model(arch="net", lr=0.1, options={"drop_rate": d, "depth": 2}) for n, d in zip(POINTS, (0, 0.1, 0.2, 0.3))
    }
    study = replace(multilabel, params=multilabel.params.model_copy(update={"models": made}))
    (found,) = grid.grids(study)
    assert [p.dropout for p in found.points] == [0.3, 0.2, 0.1, 0.0]


def test_two_grids_of_one_architecture_are_told_apart(here):
    study = load_once(here)
    first = study.configurations[0]
    names = [f"{size}{i}" for size in ("small", "large") for i in range(3)]
    made = {n: Model(arch="net", lr=0.1 / (1 + int(n[-1])), hidden=8 if n < "m" else None) for n in names}
    params = study.params.model_copy(
        update={"models": made, "study": study.params.study.model_copy(update={"models": names})}
    )
    configurations = tuple(replace(first, model=n, loss=loss) for n in names for loss in ("x", "y"))
    found = grid.grids(replace(study, params=params, configurations=configurations))
    titles = [grid.titled(g, found) for g in found]
    assert titles == [
        "net (small0 and 2 more) with x",
        "net (small0 and 2 more) with y",
        "net (large0 and 2 more) with x",
        "net (large0 and 2 more) with y",
    ]


def test_a_multiclass_grid_of_params_is_decided_by_validation_accuracy(here, tmp_path):
    study = load_once(here)
    if study.task != "multiclass":
        assert grid.leading(study) == "auroc"
        return
    assert grid.leading(study) == "accuracy"
    configurations = tuple(replace(r, model=n, loss="bce") for n, r in zip(POINTS, study.configurations))
    params = study.params.model_copy(
        update={"study": study.params.study.model_copy(update={"models": list(POINTS), "losses": ["bce"]})}
    )
    changed = described(replace(study, configurations=configurations, params=params))
    text = render(changed, tmp_path / "out")
    check_page(tmp_path / "out" / "models.md", text)
    values = {r.model: r.get("accuracy", part="val").value for r in configurations}
    (bold,) = [row for row in tables_of(text)["net"] if row["Learning rate"].startswith("**")]
    assert f"seeds/{max(values, key=values.get)}-bce.md" in bold["Learning rate"]


def test_collapsed_seeds_are_those_that_training_recorded(make, tmp_path):
    study = described(load_study(make(models=tuple(POINTS), replicates=(12,), collapsed=12)))
    one = study.configurations[0]
    spoiled = replace(one, runs=tuple({**run, "collapsed": "constant predictions"} for run in one.runs))
    study = replace(study, configurations=(spoiled, *study.configurations[1:]))
    text = render(study, tmp_path / "out")
    rows = {
        plain(r["Learning rate"]) + "/" + plain(r["Dropout"]): r["Remark"].strip("*") for r in tables_of(text)["net"]
    }
    assert rows["0.1/0"] == "collapsed"
    others = {rows[k] for k in ("0.01/0.4", "0.01/0", "0.001/own")}
    assert others == {"collapsed under 1 of 2 seeds", "best on validation; collapsed under 1 of 2 seeds"}
    assert "- Collapsed: 0.1 / 0 (seeds 42 and 12). Constant predictions." in text
    assert re.search(r"- Collapsed: .*0\.01 / 0 \(seed 12\).*\. Chance: validation AUROC 0\.501", text)


def test_a_point_without_results_is_a_gap(multilabel, tmp_path):
    study = replace(multilabel, configurations=multilabel.configurations[1:], missing=("a-bce, all seeds (42, 12)",))
    text = render(study, tmp_path / "out")
    check_page(tmp_path / "out" / "models.md", text)
    assert len(tables_of(text)["net"]) == 3
    (found,) = grid.grids(study)
    assert figures.heat(study, [("net", found, ())], "auroc", "validation AUROC", tmp_path / "gap.png")


def test_without_a_validation_value_there_is_no_heat_map(tmp_path):
    study = bare(tmp_path, *((f"net_lr{i}", 1, "test", "accuracy", 0.5) for i in (1, 2, 3)))
    text = render(study, tmp_path / "out")
    check_page(tmp_path / "out" / "models.md", text)
    assert not (tmp_path / "out" / "figures").exists()
    assert "**[" not in text
