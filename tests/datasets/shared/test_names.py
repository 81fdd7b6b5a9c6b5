import pytest

from pipeline.datasets import DatasetError, available, dataset_class
from pipeline.datasets.shared.choosing import block, chosen, masks
from pipeline.datasets.shared.names import check_classes, joined
from pipeline.datasets.shared.remarks import remarks as found_remarks
from pipeline.study.classes import RESERVED, SAMPLE_COLUMNS, fold, remarks, told_apart


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Macro", "OVERALL", "Part", "none  of these", "ｍacro"])
def test_names_of_other_things_are_told_apart(name):
    called = told_apart(name)
    assert called == f"{name} (class)"
    assert fold(called) not in RESERVED
    check_classes([called, "b", told_apart(called)], "key")
    assert remarks([called, "b"]) == [
        f"class '{name}' of the data is called '{called}', as tables and pages mean something else by its name"
    ]
    with pytest.raises(DatasetError, match=r"label_map"):  # a data set that forgets to
        check_classes([name, "b"], "datasets.x.label_map")


def test_two_names_never_become_one():
    names = [
        *RESERVED,
        *map(told_apart, RESERVED),
        "Macro",
        "Macro (class)",
        "macro (CLASS)",
        "x",
        "x (class)",
        "(class)",
    ]
    assert len({told_apart(name) for name in names}) == len(names)
    assert [told_apart(name) for name in ("x", "x (class)", "(class)", "NA")] == ["x", "x (class)", "(class)", "NA"]
    assert remarks(["x (class)", "macro (class) (class)"]) == [
        "class 'macro (class)' of the data is called 'macro (class) (class)', as tables and pages mean something else "
        "by its name"
    ]


def test_columns_of_the_studys_own_tables_are_reserved():
    assert {*SAMPLE_COLUMNS, "part", "copies", "augmented"} <= RESERVED


@pytest.mark.parametrize("classes", ["aA", ["a b", "a  b"], ["é", "e\u0301"], ["²", "2"], ["", "b"], ["a\n", "b"]])
def test_names_that_cannot_be_told_apart_or_written(classes):
    with pytest.raises(DatasetError, match=r"differ only in|one line of text"):
        check_classes(classes, "key")


def test_names_that_are_fine():
    check_classes(["NA", "None", "null", "nan", "ALL", "*Mass*", "$a$", "<b>", "_x", "a|b", "macroadenoma"], "key")
    for name in available():
        cls = dataset_class(name)
        if name not in ("image_folder", "image_table", "joined"):
            check_classes(cls().classes, "key")


def test_what_is_advised_joins():
    given = ["Normal", "normal", "Normal ", "nan", "NaN"]
    with pytest.raises(DatasetError, match=r"label_map: \{normal: Normal\}"):
        joined(given[:3], {}, "x", "label_map")
    with pytest.raises(DatasetError, match=r"label_map: \{'nan': 'nan'\}"):
        joined(given[3:], {}, "x", "label_map")
    with pytest.raises(
        DatasetError, match=r"k: 'normla' is no label of x; it must be one of: 'Normal ', 'Normal', 'normal'"
    ):
        joined(given[:3], {"normla": "Normal"}, "x", "k")
    assert set(joined(given, {"normal": "Normal", "nan": "nan"}, "x", "k").values()) == {"Normal", "nan"}
    assert joined([" a"], {}, "x", "k") == {" a": "a"}


def test_masks_patterns_and_blocks():
    paths = ["a/1.png", "a/1_mask.png", "a/1-MASK-2.tif", "a/unmasked.png", "b/2_seg.nii.png", "b/mask.png"]
    assert masks(paths) == {"a/1_mask.png": "a/1.png", "a/1-MASK-2.tif": "a/1.png"}
    assert masks(["c/masks/1.png", "c/1.png", "d/masks/1.png"]) == {"c/masks/1.png": "c/1.png"}
    assert chosen(["a/x.png", "b/x.png"], [], ["a/*"]) == (["b/x.png"], ["a/x.png"])
    numbered = {"P 010.jpg": "P 1-10", "P 011.jpg": "P 11-20", "P 000.jpg": "P 1-10", "no.jpg": "no.jpg"}
    assert {path: block(path, "blocks of 10") for path in numbered} == numbered
    assert block("x/7b.png", "blocks of 10") == "x/1-10b"


def test_remarks_name_files_only_where_asked():
    source = {
        "missing": {"count": 12, "first": ["secret_1.png"]},
        "masks": {"count": 0, "first": []},
        "as_published": False,
        "differs_from_published": {"Benign": {"found": 2, "published": 504}},
        "unread": {"age": {"count": 1, "first": ["oops"]}},
        "dicom": {"files": 4, "with_patient": 4, "patients": 1},
        "patients_from": None,
    }
    assert found_remarks(source, names=True)[0] == "12 rows of the table have no file: secret_1.png, and 11 more"
    quiet = found_remarks(source, names=False)
    assert "secret" not in " ".join(quiet)
    assert "oops" not in " ".join(quiet)
    assert len(quiet) == 5
    assert found_remarks({}, names=True) == []
