"""The rules, on surveys that are made up."""

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from pipeline.commands import new
from pipeline.learning.settings import train_settings
from pipeline.planning import expected, rules
from pipeline.planning.choices import Weights
from pipeline.planning.patients import Patients
from pipeline.planning.rules import choose
from pipeline.planning.survey import Counts, Pictures, Survey
from pipeline.planning.write import TEMPLATE, render
from pipeline.settings import parse
from pipeline.splitting.grouped import grouped
from pipeline.splitting.settings import Split
from pipeline.study.runs import runs
from tests.tiny import ROOT


def counts(**parts):
    """Images by published part, one per patient; "all" = none is published."""
    number = {"" if part == "all" else part: n for part, n in parts.items()}
    return Counts(Counter(number), {part: {f"{part}{i}" for i in range(n)} for part, n in number.items()})


def made(classes, task="multiclass", coloured=0.0, sides=(300, 300), aspects=(1.0, 1.0), known=True):
    """A survey whose classes share no image."""
    every = Counts()
    for name, of in classes.items():
        for part, people in of.patients.items():
            for person in people:
                every.add(part, f"{name}{person}")
    pictures = Pictures(48, 0, coloured, sides, min(sides), aspects)
    settings = {"root": "../my images", "patient_pattern": "/(?P<patient>P[0-9]+)_"}
    patients = Patients(settings["patient_pattern"] if known else None, "the name", every.people())
    return Survey("image_folder", settings, "Mine", task, classes, every, patients, known, "the name", pictures)


NONE = Weights()


def settings(survey, weights=NONE):
    return {key: value for choice in choose(survey, weights) for key, value in choice.settings.items()}


