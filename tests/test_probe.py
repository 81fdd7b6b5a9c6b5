"""Stage probe on images whose labels show in the border, or in the size of the file."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from pipeline import probe
from pipeline.scoring.records import probe_record
from pipeline.scoring.settings import ProbeSections
from pipeline.settings import parse
from pipeline.study.files import DATASET, IMAGES, PREPARED, PROBES, SAMPLES, SPLIT, write_csv, write_json
from pipeline.study.params import load
from pipeline.study.parts import read_split
from pipeline.study.predictions import METRIC_COLUMNS, read_metrics
from pipeline.study.prepared import DatasetInfo, read_samples
from pipeline.study.records import record_file
from tests.tiny import TINY

N, CLASSES = 400, ("border", "size", "noise")
PARTS = np.array(["train"] * 220 + ["val"] * 70 + ["test"] * 100 + ["unused"] * 10)


def write_inputs(task, repeated=()):
    """Write what stages preprocess and split leave; `repeated` rows occur a second time in their part."""
    rng = np.random.default_rng(0)
    about = dict.fromkeys(("title", "licence", "citation", "url"), "")
    info = DatasetInfo(name="drawn", task=task, classes=CLASSES, synthetic=True, **about)
    write_json(DATASET, asdict(info))
    one_of = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, N)]
    targets = one_of if task == "multiclass" else (rng.random((N, 3)) < 0.4).astype(np.uint8)
    images = rng.integers(90, 160, (N, 16, 16), dtype=np.uint8)
    images[:, :4] += (rng.normal(40, 20, N).clip(0, 80) * targets[:, 0]).astype(np.uint8)[:, None, None]
    np.save(IMAGES, images)
    order = rng.permutation(N)  # rows of a part do not lie beside one another
    patients = [f"p{i // 2}" for i in range(N)]
    ids = {"sample_id": [f"i{i}" for i in range(N)], "patient_id": patients, "group_id": patients}
    width = 1000 + rng.normal(0, 30, N).astype(int) + 50 * targets[:, 1]
    table = pd.DataFrame({"row": range(N), **ids, "duplicate_of": "", "width": width, "height": 900})
    samples = table.assign(official_split="", **dict(zip(CLASSES, targets.T)))
    write_csv(SAMPLES, samples)
    split = pd.DataFrame({"row": order, "part": PARTS, "copies": 1, "augmented": 0})
    copies = split[split["row"].isin(repeated)].assign(augmented=1)
    write_csv(SPLIT, pd.concat([split, copies]).sort_values(["row", "augmented"]))
    entries = read_split().groupby("part")["row"]
    return images, targets, {p: entries.get_group(p).to_numpy() for p in ("train", "val", "test")}


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Enter an empty folder and return a function that writes the inputs of the stage into it."""
    monkeypatch.chdir(tmp_path)
    PREPARED.mkdir(parents=True)
    return write_inputs


def settings(**changes):
    return parse({**TINY, "evaluate": TINY["evaluate"] | changes})


def written(study):
    probe.probe(study)
    return read_metrics(PROBES / "metrics.csv", "probe")


def auroc(metrics, name, group, part="test"):
    rows = metrics.query("loss == @name and part == @part and `class` == @group and metric == 'auroc'")
    assert len(rows) == 1
    return rows.iloc[0]


def by_sklearn(features, targets, rows, task):
    """Test scores [n, 3] of scikit-learn's regressions, of four penalties that of the least validation log-loss."""
    scaler = StandardScaler().fit(features[rows["train"]])
    x = {p: scaler.transform(features[r]) for p, r in rows.items()}
    best = None
    for penalty in (1e-3, 1e-2, 1e-1, 1.0):
        model = LogisticRegression(C=penalty, max_iter=5000, tol=1e-10)
        if task == "multiclass":
            model.fit(x["train"], targets[rows["train"]].argmax(axis=1))
            loss = log_loss(targets[rows["val"]].argmax(axis=1), model.predict_proba(x["val"]))
            scores = model.predict_proba(x["test"])
        else:
            models = [clone(model).fit(x["train"], y[rows["train"]]) for y in targets.T]
            loss = np.mean([log_loss(y[rows["val"]], m.predict_proba(x["val"])) for m, y in zip(models, targets.T)])
            scores = np.stack([m.predict_proba(x["test"])[:, 1] for m in models], axis=1)
        if best is None or loss < best[0]:
            best = loss, scores
    return best[1]


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("repeated", [(), range(0, N, 3)], ids=["once", "copies"])
def test_scores_are_those_of_scikit_learns_regression_on_area_means(make, monkeypatch, task, repeated):
    monkeypatch.setattr(probe, "_BLOCK", 150)
    images, targets, rows = make(task, repeated=repeated)
    metrics = written(settings())
    means = images.reshape(N, 8, 2, 8, 2).mean(axis=(2, 4)).reshape(N, 64)
    scores = by_sklearn(means, targets, rows, task)
    for k, name in enumerate(CLASSES):
        row = auroc(metrics, "thumbnail", name)
        assert row["value"] == pytest.approx(roc_auc_score(targets[rows["test"], k], scores[:, k]), abs=2e-3)
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        assert (row["n"], row["n_positive"]) == (len(rows["test"]), targets[rows["test"], k].sum())
    assert metrics.columns.tolist() == METRIC_COLUMNS
    assert set(metrics["model"]) == {"probe"}
    assert metrics["seed"].isna().all()
    assert metrics["loss"].unique().tolist() == ["thumbnail", "metadata"]


