"""An ensemble's answers for training images, and a network of the study that learns from them."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml
from scipy.special import expit, logit

from pipeline import configure, ensemble, evaluate, split, train
from pipeline.commands import export, teach
from pipeline.learning.records import training_record
from pipeline.learning.teacher import TeacherFile, known_of_rows, names_by_part, read_teacher, told
from pipeline.learning.weights import ModelError
from pipeline.searching.about import about_search
from pipeline.searching.sides import sides_of
from pipeline.settings import checks, load
from pipeline.study.files import WEIGHTS
from pipeline.study.params import ParamsError
from pipeline.study.parts import read_parts
from pipeline.study.prepared import as_input, open_images, read_dataset, read_samples
from pipeline.study.runs import Configuration, Run
from tests.once import enter_copy, made_once

KEY = "models.student.teacher"


def read_params():
    return yaml.safe_load(Path("params.yaml").read_text())


def write_params(content):
    Path("params.yaml").write_text(yaml.safe_dump(content))


def params_with(**teacher):
    """Write a student into params.yaml; return all of it."""
    content = read_params()
    content["models"]["student"] = {
        **content["models"]["small"],
        "teacher": {"file": "teachers/mean_all.npz", **teacher},
    }
    content["study"]["models"] = ["small", "wide", "student"]
    write_params(content)
    return content


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        teach.main(list(arguments))
    assert ended.value.code == 1
    return capsys.readouterr().err


def told_of(path="teachers/mean_all.npz"):
    return told(KEY, read_teacher(KEY, path), read_dataset(), read_parts(["train"])["train"].rows)


def changed(name="other.npz", **arrays):
    """Write the teacher once more, with other content."""
    content = vars(read_teacher(KEY, "teachers/mean_all.npz"))
    TeacherFile(**{**content, **arrays}).save(Path(name))
    return name


@pytest.fixture(scope="module")
def taught_once(evaluated_once, tmp_path_factory):
    """The tiny study with a teacher of all its runs."""

    def make(folder):
        shutil.copytree(evaluated_once, folder, dirs_exist_ok=True)
        teach.main(["--ensemble", "mean_all"])

    return made_once(tmp_path_factory, "taught", make)


@pytest.fixture
def study(taught_once, tmp_path, monkeypatch):
    return enter_copy(taught_once, tmp_path, monkeypatch)


def test_it_says_what_the_exported_ensemble_does(study):
    """Of every training image, by ONNX Runtime."""
    export.main(["--ensemble", "mean_all", "--out", "out"])
    teacher, part = read_teacher(KEY, "teachers/mean_all.npz"), read_parts(["train"])["train"]
    session = onnxruntime.InferenceSession("out/model.onnx", providers=["CPUExecutionProvider"])
    (name,) = [each.name for each in session.get_inputs()]
    outputs = [each.name for each in session.get_outputs()]
    found = [
        dict(zip(outputs, session.run(None, {name: as_input(open_images()[part.rows[i : i + 4]])}), strict=True))
        for i in range(0, len(part.rows) // 4 * 4, 4)
    ]
    logits = np.concatenate([each["logits"] for each in found], axis=1)  # of each member
    assert logits.shape == (8, len(part.rows) // 4 * 4, 14)
    expected = expit(logits.astype(float)).mean(0)
    np.testing.assert_allclose(expit(teacher.logits[: len(expected)].astype(float)), expected, atol=1e-5)
    assert teacher.samples.tolist() == read_samples().set_index("row").loc[part.rows, "sample_id"].tolist()
    np.testing.assert_array_equal(teacher.labels, part.targets)
    assert len(teacher.members) == 8


def test_a_configuration_is_the_mean_of_its_seeds(study):
    teach.main(["small-bce", "--out", "one.npz"])
    teacher = read_teacher(KEY, "one.npz")
    assert teacher.members.tolist() == ["small-bce seed 42", "small-bce seed 7"]
    from pipeline.scoring.predict import predict_images
    from pipeline.study.files import PREPARED

    rows = read_parts(["train"])["train"].rows
    about = Configuration("small", "bce"), load(), open_images(), rows, len(teacher.classes), PREPARED, "preprocess"
    _, logits = predict_images(*about)
    np.testing.assert_allclose(teacher.logits, logit(expit(logits.astype(float)).mean(0)), rtol=1e-4, atol=1e-5)


def test_without_a_name_it_is_what_validation_has_chosen(study, capsys):
    teach.main([])
    chosen = json.loads(Path("ensembles/members.json").read_text())["chosen"]
    assert capsys.readouterr().out.startswith(f"teachers/{chosen}.npz: {chosen}, ")
    assert read_teacher(KEY, f"teachers/{chosen}.npz").how == "chosen by validation"


def test_a_student_is_trained_and_evaluated_like_every_model(study, capsys):
    params_with(temperature=3.0, weight=0.25)
    params = checks.load()
    configure.configure(params)
    link = WEIGHTS / "files/student-teacher"
    assert link.samefile("teachers/mean_all.npz")
    for seed in (42, 7):
        train.train(Run("student", "bce", seed), params)
    assert "student-bce seed 42: learns from mean_all, 8 training runs" in capsys.readouterr().out
    evaluate.evaluate(Configuration("student", "bce"), params)
    about = json.loads(Path("models/student-bce/seed42/run.json").read_text())["teacher"]
    record = training_record(Configuration("student", "bce"), params)
    assert about.pop("sha256") == record["teacher"]
    assert about.pop("members") == read_teacher(KEY, "teachers/mean_all.npz").members.tolist()
    assert about == {"name": "mean_all", "temperature": 3.0, "weight": 0.25}
    histories = [Path(f"models/{model}-bce/seed42/history.csv").read_text() for model in ("student", "small")]
    assert histories[0] != histories[1]
    assert "teacher" not in training_record(Configuration("small", "bce"), params)


def test_another_file_is_another_training(study):
    params_with()
    before = training_record(Configuration("student", "bce"), load())
    logits = read_teacher(KEY, "teachers/mean_all.npz").logits + 1
    changed("teachers/mean_all.npz", logits=logits)
    after = training_record(Configuration("student", "bce"), load())
    assert {name for name in before if before[name] != after[name]} == {"teacher"}


def test_a_trained_student_needs_no_teacher(study):
    params_with()
    params = load()
    for seed in (42, 7):
        train.train(Run("student", "bce", seed), params)
    shutil.rmtree("teachers")
    evaluate.evaluate(Configuration("student", "bce"), params)
    assert Path("evaluations/student-bce/metrics.csv").exists()


def test_who_has_seen_the_test_images_is_no_teacher(study):
    """Another split: images that the teacher was trained on are tested, or choose."""
    assert told_of().shape == read_parts(["train"])["train"].targets.shape
    content = read_params()
    content["split"] |= {"method": "grouped", "seed": 5}
    write_params(content)
    split.main()
    with pytest.raises(
        ModelError, match=r"mean_all was trained on \d+ of the images, patients and groups .* test part"
    ):
        told_of()


@pytest.mark.parametrize(
    ("teacher", "part", "how"),
    [
        ("trained", "test", "was trained on"),
        ("chosen", "test", "was chosen by"),
        ("trained", "val", "was trained on"),
        ("chosen", "val", None),  # both are chosen by validation
        ("chosen", "train", None),
    ],
)
@pytest.mark.parametrize("column", ["sample_id", "patient_id", "group_id"])
def test_one_image_or_patient_in_common_is_enough(study, teacher, part, how, column):
    one = next(name for name in sorted(names_by_part()[part]) if name.startswith(column))
    seen = np.append(getattr(read_teacher(KEY, "teachers/mean_all.npz"), teacher), one)
    path = changed(**{teacher: seen})
    if how is None:
        told_of(path)
        return
    with pytest.raises(ModelError, match=f"mean_all {how} 1 of the images, .* {part} part, such as {one}:"):
        told_of(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"dataset": "leukemia"}, "mean_all is of data set leukemia; must be phantom"),
        ({"task": "multiclass"}, "is of task multiclass; must be multilabel"),
        ({"classes": np.array([*"abcdefghijklmn"])}, "is of classes a, b"),
    ],
)
def test_teachers_of_something_else_are_refused_before_any_work(study, arrays, message):
    changed("teachers/mean_all.npz", **arrays)
    params_with()
    with pytest.raises(ModelError, match=message):
        told_of()
    with pytest.raises(ParamsError, match=message):
        checks.load()


def test_images_that_it_does_not_know_are_refused(study):
    teacher = read_teacher(KEY, "teachers/mean_all.npz")
    cut = {name: getattr(teacher, name)[1:] for name in ("samples", "logits", "labels")}
    with pytest.raises(ModelError, match=f"says nothing of 1 of the .* such as {teacher.samples[0]}"):
        told_of(changed(**cut))


def test_other_labels_are_refused(study):
    teacher = read_teacher(KEY, "teachers/mean_all.npz")
    labels = teacher.labels.copy()
    labels[2, 0] = 1 - labels[2, 0]
    with pytest.raises(ModelError, match=f"knows 1 training images under other labels, such as {teacher.samples[2]}"):
        told_of(changed(labels=labels))
    labels[2, 0] = np.nan  # not known there: nothing contradicts
    told_of(changed(labels=labels))


def test_other_pictures_under_the_same_names_are_refused(study):
    teacher = read_teacher(KEY, "teachers/mean_all.npz")
    assert all(len(digest) == 64 for digest in teacher.pictures)
    pictures = teacher.pictures.copy()
    pictures[5] = "0" * 64
    with pytest.raises(ModelError, match=f"knows 1 training images as other pictures, such as {teacher.samples[5]}"):
        told_of(changed(pictures=pictures))
    pictures[5] = ""  # not read there
    told_of(changed(pictures=pictures))


def test_uncertain_labels_contradict_nothing(study):
    """-1 in the table: what training takes it for is each study's own affair."""
    samples = pd.read_csv("data/study/prepared/samples.csv", dtype={"patient_id": str, "group_id": str})
    row = read_parts(["train"])["train"].rows[3]
    samples.loc[samples["row"] == row, "Mass"] = -1
    samples.to_csv("data/study/prepared/samples.csv", index=False)
    told_of()
    names, labels = known_of_rows(np.array([row]), ["Mass"])
    assert np.isnan(labels).all()
    assert names[0] in read_teacher(KEY, "teachers/mean_all.npz").samples