PLAIN = {"a": counts(all=900), "b": counts(all=600)}
CASES = {
    "plain": (made(PLAIN), Weights()),
    "official": (made({"a": counts(train=300, test=50), "b": counts(train=300, val=40, test=50)}), Weights()),
    "colour": (made(PLAIN, coloured=1.0, known=False), Weights()),
    "multilabel": (made(PLAIN, task="multilabel"), Weights()),
    "tiny": (made({"a": counts(all=20), "b": counts(all=18)}, sides=(40, 28)), Weights()),
    "uneven": (made({"a": counts(all=20_000), "b": counts(all=300)}, aspects=(0.6, 1.5)), Weights()),
    "file": (made(PLAIN), Weights("weights/my net.safetensors", arch="resnet18")),
    "hub": (made({"a": counts(all=90), "b": counts(all=60)}), Weights(hub=True, arch="mobilenetv2_100.ra_in1k")),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_can_be_run_and_says_what_was_chosen(case):
    survey, weights = CASES[case]
    choices = choose(survey, weights)
    text = render(survey, choices, "medmatrix new '../my images'")
    params = parse(yaml.safe_load(text))
    assert params.dataset == "image_folder"
    assert params.datasets["image_folder"]["root"] == "../my images"
    assert params.datasets["image_folder"]["patient_pattern"] == survey.settings["patient_pattern"]
    for choice in choices:
        assert all((choice.what, choice.seen, choice.chosen, choice.why))
        assert f"\n# {choice.what.capitalize()}: {choice.chosen.split()[0]}" in text
    assert params.ensemble.top_k <= len(runs(params))
    for model in params.study.models:
        assert train_settings(params, model).epochs >= 6
    assert max(map(len, text.partition("\n\n")[0].splitlines())) <= 120
    assert ("NOT KNOWN" in text) != survey.patients_known


def test_every_key_and_comment_of_the_projects_own_file_is_there():
    assert TEMPLATE.read_text() == (ROOT / "params.yaml").read_text(), "run docs/make_studies.py"
    survey, weights = CASES["plain"]
    text = render(survey, choose(survey, weights), "medmatrix new x")
    written, own = yaml.safe_load(text), yaml.safe_load(TEMPLATE.read_text())
    assert list(written) == list(own)
    for section in ("preprocess", "split", "train", "evaluate", "ensemble", "report"):
        assert written[section].keys() == own[section].keys()
    assert written["losses"] == own["losses"]
    assert written["datasets"]["image_folder"].keys() >= own["datasets"]["image_folder"].keys()
    for line in TEMPLATE.read_text().splitlines():
        _, mark, comment = line.partition("  # ")
        if (
            mark
            and line.strip()[0] != "#"
            and not line.startswith(
                ("  phantom", "    ", "  che", "  covid", "  leuk", "  paed", "  image_table", "  joined")
            )
        ):
            assert f"  # {comment}" in text, line


def test_a_published_test_set_is_used_and_otherwise_the_rarest_class_decides():
    assert settings(CASES["official"][0])["split.method"] == "official"
    assert settings(made(PLAIN))["split.test"] == 0.2
    assert settings(made({"a": counts(all=500), "b": counts(all=40)}))["split.test"] == 0.25
    assert settings(made({"a": counts(all=500), "b": counts(all=34)}))["split.test"] == 0.3
    assert settings(made({"a": counts(all=500), "b": counts(all=20)}))["split.test"] == 0.2  # none is enough
    assert settings(made({"a": counts(all=30), "b": counts(all=22)}))["split.test"] == 0.3  # 15 patients in all
    only_validation = made({"a": counts(train=300, val=50), "b": counts(train=300, val=50)})
    assert settings(only_validation)["split.method"] == "grouped"


def test_classes_without_an_interval_are_named_with_their_number():
    said = rules.intervals(made({"a": counts(all=500), "rare": counts(all=20)}), Weights())
    assert said.chosen == "none for rare (about 4)"
    said = rules.intervals(made({"a": counts(train=90, test=50), "rare": counts(train=90, test=9)}), Weights())
    assert said.chosen == "none for rare (about 9)"
    said = rules.choosing(made({"a": counts(all=500), "rare": counts(all=66)}), NONE)
    assert said.chosen.endswith("no interval there: rare (about 9.9)")  # 10 would be enough
    assert rules.intervals(made(PLAIN), Weights()).chosen == "every class will have one"


@pytest.mark.parametrize(
    ("classes", "task", "missing"),
    [
        ({"a": counts(all=90), "b": counts(all=60), "c": counts(all=2)}, "multilabel", ["c"]),
        ({"a": counts(all=90), "b": counts(all=60), "c": counts(all=2)}, "multiclass", ["c"]),
        ({"a": counts(all=90), "b": counts(all=3)}, "multiclass", []),
        ({"a": counts(all=90), "b": counts(all=2)}, "multiclass", []),  # nothing would be left: the split says so
        ({"a": counts(train=90, test=9), "b": counts(train=9, test=9), "c": counts(train=9)}, "multilabel", ["c"]),
        (
            {"a": counts(train=90, test=9), "b": counts(train=9, test=9), "c": counts(train=1, test=9)},
            "multilabel",
            ["c"],
        ),
        ({"a": counts(train=9, val=9, test=9), "b": counts(train=1, val=1, test=1)}, "multilabel", []),
    ],
)
def test_a_class_that_a_set_must_lack_does_not_stop_the_others(classes, task, missing):
    survey = made(classes, task=task)
    assert expected.may_be_missing(survey) == missing
    assert settings(survey).get("split.allow_missing_classes", False) == bool(missing)
    assert all(name in rules.intervals(survey, NONE).chosen for name in missing)


def test_a_class_that_nearly_all_images_have_is_missing_likewise():
    survey = made({"a": counts(all=90), "b": counts(all=60)}, task="multilabel")
    everyone = {"": survey.all.patients[""] - {"aall1"}}
    usual = Counts(Counter({"": 149}), everyone)
    assert expected.may_be_missing(replace(survey, classes={**survey.classes, "film": usual})) == ["film"]


@pytest.mark.parametrize("people", [2, 3])
def test_three_patients_are_what_a_split_needs(people):
    """The split itself finds a place in each set for a class of three, and none for a class of two."""
    rows = 40
    samples = pd.DataFrame({"row": range(rows), "patient_id": [f"p{i}" for i in range(rows)]})
    samples["group_id"] = samples["patient_id"]
    samples["a"], samples["b"] = [int(i % 2) for i in range(rows)], [int(i < people) for i in range(rows)]
    for seed in range(5):
        how = Split(method="grouped", validation=expected.VALIDATION, test=expected.TEST, seed=seed)
        parts = grouped(samples, ["a", "b"], how)
        assert samples["b"].groupby(parts).sum().gt(0).all() == (people == 3)


def test_what_a_choice_on_validation_is_worth_is_said_beforehand():
    small = rules.choosing(made({"a": counts(all=170), "b": counts(all=70), "c": counts(all=40)}), NONE)
    assert small.seen == "validation: about 42 patients, 6 with c"
    # Hanley and McNeil 1982, of 6 positives and 36 negatives at an AUROC of .9.
    q1, q2 = 0.9 / 1.1, 2 * 0.81 / 1.9
    error = ((0.09 + 5 * (q1 - 0.81) + 35 * (q2 - 0.81)) / (6 * 36)) ** 0.5
    told = float(small.chosen.partition("+- ")[2][:4])
    assert told == pytest.approx(1.96 * error, rel=0.2)  # Newcombe's formula takes the mean of both groups
    assert small.chosen.endswith("; no interval there: c (about 6)")
    assert "wins 6 times in 10" in small.why
    assert "no interval" not in rules.choosing(made(PLAIN), NONE).chosen
    assert "wins 9 times in 10" in rules.choosing(made(PLAIN), NONE).why
    published = made({"a": counts(train=300, val=40, test=50), "b": counts(train=300, val=8, test=50)})
    assert rules.choosing(published, NONE).seen == "validation: about 48 patients, 8 with b"
    nobody = made({"a": counts(train=300, val=40, test=50), "b": counts(train=300, test=50)})
    assert "b (about 0): too few to choose by" in rules.choosing(nobody, NONE).chosen


def test_a_network_that_takes_one_size_gets_it_and_weights_are_described():
    weights = Weights("vit.pth", arch="vit_x", size=224, told_by="its name", normalised="mean 0.5, SD 0.5")
    assert settings(made(PLAIN, sides=(40, 28)), weights)["preprocess.size"] == 224
    row = next(choice for choice in choose(made(PLAIN), weights) if choice.what == "weights")
    assert row[1:] == ("vit_x, told by its name", "vit_x: mean 0.5, SD 0.5", "normalised as in their training", {})
    assert "weights" not in [choice.what for choice in choose(made(PLAIN), NONE)]


def test_few_images_get_weights_where_there_are_any_and_a_word_where_not():
    few = made({"a": counts(all=90), "b": counts(all=60)})
    assert settings(few)["study.models"] == ["cnn"]
    assert "give --weights FILE" in rules.models(few, Weights()).why
    weighted = settings(few, CASES["file"][1])
    assert weighted["study.models"] == ["frozen", "tuned"]
    assert weighted["models"]["frozen"]["trainable"] == "head"
    assert {m["weights"] for m in weighted["models"].values()} == {"weights/my net.safetensors"}
    assert settings(made(PLAIN), CASES["file"][1])["study.models"] == ["frozen", "tuned"]
    many = made({"a": counts(all=2000), "b": counts(all=2000)})
    assert settings(many, CASES["hub"][1])["study.models"] == ["frozen", "tuned", "cnn"]
    assert settings(many, CASES["hub"][1])["models"]["tuned"]["pretrained"] is True


def test_pixels_decide_on_channels_size_shape_and_flips():
    grey, colour = settings(made(PLAIN)), settings(made(PLAIN, coloured=0.9))
    assert (grey["preprocess.channels"], grey["preprocess.clahe.enabled"], grey["train.augment.vertical_flip"]) == (
        1,
        True,
        0,
    )
    assert (colour["preprocess.channels"], colour["preprocess.clahe.enabled"]) == (3, False)
    assert colour["train.augment.vertical_flip"] == 0.5
    assert settings(CASES["tiny"][0])["preprocess.size"] == 32
    assert settings(made(PLAIN, sides=(64, 70)))["preprocess.size"] == 64
    assert settings(made(PLAIN), CASES["file"][1])["preprocess.size"] == 128
    assert settings(CASES["uneven"][0])["preprocess.keep_aspect"] == "pad"


@pytest.mark.parametrize(
    ("images", "coloured", "weights", "chosen"),
    [
        (556, 1.0, NONE, (96, 40, 24, 0.002)),  # the study of blood cells that was written by hand
        (556, 0.0, NONE, (80, 30, 18, 0.004)),
        (1530, 1.0, NONE, (96, 14, 8, 0.002)),
        (1540, 1.0, NONE, (80, 11, 7, 0.004)),
        (120, 1.0, NONE, (96, 40, 24, 0.002)),
        (556, 1.0, CASES["file"][1], (128, 30, 18, 0.0006)),
    ],
)
def test_some_hundreds_of_colour_images_are_learned_slowly(images, coloured, weights, chosen):
    found = settings(made({c: counts(all=images // 2) for c in "ab"}, coloured=coloured), weights)
    last = list(found["models"].values())[-1]
    keys = ("preprocess.size", "train.epochs", "train.patience")
    assert (*(found[key] for key in keys), last["lr"]) == chosen
    assert rules._FROM_SCRATCH["cnn"]["lr"] == rules.RATE


def test_class_weights_only_where_one_class_is_ten_times_another():
    assert settings(CASES["uneven"][0])["train.class_weights"] == "balanced"
    assert settings(made(PLAIN))["train.class_weights"] == "none"
    lopsided = made({"a": counts(all=20_000), "b": counts(all=300)}, task="multilabel")
    assert settings(lopsided)["train.class_weights"] == "none"


@pytest.mark.parametrize(("images", "epochs"), [(1570, 11), (6800, 6), (550, 30), (100, 30), (100_000, 6)])
def test_epochs_follow_from_the_number_of_images(images, epochs):
    assert settings(made({"a": counts(all=images // 2), "b": counts(all=images // 2)}))["train.epochs"] == epochs


def test_the_printed_table_fits_a_terminal_whatever_the_numbers():
    for survey, weights in CASES.values():
        assert max(map(len, new.text(survey, choose(survey, weights)).splitlines())) <= 100
