"""Data sets whose classes are grades: `task: ordinal`."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline.datasets import DatasetError, open_dataset
from pipeline.datasets.phantom.cohort import sample_cohort
from pipeline.datasets.phantom.dataset import GRADES
from pipeline.datasets.phantom.dataset import Data as Phantom
from pipeline.datasets.phantom.drawing import draw_with_masks, heart_size
from pipeline.datasets.phantom.files import write_hearts
from pipeline.datasets.shared.grades import in_order
from pipeline.study.params import ParamsError
from tests.datasets import test_contract as contract

CONTRACT = [
    contract.test_says_what_it_is,
    contract.test_download_records_the_source,
    contract.test_what_can_change_is_digested,
    contract.test_samples_keep_the_interface,
    contract.test_order_is_stable,
    contract.test_read_gives_bytes_or_pixels,
    contract.test_goes_through_preprocess,
]


def retinamnist(folder):
    """Made images in the published layout: 28 px, colour, five grades of diabetic retinopathy."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, count in (("train", 10), ("val", 5), ("test", 5)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28, 3), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count, dtype=np.uint8) % 5)[:, None]
    np.savez_compressed(folder / "retinamnist.npz", **arrays)
    return {"root": str(folder), "flag": "retinamnist", "size": 28, "task": "ordinal"}


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_retinamnist_in_grades_keeps_the_contract(check, tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = contract.study(tiny, "medmnist", retinamnist(tmp_path / "published"))
    dataset = open_dataset("medmnist", params.datasets["medmnist"])
    assert (dataset.task, dataset.ordered, len(dataset.classes)) == ("multiclass", True, 5)
    check("medmnist", (dataset, params), *([tmp_path] if "tmp_path" in check.__code__.co_varnames[:3] else []))


def test_other_sets_of_medmnist_have_no_grades():
    with pytest.raises(ParamsError, match=r"datasets\.medmnist.*task: 'ordinal' with flag bloodmnist.*retinamnist"):
        open_dataset("medmnist", {"flag": "bloodmnist", "task": "ordinal"})


@pytest.mark.parametrize("name", ["phantom", "medmnist", "image_folder", "image_table"])
def test_without_an_order_settings_are_recorded_as_before_there_was_one(name):
    dataset = open_dataset(name, {"task": None})
    assert not dataset.ordered
    assert "asked_task" not in dataset.model_dump()
    assert "asked_task" not in json.loads(dataset.model_dump_json())
    with pytest.raises(ParamsError, match=rf"datasets\.{name}\.task: .*ordinal"):
        open_dataset(name, {"task": "graded"})


@pytest.mark.parametrize(
    ("found", "stated", "expected"),
    [
        (["10", "2", "0"], None, ("0", "2", "10")),
        (["2 mild", "1.5 faint", "-1 none"], None, ("-1 none", "1.5 faint", "2 mild")),
        (["mild", "severe"], ["none", "mild", "severe"], ("none", "mild", "severe")),
    ],
)
def test_grades_are_in_the_order_that_is_stated_or_of_their_numbers(found, stated, expected):
    assert in_order(found, stated, "here") == expected


@pytest.mark.parametrize(
    ("found", "stated", "message"),
    [
        (["mild", "none"], None, r"here: empty.*'mild', 'none'.*must list them, the lowest first"),
        (["1 a", "1 b"], None, "number of their own"),
        (["mild", "none"], ["mild", "severe"], "lacks 'none'"),
    ],
)
def test_an_order_that_is_not_known_is_asked_for(found, stated, message):
    with pytest.raises(DatasetError, match=message):
        in_order(found, stated, "here")


def test_folders_and_tables_take_the_order_that_is_stated(tmp_path):
    files = [f"{c}/{i}.png" for c in ("severe", "mild", "none") for i in (1, 2)]
    root = contract.write(tmp_path / "images", files)
    names = ["none", "mild", "severe"]
    folder = {"root": root, "task": "ordinal", "class_names": names}
    assert open_dataset("image_folder", folder).classes == tuple(names)
    with pytest.raises(DatasetError, match=r"datasets\.image_folder\.class_names: empty"):
        _ = open_dataset("image_folder", folder | {"class_names": None}).classes
    with pytest.raises(ParamsError, match=r"class_names.*task: ordinal alone"):
        open_dataset("image_folder", {"root": root, "class_names": names})

    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["image,grade", *(f"{path},{i % 3}" for i, path in enumerate(files))]))
    given = {"root": root, "table": str(table), "label_column": "grade", "task": "ordinal"}
    assert open_dataset("image_table", given).classes == ("0", "1", "2")
    with pytest.raises(ParamsError, match="task: 'ordinal' beside class_columns or separator"):
        open_dataset("image_table", given | {"separator": "|"})


def test_the_heart_of_the_phantom_is_measured_as_it_is_drawn(tmp_path):
    """Its width against the gap between the lungs in their masks, which end where the heart hides them."""
    settings = Phantom(images=200, size=96, task="ordinal")
    write_hearts(tmp_path, settings)
    assert (tmp_path / "hearts.csv").read_text().count("\n") == 201
    cases = [c for c in sample_cohort(settings, np.random.SeedSequence(7)).cases if not c.findings][:24]
    gaps = []
    for case in cases:
        lungs = draw_with_masks(case, 96)[2]["lungs"]
        inside = lungs[:, lungs.any(0).nonzero()[0][0] :]
        rows = [np.flatnonzero(~row[: row.nonzero()[0][-1]]) for row in inside if row.sum() > 20]
        gaps.append(max(len(r) for r in rows) / 96)
    widths = [heart_size(case).width for case in cases]
    assert spearmanr(widths, gaps).statistic > 0.6
    assert list(GRADES.values()) == sorted(GRADES.values())
