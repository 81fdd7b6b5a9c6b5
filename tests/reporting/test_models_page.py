"""The page about models: its numbers are those of the tables behind it, and it says what they cannot carry."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.learning.settings import Last, Model
from pipeline.reporting import formats
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.english import signed
from pipeline.reporting.figures import models as figures
from pipeline.reporting.loading import load_study
from pipeline.reporting.values import NO_TABLE, UNKNOWN
from pipeline.reporting.views import grid, model_settings, models
from tests.reporting.loaded import load_once
from tests.reporting.test_bare_table import DATA, ZLPR, bare
from tests.reporting.test_grid import render
from tests.reporting.test_pages import check_page

pytestmark = pytest.mark.drawn


def section(text, title):
    """Return the rows of all tables of a section, a dict a row."""
    part = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = []
    for block in part.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
        found.append([dict(zip(cells[0], row, strict=True)) for row in cells[2:]] if cells else [])
    return [rows for rows in found if rows]


def seeds_of(results, metric, part, group):
    rows = results.metrics
    found = rows[(rows["metric"] == metric) & (rows["part"] == part) & (rows["class"] == group)]
    return found[found["seed"] != "mean"]["value"].to_numpy(), found[found["seed"] == "mean"]


def test_scores_by_part_are_those_of_the_table(here, tmp_path):
    study = load_once(here)
    text = render(study, tmp_path)
    check_page(tmp_path / "models.md", text)
    single = study.task == "multiclass"
    metric, group, name = ("accuracy", "overall", "accuracy") if single else ("auroc", "macro", "AUROC")
    (rows,) = section(text, f"Training, validation, and test {name}")
    assert len(rows) == 4
    for results, row in zip(study.configurations, rows):
        by_part = {p: seeds_of(results, metric, p, group) for p in ("train", "val", "test")}
        for part, head in (("train", f"Training {name}"), ("val", f"Validation {name}"), ("test", f"Test {name}")):
            values = by_part[part][0]
            assert row[head] == f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
        gaps = by_part["train"][0] - by_part["test"][0]
        assert row["Training − test"] == f"{signed(gaps.mean())} ± {gaps.std(ddof=1):.3f}"
        low, high = by_part["test"][1][["ci_low", "ci_high"]].iloc[0]
        assert row["95 % CI of the test mean"] == f"[{low:.3f}, {high:.3f}]"
        assert row["Seeds"] == "3"
        assert ("★" in row["Configuration"]) == (results.key == study.chosen.key)
    assert "not how good it is" in text
    assert "training n = 200 images" in text.lower()
    assert "test n = 120 images of 60 patients" in text


def test_what_a_constant_answer_scores_is_said_of_single_label_data(here, tmp_path):
    study = load_once(here)
    text = render(study, tmp_path)
    share = study.configurations[0].predictions.test_targets.mean(axis=0)
    sentence = f"score a test accuracy of {share.max():.3f} and a balanced accuracy of 0.333"
    assert (sentence in text) == (study.task == "multiclass")


def test_losses_by_part(here, tmp_path):
    study = load_once(here)
    results = study.configurations[0]
    # Each part its own numbers: the fixture gives all parts the same.
    shift = results.metrics["part"].map({"train": 0.0, "val": 0.1, "test": 0.25})
    moved = results.metrics["value"].where(results.metrics["metric"] != "loss", results.metrics["value"] + shift)
    changed = replace(results, metrics=results.metrics.assign(value=moved))
    text = render(replace(study, configurations=(changed, *study.configurations[1:])), tmp_path)
    (rows,) = section(text, "Training, validation, and test loss")
    row = rows[0]
    assert [row[f"{p} loss"] for p in ("Training", "Validation", "Test")] == [
        "0.3010 ± 0.0010",
        "0.4010 ± 0.0010",
        "0.5510 ± 0.0010",
    ]
    assert row["Test − training"] == "+0.2500 ± 0.0000"
    assert "but never between different loss functions" in text


def test_confusion_counts_are_summed_over_seeds(here, tmp_path):
    study = load_once(here)
    text = render(study, tmp_path)
    if study.task == "multilabel":
        assert "there is no confusion matrix between classes" in text
        assert "(errors.md)" not in text  # it is not there
        assert not (tmp_path / "figures" / "models-confusion.png").exists()
        return
    p = study.chosen.predictions
    truth, decided = p.test_targets.argmax(axis=1), p.test_logits.argmax(axis=2)
    (rows,) = section(text, "Confusion")
    for i, row in enumerate(rows):
        counts = [int((decided[:, truth == i] == j).sum()) for j in range(3)]
        shares = [f"{n} ({100 * n / sum(counts):.1f} %)" for n in counts]
        assert list(row.values()) == [study.classes[i], *shares, str(sum(counts))]
    assert f"**{study.chosen.key}**, the configuration chosen on validation, 3 seeds summed:" in text
    assert (tmp_path / "figures" / "models-confusion.png").exists()


def test_a_class_without_images_and_many_classes(here, tmp_path):
    study = load_once(here)
    if study.task == "multilabel":
        return
    results = study.configurations[0]
    table = results.confusion.assign(n=results.confusion["n"].where(results.confusion["truth"] != "Viral", 0))
    gone = replace(study, configurations=(replace(results, confusion=table),))
    text = render(gone, tmp_path)
    check_page(tmp_path / "models.md", text)
    assert [row["Normal"] for row in section(text, "Confusion")[0]][2] == "0 (—)"
    assert "chosen on validation, " not in text
    names = tuple(f"type {i}" for i in range(10))
    assert figures.confusions(study.configurations, names, tmp_path / "many.png") is None
    wide = replace(study, classes=names)
    assert "With more than 9 classes there is no figure." in render(wide, tmp_path / "many")


def test_settings_of_every_model(here, tmp_path):
    study = load_once(here)
    first, second = study.params.study.models
    made = {
        first: Model(
            arch="resnet50", lr=1e-5, head_lr=1e-3, weights="x/y.pth", trainable=Last(last=10), epochs=3, hidden=64
        ),
        second: Model(arch="baseline_cnn", lr=0.001, dropout=0.5, batch_size=8, optimizer="sgd", options={"depth": 3}),
    }
    text = render(replace(study, params=study.params.model_copy(update={"models": made})), tmp_path)
    check_page(tmp_path / "models.md", text)
    built, trained = section(text, "Settings")
    assert list(built[0].values()) == [
        first,
        "`resnet50`",
        "123,456",
        "123,000",
        "7.65 M",
        "64 × 64 × 1",
        "file y.pth",
        "last 10 layers and head",
        "none",
    ]
    assert [row["Initial weights"] for row in built] == ["file y.pth", "random"]
    assert built[1]["Options"] == "depth 3"
    assert list(trained[0].values())[:4] == [first, "1e-05 (head 0.001)", "own", "32"]
    assert trained[0]["Epochs at most"] == "3 (patience 5)"
    assert trained[0]["Other settings"] == "hidden 64"
    assert list(trained[1].values())[:5] == [second, "0.001", "0.5", "8", "SGD with momentum, cosine"]
    assert trained[1]["Epochs at most"] == "8 (patience 5)"


def test_trainings_are_summed_up(here, tmp_path):
    study = load_once(here)
    first = study.configurations[0]
    numbers = zip((100.4, 300.0, 200.6), (60, 600, 90), (3, 4, 8))
    runs = tuple(
        {**run, "images_per_second": speed, "seconds": seconds, "best_epoch": epoch}
        for run, (speed, seconds, epoch) in zip(first.runs, numbers)
    )
    text = render(replace(study, configurations=(replace(first, runs=runs), *study.configurations[1:])), tmp_path)
    row = section(text, "Training")[0][0]
    assert list(row.values())[1:] == ["3", "6 to 8", "3 to 8", "cpu", "float32"]


def test_older_runs_lack_what_they_did_not_record(make, tmp_path):
    study = load_study(make())
    old = ("macs", "trainable_parameters", "images_per_second", "seconds", "device", "precision", "epochs")
    configurations = [
        replace(r, runs=tuple({k: v for k, v in run.items() if k not in old} for run in r.runs))
        for r in study.configurations
    ]
    fits = [
        replace(r, metrics=r.metrics[(r.metrics["part"] != "train") & (r.metrics["metric"] != "loss")])
        for r in configurations
    ]
    text = render(replace(study, configurations=tuple(fits)), tmp_path)
    check_page(tmp_path / "models.md", text)
    assert "- — MACs of densenet and small_cnn: not recorded by these training runs." in text
    assert "training AUROC of all rows: not in the metrics table." in text
    assert "and test loss" not in text
    assert section(text, "Training, validation, and test AUROC")[0][0]["Training − test"] == "—"
    row = section(text, "Training")[0][0]
    assert [head for head, cell in row.items() if cell == "—"] == [
        "Epochs run",
        "Device",
        "Precision",
    ]


@pytest.mark.parametrize("options", [{"models": ("densenet",), "replicates": ()}, {"models": ("densenet",)}, {}])
def test_one_recipe_and_one_seed(make, tmp_path, options):
    study = load_study(make(**options))
    text = render(study, tmp_path)
    check_page(tmp_path / "models.md", text)
    assert ("±" in text) == ("replicates" not in options)
    assert ("★" in text) == (not options)
    assert ("Differences between rows" in text) == (not options)


def test_missing_and_collapsed_trainings_are_named(make, tmp_path):
    study = load_study(make(collapsed=12))
    gone = replace(study, configurations=study.configurations[:1], missing=("small_cnn-bce, all seeds (42, 12)",))
    text = render(gone, tmp_path)
    check_page(tmp_path / "models.md", text)
    assert "**Missing results.**" in text
    assert "densenet-bce, seed 12: chance" in text
    assert "- — small_cnn: no training run has results." in text


def test_a_seed_without_a_training_value_leaves_no_mean(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    results = study.configurations[0]
    rows = results.metrics
    here = (rows["part"] == "train") & (rows["metric"] == "auroc") & rows["seed"].isin(["12", "mean"])
    text = render(replace(study, configurations=(replace(results, metrics=rows[~here]),)), tmp_path)
    check_page(tmp_path / "models.md", text)
    row = section(text, "Training, validation, and test AUROC")[0][0]
    assert (row["Training AUROC"], row["Training − test"]) == ("—", "—")


def test_the_page_is_written_again_byte_by_byte(here, tmp_path):
    study = load_once(here)
    first, second = models.render(study, tmp_path / "a"), models.render(study, tmp_path / "b")
    assert [p.relative_to(tmp_path / "a") for p in first] == [p.relative_to(tmp_path / "b") for p in second]
    assert sorted(first) == sorted(p for p in (tmp_path / "a").rglob("*") if p.is_file())
    for a, b in zip(first, second):
        assert a.read_bytes() == b.read_bytes()


def test_a_bare_table_has_what_it_has(tmp_path):
    text = render(from_metrics(DATA / f"{ZLPR}.csv"), tmp_path)
    check_page(tmp_path / "models.md", text)
    (row,) = section(text, "Training, validation, and test AUROC")[0]
    assert row == {"Configuration": row["Configuration"], "Seeds": "4", "Test AUROC": "0.847 ± 0.001"}
    assert list(section(text, "Training, validation, and test loss")[0][0])[2:] == ["Test loss"]
    for absent in ("## Settings", "## Training\n", "## Confusion", "## Grids", "★"):
        assert absent not in text


def test_a_table_without_scores_makes_no_page(tmp_path):
    study = from_metrics(bare(tmp_path, "m,l,1,test,A,f1,0.5"))
    assert models.render(study, tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


def test_training_values_of_a_bare_table_are_read(tmp_path):
    lines = [f"m,l,mean,{part},macro,auroc,{value}" for part, value in (("train", 0.95), ("val", 0.9), ("test", 0.85))]
    study = from_metrics(bare(tmp_path, *lines))
    assert study.configurations[0].get("auroc", part="train").value == 0.95
    text = render(study, tmp_path / "out")
    row = section(text, "Training, validation, and test AUROC")[0][0]
    assert list(row.values()) == ["m-l", "—", "0.950", "0.900", "0.850", "+0.100"]


def test_figures_show_those_that_validation_values_highest(here, tmp_path):
    study = load_once(here)
    metric = grid.leading(study)
    configurations = []
    for i in range(14):
        base = study.configurations[0]
        value = base.metrics["value"].where(
            ~((base.metrics["metric"] == metric) & (base.metrics["part"] == "val")), 0.5 + (i * 5 % 14) / 100
        )
        configurations.append(replace(base, model=f"m{i}", metrics=base.metrics.assign(value=value)))
    kept = models.highest(study, configurations, 12)
    assert [r.model for r in configurations if r not in kept] == ["m0", "m3"]  # 0 and 15 % 14 = 1 are the lowest
    changed = replace(study, configurations=tuple(configurations), params=UNKNOWN)
    text = render(changed, tmp_path)
    name = "accuracy" if metric == "accuracy" else "AUROC"
    assert f"The figure shows the 12 of 14 configurations with the highest validation {name}." in text


@pytest.mark.pictures
def test_curves_draw_what_the_history_has(here, tmp_path):
    study = load_once(here)
    first = study.configurations[0]
    with_accuracy = replace(first, history=first.history.assign(val_accuracy=first.history["val_auroc"]))
    plainly = figures.curves([first], tmp_path / "a.png").read_bytes()
    assert figures.curves([with_accuracy], tmp_path / "b.png").read_bytes() != plainly
    unknown = replace(first, history=first.history.assign(val_accuracy=math.nan))
    assert figures.curves([unknown], tmp_path / "c.png").read_bytes() == plainly
    assert figures.curves([replace(first, history=NO_TABLE)], tmp_path / "d.png") is None


def test_a_confusion_matrix_keeps_the_order_of_the_classes(here):
    study = load_once(here)
    if study.task == "multilabel":
        return
    results = study.configurations[0]
    shuffled = replace(results, confusion=results.confusion.sample(frac=1, random_state=1))
    assert np.array_equal(figures.matrix(shuffled, study.classes), figures.matrix(results, study.classes))
    assert figures.matrix(results, study.classes).sum() == 3 * len(results.predictions.test_rows)
    assert np.allclose(figures.shares(np.array([[1, 3], [0, 0]])), [[0.25, 0.75], [math.nan] * 2], equal_nan=True)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (999, "999"),
        (1_500, "1.50 k"),
        (15_166_752, "15.2 M"),
        (999_950_000, "1.00 G"),
        (99_960, "100 k"),
        (4_110_000_000, "4.11 G"),
        (123_400_000_000, "123 G"),
    ],
)
def test_multiply_adds_are_three_digits(number, text):
    assert formats.multiply_adds(number) == text


def test_models_in_words(here, tmp_path):
    study = load_once(here)
    first, second = study.params.study.models
    transfer = Model(
        arch="resnet50", lr=0.1, head_lr=0.2, weights="x/y.pth", trainable=Last(last=10), epochs=3, augment="seeds002"
    )

    def words(model):
        made = {first: model, second: transfer}
        params = study.params.model_copy(update={"models": made})
        rows = section(render(replace(study, params=params), tmp_path), "Settings")[0]
        return [(row["Initial weights"], row["Trained layers"]) for row in rows]

    assert words(Model(arch="a", lr=1.0)) == [("random", "all layers"), ("file y.pth", "last 10 layers and head")]
    assert words(Model(arch="a", lr=1.0, pretrained=True))[0] == ("pretrained (timm)", "all layers")
    assert words(Model(arch="a", lr=1.0, pretrained=True, trainable="head"))[0] == ("pretrained (timm)", "head")
    assert model_settings.own(transfer)["epochs"] == 3
    assert model_settings.dropout(Model(arch="a", lr=1.0, options={"drop_rate": 0})) == 0.0
    assert model_settings.dropout(Model(arch="a", lr=1.0)) is None
