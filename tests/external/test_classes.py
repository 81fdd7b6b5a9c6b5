"""Which of their classes is which of ours, and what becomes of the other images."""

import numpy as np
import pytest

from pipeline.external.classes import NO_CLASS, NO_FINDING, NOT_KNOWN, SEVERAL, UNMAPPED, ClassMap, mapping_problems

THEIRS = ("Effusion", "Pneumonia", "Pneumonia, viral")
LABELS = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]])
TO_PNEUMONIA = {"Pneumonia": "pneumonia", "Pneumonia, viral": "pneumonia"}


def test_a_single_label_study_takes_images_of_exactly_one_of_its_classes():
    pairs = {NO_FINDING: "normal", **TO_PNEUMONIA}
    mapping = ClassMap.of("multiclass", ("normal", "pneumonia"), "multilabel", THEIRS, pairs)
    targets, reasons = mapping.apply(LABELS)
    assert reasons == ["", "", "", NO_CLASS, "", ""]
    assert targets[[0, 1, 2, 4, 5]].tolist() == [[1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]
    assert mapping.shared == ("normal", "pneumonia")
    assert mapping.only_there == ("Effusion",)
    split = ClassMap.of("multiclass", ("a", "b"), "multilabel", THEIRS, {"Effusion": "a", "Pneumonia": "b"})
    assert split.apply(LABELS).reasons == [NO_CLASS, "", SEVERAL, "", "", NO_CLASS]


def test_a_multi_label_study_knows_mapped_classes_alone():
    mapping = ClassMap.of("multilabel", ("Mass", "pneumonia"), "multilabel", THEIRS, TO_PNEUMONIA)
    targets, reasons = mapping.apply(LABELS)
    assert reasons == [""] * 6  # an effusion without pneumonia is negative for it: the set labels both
    assert targets[:, 1].tolist() == [0, 1, 1, 0, 1, 1]
    assert mapping.only_here == ("Mass",)
    excluding = ClassMap.of("multilabel", ("pneumonia",), "multilabel", THEIRS, TO_PNEUMONIA, "exclude")
    assert [bool(reason) for reason in excluding.apply(LABELS).reasons] == [False, False, True, True, False, False]


def test_an_image_of_one_other_class_is_negative_only_if_that_is_said():
    one_each = np.eye(3, dtype=int)
    pairs = {"normal": None, "pneumonia": "Pneumonia"}
    theirs = ("normal", "pneumonia", "covid")
    mapping = ClassMap.of("multilabel", ("Mass", "Pneumonia"), "multiclass", theirs, pairs)
    assert mapping.apply(one_each).reasons == ["", "", UNMAPPED]
    assert mapping.apply(one_each).targets[:, 1].tolist() == [0, 1, 0]
    said = ClassMap.of("multilabel", ("Mass", "Pneumonia"), "multiclass", theirs, pairs, "negative")
    assert said.apply(one_each).reasons == ["", "", ""]


def test_equal_names_are_the_same_class_where_nothing_is_mapped():
    mapping = ClassMap.of("multilabel", ("Mass", "Effusion"), "multilabel", THEIRS, {})
    assert mapping.shared == ("Effusion",)


@pytest.mark.parametrize(
    ("task", "pairs", "unmapped", "said"),
    [
        (
            "multiclass",
            {"Pneumonia": "lung"},
            None,
            "'lung' is no class of the study; must be one of normal, pneumonia",
        ),
        ("multiclass", {"Pneumnia": "pneumonia"}, None, "'Pneumnia' is no class of the set; must be one of Effusion"),
        ("multiclass", {"Effusion": None, "Pneumonia": "pneumonia"}, None, "stands for none of the study's classes"),
        ("multiclass", TO_PNEUMONIA, "negative", "external.x.unmapped: 'negative'"),
        ("multilabel", {"Effusion": None}, None, "names no class of the study"),
        ("multilabel", {}, None, "missing, and no class of the set"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_by_its_key(task, pairs, unmapped, said):
    (line,) = mapping_problems("external.x", task, ("normal", "pneumonia"), "multilabel", THEIRS, pairs, unmapped)
    assert line.startswith("external.x.")
    assert said in line


def test_classes_that_are_not_known_yet_are_not_held_against_a_mapping():
    assert not mapping_problems("external.x", "multiclass", None, "multilabel", None, {"a": "b"}, None)
    assert not mapping_problems("external.x", "multiclass", ("n",), "multilabel", THEIRS, {NO_FINDING: "n"}, None)
    assert mapping_problems("external.x", "multiclass", ("n",), "multiclass", THEIRS, {NO_FINDING: "n"}, None)


def test_what_the_set_does_not_know_of_a_class_the_study_does_not_know_either():
    labels = np.array([[1, np.nan, 0, 0], [np.nan, 0, 0, 0], [0, 0, np.nan, 0], [0, 0, 0, 0]], np.float32)
    pairs = {THEIRS[0]: "pneumonia", THEIRS[1]: "pneumonia"}
    mapped = ClassMap.of("multilabel", ("pneumonia", "Mass"), "multilabel", THEIRS, pairs, "negative").apply(labels)
    # One that is there is enough; that none is there takes knowing all that are mapped.
    np.testing.assert_array_equal(mapped.targets[:, 0], [1, np.nan, 0, 0])
    assert mapped.reasons == [""] * 4
    single = ClassMap.of("multiclass", ("a", "b"), "multilabel", THEIRS, {THEIRS[0]: "a", THEIRS[1]: "b"}).apply(labels)
    assert single.reasons[:2] == [NOT_KNOWN, NOT_KNOWN]
    assert ClassMap.of("multilabel", ("a",), "multilabel", THEIRS, {NO_FINDING: "a"}).apply(labels).targets[
        :, 0
    ].tolist() == (pytest.approx([0, np.nan, np.nan, 1], nan_ok=True))
