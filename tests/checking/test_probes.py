import cv2
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from pipeline.checking.probes import METADATA, PENALTIES, alarm, metadata, probe, thumbnails
from pipeline.scoring.evaluation import evaluate

N = 360
SPLIT = np.array(["train"] * 200 + ["val"] * 60 + ["test"] * 90 + ["unused"] * 10)


def pictures(seed=0, size=32, channels=None):
    shape = (N, size, size) if channels is None else (N, size, size, channels)
    return np.random.default_rng(seed).integers(60, 180, shape).astype(np.uint8)


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (16, 24), (224, 224), (13, 29)])
def test_thumbnails_are_area_means(size):
    images = np.random.default_rng(1).integers(0, 256, (3, *size)).astype(np.uint8)
    found = thumbnails(images).reshape(3, 8, 8)
    for image, small in zip(images, found):
        expected = cv2.resize(image.astype(np.float64), (8, 8), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(small, expected, atol=1e-3)
    np.testing.assert_allclose(found.mean((1, 2)), images.mean((1, 2)), rtol=1e-12)


def test_thumbnails_of_colour_images_have_a_mean_a_channel():
    images = pictures(channels=3)[:4]
    found = thumbnails(images).reshape(4, 8, 8, 3)
    np.testing.assert_allclose(found[..., 1], thumbnails(images[..., 1]).reshape(4, 8, 8))


def test_thumbnails_of_many_images_are_those_of_each(monkeypatch):
    images = pictures()[:10]
    whole = thumbnails(images)
    monkeypatch.setattr("pipeline.checking.probes._CHUNK", 3)
    np.testing.assert_allclose(thumbnails(images), whole)
    np.testing.assert_allclose(metadata(images, np.ones(10), np.ones(10))[:3], metadata(images[:3], *np.ones((2, 3))))


def test_images_below_the_thumbnail_are_refused():
    with pytest.raises(ValueError, match="at least 8 x 8"):
        thumbnails(np.zeros((2, 7, 9), np.uint8))


def test_metadata_are_what_their_names_say():
    image = np.full((32, 32), 100, np.uint8)
    image[:2] = image[-2:] = 0
    image[:, :2] = image[:, -2:] = 0
    image[10:14, 10:14] = 255
    row = dict(zip(METADATA, metadata(image[None], np.array([1024]), np.array([512]))[0]))
    border = 1024 - 28 * 28
    centre = (784 - 16) * 100 + 16 * 255
    assert row["log_width"] == pytest.approx(np.log(1024))
    assert row["log_height"] == pytest.approx(np.log(512))
    assert row["mean"] == pytest.approx(image.mean())
    assert row["sd"] == pytest.approx(image.std())
    assert (row["lowest"], row["highest"]) == (0, 255)
    assert (row["border_mean"], row["border_sd"]) == (0, 0)
    assert row["border_minus_centre"] == pytest.approx(-centre / 784)
    assert row["black_share"] == pytest.approx(border / 1024)
    assert row["white_share"] == pytest.approx(16 / 1024)
    assert row["most_frequent_value"] == 100
    assert row["mode_share"] == pytest.approx((784 - 16) / 1024)
    assert row["colour"] == 0
    stained = np.stack([image, image, np.where(image == 100, 110, image)], axis=-1).astype(np.uint8)
    assert dict(zip(METADATA, metadata(stained[None], *np.ones((2, 1)))[0]))["colour"] == pytest.approx(5 * 768 / 1024)


def planted(task):
    """Labels at random, and a shortcut: images of class 0 have a brighter border, class 1 come from larger files."""
    rng = np.random.default_rng(4)
    images = pictures()
    if task == "multilabel":
        targets = (rng.random((N, 3)) < 0.4).astype(np.uint8)
    else:
        targets = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, N)]
    border = np.ones((32, 32), bool)
    border[2:-2, 2:-2] = False
    images[:, border] += (20 * targets[:, :1] + rng.integers(0, 20, (N, 1))).astype(np.uint8)
    sizes = 1000 + 300 * targets[:, 1].astype(int) + rng.integers(0, 200, N)
    return images, targets, sizes


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_a_planted_shortcut_is_found_and_only_by_the_probe_that_sees_it(task):
    images, targets, sizes = planted(task)
    test = SPLIT == "test"
    of_metadata = probe(metadata(images, sizes, sizes), targets, SPLIT, task)["test"]
    of_thumbnail = probe(thumbnails(images), targets, SPLIT, task)["test"]
    assert of_metadata.shape == (90, 3)
    assert of_metadata.dtype == np.float32
    link = expit if task == "multilabel" else lambda z: softmax(z.astype(float), axis=1)
    found = roc_auc_score(targets[test], link(of_metadata), average=None)
    assert (found[:2] > 0.9).all()
    assert roc_auc_score(targets[test][:, 0], link(of_thumbnail)[:, 0]) > 0.9
    if task == "multilabel":
        assert 0.3 < found[2] < 0.7  # nothing was planted
        assert 0.3 < roc_auc_score(targets[test][:, 1], of_thumbnail[:, 1]) < 0.7  # a thumbnail has no file size


