"""What is said of a split against the one before."""

import pandas as pd
import pytest

from pipeline.splitting.earlier import EARLIER, moved
from pipeline.splitting.settings import Split

SETTINGS = Split(method="grouped", validation=0.2, test=0.2)
SAMPLES = pd.DataFrame({"row": range(6), "sample_id": [f"{letter}.png" for letter in "abcdef"]})


def table(parts, rows=range(6)):
    return pd.DataFrame({"row": list(rows), "part": parts.split()})


def test_images_that_change_their_part_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert moved("own", SAMPLES, table("train train val val test test"), SETTINGS) is None
    assert moved("own", SAMPLES, table("train train val val test test"), SETTINGS) is None
    fewer = SAMPLES.iloc[1:].assign(row=range(5))  # rows are counted anew
    said = moved("own", fewer, table("test val val train test", range(5)), SETTINGS)
    assert said is not None
    assert "2 of 5 images that were in the split before are in another set now, and 1 of its test images" in said
    assert not any("png" in path.read_text() for path in EARLIER.iterdir())


@pytest.mark.parametrize("other", [{"seed": 1}, {"test": 0.3}])
def test_another_split_is_no_change(tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    moved("own", SAMPLES, table("train train val val test test"), SETTINGS)
    assert moved("own", SAMPLES, table("test test val val train train"), SETTINGS.model_copy(update=other)) is None
    assert moved("another", SAMPLES, table("test test val val train train"), SETTINGS) is None


def test_what_was_kept_and_is_damaged_is_as_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved("own", SAMPLES, table("train train val val test test"), SETTINGS)
    next(EARLIER.iterdir()).write_bytes(b"im\xff")
    assert moved("own", SAMPLES, table("test test val val train train"), SETTINGS) is None
    assert moved("own", SAMPLES, table("train test val val train train"), SETTINGS) is not None
