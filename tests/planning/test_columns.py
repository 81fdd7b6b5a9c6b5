"""What the columns of a table are."""

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.tables import Table
from pipeline.planning import columns

FILES = [f"images/{i:03d}.png" for i in range(40)]


def table(**values):
    """A table of 40 rows; a column is a list, or a function of the row."""
    filled = {name: [str(of(i) if callable(of) else of[i]) for i in range(40)] for name, of in values.items()}
    return Table(tuple(filled), [(i + 2, tuple(row)) for i, row in enumerate(zip(*filled.values()))])


def guess(found, uids=None, **named):
    return columns.guess(found, "labels.csv", FILES, lambda: uids or {}, **named)


def test_findings_of_a_published_table():
    labels = ["No Finding", "Mass", "Mass|Edema", "Edema"]
    found = guess(
        table(
            **{
                "Image Index": lambda i: f"{i:03d}.png",
                "Finding Labels": lambda i: labels[i % 4],
                "Follow-up #": lambda i: i % 3,
                "Patient ID": lambda i: i // 2,
                "Patient Age": lambda i: 20 + i,
                "Patient Gender": lambda i: "MF"[i % 2],
                "View Position": lambda i: ("PA", "AP")[i % 2],
            }
        )
    )
    assert (found.image, found.folder, found.suffix, found.matched) == ("Image Index", "images", "", 40)
    assert (found.label, found.separator, found.negative, found.classes) == ("Finding Labels", "|", "No Finding", ())
    assert (found.patient, found.split) == ("Patient ID", None)


def test_a_column_per_class_a_split_and_names_without_suffix():
    found = guess(
        table(
            id=lambda i: f"{i:03d}",
            subject=lambda i: f"s{i // 3}",
            MEL=lambda i: int(i % 3 == 0),
            NV=lambda i: int(i % 3 == 1),
            BKL=lambda i: int(i % 3 == 2),
            sex=lambda i: "mf"[i % 2],
            fold=lambda i: ("train", "val", "test")[i % 3],
        )
    )
    assert (found.image, found.suffix, found.folder) == ("id", ".png", "images")
    assert (found.label, found.classes) == (None, ("MEL", "NV", "BKL"))
    assert (found.patient, found.split) == ("subject", "fold")


def test_one_label_without_a_telling_name_and_no_patient():
    found = guess(table(file=lambda i: f"images/{i:03d}.png", kind=lambda i: ("a", "b")[i % 2], score=lambda i: i / 7))
    assert (found.image, found.folder, found.label, found.separator, found.patient) == ("file", "", "kind", None, None)


def test_rows_may_name_dicom_files_by_their_headers():
    found = guess(
        table(uid=lambda i: f"1.2.{i}", label=lambda i: "ab"[i % 2]),
        uids={"sop_instance_uid": {f"1.2.{i}" for i in range(40)}, "accession_number": set()},
    )
    assert (found.image, found.image_by, found.matched) == ("uid", "sop_instance_uid", 40)


def test_what_is_named_goes_before_what_is_guessed():
    both = table(
        file=lambda i: f"{i:03d}.png", diagnosis=lambda i: "ab"[i % 2], grade=lambda i: "xyz"[i % 3], who=lambda i: i
    )
    with pytest.raises(DatasetError, match="it could be diagnosis, grade; name it with --label COLUMN"):
        guess(both)
    found = guess(both, label="grade", patient="who")
    assert (found.label, found.patient) == ("grade", "who")
    with pytest.raises(
        DatasetError, match=r"--label Grade: no column of labels\.csv; it has file, diagnosis, grade, who"
    ):
        guess(both, label="Grade")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (table(file=lambda i: f"other{i}.png", label=lambda i: "ab"[i % 2]), "no column names the 40 images: the best"),
        (table(file=lambda i: f"{i:03d}.png", note=lambda i: f"text {i}"), "not clear which column has the labels"),
        (Table(("file", "label"), []), "no rows below the header"),
    ],
)
def test_a_table_that_is_no_study(found, said):
    with pytest.raises(DatasetError, match=said):
        guess(found)


@pytest.mark.parametrize("gap", ["", "null", "NaN"])
def test_a_column_of_patients_with_a_gap_is_no_reason_to_know_of_none(gap):
    of = {"image": lambda i: f"{i:03d}.png", "kind": lambda i: "ab"[i % 2]}
    patient = [gap if i == 7 else f"p{i // 2}" for i in range(40)]
    assert guess(table(**of, patient=patient)).patient == "patient"
    assert guess(table(**of, patient=patient, subject=lambda i: f"s{i // 4}")).patient == "subject"
    assert guess(table(**of, patient=[gap] * 40)).patient is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            lambda i: f"{20 + i / 7:.1f}",
            r"numbers, 40 different ones .line 2: '20.0'.*task: regression and target_column",
        ),
        (
            lambda i: f"{20 + i / 7:.1f}".replace(".", ","),
            r"line 2: '20,0'.*with a point before decimals: docs/grades.md",
        ),
        (lambda i: "" if i == 3 else f"m/{i}_mask.png", r"names of files .line 2: 'm/0_mask.png'.*mask_columns"),
        (lambda i: f"text {i}", r"of 40 different values 40 stand in one row alone .line 2: 'text 0'"),
    ],
)
def test_values_of_one_image_each_are_no_classes(values, said):
    found = table(image=lambda i: f"{i:03d}.png", patient=lambda i: f"p{i // 2}", what=values)
    with pytest.raises(DatasetError, match=f"it is not clear which column has the labels; 'what': .*{said}"):
        guess(found)
    with pytest.raises(DatasetError, match=f"--label what: .*{said}"):
        guess(found, label="what")


def test_what_looks_like_grades():
    assert columns.grades(["0", "1", "2"])
    assert columns.grades(["1 mild", "2 moderate", "3 severe"])
    for other in (["0", "1"], ["1", "3", "7"], ["a", "b", "c"], ["0.5", "1.5", "2.5"]):
        assert not columns.grades(other), other