def test_a_probe_is_the_regression_of_scikit_learn_whose_penalty_validation_chose():
    images, targets, sizes = planted("multilabel")
    features = metadata(images, sizes, sizes)
    parts = {name: name == SPLIT for name in ("train", "val", "test")}
    scaler = StandardScaler().fit(features[parts["train"]])
    losses, logits = {}, {}
    for penalty in PENALTIES:
        found = []
        for k in range(3):
            model = LogisticRegression(C=penalty, tol=1e-10, max_iter=2000)
            model.fit(scaler.transform(features[parts["train"]]), targets[parts["train"], k])
            found.append({n: model.decision_function(scaler.transform(features[p])) for n, p in parts.items()})
        val, truth = np.stack([f["val"] for f in found], 1), targets[parts["val"]]
        losses[penalty] = -np.where(truth, np.log(expit(val)), np.log(expit(-val))).mean()
        logits[penalty] = np.stack([f["test"] for f in found], 1)
    best = min(losses, key=losses.get)
    np.testing.assert_allclose(probe(features, targets, SPLIT, "multilabel")["test"], logits[best], atol=2e-3)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_a_probe_does_not_read_the_truth_of_the_test_part(task):
    images, targets, sizes = planted(task)
    features = metadata(images, sizes, sizes)
    garbage = targets.astype(float)
    garbage[(SPLIT == "test") | (SPLIT == "unused")] = np.nan
    for name, logits in probe(features, targets, SPLIT, task).items():
        assert np.array_equal(probe(features, garbage, SPLIT, task)[name], logits)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_a_probe_is_scored_like_a_model(task):
    images, targets, sizes = planted(task)
    logits = probe(metadata(images, sizes, sizes), targets, SPLIT, task)
    parts = {n: (logits[n][None], targets[n == SPLIT], np.arange((n == SPLIT).sum()).astype(str)) for n in logits}
    table = evaluate(task, ["a", "b", "c"], ["probe"], parts["val"], parts["test"], draws=100, with_mean=False).metrics
    value = table.query("part == 'test' and metric == 'auroc' and `class` == 'macro'")["value"].item()
    assert 0.7 < value <= 1


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_a_class_that_training_lacks_is_predicted_alike_or_never(task):
    images, targets, sizes = planted(task)
    train = SPLIT == "train"
    if task == "multilabel":
        targets[train, 2] = 0
    else:
        targets[train & (targets[:, 2] == 1)] = [1, 0, 0]
    logits = probe(metadata(images, sizes, sizes), targets, SPLIT, task)["test"]
    assert np.isfinite(logits).all()
    if task == "multilabel":
        assert np.ptp(logits[:, 2]) == 0
    else:
        assert (logits.argmax(1) != 2).all()


def test_what_cannot_be_probed_is_refused():
    images, targets, _ = planted("multilabel")
    features = thumbnails(images)
    with pytest.raises(ValueError, match="0 validation images"):
        probe(features, targets, np.where(SPLIT == "val", "train", SPLIT), "multilabel")
    with pytest.raises(ValueError, match="expected N of each"):
        probe(features[:-1], targets, SPLIT, "multilabel")


@pytest.mark.parametrize(
    ("model", "of_probe", "raised"),
    [(0.90, 0.86, True), (0.90, 0.85, True), (0.90, 0.84, False), (0.7, 0.8, True), (np.nan, 0.8, False)],
)
def test_the_alarm_is_raised_within_five_points(model, of_probe, raised):
    text = alarm(model, of_probe, "thumbnail")
    assert (text is not None) == raised
    if raised:
        assert f"{of_probe:.3f} of the probe 'thumbnail'" in text


def test_probes_see_16_bits_as_the_same_grey_levels():
    images = np.random.default_rng(3).integers(0, 256, (5, 16, 12), dtype=np.uint8)
    deep = images.astype(np.uint16) * 257
    np.testing.assert_array_equal(thumbnails(deep), thumbnails(images))
    np.testing.assert_array_equal(metadata(deep, np.ones(5), np.ones(5)), metadata(images, np.ones(5), np.ones(5)))


def test_a_probe_of_a_class_is_that_of_the_images_whose_label_is_known():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(N, 5))
    targets = (features[:, :2] + rng.normal(size=(N, 2)) > 0).astype(np.float32)
    hidden = targets.copy()
    hidden[rng.random((N, 2)) < 0.3] = np.nan
    hidden[0, 0] = 0.7  # a soft label of training says nothing to it
    logits = probe(features, hidden, SPLIT, "multilabel")["test"]
    kept = (SPLIT != "train") | np.isin(hidden[:, 0], (0, 1))
    alone = probe(features[kept], hidden[kept], SPLIT[kept], "multilabel")["test"]
    np.testing.assert_allclose(logits[:, 0], alone[:, 0], rtol=1e-5)
    known = ~np.isnan(hidden[SPLIT == "test", 0])
    assert roc_auc_score(hidden[SPLIT == "test", 0][known], logits[known, 0]) > 0.6
