"""The record of a configuration: what changes it, and that a stage refuses any other."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline import configure
from pipeline.external.records import preparation_record
from pipeline.imaging.records import region_record
from pipeline.learning.records import training_record
from pipeline.learning.weights import ModelError
from pipeline.scoring.records import evaluation_record
from pipeline.settings import load, parse
from pipeline.settings.links import link_weights
from pipeline.study import code
from pipeline.study.files import CONFIGURATIONS, LEFT, WEIGHTS, ArtifactError
from pipeline.study.params import ParamsError
from pipeline.study.records import check_record, record_file
from pipeline.study.runs import Configuration
from tests.tiny import ROOT, TINY, copy_tracked

SMALL, WIDE = Configuration("small", "bce"), Configuration("wide", "bce")


def changed(tiny, path, value):
    *parents, last = path.split(".")
    for part in parents:
        tiny = tiny[part]
    tiny[last] = value


@pytest.mark.parametrize(
    ("path", "value", "of_training", "of_evaluation"),
    [
        ("train.epochs", 3, True, True),
        ("models.small.lr", 0.02, True, True),
        ("losses.bce", {"pos_weight_cap": 3.0}, True, True),
        ("models.wide.lr", 0.02, False, False),
        ("losses.zlpr", {"temperature": 2.0}, False, False),
        ("losses.focal", {}, False, False),
        ("seed", 43, False, True),
        ("study.replicates", [8], False, True),
        ("evaluate.bootstrap", 200, False, True),
        ("evaluate.margin", 0.02, False, False),
        ("evaluate.probes", False, False, False),
        ("train.log_every", 2, False, False),
        ("train.residency", "memmap", False, False),  # the batches are the same bits
        ("models.small.residency", "memmap", False, False),
        ("models.small.log_every", 5, False, False),
        ("models.small.epochs", TINY["train"]["epochs"], False, False),  # as it is without a key of its own
        ("models.small.epochs", 3, True, True),
        ("ensemble.top_k", 1, False, False),
        ("report.private_figures", True, False, False),
        ("split.seed", 1, False, False),
    ],
)
def test_a_record_holds_the_settings_of_its_configuration_and_no_other(tiny, path, value, of_training, of_evaluation):
    before = parse(TINY)
    changed(tiny, path, value)
    after = parse(tiny)
    assert (training_record(SMALL, after) != training_record(SMALL, before)) == of_training
    assert (evaluation_record(SMALL, after) != evaluation_record(SMALL, before)) == of_evaluation


def test_a_record_holds_the_code_that_the_stage_imports_and_the_file_of_its_loss(tiny):
    study = parse(tiny)
    train, evaluate = (record(SMALL, study)["code"] for record in (training_record, evaluation_record))
    assert {"pipeline/train.py", "pipeline/learning/training/loop.py", "pipeline/learning/losses/bce.py"} <= set(train)
    assert "pipeline/learning/losses/zlpr.py" not in train
    rooms = {name.split("/")[1] for name in train}
    assert rooms == {"learning", "metrics", "study", "train.py"}
    assert {"pipeline/evaluate.py", "pipeline/scoring/predict.py", "pipeline/uncertainty/bootstrap.py"} <= set(evaluate)
    assert "pipeline/learning/training/loop.py" not in evaluate
    both = {"losses": {"bce": {"kind": "calibrated_focal"}, "zlpr": {}}}
    calibrated = training_record(SMALL, parse(tiny | both))["code"]
    assert {f"pipeline/learning/losses/{n}.py" for n in ("_calibration", "calibrated_focal", "focal")} <= set(
        calibrated
    )
    with pytest.raises(ParamsError, match=r"losses\.bce\.kind: 'other' is not a loss; use one of: .*bce"):
        training_record(SMALL, parse(tiny | {"losses": {"bce": {"kind": "other"}, "zlpr": {}}}))


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the code, which records are made of, as the working directory."""
    copy_tracked(["pipeline"], tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record_in(folder, forks):
    text = "import json; from pipeline.learning.records import training_record; from pipeline.settings import parse; "
    text += "from pipeline.study.runs import Configuration; import sys; "
    text += "print(json.dumps(training_record(Configuration('small', 'bce'), parse(json.loads(sys.argv[1])))))"
    return json.loads(forks.run(["-c", text, json.dumps(TINY)], cwd=folder, check=True).stdout)


def test_comments_everywhere_and_a_new_loss_change_no_record_and_one_line_of_the_loop_does(copy, forks):
    before = record_in(copy, forks)
    for path in (copy / "pipeline").rglob("*.py"):
        path.write_text(path.read_text() + "\n# another comment\n")
    losses = copy / "pipeline/learning/losses"
    shutil.copy(losses / "bce.py", losses / "mine.py")
    assert record_in(copy, forks) == before
    loop = copy / "pipeline/learning/training/loop.py"
    loop.write_text(loop.read_text() + "\nANOTHER = 1\n")
    after = record_in(copy, forks)
    differing = {name for name in after["code"] if after["code"][name] != before["code"].get(name)}
    assert differing == {"pipeline/learning/training/loop.py"}


def test_a_stage_refuses_a_configuration_that_is_not_the_recorded_one(prepared):
    study = load()
    check_record(SMALL, "train", training_record(SMALL, study))
    check_record(SMALL, "evaluate", evaluation_record(SMALL, study))
    other = parse(TINY | {"train": TINY["train"] | {"epochs": 3}})
    with pytest.raises(
        ArtifactError, match=r"small-bce\.train\.json is not small-bce .*now \(train\); .*dvc repro --force config"
    ):
        check_record(SMALL, "train", training_record(SMALL, other))
    record_file(WIDE, "train").unlink()
    with pytest.raises(ArtifactError, match=r"wide-bce\.train\.json is missing; stage 'configure' makes it"):
        check_record(WIDE, "train", training_record(WIDE, study))
    configure.configure(study)
    check_record(WIDE, "train", training_record(WIDE, study))


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_stage_that_is_run_by_hand_under_other_settings_does_nothing(stage, prepared, tiny, forks):
    tiny["models"]["small"]["lr"] = 0.5
    Path("params.yaml").write_text(json.dumps(tiny))
    command = ["-m", f"pipeline.{stage}", "--model", "small", "--loss", "bce"]
    done = forks.run([*command, *(["--seed", "42"] if stage == "train" else [])])
    assert done.returncode == 1
    assert "dvc repro --force configure" in done.stderr
    assert not Path("models").exists()


@pytest.mark.parametrize("other", [True, 1.0, "1"])
def test_values_that_python_calls_equal_are_told_apart(other, prepared, tiny):
    tiny["models"]["small"]["options"] = {"filters": [4], "hidden": 8, "batch_norm": 1}
    Path("params.yaml").write_text(json.dumps(tiny))
    configure.configure(load())
    tiny["models"]["small"]["options"]["batch_norm"] = other
    with pytest.raises(ArtifactError, match=r"\(model\)"):
        check_record(SMALL, "train", training_record(SMALL, parse(tiny)))


def test_configurations_that_left_the_study_leave_no_record(prepared, tiny):
    tiny["study"] = {"models": ["small"], "losses": ["zlpr"], "replicates": [7]}
    configure.configure(parse(tiny))
    whole = {f"{stage}.json" for stage in ("preprocess", "probe", "fuse", "ensemble", "report")}
    kept = {path.name for path in CONFIGURATIONS.iterdir()}
    assert kept == {"small-zlpr.train.json", "small-zlpr.evaluate.json"} | whole


def test_settings_of_models_outside_the_study_are_not_looked_into(prepared, tiny):
    """Their files need not be there, as long as params.yaml can be read."""
    tiny["models"]["other"] = {"arch": "no_such_network", "lr": 0.1, "weights": "absent.pth"}
    before = record_file(SMALL, "train").read_bytes()
    configure.configure(parse(tiny))
    assert record_file(SMALL, "train").read_bytes() == before


def test_what_lies_in_a_weights_file_is_part_of_the_training_records_of_its_model(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny["models"]["small"]["weights"] = "start.pth"
    study = parse(tiny)
    with pytest.raises(ModelError, match=r"models\.small\.weights: start\.pth: no such file"):
        training_record(SMALL, study)
    Path("start.pth").write_bytes(b"abc")
    before = training_record(SMALL, study), training_record(WIDE, study), evaluation_record(SMALL, study)
    # SHA-256 of "abc", FIPS 180-4
    assert before[0]["weights"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert before[1]["weights"] is None
    Path("start.pth").write_bytes(b"abd")
    after = training_record(SMALL, study), training_record(WIDE, study), evaluation_record(SMALL, study)
    assert after[0] == before[0] | {"weights": after[0]["weights"]} != before[0]
    assert after[1:] == before[1:]
    Path("elsewhere").mkdir()
    shutil.move("start.pth", "elsewhere/start.pth")
    tiny["models"]["small"] |= {"weights": "elsewhere/start.pth", "sha256": after[0]["weights"]}
    assert training_record(SMALL, parse(tiny)) == after[0], "a folder, or the checksum that is demanded, counts"
    tiny["models"]["small"] |= {"weights": str(Path("elsewhere/start.pth").absolute())}
    assert training_record(SMALL, parse(tiny)) == after[0]
    shutil.move("elsewhere/start.pth", "start.pth")
    tiny["models"]["small"] |= {"weights": "start.pth", "sha256": before[0]["weights"]}
    with pytest.raises(
        ModelError, match=r"models\.small\.weights: start\.pth has the SHA-256 a52d159f.*; must be ba7816"
    ):
        training_record(SMALL, parse(tiny))


def test_what_describes_a_weights_file_is_linked_and_hashed_too(tiny, tmp_path, monkeypatch):
    """It says by what images are normalised."""
    monkeypatch.chdir(tmp_path)
    tiny["models"]["small"]["weights"] = "start/w.pth"
    Path("start").mkdir()
    Path("start/w.pth").write_bytes(b"abc")
    configure.configure(parse(tiny))
    plain = json.loads(record_file(SMALL, "train").read_text())
    assert "described" not in plain
    Path("start/config.json").write_bytes(b"abc")
    configure.configure(parse(tiny))
    assert (WEIGHTS / "files/small-described").samefile("start/config.json")
    recorded = json.loads(record_file(SMALL, "train").read_text())
    assert recorded == plain | {"described": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    tiny["models"]["small"]["weights"] = "start"  # a folder with one
    configure.configure(parse(tiny))
    assert json.loads(record_file(SMALL, "train").read_text())["described"] == recorded["described"]
    Path("start/config.json").unlink()
    configure.configure(parse(tiny))
    assert {path.name for path in WEIGHTS.glob("*/*")} == {"small", "wide"}


def test_a_weights_file_is_linked_and_hashed_wherever_it_lies(tiny, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "study").mkdir()
    monkeypatch.chdir(tmp_path / "study")
    file = tmp_path / "elsewhere/a start.pth"
    file.write_bytes(b"abc")
    for given in (str(file), "../elsewhere/a start.pth", "../elsewhere"):  # a folder with one, too
        tiny["models"]["small"]["weights"] = given
        link_weights(parse(tiny))
        assert (WEIGHTS / "files/small").is_symlink()
        assert (WEIGHTS / "files/small").samefile(file)
    assert not (WEIGHTS / "files/wide").is_symlink()
    assert (WEIGHTS / "files/wide").read_text() == "no file\n"
    configure.configure(parse(tiny))
    recorded = [json.loads(record_file(each, "train").read_text())["weights"] for each in (SMALL, WIDE)]
    assert recorded == ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", None]
    configure.configure(parse(tiny | {"study": tiny["study"] | {"models": ["wide"]}}))  # 2 losses x 2 seeds
    assert {path.name for path in WEIGHTS.glob("*/*")} == {"wide"}
    assert file.read_bytes() == b"abc"
    del tiny["models"]["small"]["weights"]
    link_weights(parse(tiny))
    assert file.read_bytes() == b"abc"


def test_the_order_of_settings_is_no_part_of_a_record(prepared, tiny):
    configure.configure(parse(tiny))
    before = record_file(SMALL, "train").read_bytes()
    options = tiny["models"]["small"]["options"]
    tiny["models"]["small"]["options"] = dict(reversed(options.items()))
    configure.configure(parse(tiny))
    assert record_file(SMALL, "train").read_bytes() == before


def test_the_code_of_a_record_is_the_one_that_runs():
    assert code.ROOT == ROOT


def test_results_of_runs_that_left_the_study_are_set_aside_and_nothing_else_is_moved(prepared, tiny):
    tiny["study"] = {"models": ["small"], "losses": ["bce"], "replicates": [7]}
    stays = ["models/small-bce/seed42/run.json", "models/small-bce/seed7/run.json", "evaluations/small-bce/metrics.csv"]
    leaves = ["models/small-bce/seed99/run.json", "models/wide-bce/seed42/run.json", "evaluations/wide-bce/metrics.csv"]
    others = ["models/notes.txt", "models/my-copies/old/run.json", "evaluations/a-list.txt"]
    for text in ("first", "second"):
        for name in (*stays, *leaves, *others):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        configure.configure(parse(tiny))
    assert all(Path(name).read_text() == "second" for name in (*stays, *others))
    assert all((LEFT / name).read_text() == "second" for name in leaves)
    assert not any(Path(name).exists() for name in leaves)
    assert not Path("models/wide-bce").exists()


def test_a_network_that_finds_regions_is_linked_and_recorded_by_its_content(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert region_record(parse(tiny)) == {"region": None}
    folder = tmp_path / "elsewhere/lungs"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"1")
    (folder / "segmenter.json").write_text("{}")
    tiny["preprocess"]["roi"] = {"masks": "elsewhere/lungs"}
    link_weights(parse(tiny))
    assert (WEIGHTS / "files/roi-masks").samefile(folder / "model.safetensors")
    before = region_record(parse(tiny))["region"]
    assert "pipeline/segmenting/use.py" in before["code"]
    (folder / "model.safetensors").write_bytes(b"2")
    after = region_record(parse(tiny))["region"]
    assert after["code"] == before["code"]
    assert after["files"] != before["files"]
    tiny["external"] = {"other": {"dataset": "phantom"}}
    assert preparation_record("other", parse(tiny))["region"] == after

    tiny["preprocess"]["roi"] = {"masks": "own"}
    link_weights(parse(tiny))
    assert not (WEIGHTS / "files/roi-masks").exists()
    assert region_record(parse(tiny)) == {"region": None}
    assert "region" not in preparation_record("other", parse(tiny))