def test_networks_of_another_split_do_not_teach(study, capsys):
    """As after a `dvc repro` that was stopped behind stage split: they were trained on another one."""
    content = read_params()
    content["split"] |= {"method": "grouped", "seed": 5}
    write_params(content)
    split.main()
    assert "small-bce seed 42 had other images for training or validation" in refused(
        capsys, "small-bce", "--out", "x.npz"
    )
    assert not Path("x.npz").exists()


def test_the_file_may_be_named_before_it_is_written(study):
    params_with(file="later.npz")
    with pytest.raises(ParamsError, match="no such file; medmatrix teach writes one"):
        checks.load()
    teach.main(["--ensemble", "mean_all", "--out", "later.npz"])
    checks.load()


def test_the_leaking_protocol_has_no_teacher(study):
    content = params_with()
    content["split"] |= {"method": "global", "protocol": "augment_before_split"}
    write_params(content)
    with pytest.raises(ParamsError, match=r"models.student.teacher: with split.protocol augment_before_split"):
        checks.load()


def test_a_map_is_no_range_of_a_search(study):
    content = params_with()
    over = {KEY: [None, {"file": "teachers/mean_all.npz"}]}
    content["search"] = {"model": "student", "loss": "bce", "trials": 2, "over": over}
    write_params(content)
    with pytest.raises(ParamsError, match=r"search.over.models.student.teacher: is a map; must be a key of it"):
        checks.load()


