"""A study in which labels are unknown and uncertain, from the prepared images to its scores."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pipeline import evaluate, split, train
from pipeline.datasets import DatasetError, Sample
from pipeline.datasets.phantom.dataset import Data
from pipeline.imaging.duplicates import find
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Duplicates, Preprocess
from pipeline.reporting.views.known import Counts, Rule, labels
from pipeline.settings import load
from pipeline.study.files import AUDIT, SAMPLES, ArtifactError, raw_folder, read_json
from pipeline.study.parts import read_parts
from pipeline.study.predictions import Predictions, read_metrics
from pipeline.study.prepared import read_dataset, read_published, read_samples
from pipeline.study.runs import Configuration, Run
from pipeline.study.trainings import evaluation_folder


def blank(share=0.3, uncertain=0.1):
    """Take labels of the prepared images away; return what is known, bool [N, K]."""
    table, classes = pd.read_csv(SAMPLES, dtype=str, keep_default_na=False), list(read_dataset().classes)
    drawn = np.random.default_rng(0).random((len(table), len(classes)))
    cells = table[classes].mask(drawn < share, "").mask(drawn > 1 - uncertain, "-1")
    table.assign(**{name: cells[name] for name in classes}).to_csv(SAMPLES, index=False)
    return (drawn >= share) & (drawn <= 1 - uncertain)


def test_from_the_split_to_the_scores(prepared):
    truth = read_samples()
    known, classes = blank(), list(read_dataset().classes)
    split.main()
    audited = read_json(AUDIT, "split")
    counted = sum(sum(sum(of.values()) for of in by_part.values()) for by_part in audited["labels"].values())
    assert counted == sum(audited["parts"][part]["images"] for part in ("train", "val", "test")) * len(classes)
    study, run = load(), Run("small", "zlpr", 42)
    train.train(run, study)
    evaluate.evaluate(run.configuration, study)
    folder = evaluation_folder(Configuration("small", "zlpr"))
    predictions = Predictions.load(folder / "predictions.npz")
    expected = np.where(known, truth[classes].to_numpy(float), np.nan)[predictions.test_rows]
    np.testing.assert_array_equal(predictions.test_targets, expected)
    table = read_metrics(folder / "metrics.csv").query("metric == 'auroc' and part == 'test' and seed == 'mean'")
    assert table.set_index("class").loc[classes, "n"].tolist() == (~np.isnan(expected)).sum(axis=0).tolist()


def test_uncertain_labels_are_unknown_to_all_but_training(prepared):
    blank()
    published, scored, classes = read_published(), read_samples(), list(read_dataset().classes)
    uncertain = (published[classes] == -1).to_numpy()
    assert uncertain.any()
    assert scored[classes].isna().to_numpy()[uncertain].all()
    assert (scored[classes].dtypes == np.float32).all()
    assert {str(part.targets.dtype) for part in read_parts(["train", "val", "test"]).values()} == {"float32"}


def test_labels_that_are_all_known_are_whole_numbers_as_before(prepared):
    classes = list(read_dataset().classes)
    assert (read_samples()[classes].dtypes == np.uint8).all()
    assert {str(part.targets.dtype) for part in read_parts(["train", "val", "test"]).values()} == {"uint8"}
    assert "labels" not in read_json(AUDIT, "split")
    assert "uncertain" not in read_json(SAMPLES.with_name("dataset.json"), "preprocess")


@pytest.mark.parametrize("cell", ["2", "0.5", "yes"])
def test_a_cell_that_is_no_label_is_a_damaged_file(prepared, cell):
    table, name = pd.read_csv(SAMPLES, dtype=str, keep_default_na=False), read_dataset().classes[0]
    table.loc[3, name] = cell
    table.to_csv(SAMPLES, index=False)
    with pytest.raises(ArtifactError, match=r"samples\.csv"):
        read_samples()


def test_the_phantom_loses_labels_at_random_and_nothing_else(prepared):
    settings = load().datasets["phantom"] or {}
    whole, less = (Data(**settings, unknown=share) for share in (0.0, 0.3))
    pairs = list(zip(whole.samples(raw_folder("phantom")), less.samples(raw_folder("phantom"))))
    taken = sum(len(after.unknown) for _, after in pairs)
    assert taken == pytest.approx(0.3 * 14 * len(pairs), rel=0.05)
    for before, after in pairs:
        assert after.sample_id == before.sample_id
        assert set(after.labels) == set(before.labels) - set(after.unknown)
        assert before.unknown == ()
    assert [s.unknown for s in less.samples(raw_folder("phantom"))] == [after.unknown for _, after in pairs]
    assert not any("taken away" in note for note in whole.notes)
    assert any("30% of the labels were taken away" in note for note in less.notes)


def noise(seed):
    return lambda: np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)


def test_samples_say_what_is_unknown(tmp_path):
    samples = [
        Sample("a", "1", ("x",), noise(1), unknown=("y",)),
        Sample("b", "2", (), noise(2), uncertain=("x", "y")),
        Sample("c", "3", ("y",), noise(3)),
    ]
    settings = Preprocess(size=16, channels=1, threads=1)
    table = prepare_all(samples, ["x", "y"], "multilabel", settings, tmp_path / "images.npy").samples
    assert table.to_csv(columns=["x", "y"], index=False).splitlines()[1:] == ["1,", "-1,-1", "0,1"]


@pytest.mark.parametrize(
    ("task", "labels", "unknown", "said"),
    [
        ("multilabel", ("x",), ("x",), "named twice"),
        ("multilabel", ("x",), ("z",), "class 'z' is unknown"),
        ("multiclass", ("x",), ("y",), "exactly one, which is known"),
    ],
)
def test_samples_that_contradict_themselves_are_refused(tmp_path, task, labels, unknown, said):
    sample = Sample("a", "1", labels, noise(1), unknown=unknown)
    with pytest.raises(DatasetError, match=said):
        prepare_all([sample], ["x", "y"], task, Preprocess(size=16, channels=1, threads=1), tmp_path / "images.npy")


def test_an_unknown_label_contradicts_no_other_of_the_same_picture():
    hashes, settings = ["h", "h", "g", "g"], Duplicates(near=False)
    codes = np.array([[1, 2], [1, 0], [1, 0], [0, 3]], np.uint8)
    found = find(list("abcd"), hashes, None, codes, settings)
    assert found.excluded.tolist() == [False, False, True, True]
    assert found.table["labels_agree"].tolist() == [1, 0]


def test_pages_are_told_which_labels_are_known():
    none = {"positive": 0, "negative": 0, "uncertain": 0, "unknown": 0}
    of_a = {"positive": 2, "negative": 3, "uncertain": 1, "unknown": 4}
    counted = {"a": {"train": of_a, "val": none, "test": of_a}, "b": {"train": of_a, "val": none, "test": of_a}}
    told = SimpleNamespace(uncertain={"a": 0.7, "b": None})
    found = labels(SimpleNamespace(audit={"labels": counted}, dataset=told, recorded=True))
    assert found.classes["b"] == [Counts(2, 3, 1, 4)] * 2
    assert found.sets == {"training": Counts(4, 6, 2, 8), "test": Counts(4, 6, 2, 8)}
    assert found.test_share == 0.5
    assert found.rules == [Rule(0.7, ["a"]), Rule(None, [])]
    assert labels(SimpleNamespace(audit={}, dataset=told, recorded=True)) is None
