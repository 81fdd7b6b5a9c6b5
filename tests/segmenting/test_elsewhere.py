"""A study of segmentation on other data sets with masks."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from pipeline import configure, evaluate_external, prepare_external
from pipeline.datasets import open_dataset
from pipeline.external.structures import joined, pairs_of, structure_problems
from pipeline.reporting import page
from pipeline.reporting.figures import segmentation as outlined
from pipeline.reporting.figures.segmentation import closed
from pipeline.reporting.formats import reasons
from pipeline.reporting.loading import load_study
from pipeline.reporting.summary import headlines
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import external_masks, segmentation
from pipeline.segmenting.elsewhere import evaluate_masks_elsewhere
from pipeline.segmenting.intervals import drop, means
from pipeline.segmenting.scores import KINDS, three_of
from pipeline.settings import checks, load, parse
from pipeline.study.errors import UserError
from pipeline.study.files import read_table
from pipeline.study.params import ParamsError
from pipeline.study.parts import read_parts
from pipeline.study.predictions import read_metrics
from pipeline.study.prepared import open_masks, read_samples
from tests.segmenting.test_study import made, study_of  # noqa: F401  # a fixture

PICTURES = "data/raw/phantom/images"


def table(name, part):
    """Write the published masks of a part of the study as files and a table; return the settings of that set.

    Left and right half of each mask stand apart, so that two structures of the set are one of the study.
    """
    samples = read_samples()
    folder = Path(name)
    folder.mkdir()
    lines = []
    for row in read_parts([part])[part].rows.tolist():
        image = cv2.imread(f"{PICTURES}/{samples['sample_id'][row]}", cv2.IMREAD_UNCHANGED)
        mask = cv2.resize(open_masks()[row, ..., 0], image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(f"{name}/{row}.png", image)
        half = mask.shape[1] // 2
        for side, kept in (("right", np.s_[:, :half]), ("left", np.s_[:, half:])):
            one = np.zeros_like(mask)
            one[kept] = mask[kept]
            cv2.imwrite(f"{name}/{row}-{side}.png", one)
        lines.append([f"{row}.png", samples["group_id"][row], f"{row}-right.png", f"{row}-left.png"])
    pd.DataFrame(lines, columns=["image", "patient", "right", "left"]).to_csv(f"{name}.csv", index=False)
    return {
        "dataset": "image_table",
        "task": "segmentation",
        "root": name,
        "table": f"{name}.csv",
        "patient_column": "patient",
        "mask_columns": ["right", "left"],
        "classes": {"right": "lungs", "left": "lungs"},
    }


@pytest.fixture(scope="module")
def tested(made, tmp_path_factory):  # noqa: F811
    """The study with three sets: a copy of its test part, training images, and other drawn images."""
    folder = tmp_path_factory.mktemp("elsewhere") / "study"
    shutil.copytree(made, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        other = {"dataset": "phantom", "images": 200, "size": 64, "seed": 5, "task": "segmentation"}
        sets = {"copy": table("copy", "test"), "seen": table("seen", "val"), "other": {**other, "bad_files": False}}
        Path("params.yaml").write_text(yaml.safe_dump(study_of(external=sets)))
        params = load()
        checks.check(params)
        configure.configure(params)
        for name in sets:
            prepare_external.prepare(name, params)
        for name in ("copy", "other"):
            evaluate_masks_elsewhere(name, params)
    return folder


@pytest.fixture
def inside(tested, monkeypatch):
    monkeypatch.chdir(tested)
    return tested


def metrics(name):
    kept = read_table(Path("external", name, "metrics.csv"), ("seed", "note", "class"))
    return kept.assign(note=kept["note"].fillna(""))


def test_a_copy_of_the_test_part_has_its_numbers_and_no_drop(inside):
    found, keys = metrics("copy"), ["loss", "seed", "class", "metric"]
    stages = [read_metrics(Path(f"evaluations/unet-{loss}/metrics.csv")) for loss in ("bce_dice", "tversky")]
    ensembles = read_metrics(Path("ensembles/metrics.csv"), "ensemble")
    stages.append(ensembles.assign(seed=ensembles["loss"]))
    stage = pd.concat(stages).query("part == 'test'").set_index(keys).sort_index()
    assert len(stage) > 50
    for side in ("here", "there"):
        of = found[found["part"] == side].set_index(keys).sort_index()
        assert of.index.equals(stage.index)
        for column in ("value", "ci_low", "ci_high", "n", "n_positive"):
            assert np.allclose(of[column], stage[column], rtol=0, atol=1e-12, equal_nan=True), (side, column)
        assert (of["note"] == stage["note"]).all()
    dropped = found[(found["part"] == "drop") & found["ci_low"].notna()]
    assert len(dropped) > 10
    assert (dropped["value"] == 0).all()
    assert ((dropped["ci_low"] < 0) & (dropped["ci_high"] > 0)).all()
    of_images = pd.read_csv("external/copy/images.csv").query("loss == 'tversky' and seed == '12'")
    own = pd.read_csv("evaluations/unet-tversky/images.csv").query("part == 'test' and seed == 12")
    assert of_images["dice"].tolist() == own["dice"].tolist()
    about = json.loads(Path("external/copy/about.json").read_text())
    assert about["overlap"] == {"test exact": len(own)}


def test_images_that_were_trained_on_are_left_out(inside):
    with pytest.raises(UserError, match=r"external.seen: no image is left to test on"):
        evaluate_masks_elsewhere("seen", load())
    assert not hasattr(evaluate_external, "evaluate_masks_elsewhere")  # by name: other studies do not depend on it


def test_the_page_says_what_was_compared_and_shows_images_by_rule(inside, unpainted_figures, tmp_path):
    study = load_study(load())
    with page.about(study):
        written = external_masks.render(study, tmp_path)
        segmentation.render_front(study, tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in written if path.is_relative_to(tmp_path)}
    assert {"external.md", "external.csv", "figures/external-other.png", "figures/external-other-images.png"} <= files
    assert "figures/external-copy-images.png" not in files  # not known to be drawn: out of git
    text = (tmp_path / "external.md").read_text()
    copy, other = text.split("\n## ")[1:]
    assert "| lungs       | left, right " in copy
    assert "test exact" in copy
    assert "exists only on the machine that ran" in copy
    assert "**Overlap.** No image is a copy" in other
    found = metrics("other").query("seed == 'mean' and part == 'there' and `class` == 'macro' and metric == 'dice'")
    chosen = found[found["loss"] == study.subject.loss]["value"].item()
    assert f"{chosen:.3f} [" in other
    pictures = pd.read_csv("external/other/images.csv")
    seed = next(of for of in study.external if of.name == "other").pictures["seed"].item()
    scores = pictures[(pictures["loss"] == study.subject.loss) & (pictures["seed"] == str(seed))]["dice"]
    for kind, value in (("best", scores.max()), ("worst", scores.min())):
        (line,) = [line for line in other.splitlines() if f"| {kind}" in line]
        assert line.split("|")[-2].strip() == f"{value:.3f}"
    agreed = metrics("other").query("loss == 'and_top3' and part == 'there' and metric == 'dice'")["value"].iloc[0]
    (line,) = [line for line in other.splitlines() if line.startswith("| ensemble-and_top3")]
    assert f"{agreed:.3f} [" in line
    assert "(external.md)" in (tmp_path / "README.md").read_text()
    numbers = headlines(study, "test")
    assert numbers["external-other"] == pytest.approx(chosen, abs=1e-6)
    assert numbers["external-copy-drop"] == 0
    assert study.missing == ("the external set seen",)


def test_structures_are_joined_where_any_is_and_others_passed_over():
    masks = np.zeros((1, 2, 2, 3), np.uint8)
    masks[0, 0, 0, 0] = masks[0, 1, 1, 2] = masks[0, 0, 1, 1] = 255
    of = joined(masks, ("right", "heart", "left"), {"right": "lungs", "left": "lungs"}, ("lungs",))
    assert of.tolist() == [[[[True, False], [False, True]]]]
    assert pairs_of(("lungs", "heart"), ("heart", "aorta"), {}) == {"heart": "heart"}


def test_the_interval_of_a_drop_holds_the_truth_as_often_as_it_says():
    """Two samples of the same patients' distribution: 0 lies in 95 % of the intervals, and they are not endless."""
    rng, inside, width = np.random.default_rng(3), 0, []
    patients = np.repeat([f"p{i}" for i in range(40)], 2)
    for _ in range(100):
        # An effect of the patient, of the run, and of the image; of two runs.
        runs = rng.normal(0, 0.01, (2, 1))
        sides = [
            means(
                np.clip(0.8 + runs + np.repeat(rng.normal(0, 0.05, 40), 2) + rng.normal(0, 0.02, (2, 80)), 0, 1)[
                    ..., None
                ],
                patients,
                200,
                0,
            )
            for _ in range(2)
        ]
        of = drop(*sides, 0.95, 0)
        inside += of.low[0] <= 0 <= of.high[0]
        width.append(of.high[0] - of.low[0])
    assert 0.90 <= inside / 100 <= 0.99
    assert np.mean(width) == pytest.approx(4 * np.sqrt(2) * 0.05 / np.sqrt(40), rel=0.25)


