"""Heat maps against boxes: made maps whose scores are known."""

import numpy as np
import pandas as pd
import pytest

from pipeline.explaining import maps
from pipeline.explaining.localising import OTHERS, TRAINING, MeanBox, localise, marked
from pipeline.explaining.names import EVERY, METRICS
from pipeline.study.parts import Part

SIZE, CLASSES = 16, ("a", "b")


def part(n, first=0, patients=None):
    targets = np.tile(np.array([[1, 0], [0, 1]], np.uint8), (n, 1))[:n]
    rows = np.arange(first, first + n)
    names = np.array(patients if patients is not None else [f"p{row}" for row in rows])
    return Part(rows, targets, names, np.ones(n, np.int64), np.zeros(n, np.int64))


def boxes_of(entries):
    return pd.DataFrame(entries, columns=["row", "class", "x", "y", "width", "height"])


IMAGES = np.zeros((60, SIZE, SIZE), np.uint8)


def localised(made, boxed, **parts):
    """Score the maps that `made` makes on images of "a" with a box top left in those of the rows `boxed`."""
    table = boxes_of([(row, "a", 0, 0, 4, 4) for row in boxed])
    with_boxes = {name: marked(each, table, CLASSES) for name, each in parts.items()}
    return localise(made, [5, 6], IMAGES, with_boxes, CLASSES, draws=200)


class Known:
    """Maps of two runs: the first points to the top left corner of each image, the second to the bottom right."""

    def paired(self, images, classes):
        made = np.zeros((2, len(images), SIZE, SIZE), np.float32)
        made[0, :, 1, 1] = made[1, :, 14, 14] = 1
        return made


def test_only_boxes_of_a_positive_label_count_and_no_augmented_copy():
    table = boxes_of(
        [(0, "a", 0, 0, 4, 4), (0, "a", 8, 8, 2, 2), (0, "b", 0, 0, 4, 4), (1, "b", 1, 1, 2, 2), (9, "a", 0, 0, 1, 1)]
    )
    found = marked(part(2), table, CLASSES)
    assert found.rows.tolist() == [0, 1]
    assert found.classes.tolist() == [0, 1]
    assert [len(each) for each in found.boxes] == [2, 1]
    copies = part(2)
    copies.augmented[:] = [0, 1]
    assert marked(copies, table, CLASSES).rows.tolist() == [0]
    assert not len(marked(part(2), table.iloc[:0], CLASSES).rows)


def test_scores_of_known_maps():
    """Twelve images of "a" with a box top left: run 1 is always right, run 2 never, their mean half."""
    found = localised(Known(), range(0, 60, 2), train=part(12), val=part(12, 12), test=part(24, 24))
    get = found.table.set_index(["map", "class", "metric"])
    assert set(get.index.get_level_values("class")) == {EVERY, "a"}
    value = get["value"]
    for group in (EVERY, "a"):
        assert [value["5", group, "pointing"], value["6", group, "pointing"]] == [1, 0]
        assert value["mean", group, "pointing"] == 0.5
        assert value["mean", group, "energy"] == pytest.approx(0.5)
        assert value["mean box", group, "pointing"] == value["mean box", group, "overlap"] == 1
        assert value["uniform", group, "energy"] == pytest.approx(16 / 256)
        assert value["mean - mean box", group, "pointing"] == -0.5
        assert value["mean - centre", group, "pointing"] == 0.5
    assert get.loc[("5", "a", "pointing"), ["images", "patients"]].tolist() == [12, 12]
    assert 0 < get.loc[("5", "a", "pointing"), "low"] < 1
    assert found.about["mean_box"] == TRAINING
    assert found.about["boxes"]["test"] == {"entries": 12, "images": 12}
    assert len(found.entries) == 12
    expected = np.corrcoef(*Known().paired(IMAGES[:1], [0])[:, 0].reshape(2, -1))[0, 1]
    np.testing.assert_allclose(found.entries["agreement"], expected, atol=1e-6)


def test_without_boxes_in_training_the_mean_box_is_of_other_patients():
    """Four images of two patients: the baseline of each knows only the other's boxes."""
    table = boxes_of([(0, "a", 0, 0, 2, 2), (2, "a", 0, 0, 2, 2), (4, "a", 10, 10, 2, 2)])
    test = marked(part(6, patients=["x", "-", "x", "-", "y", "-"]), table, CLASSES)
    none = marked(part(0), table, CLASSES)
    mean = MeanBox(none, test, 2, SIZE, SIZE)
    assert mean.source == OTHERS
    assert np.argwhere(mean.map_for(test, 0)).min() == 10
    assert np.argwhere(mean.map_for(test, 2)).max() == 1
    alone = marked(part(1), table.iloc[:1], CLASSES)
    assert not MeanBox(none, alone, 2, SIZE, SIZE).map_for(alone, 0).any()


def test_without_boxes_in_validation_there_is_no_overlap():
    found = localised(Known(), range(24, 60, 2), train=part(12), val=part(12, 12), test=part(24, 24))
    assert found.about["thresholds"]["mean"] is None
    assert found.table.query("metric == 'overlap'")["value"].isna().all()
    assert found.table.query("metric == 'pointing'")["value"].notna().all()
    assert found.about["mean_box"] == OTHERS


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch):
    """No more than a batch of images is ever asked for at once."""
    asked = []

    class Counting(Known):
        def paired(self, images, classes):
            asked.append(len(images))
            return super().paired(images, classes)

    monkeypatch.setattr(maps, "BATCH", 4)
    localised(Counting(), range(0, 60, 2), train=part(20), val=part(20, 20), test=part(20, 40))
    assert max(asked) == 4
    assert sum(asked) == 20
    assert METRICS
