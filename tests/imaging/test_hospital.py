"""Each kind of file that hospitals send, through the preparation of a study, to the picture that it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets import Sample
from pipeline.imaging.prepare import Prepared, prepare_all
from pipeline.imaging.settings import Clahe, Preprocess
from tests.imaging import hospital
from tests.imaging.referees import table

TOLERANCE = 2
LOSSY = 3
"""Mean difference of a lossy file in grey levels."""
XRAY = ("cr", "dx", "mg", "ct", "xa", "io")


@pytest.fixture(scope="module")
def files():
    return {name: table.made(name) for name in hospital.files()}


def run(files: dict, folder: Path, **settings) -> tuple[np.ndarray, Prepared]:
    """Return the prepared array and the tables."""
    classes = sorted({name.partition("-")[0] for name in files})
    # Each file is a patient of its own; the frames of a file are one patient's.
    samples = [
        Sample(name, name, (name.partition("-")[0],), lambda data=made.data: data) for name, made in files.items()
    ]
    chosen = Preprocess(**{"size": hospital.SIDE, "frame": "first", "channels": 3} | settings)
    prepared = prepare_all(samples, classes, "multiclass", chosen, folder / "images.npy")
    return np.load(folder / "images.npy"), prepared


@pytest.fixture(scope="module")
def pictures(files, tmp_path_factory):
    return run(files, tmp_path_factory.mktemp("hospital"), clahe=Clahe(enabled=False))


def test_every_kind_becomes_a_picture(files, pictures):
    images, prepared = pictures
    assert prepared.excluded.empty, prepared.excluded.to_string()
    assert prepared.samples["sample_id"].tolist() == list(files)
    assert images.shape == (len(files), hospital.SIDE, hospital.SIDE, 3)
    assert {name.partition("-")[0] for name in files} >= {
        "cr",
        "dx",
        "mg",
        "ct",
        "mr",
        "us",
        "xa",
        "nm",
        "opt",
        "op",
        "vl",
        "sc",
    }


@pytest.mark.parametrize("name", sorted(hospital.files()))
def test_it_is_the_picture_that_was_drawn(name, files, pictures):
    made = files[name]
    found = pictures[0][list(files).index(name)].astype(int)
    wanted = made.truth if made.truth.ndim == 3 else np.dstack([made.truth] * 3)
    apart = np.abs(found - wanted)
    assert (apart.max() <= TOLERANCE) if made.exact else (apart.mean() <= LOSSY)


@pytest.mark.parametrize("name", [name for name in sorted(hospital.files()) if name.startswith(XRAY)])
def test_air_is_black_whatever_the_file_calls_white(name, files, pictures):
    """Beside the drawing itself, which knows nothing of DICOM: dense is bright."""
    patient = list(files).index(name) + 1
    found = pictures[0][patient - 1][..., 0].astype(float)
    # Apart from padding, which is black by rule.
    seen = found > 0
    assert np.corrcoef(found[seen], hospital.film(patient)[seen])[0, 1] > 0.85


def test_all_frames_become_samples_of_one_patient(files, tmp_path):
    several = {name: made for name, made in files.items() if made.options}
    _, prepared = run(several, tmp_path, frame="all", duplicates={"near": False})
    counts = prepared.samples.groupby("patient_id").size()
    assert counts.to_dict() == {name: 2 if name.startswith("sm") else 3 for name in several}
    assert prepared.samples.groupby("patient_id")["group_id"].nunique().eq(1).all()


def test_several_frames_are_not_chosen_in_silence(files, tmp_path):
    _, prepared = run(files, tmp_path, frame="error")
    refused = dict(prepared.excluded.itertuples(index=False))
    assert set(refused) == {name for name, made in files.items() if made.options}
    assert all(reason.startswith("several frames") for reason in refused.values())


def same_bytes(files: dict, folder: Path, times: int) -> set[bytes]:
    """Return the different contents that `times` preparations of the same files have."""
    contents = set()
    for i in range(times):
        again = folder / str(i)
        again.mkdir()
        # The number of threads must not matter either.
        _, prepared = run(files, again, threads=1 + i % 3)
        tables = [table.to_csv() for table in (prepared.samples, prepared.excluded, prepared.duplicates)]
        contents.add((again / "images.npy").read_bytes() + "".join(tables).encode())
    return contents


def test_the_same_bytes_each_time(files, tmp_path):
    assert len(same_bytes(files, tmp_path, 3)) == 1


@pytest.mark.slow
def test_the_same_bytes_twenty_times(tmp_path):
    """With all kinds of other formats among them: every third file, sorted by format."""

    def by_kind(name: str) -> str:
        return name[::-1]

    # The class is what stands before the first hyphen.
    chosen = {
        f"{name.rpartition('.')[2]}-{name}": table.made(name) for name in sorted(table.makers(), key=by_kind)[::3]
    }
    assert len(same_bytes(chosen, tmp_path, 20)) == 1
