import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.datasets import DatasetError, Sample
from pipeline.imaging.enhance import prepare
from pipeline.imaging.examples import COUNT, write_examples
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Clahe, Preprocess

SETTINGS = Preprocess(size=24, threads=1, clahe=Clahe(tiles=2))


def samples(n, channels=1, bad=()):
    shape = (40, 30) if channels == 1 else (40, 30, 3)
    for i in range(n):
        data = cv2.imencode(".png", np.random.default_rng(i).integers(0, 256, shape, np.uint8))[1].tobytes()
        yield Sample(f"s{i:02d}", f"p{i}", ("a",), lambda data=data, i=i: b"" if i in bad else data)


def load(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("channels", [1, 3])
def test_after_is_what_the_array_holds_and_before_lacks_only_clahe(tmp_path, channels):
    settings = SETTINGS.model_copy(update={"channels": channels})
    kept = prepare_all(
        samples(20, channels, bad=(2, 3)), ["a"], "multilabel", settings, tmp_path / "images.npy"
    ).samples
    write_examples(samples(20, channels, bad=(2, 3)), kept, settings, tmp_path / "examples.npz")
    found, images = load(tmp_path / "examples.npz"), np.load(tmp_path / "images.npy")
    assert len(found["rows"]) == COUNT == len(set(found["rows"]))
    np.testing.assert_array_equal(found["after"], images[found["rows"]])
    ids = kept.set_index("row")["sample_id"]
    plain = settings.model_copy(update={"clahe": Clahe(enabled=False)})
    read = {s.sample_id: s.read for s in samples(20, channels)}
    for row, before in zip(found["rows"], found["before"]):
        flags = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
        image = cv2.imdecode(np.frombuffer(read[ids[row]](), np.uint8), flags)
        np.testing.assert_array_equal(before, prepare(image, plain))
        assert (before != images[row]).any()


def test_the_same_bytes_again(tmp_path):
    kept = pd.DataFrame({"row": range(20), "sample_id": [f"s{i:02d}" for i in range(20)]})
    for name in ("a.npz", "b.npz"):
        write_examples(samples(20), kept, SETTINGS, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_images_than_examples(tmp_path, n):
    kept = pd.DataFrame({"row": range(n), "sample_id": [f"s{i:02d}" for i in range(n)]})
    write_examples(samples(n), kept, SETTINGS, tmp_path / "e.npz")
    assert load(tmp_path / "e.npz")["rows"].tolist() == list(range(n))


def test_without_clahe_there_is_no_file_not_even_an_old_one(tmp_path):
    path = tmp_path / "e.npz"
    path.write_bytes(b"old")
    kept = pd.DataFrame({"row": [0], "sample_id": ["s00"]})
    write_examples(samples(1), kept, Preprocess(size=24, clahe=Clahe(enabled=False)), path)
    assert not path.exists()


def test_reads_no_further_than_the_last_example(tmp_path):
    """An archive of a hundred thousand images must not be unpacked twice."""
    n, seen = 5000, []
    kept = pd.DataFrame({"row": range(n), "sample_id": [f"s{i:02d}" for i in range(n)]})

    def counted():
        for sample in samples(n):
            seen.append(sample.sample_id)
            yield sample

    write_examples(counted(), kept, SETTINGS, tmp_path / "e.npz")
    assert len(seen) <= 1000


def test_a_data_set_that_changed_is_an_error(tmp_path):
    kept = pd.DataFrame({"row": [0], "sample_id": ["gone"]})
    with pytest.raises(DatasetError, match="gone was prepared and is no longer in the data set"):
        write_examples(samples(3), kept, SETTINGS, tmp_path / "e.npz")
    assert not (tmp_path / "e.npz").exists()
