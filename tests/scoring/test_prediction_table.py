"""Tables of predictions from anywhere: every form that is understood, and every mistake that is named."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.scoring.prediction_table import TableError, logarithms, odds, read_pair

BINARY = "id,truth,p_ill\na,ill,0.9\nb,well,0.2\nc,ill,0.4\n"
THREE = "id,truth,cat,dog,owl\na,cat,.7,.2,.1\nb,owl,.1,.1,.8\nc,dog,.2,.5,.3\n"
LABELS = "id,truth_x,truth_y,x,y\na,1,0,.9,.1\nb,0,1,.2,.6\nc,1,1,.5,.5\n"


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(one: str, other: str):
        Path("a.csv").write_text(one, encoding="utf-8")
        Path("b.csv").write_text(other, encoding="utf-8")
        return read_pair(Path("a.csv"), Path("b.csv"))

    return read


def shuffled(text: str) -> str:
    head, *rows = text.splitlines()
    return "\n".join([head, *rows[::-1]]) + "\n"


@pytest.mark.parametrize("text", [BINARY, THREE, LABELS])
def test_rows_are_joined_by_id_and_not_by_place(pair, text):
    read = pair(text, shuffled(text))
    np.testing.assert_array_equal(*read.probabilities)
    assert read.patients.tolist() == ["a", "b", "c"]
    assert not read.patients_known
    assert read.seeds == (("",), ("",))


def test_two_classes_with_one_column(pair):
    read = pair(BINARY, "sample_id;truth;well;ill\na;ill;0,25;0,75\nc;ill;0,5;0,5\nb;well;0,9;0,1\n")
    assert (read.task, read.classes, read.binary) == ("multiclass", ("well", "ill"), True)
    np.testing.assert_allclose(read.probabilities[0][0], [[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]])
    np.testing.assert_allclose(read.probabilities[1][0], [[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]])
    assert read.targets.tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("truth", "classes"),
    [(("1", "0"), ("0", "1")), (("1.0", "0.0"), ("0", "1")), (("True", "FALSE"), ("false", "true")),
     (("Yes", "no"), ("no", "yes"))],
)  # fmt: skip
def test_one_column_of_any_name_is_of_what_is_true(pair, truth, classes):
    text = f"id,truth,score\na,{truth[0]},0.9\nb,{truth[1]},0.2\n"
    assert pair(text, text).classes == classes
    assert pair(text, text).targets.tolist() == [[0, 1], [1, 0]]


def test_one_class_that_an_image_may_have(pair):
    read = pair("id,truth_x,p_x\na,1,.9\nb,0,.1\n", "id,truth_x,x\na,TRUE,.8\nb,false,.1\n")
    assert (read.task, read.classes, read.binary) == ("multilabel", ("x",), False)
    assert read.targets.tolist() == [[1], [0]]


def test_tabs_a_byte_order_mark_blank_lines_and_spaces(pair):
    read = pair("\ufeff" + THREE.replace(",", "\t"), THREE.replace("\n", "\n\n").replace(",", " , "))
    np.testing.assert_array_equal(*read.probabilities)


def test_the_order_of_classes_is_that_of_the_first(pair):
    read = pair(THREE, "id,truth,owl,dog,cat\na,cat,.1,.2,.7\nb,owl,.8,.1,.1\nc,dog,.3,.5,.2\n")
    np.testing.assert_array_equal(*read.probabilities)
    assert read.classes == ("cat", "dog", "owl")


def test_seeds_patients_and_a_truth_in_one_file_only(pair):
    one = "id,patient,seed,truth,p_ill\n" + "".join(
        f"{i},{p},{s},{t},0.{s}\n" for s in (1, 2) for i, p, t in (("a", "p", "ill"), ("b", "q", "well"))
    )
    read = pair(one, "id,p_ill\na,.7\nb,.3\n")
    assert read.seeds == (("1", "2"), ("",))
    assert read.patients.tolist() == ["p", "q"]
    assert read.patients_known
    assert [p.shape for p in read.probabilities] == [(2, 2, 2), (1, 2, 2)]
    assert pair("id,p_ill\na,.7\nb,.3\n", one).targets.tolist() == [[0, 1], [1, 0]]


def test_other_columns_are_named_where_they_cannot_be_classes(pair):
    text = "id,truth,age,p_ill\na,ill,63,.9\nb,well,40,.2\n"
    assert pair(text, BINARY[: BINARY.index("c,")]).unread == (("age",), ())


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (BINARY, "", "b.csv: empty"),
        (BINARY, "id,truth,p_ill\n", "b.csv: a header and no rows"),
        (BINARY, BINARY.replace("id,", "name,"), "b.csv: no column id"),
        (BINARY, BINARY.replace("id,", ","), "column 1 has no name"),
        (BINARY, BINARY.replace("p_ill", "truth"), "two columns are called 'truth'"),
        (BINARY, BINARY.replace("b,well,0.2", "b,well"), "b.csv: line 3: 2 fields, the header has 3"),
        (BINARY, BINARY.replace("0.4", "1.4"), "b.csv, line 4, column p_ill: '1.4' must be a probability"),
        (BINARY, BINARY.replace("0.4", ""), "b.csv, line 4, column p_ill: '' must be a probability"),
        (BINARY, BINARY.replace("0.4", "nan"), "line 4, column p_ill: 'nan' must be a probability"),
        (BINARY, BINARY + "b,well,0.3\n", "b.csv, line 5, column id: 'b' is there twice, first in line 3; predictions"),
        (BINARY, BINARY + "d,well,0.3\n", "b.csv, line 5, column id: 'd': a.csv has no such row"),
        (BINARY + "d,well,.3\ne,ill,.3\n", BINARY, "a.csv, line 5, column id: 'd', and 1 more: b.csv has no such row"),
        (BINARY, BINARY.replace("b,well", "b,ill").replace("a,ill", "a,well"), "line 2, column truth: 'ill' is the"),
        (BINARY, BINARY.replace("c,ill", "c,"), "b.csv, line 4, column truth: '' must be the name of a class"),
        (BINARY, BINARY.replace("p_ill", "score"), "is column score the probability of 'ill' or of 'well'"),
        (BINARY, "id,p_ill,seed\na,.1,1\nb,.1,1\nc,.1,1\na,.1,2\n", "'b' has no row for seed '2'"),
        (BINARY, LABELS, "a.csv is single-label .* and b.csv multi-label"),
        (THREE, THREE.replace("c,dog", "c,cow"), "b.csv, line 4, column truth: 'cow' has no column of probabilities"),
        (THREE, THREE.replace(".5,.3", ".5,.9"), "b.csv, line 4: probabilities sum to 1.6"),
        (THREE, THREE.replace(",owl\n", ",emu\n").replace("b,owl", "b,emu"), "they must be the same"),
        (LABELS, LABELS.replace("b,0,1", "b,2,1"), "b.csv, line 3, column truth_x: '2' must be 0 or 1"),
        (LABELS, LABELS.replace(",x,y", ",x,z"), "b.csv: no column p_y or y, the probability of y"),
        (LABELS, LABELS.replace("b,0,1", "b,1,1"), "line 3, column truth_x: '0' is the truth of 'b', but '1' in b.csv"),
        ("id,x\na,.1\n", "id,x\na,.1\n", "a.csv: no truth, and none in b.csv"),
        (
            "id,patient,truth,p_ill\na,p,ill,.9\nb,q,well,.1\n",
            "id,patient,truth,p_ill\na,p,ill,.9\nb,r,well,.1\n",
            "b.csv, line 3, column patient: 'r' is the patient of 'b', but 'q' in a.csv, line 3",
        ),
        ("id,truth,s\na,1,.9\nb,yes,.1\n", "id,truth,s\na,1,.9\nb,yes,.1\n", "is column s the probability of '1' or"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_value(pair, one, other, message):
    with pytest.raises(TableError, match=message):
        pair(one, other)


def test_a_folder_and_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"id,truth\n\xff\xfe")
    with pytest.raises(TableError, match=r"a\.csv: not UTF-8 text"):
        read_pair(tmp_path / "a.csv", tmp_path / "a.csv")
    with pytest.raises(TableError, match="cannot be read"):
        read_pair(tmp_path, tmp_path)


def test_probabilities_of_0_and_1_keep_their_place():
    p = np.array([0.0, 5e-324, 1e-300, 0.5, 1 - 2**-53, 1.0])
    assert (np.diff(odds(p)) > 0).all()
    assert np.isfinite(odds(p)).all()
    assert odds(np.array([0.5]))[0] == 0
    assert (np.diff(logarithms(p)[:4]) > 0).all()


def test_an_empty_truth_of_a_class_is_one_that_is_not_known(tmp_path):
    rows = ["id,truth_a,truth_b,a,b", "1,1,,0.8,0.3", "2,0,1,0.4,0.6", "3,,0,0.5,0.1"]
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    predicted = read_pair(tmp_path / "one.csv", tmp_path / "two.csv")
    np.testing.assert_array_equal(predicted.targets, [[1, np.nan], [0, 1], [np.nan, 0]])
    other = [rows[0], "1,1,0,0.8,0.3", *rows[2:]]
    (tmp_path / "two.csv").write_text("\n".join(other) + "\n")
    with pytest.raises(TableError, match="truth_b"):
        read_pair(tmp_path / "one.csv", tmp_path / "two.csv")