def test_each_probe_finds_what_shows_in_what_it_sees(make):
    make("multilabel")
    metrics = written(settings())
    found = {(name, group): auroc(metrics, name, group) for name in ("thumbnail", "metadata") for group in CLASSES}
    for shown in (("thumbnail", "border"), ("metadata", "border"), ("metadata", "size")):
        assert found.pop(shown)["ci_low"] > 0.7
    for hidden, row in found.items():
        assert abs(row["value"] - 0.5) < 0.15, hidden


def test_labels_of_the_test_part_are_scored_and_choose_nothing(make):
    _, targets, rows = make("multilabel")
    before = written(settings())
    samples = read_samples()
    samples.loc[rows["test"], list(CLASSES)] = 1 - targets[rows["test"]]
    write_csv(SAMPLES, samples)
    after = written(settings())
    of_val = [m[m["part"] == "val"].reset_index(drop=True) for m in (before, after)]
    pd.testing.assert_frame_equal(*of_val, check_exact=True)
    for name in ("thumbnail", "metadata"):
        value = auroc(before, name, "border")["value"]
        assert auroc(after, name, "border")["value"] == pytest.approx(1 - value, abs=1e-9)


def test_of_many_training_images_a_seeded_part_is_used_and_said(make, monkeypatch):
    images, targets, rows = make("multilabel")
    everything = written(settings())
    assert not everything["note"].str.contains("training images").any()
    monkeypatch.setattr(probe, "MAX_TRAINING", 90)
    few = written(settings())
    first = (PROBES / "metrics.csv").read_bytes()
    assert few["note"].str.startswith("fitted on 90 of 220 training images").all()
    row = auroc(few, "thumbnail", "border")
    assert row["n"] == 100
    assert row["value"] != auroc(everything, "thumbnail", "border")["value"]
    drawn = np.sort(np.random.default_rng(0).permutation(220)[:90])
    means = images.reshape(N, 8, 2, 8, 2).mean(axis=(2, 4)).reshape(N, 64)
    scores = by_sklearn(means, targets, rows | {"train": rows["train"][drawn]}, "multilabel")
    assert row["value"] == pytest.approx(roc_auc_score(targets[rows["test"], 0], scores[:, 0]), abs=2e-3)
    written(settings())
    assert (PROBES / "metrics.csv").read_bytes() == first
    other = auroc(written(settings(seed=1)), "thumbnail", "border")
    assert other["value"] != row["value"]


def test_off_it_writes_the_head_of_the_table_and_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert written(settings(probes=False)).empty
    assert (PROBES / "metrics.csv").read_text() == ",".join(METRIC_COLUMNS) + "\n"


def test_as_a_program_it_needs_no_torch(make, tmp_path, plain_forks):
    make("multilabel")
    (tmp_path / "params.yaml").write_text(json.dumps(TINY))
    write_json(record_file(None, "probe"), probe_record(load(ProbeSections)))
    code = (
        "import runpy, sys; runpy.run_module('pipeline.probe', run_name='__main__'); "
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    )
    done = plain_forks.run(["-c", code])
    assert done.returncode == 0, done.stderr
    row = auroc(read_metrics(PROBES / "metrics.csv", "probe"), "metadata", "macro")
    shown = f"{row['value']:.4f} [{row['ci_low']:.4f}, {row['ci_high']:.4f}]"
    assert f"probe metadata: test macro AUROC {shown}" in done.stdout


def test_where_an_image_is_from_is_a_probe_of_its_own(make):
    _, targets, _ = make("multilabel")
    flipped = np.random.default_rng(1).random(N) < 0.1
    samples = read_samples()
    write_csv(SAMPLES, samples.assign(source=np.where((targets[:, 2] == 1) ^ flipped, "here", "there")))
    metrics = written(settings())
    assert metrics["loss"].unique().tolist() == ["thumbnail", "metadata", "source"]
    row = auroc(metrics, "source", "noise")
    assert row["value"] == pytest.approx(0.9, abs=0.07)  # of one label in ten the source tells the contrary
    assert row["ci_low"] > 0.7
    assert abs(auroc(metrics, "source", "border")["value"] - 0.5) < 0.15


@pytest.mark.parametrize("values", [["here"] * 3, [f"{i}" for i in range(101)]])
def test_one_source_and_a_name_for_each_image_are_no_probe(values):
    assert probe.sources(pd.Series(values)) is None
    assert probe.sources(pd.Series(["a", None, "a"])).to_numpy().tolist() == [[0, 1], [1, 0], [0, 1]]


def test_a_margin_that_only_comparisons_read_probes_nothing_again(tiny):
    before = probe_record(parse(tiny))
    tiny["evaluate"]["margin"] = 0.03
    assert probe_record(parse(tiny)) == before
    tiny["evaluate"]["bootstrap"] += 1
    assert probe_record(parse(tiny)) != before
