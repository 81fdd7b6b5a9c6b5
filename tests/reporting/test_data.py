"""The page about the images: everything is on it, everything private is not, and leaks are on every page."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.learning.settings import Augment
from pipeline.report import write_reports
from pipeline.reporting.figures import data as figures
from pipeline.reporting.loading import load_study
from pipeline.reporting.registry import PAGES
from pipeline.reporting.settings import Report
from pipeline.reporting.values import NO_EXAMPLES, NO_TABLE, UNKNOWN, Augmented
from pipeline.reporting.views import cohort, data
from pipeline.study.files import AUDIT, AUGMENTED, DUPLICATES, EXAMPLES, PRIVATE_FIGURES, write_csv
from pipeline.study.parts import read_split
from pipeline.study.prepared import read_samples
from pipeline.study.runs import Configuration, Run
from pipeline.study.trainings import evaluation_folder, pass_on_augmented, run_folder, write_augmented
from tests.reporting.loaded import load_once
from tests.reporting.test_pages import check_page, pages


def page(study, folder="reports") -> str:
    data.render(study, Path(folder))
    return (Path(folder) / "data.md").read_text()


def with_report(study, private):
    return replace(study, params=study.params.model_copy(update={"report": Report(private_figures=private)}))


def section(text, title):
    """Return a section, its tables without the padding that lines them up."""
    return re.sub(" +", " ", text.split(f"\n## {title}\n")[1].split("\n## ")[0])


def test_every_class_and_every_exclusion_reason_is_named(here, tmp_path):
    study = load_once(here)
    text = page(study, tmp_path)
    for name in study.classes:
        counts = study.samples.groupby("part")[name].sum()
        row = next(line for line in section(text, "Classes").splitlines() if line.startswith(f"| {name} "))
        assert [int(cell.split("(")[0]) for cell in row.split("|")[2:5]] == [
            counts[p] for p in ("train", "val", "test")
        ]
    excluded = section(text, "Excluded")
    assert "| cannot be read | 2 | a.png, b.png |" in excluded
    assert r"| empty \| blank | 1 | c.png |" in excluded
    assert ("### Co-occurrence of classes" in text) == (study.task == "multilabel")
    assert study.audit["sha256"] in text


def test_exclusions_that_name_an_image_are_one_kind(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    reasons = [f"identical pixels under other labels: i{i}.png" for i in range(9)]
    excluded = pd.DataFrame({"file": [f"x{i}.png" for i in range(9)], "reason": reasons})
    write_reports(replace(study, excluded=excluded), tmp_path, but=PAGES.keys() - {"data", "methods"})
    found = section((tmp_path / "data.md").read_text(), "Excluded")
    assert "| identical pixels under other labels | 9 | x0.png, x1.png, x2.png, x3.png, x4.png, and 4 more |" in found
    assert "(identical pixels under other labels: 9)" in (tmp_path / "methods.md").read_text()


def test_numbers_of_the_page_are_those_of_the_tables(here, tmp_path):
    study = load_once(here)
    text = page(study, tmp_path)
    rows = study.samples
    flow = section(text, "Image flow")
    parts = [int((rows["part"] == p).sum()) for p in ("train", "val", "test", "unused")]
    counted = [int(line.split("|")[2]) for line in [x for x in flow.splitlines() if x.startswith("|")][2:]]
    assert counted == [len(rows) + 3, 3, len(rows), *parts]
    people = section(text, "Patients and views")
    known = rows["age"].notna()
    assert f"{known.sum():,}, {(~known).sum():,} |" in people
    low, middle, high = rows["age"].quantile([0.25, 0.5, 0.75])
    assert f"{middle:g} [{low:g}, {high:g}] |" in people
    patients = rows.drop_duplicates("patient_id")
    female, sexed = int((patients["sex"] == "F").sum()), int(patients["sex"].notna().sum())
    assert f"{female} ({100 * female / sexed:.1f} %) |" in people
    assert f" {len(patients) - sexed} |" in people
    sizes = section(text, "Image files")
    assert "There are 2 sizes; the most frequent is 64 × 48 px (360 images, 90.0 %)." in sizes
    assert "The models see 16 × 16 px." in sizes


def test_lift_is_observed_over_expected(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    first, second = study.classes[:2]
    samples = study.samples.assign(**dict.fromkeys(study.classes, 0))
    samples.loc[:39, first] = 1
    samples.loc[20:59, second] = 1
    text = page(replace(study, samples=samples), tmp_path)
    line = next(line for line in text.splitlines() if line.startswith(f"| {first}, {second}"))
    assert [cell.strip() for cell in line.split("|")[2:6]] == ["20", "10", "4.0", "5.00"]
    apart = samples.assign(**{second: np.roll(samples[first], 100)})
    text = page(replace(study, samples=apart), tmp_path)
    assert "so no lift is listed" in text
    apart.loc[150:, [first, second]] = [1, 0]
    apart.loc[:149, [first, second]] = [0, 1]
    text = page(replace(study, samples=apart), tmp_path)
    assert f"Never together, although at least 5 images are expected by chance: {first} with {second}." in text


def test_private_figures_never_lie_below_reports(make):
    study = load_study(make(models=("densenet",), synthetic=False))
    public = Path("reports/figures/data-samples.png")
    write_reports(with_report(study, False), Path("reports"), but=PAGES.keys() - {"data"})
    assert public.exists()
    assert not PRIVATE_FIGURES.exists()
    assert "(figures/data-samples.png)" in Path("reports/data.md").read_text()
    # The figures of that run must not stay where they are once they are private.
    write_reports(study, Path("reports"))
    shown = {"data-samples.png", "data-clahe.png", "data-augmentation.png"}
    assert not shown & {p.name for p in Path("reports").rglob("*")}
    assert shown <= {p.name for p in PRIVATE_FIGURES.iterdir()}
    assert PRIVATE_FIGURES.parts[0] == "data"
    text = Path("reports/data.md").read_text()
    check_page(Path("reports/data.md"), text)
    for name in shown:
        assert f"(../data/figures/{name}) (this file exists only on the machine that ran the study)" in text
        assert f"![{name}" not in text
    assert not [line for line in text.splitlines() if line.startswith("![") and "data/figures" in line]


def test_drawn_images_are_public_unless_asked_otherwise(make):
    study = load_study(make(models=("densenet",)))
    assert not study.private_figures
    assert with_report(study, True).private_figures
    assert not with_report(study, False).private_figures


def test_git_ignores_the_private_folder():
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().split()
    assert f"/{PRIVATE_FIGURES.parts[0]}/" in ignored


def test_the_same_study_gives_the_same_bytes(make, tmp_path):
    study = load_study(make(models=("densenet",), synthetic=False))
    first = {p: p.read_bytes() for p in data.render(study, Path("reports"))}
    assert len(first) == 8
    assert first == {p: p.read_bytes() for p in data.render(load_study(study.params), Path("reports"))}


def test_images_are_picked_by_rule(here):
    study = load_once(here)
    chosen = data.picks(study)
    assert list(chosen) == [*study.classes, *([data.NONE] if study.task == "multilabel" else [])]
    rows = study.samples.set_index("row")
    for name, picked in chosen.items():
        assert rows.loc[picked, "patient_id"].is_unique
        if name != data.NONE:
            assert (rows.loc[picked, name] == 1).all()
    boxed = study.boxes.drop_duplicates("row")
    boxed = boxed[~rows.loc[boxed["row"], "patient_id"].duplicated().to_numpy()]
    first = chosen[study.classes[0]]
    assert set(first[: len(boxed)]) == set(boxed["row"])


@pytest.mark.pictures
def test_boxes_keep_their_colour(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    data.render(study, tmp_path)
    with Image.open(tmp_path / "figures" / "data-samples.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (pixels == (0xE6, 0x9F, 0x00)).all(axis=1).sum() > 50


def write_duplicates(*rows):
    columns = ["sample_id", "other_id", "kind", "hamming", "correlation", "labels_agree", "action"]
    write_csv(DUPLICATES, pd.DataFrame(rows, columns=columns))


def test_duplicates_are_counted_and_conflicts_named(make, tmp_path):
    study = make(models=("densenet",))
    assert "prepared without duplicates.csv" in page(load_study(study), tmp_path)
    write_duplicates()
    assert "No duplicates were found." in page(load_study(study), tmp_path)
    agree = ["i2.png", "i1.png", "exact", 0, 1.0, True, "grouped"]
    write_duplicates(agree)
    assert "The two images of each pair have the same labels." in page(load_study(study), tmp_path)
    write_duplicates(
        agree,
        ["i9.png", "i7.png", "near", 3, 0.9961, False, "grouped"],
        ["NA", "i8.png", "exact", "", "", False, "excluded"],
    )
    text = page(load_study(study), tmp_path)
    check_page(tmp_path / "data.md", text.replace("README.md", "data.md"))
    found = section(text, "Duplicates")
    assert "| identical | 2 | 1 | excluded: 1; grouped: 1 |" in found
    assert "| near | 1 | 1 | grouped: 1 |" in found
    assert "2 pairs have different labels" in found
    assert "i9.png" in found
    assert "| NA " in found
    assert "— Hash bits and Correlation: not measured for this pair." in found
    assert "i2.png" not in found


def test_without_columns_boxes_examples_and_exclusions_the_page_says_so(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    bare = replace(
        study,
        samples=study.samples.drop(columns=["age", "sex", "view"]),
        excluded=study.excluded.iloc[:0],
        boxes=NO_TABLE,
        examples=NO_EXAMPLES,
    )
    text = page(bare, tmp_path)
    assert "The data set does not record age, sex, or view." in text
    assert "The data set has no bounding boxes." in text
    assert "No file was excluded." in text
    assert "— No images before and after CLAHE" in text
    EXAMPLES.unlink()
    assert not len(load_study(study.params).examples.rows)
    gaps = replace(study, samples=study.samples.assign(age=np.nan, sex=None))
    text = page(gaps, tmp_path)
    assert "—: not recorded for any image of the set." in text
    check_page(tmp_path / "data.md", text.replace("README.md", "data.md"))


def test_patients_whose_images_disagree_on_their_sex_are_not_unrecorded(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    rows = study.samples.assign(sex=["F"] * len(study.samples))
    several = rows["patient_id"].value_counts().loc[lambda n: n > 1].index
    disagree, unknown = several[:3], several[3:5]
    first = ~rows["patient_id"].duplicated()
    rows.loc[rows["patient_id"].isin(disagree) & first, "sex"] = "M"
    rows.loc[rows["patient_id"].isin(unknown), "sex"] = None
    people = section(page(replace(study, samples=rows), tmp_path), "Patients and views")
    by_label = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in people.splitlines() if "|" in line}
    n = rows["patient_id"].nunique() - 5
    assert by_label["Sex: female (patients)"] == f"{n} (100.0 %)"
    assert by_label["Sex: contradictory, images of one patient disagree (patients)"] == "3"
    assert by_label["Sex: not recorded (patients)"] == "2"
    agreed = section(page(study, tmp_path), "Patients and views")
    assert "contradictory" not in agreed


def test_fifths_of_a_number_do_not_occur_together(make):
    study = load_study(make(models=("densenet",)))
    assert cohort.pairs(study) is not None
    for task in ("regression", "multiclass"):
        assert cohort.pairs(replace(study, task=task)) is None


def with_augment(study, augment, **of_models):
    """Give `study` an augmentation, and models of it one of their own."""
    given = study.params
    models = {
        name: model.model_copy(update={"augment": of_models[name]}) if name in of_models else model
        for name, model in given.models.items()
    }
    for model in models.values():
        model.model_fields_set.update({"augment"} if model.augment is not None else ())
    train = given.train.model_copy(update={"augment": augment})
    return replace(study, params=given.model_copy(update={"train": train, "models": models}))


def augmentation(study, folder):
    """Return the section about augmentation."""
    return section(page(study, folder), "Augmentation")


def test_every_operation_of_the_augmentation_is_named_and_no_other(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    found = augmentation(with_augment(study, Augment(horizontal_flip=0.25)), tmp_path)
    assert found.count("\n| ") == 2
    assert "| horizontal flip | | 25 % |" in found
    everything = Augment(
        vertical_flip=0.5,
        rotation=20.0,
        shift=0.04,
        zoom=0.05,
        zoom_axes="separate",
        fill="edge",
        brightness=0.1,
        contrast=0.2,
        brightness_offset=0.15,
        noise=0.03,
        jpeg={"quality": [50, 95], "probability": 0.75},
        erase={"probability": 0.5, "area": [0.02, 0.2]},
    )
    found = augmentation(with_augment(study, everything), tmp_path)
    rows = [
        "horizontal flip | | 50 %",
        "vertical flip | | 50 %",
        "rotation | −20° to 20° | every image",
        "shift along each axis | up to 4 % of the side, in either direction | every image",
        "zoom, each axis by itself | factor 0.95 to 1.05 | every image",
        "what comes in from outside | the nearest pixel |",
        "brightness | factor 0.9 to 1.1 | every image",
        "contrast about the mean grey level | factor 0.8 to 1.2 | every image",
        "brightness offset | up to 15 % of the grey range, up or down | every image",
        "Gaussian noise | SD up to 3 % of the grey range | every image",
        "JPEG compression | quality 50 to 95 | 75 %",
        "random erasing of a rectangle | 2 % to 20 % of the image | 50 %",
    ]
    assert [line for line in rows if f"| {line.removesuffix(' |')} |" not in found] == []
    assert "![The same training images as densenet sees them](figures/data-augmentation.png)" in found
    never = Augment(horizontal_flip=0.0, jpeg={"probability": 0.0}, erase={"probability": 0.0})
    for nothing in (Augment.model_validate("none"), never):
        assert "None: training images are used as prepared." in augmentation(
            with_augment(study, nothing), tmp_path / "nothing"
        )
    assert not list((tmp_path / "nothing").rglob("data-augmentation*"))


@pytest.mark.drawn
def test_every_distinct_augmentation_has_its_table_and_its_figure(make, tmp_path):
    study = load_study(make(models=("densenet", "small_cnn", "wide")))
    own = with_augment(study, Augment(), small_cnn=Augment(rotation=5.0), wide=Augment(horizontal_flip=0.5))
    found = augmentation(own, tmp_path)
    rendered = sorted(path.name for path in (tmp_path / "figures").glob("data-augmentation*"))
    assert rendered == ["data-augmentation-small_cnn.png", "data-augmentation.png"]
    first, second = found.split("### small_cnn")
    assert "### densenet and wide" in first
    assert "as densenet and wide see them](figures/data-augmentation.png)" in first
    assert "rotation" not in first
    assert "| rotation | −5° to 5° | every image |" in second
    assert "as small_cnn sees them](figures/data-augmentation-small_cnn.png)" in second


@pytest.mark.pictures
def test_the_figure_of_augmentation_shows_the_images_of_the_training(make, tmp_path):
    study = make(models=("densenet",))
    levels = np.linspace(0, 255, 32).round().astype(np.uint8)[3:27:2].reshape(3, 4)  # in the palette of such figures
    cell = Run("densenet", "bce", study.seed)
    write_augmented(cell, np.array([2, 5, 9]), np.broadcast_to(levels[:, :, None, None], (3, 4, 16, 16)).copy())
    pass_on_augmented(cell)
    augmentation(load_study(study), tmp_path)
    with Image.open(tmp_path / "figures" / "data-augmentation.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    counts = [(pixels == level).sum() for level in levels.ravel()]
    assert min(counts) > 0.9 * max(counts) > 1000
    places = np.array([np.argwhere(pixels == level).mean(0) for level in levels.ravel()]).reshape(3, 4, 2)
    assert (np.diff(places[..., 0], axis=0) > 50).all()
    assert (np.diff(places[..., 1], axis=1) > 50).all()


@pytest.mark.pictures
def test_a_figure_of_colour_images_keeps_their_colours(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    images = np.random.default_rng(0).integers(
        0, 256, (1, 2, 10, 10, 3), np.uint8
    )  # 200 colours, and a palette has 128
    coloured = replace(study, images=np.broadcast_to(study.images[..., None], (*study.images.shape, 3)))
    path = figures.augmented_images(coloured, Augmented(np.arange(1), images), tmp_path / "colours.png")
    with Image.open(path) as picture:
        shown = {tuple(colour) for _, colour in picture.convert("RGB").getcolors(2**24)}
    assert {tuple(colour) for colour in images.reshape(-1, 3).tolist()} <= shown


def test_examples_of_augmentation_are_those_of_the_last_training(make, tmp_path):
    study = make(models=("densenet",))
    path = evaluation_folder(Configuration("densenet", "bce")) / AUGMENTED
    assert path.exists()
    cell = Run("densenet", "bce", study.seed)
    (run_folder(cell) / AUGMENTED).unlink()
    pass_on_augmented(cell)
    assert not path.exists()
    results = load_study(study)
    assert not len(results.configurations[0].augmented.rows)
    found = augmentation(results, tmp_path)
    assert "— No examples: the models were trained without augmented.npz." in found
    assert "png" not in found
    assert not list(tmp_path.rglob("data-augmentation*"))
    assert "| horizontal flip |" in found


def test_balance(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    assert "is not balanced" in page(study, tmp_path)
    draws = {"before": 20, "after": 100}
    balance = {
        "method": "oversample",
        "to": None,
        "images": {"before": 200, "after": 400},
        "classes": dict.fromkeys(study.classes, draws),
        "never_drawn": 1,
        "most_draws": 9,
    }
    found = section(page(replace(study, audit={**study.audit, "balance": balance}), tmp_path), "The split")
    assert found.count("| 20 | 100 |") == len(study.classes)
    assert "| all images | 200 | 400 |" in found
    assert "1 training image is never drawn. No image is drawn more than 9 times per epoch." in found
    old = {k: v for k, v in study.audit.items() if k not in ("balance", "leak", "protocol")}
    assert "is not balanced" in page(replace(study, audit=old), tmp_path)


LEAK = {"images": 120, "leaked_images": 90, "patients": 60, "leaked_patients": 48}


def leaking(study, leak):
    samples = study.samples
    copies = samples.head(50).assign(augmented=1, part="test")
    samples = pd.concat([samples, copies], ignore_index=True).sort_values(["row", "augmented"], ignore_index=True)
    return replace(study, samples=samples, audit={**study.audit, "protocol": "augment_before_split", "leak": leak})


def test_a_leak_by_design_is_the_first_thing_on_every_page(make):
    study = leaking(load_study(make()), {"test": LEAK})
    write_reports(study, Path("reports"))
    found = pages(Path("reports"))
    assert len(found) >= 4
    for path, text in found.items():
        check_page(path, text)
        first = text.split("\n\n")[1]
        assert first.startswith("> [!CAUTION]\n> **Leak by design.**"), path
        assert (
            "90 of 120 test images (75.0 %) have their source, or another augmented copy of it, in the training set"
            in first
        )
        assert "Of 60 test patients, 48 are also in the training set" in first
        assert "not estimates of performance" in first


@pytest.mark.parametrize("leak", [None, {}, {"test": {}}])
def test_a_leak_without_numbers_is_still_one(make, leak):
    text = page(leaking(load_study(make(models=("densenet",))), leak)).split("\n\n")[1]
    assert "Leak by design" in text
    assert "is not recorded" in text


def test_augmented_copies_are_no_images_of_their_own(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    plain, copied = page(study, tmp_path), page(leaking(study, None), tmp_path)
    assert "| augmented copies, made before the split |       50 |" in copied
    assert "augmented copies" not in plain
    for title in ("Image files", "Excluded", "Duplicates"):
        assert section(plain, title) == section(copied, title)
    assert data.picks(study) == data.picks(leaking(study, None))


def test_a_bare_table_has_no_such_page(here, tmp_path):
    assert PAGES["data"](replace(load_once(here), params=UNKNOWN), tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.drawn
def test_borderline_pairs_are_counted_and_drawn(make, tmp_path):
    study = make()
    split = read_samples().merge(read_split(), on="row").set_index("sample_id")["part"]
    test, train = split[split == "test"].index[:2], split[split == "train"].index[:3]
    pairs = [(test[0], train[0]), (train[1], train[2])]
    rows = [
        {"sample_id": one, "other_id": other, "kind": "borderline", "hamming": 9, "correlation": 0.987}
        for one, other in pairs
    ]
    write_csv(DUPLICATES, pd.DataFrame(rows).assign(labels_agree=0, action="apart"))
    written = data.render(load_study(study), tmp_path / "out")
    assert tmp_path / "out" / "figures" / "data-borderline.png" in written
    text = (tmp_path / "out" / "data.md").read_text()
    assert "2 borderline pairs are nearly alike enough to be grouped and are not; the images of 1 are in two" in text
    assert "No duplicates were found." in text
    assert "different labels" not in text[text.index("## Duplicates") : text.index("## The split")]


def test_dates_are_shown_as_months(make, tmp_path):
    study = make()
    audit = json.loads(AUDIT.read_text())
    period = {"first": "2019-03-17", "last": "2020-11-05", "without_date": 2}
    audit["dates"] = {"parts": dict.fromkeys(("train", "val", "test"), period), "test_images_before_last_training": 7}
    AUDIT.write_text(json.dumps(audit))
    data.render(load_study(study), tmp_path / "out")
    text = (tmp_path / "out" / "data.md").read_text()
    assert re.search(r"\| training +\| 2019-03 +\| 2020-11 +\| +2 \|", text)
    assert "2019-03-17" not in text
    assert "7 test images are not later than the latest training image." in text


def read_as(study, kinds, **scale):
    found = {"bits": None, "chosen": "header", "files": 0, "brightest": -1, **scale}
    return replace(study, reading={"scale": found, "kinds": kinds})


def kind(number, **facts):
    plain = {"format": "PNG", "compression": "deflate", "bits": 8, "photometric": "grey", "maker": ""}
    return {**plain, "reader": "OpenCV", "window": "none", "full_scale": 255, **facts, "images": number}


def test_files_are_counted_by_each_fact_on_its_own(make, tmp_path):
    study = load_study(make(models=("densenet",)))
    kinds = [kind(10), kind(70, maker="A"), kind(20, format="TIFF", bits=0, window="percentiles", full_scale=0)]
    text = section(page(read_as(study, kinds), tmp_path), "Image files")
    for line in (
        "| Format | PNG | 80 (80.0 %) |\n| | TIFF | 20 (20.0 %) |",
        "| Bits per sample | 8 | 80 (80.0 %) |\n| | floating point | 20 (20.0 %) |",
        "| Device maker | A | 70 (70.0 %) |\n| | not recorded | 30 (30.0 %) |",
        "| White | 255 | 80 (80.0 %) |\n| | upper end of the window | 20 (20.0 %) |",
    ):
        assert line in text
    assert "Every file states the full scale of its values." in text
    many = [kind(1, format=f"F{i:02d}") for i in range(25)]
    text = section(page(read_as(study, many), tmp_path), "Image files")
    assert "| F09 | 1 (4.0 %) |\n| | 15 others | 15 (60.0 %) |" in text
    assert "Device maker" not in text
    assert "How the files" not in page(replace(study, reading={}), tmp_path)


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ({"bits": 12, "chosen": "setting"}, "4,095 is white in all of them (`preprocess.bits: 12`)"),
        ({"bits": 14, "chosen": "maximum", "files": 1, "brightest": 9000}, "In 1 file of more than 8 bits"),
        ({"bits": 14, "chosen": "maximum", "files": 7, "brightest": 9000}, "16,383 (14 bits) is white in all of them"),
        ({"bits": 16, "chosen": "maximum", "files": 2, "brightest": 40000}, "since one has the value 40,000"),
    ],
)
def test_the_scale_of_deep_files_is_given_with_its_reason(make, tmp_path, scale, said):
    study = load_study(make(models=("densenet",)))
    assert said in section(page(read_as(study, [kind(3)], **scale), tmp_path), "Image files")


def test_pictures_of_kinds_are_private_where_people_are_in_them(make, tmp_path):
    study = load_study(make(models=("densenet",), synthetic=False))
    text = page(study, "reports")
    assert not Path("reports/figures/data-kinds.png").exists()
    assert (PRIVATE_FIGURES / "data-kinds.png").exists()
    assert "The first image of each kind" in text