def test_the_best_the_middle_and_the_worst_pass_over_images_without_the_structure():
    assert three_of(np.array([0.2, np.nan, 0.9, 0.5, 0.9])) == [2, 4, 0]
    assert three_of(np.array([np.nan])) == []


def refused(content):
    """Raise what is wrong with the external sets, without building the networks of the study."""
    params = parse(content)
    dataset = open_dataset(params.dataset, params.datasets[params.dataset])
    raise ParamsError("; ".join(checks._of_external(params, dataset)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dataset": "image_folder", "root": "x"}, r"external.x.dataset: 'image_folder' has no masks as it is set up"),
        ({"dataset": "phantom"}, r"external.x.dataset: 'phantom' has no masks .* must have task: segmentation"),
        ({"unmapped": "negative"}, r"external.x.unmapped: 'negative' is about images of other classes; must be empty"),
        ({"recalibrate": 0.25}, r"external.x.recalibrate: 0.25; must be empty or 0"),
        ({"classes": {"lungs": None}}, r"external.x.classes: 'lungs' stands for no structure of the study"),
        ({"classes": {"lungs": "heart"}}, r"external.x.classes: 'lungs: heart': 'heart' is no class of the study"),
        ({"classes": {"heart": "lungs"}}, r"external.x.classes: 'heart' is no class of the set; must be one of lungs"),
        ({"structures": "findings"}, r"external.x.classes: missing, and no class of the set"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = given if "dataset" in given else {"dataset": "phantom", "task": "segmentation", **given}
    with pytest.raises(ParamsError, match=said):
        refused(study_of(external={"x": whole}))


def test_keys_without_a_value_are_as_if_they_were_not_there():
    given = {"dataset": "phantom", "task": "segmentation", "recalibrate": None, "classes": None, "unmapped": None}
    with pytest.raises(ParamsError, match=r"^$"):
        refused(study_of(external={"x": given}))


def test_a_study_of_classes_refuses_a_set_of_masks(tmp_path, monkeypatch):
    from tests.tiny import TINY

    monkeypatch.chdir(tmp_path)
    asked = {"x": {"dataset": "phantom", "task": "segmentation"}}
    with pytest.raises(ParamsError, match=r"external.x.dataset: 'phantom' is one of masks; must have classes"):
        refused({**TINY, "external": asked})
    assert (
        structure_problems("external.x", None, "segmentation", None, parse({**TINY, "external": asked}).external["x"])
        == []
    )


@pytest.mark.parametrize("rows", [slice(0, 4), slice(0, 2), slice(1, 4)])
def test_a_mask_that_reaches_the_edge_of_the_image_has_a_closed_outline(rows):
    mask = np.zeros((4, 6), bool)
    mask[rows] = True
    lines = Figure().subplots().contour(*closed(mask), [0.5]).allsegs[0]
    assert len(lines) == 1
    assert (lines[0][0] == lines[0][-1]).all()
    top, bottom = rows.start - 0.5, rows.stop - 0.5  # the edges of the outermost pixels
    assert (lines[0].min(0).tolist(), lines[0].max(0).tolist()) == ([-0.5, top], [5.5, bottom])


def test_where_nothing_is_found_the_picture_says_so(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(outlined, "save", lambda figure, path, **more: drawn.append(figure))
    image, whole = np.zeros((8, 8), np.uint8), np.ones((8, 8), bool)
    panels = [
        outlined.Panel("lungs", kind, dice, image, whole, whole & bool(dice))
        for kind, dice in zip(KINDS, (1.0, 1.0, 0.0))
    ]
    outlined.outlines(panels, tmp_path / "picture.png")
    assert [axes.get_title(loc="left") + axes.get_title() for axes in drawn[0].axes] == [
        "best: Dice 1.000",
        "median: Dice 1.000",
        "worst: Dice 0.000, nothing found",
    ]
    assert all(axes.get_xlim() == (-0.5, 7.5) and axes.get_ylim() == (7.5, -0.5) for axes in drawn[0].axes)


def test_why_an_interval_is_missing_is_said_once():
    whole, few = Estimate(0.9, 0.8, 0.95, 40, note=""), Estimate(0.7, n=4, note="fewer than 10 patients")
    network, row = (external_masks.Row(name, "Dice", whole, few, few) for name in ("unet-dice", "lungs"))
    alarms = [external_masks.Alarms("lungs", Estimate(), few)]
    facts = external_masks.Facts(None, [], [network], [("lungs", [row])], alarms, "", None, [])
    assert reasons(facts.noted) == "- — All rows: fewer than 10 patients."
    assert external_masks.Facts(None, [], [row._replace(there=whole)], [], [], "", None, []).noted == []