def test_no_ensemble_has_a_student(study):
    params_with()
    params = checks.load()
    for loss in ("bce", "zlpr"):
        for seed in (42, 7):
            train.train(Run("student", loss, seed), params)
        evaluate.evaluate(Configuration("student", loss), params)
    ensemble.ensemble(params)
    about = json.loads(Path("ensembles/members.json").read_text())
    members = {member["model"] for of in about["ensembles"].values() for member in of["members"]}
    assert members == {"small", "wide"}
    assert about["skipped"]["student-bce seed 42"] == "in no set: it has learned from an ensemble"
    content = read_params()
    content["study"]["models"] = ["student"]  # alone: there is nothing else to combine
    write_params(content)
    ensemble.ensemble(load())
    about = json.loads(Path("ensembles/members.json").read_text())
    assert {member["model"] for of in about["ensembles"].values() for member in of["members"]} == {"student"}


@pytest.mark.parametrize("content", [b"", b"PK no archive", None])
def test_no_teacher_is_told_by_its_key(study, content):
    params_with(file="x.npz")
    if content is not None:
        Path("x.npz").write_bytes(content)
    message = r"models.student.teacher.file: .*x\.npz" + (": no such file" if content is None else " is damaged")
    with pytest.raises(ParamsError, match=message):
        checks.load()


def test_beside_mixed_images_it_is_refused(study):
    content = params_with()
    content["train"]["mix"] = {"mixup": 0.2}
    write_params(content)
    with pytest.raises(ParamsError, match=r"train.mix: models.student.teacher speaks of single images"):
        checks.load()


def test_beside_other_folds_it_is_refused(study):
    content = params_with()
    content["variants"] = {"other": {"split": {"seed": 9}}}
    write_params(content)
    with pytest.raises(ParamsError, match=r"models.student.teacher: .* variants.other tests images that it has seen"):
        checks.load()
    content["variants"] = {"plain": {"preprocess": {"clahe": {"enabled": False}}}}
    write_params(content)
    checks.load()


def test_its_temperature_and_weight_may_be_searched(study):
    content = params_with()
    over = {f"{KEY}.temperature": {"low": 1.0, "high": 8.0, "log": True}, f"{KEY}.weight": [0.1, 0.5, 0.9]}
    content["search"] = {"model": "student", "loss": "bce", "trials": 2, "over": over}
    write_params(content)
    params = checks.load()
    side = sides_of(params)[0]
    before = about_search(side)
    assert before["teachers"] == [training_record(Configuration("student", "bce"), params)["teacher"]]
    changed("teachers/mean_all.npz", logits=read_teacher(KEY, "teachers/mean_all.npz").logits + 1)
    after = about_search(side)
    assert {name for name in before if before[name] != after[name]} == {"teachers"}


def test_a_pupil_who_teaches_hands_on_what_its_teacher_has_seen(study, capsys):
    seen = np.append(read_teacher(KEY, "teachers/mean_all.npz").trained, "sample_id=x")
    content = params_with(file=changed("one.npz", trained=seen))
    content["study"] |= {"models": ["student"], "losses": ["bce"], "replicates": []}
    write_params(content)
    params = load()
    train.train(Run("student", "bce", 42), params)
    evaluate.evaluate(Configuration("student", "bce"), params)
    teach.main(["student-bce"])
    assert "sample_id=x" in read_teacher(KEY, "teachers/student-bce.npz").trained
    for given in ({"file": "teachers/mean_all.npz"}, None):  # what params.yaml names now is not what it learned from
        content["models"]["student"]["teacher"] = given
        write_params(content)
        assert "must be what student-bce seed 42 has learned from, mean_all with" in refused(
            capsys, "student-bce", "--out", "x.npz"
        )


def test_what_cannot_be_written_is_said(study, capsys):
    assert "there already" in refused(capsys, "--ensemble", "mean_all")
    assert "must end in .npz" in refused(capsys, "small-bce", "--out", "teacher.csv")
    assert "use one of" in refused(capsys, "--ensemble", "mean_al")
