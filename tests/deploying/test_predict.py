"""A model of the study on files: the same numbers as the study's own, one row per image, and true reasons and flags."""

import csv
import fcntl
import gzip
import io
import json
import os
import re
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import mahalanobis

from pipeline import ensemble
from pipeline.commands.predict import main
from pipeline.deploying import bundle as bundles
from pipeline.deploying import flags, running
from pipeline.deploying.bundle import KEPT, bundle, onnx_engine, torch_engine
from pipeline.deploying.choice import COVERAGE, ChoiceSections, choose
from pipeline.deploying.predicting import JOURNAL, LEADING, predict
from pipeline.deploying.sources import Source, sources
from pipeline.ensembling.fitting import METHODS
from pipeline.ensembling.predictions import gather
from pipeline.ensembling.settings import EnsembleSections
from pipeline.metrics.thresholds import probabilities
from pipeline.settings import load as load_study
from pipeline.study.errors import UserError
from pipeline.study.files import ENSEMBLES, read_json
from pipeline.study.params import ParamsError, load
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import read_samples
from pipeline.uncertainty.conformal import lac_scores, prediction_sets
from tests.imaging import hospital
from tests.imaging.referees import table

RAW = Path("data/raw/phantom/images")


def chosen(**named):
    return choose(load(ChoiceSections), **named)


def read_rows(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def numbers(rows, what, classes):
    return np.array([[float(row[f"{what} {name}"]) for name in classes] for row in rows])


def test_files_get_the_probabilities_that_the_study_has_for_them(deployed, capsys):
    study = gather(load(EnsembleSections))
    choice = chosen()
    kept = Predictions.load(Path(f"evaluations/{choice.name}/predictions.npz"))
    ids = read_samples().set_index("row").loc[kept.test_rows, "sample_id"]
    main([*(str(RAW / name) for name in ids), "--out", "answers"])
    rows = read_rows(Path("answers"))
    assert [row["file"] for row in rows] == [str(RAW / name) for name in ids]
    single = probabilities(choice.calibration.apply(kept.test_logits), kept.task)
    expected = probabilities(choice.calibration.apply(choice.combiner.apply(kept.test_logits)), kept.task)
    for what, values in (("probability", expected), ("low", single.min(0)), ("high", single.max(0))):
        np.testing.assert_allclose(numbers(rows, what, kept.classes), values, atol=1e-5)
    means = {str(c): np.mean([study.val_auroc(z) for z in p.val_logits]) for c, p in study.configurations.items()}
    assert means[choice.name] == max(means.values())
    decided = [{name for name, p, cut in zip(kept.classes, row, choice.thresholds) if p >= cut} for row in expected]
    assert [set(filter(None, row["decision"].split("|"))) for row in rows] == decided
    assert "answers/index.html" in capsys.readouterr().out


def test_class_wise_sets_are_those_that_the_study_measures(deployed):
    choice = chosen()
    kept = Predictions.load(Path(f"evaluations/{choice.name}/predictions.npz"))
    val, test = (
        probabilities(choice.calibration.apply(choice.combiner.apply(logits)), kept.task)
        for logits in (kept.val_logits, kept.test_logits)
    )
    ids = read_samples().set_index("row").loc[kept.test_rows[:60], "sample_id"]
    main([*(str(RAW / name) for name in ids), "--out", "answers"])
    rows = read_rows(Path("answers"))
    both = [lac_scores(np.stack([1 - p[:, k], p[:, k]], -1)) for p in (val, test[:60]) for k in range(p.shape[1])]
    for k, name in enumerate(kept.classes):
        fitted, new = both[k], both[k + len(kept.classes)]
        sets = prediction_sets(fitted, kept.val_targets[:, k].astype(int), new, COVERAGE, by_class=True)
        expected = [running.SETS[absent + 2 * present] for absent, present in sets.tolist()]
        assert [row[f"set {name}"] for row in rows] == expected


def test_one_seed_is_enough(deployed):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(re.sub(r"replicates:\n *- 7", "replicates: []", text))
    choice = chosen(configuration="small-bce")
    assert [run.seed for run in choice.members] == [42]
    kept = Predictions.load(Path("evaluations/small-bce/predictions.npz"))
    single = probabilities(kept.test_logits[0], kept.task)
    found = probabilities(choice.combiner.apply(kept.test_logits[:1]), kept.task)
    np.testing.assert_allclose(found, single, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_ensembles_too(deployed, method):
    name = f"{method}_all"
    members = read_json(ENSEMBLES / "members.json", "ensemble")["ensembles"][name]["members"]
    choice = chosen(ensemble=name)
    assert [run._asdict() for run in choice.members] == [{k: m[k] for k in ("model", "loss", "seed")} for m in members]
    kept = Predictions.load(ENSEMBLES / "predictions.npz", "ensemble")
    place = kept.methods.tolist().index(name)
    study = gather(load(EnsembleSections))
    combined = choice.combiner.apply(np.stack([study.test[run] for run in choice.members]))
    np.testing.assert_allclose(combined, kept.test_logits[place], atol=1e-5)


def test_onnx_and_torch_agree(deployed):
    choice = chosen()
    images = np.random.default_rng(0).random((5, 1, 24, 24), np.float32)
    ours, theirs = (
        engine(images) for engine in (torch_engine(choice, "cpu"), onnx_engine(bundle(choice).folder / "model.onnx", 1))
    )
    for one, other in zip(ours, theirs):
        np.testing.assert_allclose(one, other, atol=1e-4)
    calibrated = choice.calibration.apply(choice.combiner.apply(ours[0]))
    np.testing.assert_allclose(ours[1], probabilities(calibrated, "multilabel"), atol=1e-5)


def test_torch_gets_a_few_images_at_a_time_however_many_there_are(deployed, monkeypatch):
    seen, whole = [], bundles.network_of

    def watched(choice):
        network = whole(choice)
        network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
        return network

    monkeypatch.setattr(bundles, "network_of", watched)
    logits, probabilities, _ = torch_engine(chosen(), "cpu")(np.zeros((2 * bundles.AT_ONCE + 1, 1, 24, 24), np.float32))
    assert seen == [bundles.AT_ONCE, bundles.AT_ONCE, 1]
    assert logits.shape[1] == len(probabilities) == sum(seen)


def test_an_answer_does_not_depend_on_its_neighbours(deployed):
    choice, some = chosen(), sources([str(RAW)])[:20]
    for folder, files in (("all", some), ("one", some[7:8])):
        predict(choice, files, Path(folder))
    alone, among = (read_rows(Path(folder)) for folder in ("one", "all"))
    np.testing.assert_allclose(*(float(rows[0]["distance"]) for rows in (alone, among[7:])), rtol=1e-5)
    assert [alone[0][key] for key in LEADING[:5]] == [among[7][key] for key in LEADING[:5]]


# --- one row per file, with its true reason -----------------------------------------------------------------------


def coded(picture, form, **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def more_kinds(grey):
    """Return files of further kinds by name, each with what its reason begins with."""
    image, archive = Image.fromarray(grey), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.png", coded(image, "PNG"))
    several = {"save_all": True, "append_images": [image.rotate(90)]}
    return {
        "alpha.png": (coded(image.convert("LA"), "PNG"), ""),
        "palette.png": (coded(image.convert("P"), "PNG"), ""),
        "onebit.png": (coded(image.convert("1"), "PNG"), ""),
        "cmyk.jpg": (coded(image.convert("CMYK"), "JPEG"), ""),
        "progressive.jpg": (coded(image, "JPEG", progressive=True), ""),
        "film.jp2": (cv2.imencode(".jp2", grey)[1].tobytes(), ""),
        "still.gif": (coded(image, "GIF"), ""),
        "no suffix": (coded(image, "PNG"), ""),
        "PNG.JPG": (coded(image, "PNG"), ""),
        "moving.gif": (coded(image, "GIF", **several), "several frames: 2"),
        "pages.tif": (coded(image, "TIFF", **several), "several frames: 2"),
        "float.tif": (coded(Image.fromarray(grey.astype(np.float32)), "TIFF"), "unsupported pixel type"),
        "deep.tif": (coded(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"), "brighter than preprocess.bits"),
        "archive.zip": (archive.getvalue(), "no decoder: ZIP archive"),
        "volume.nii.gz": (gzip.compress(bytes(400)), "no decoder: gzip"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        "list.csv": (b"file\na.png\n", "not an image"),
    }


def test_mixed_files(deployed):
    """Kinds of hospital, depths, colours, damage, and what is no image: one row each, nothing raises."""
    folder = Path("mixed")
    folder.mkdir()
    expected = {}

    def put(name, data, reason=""):
        (folder / name).write_bytes(data)
        expected[name] = reason

    for name in hospital.files():
        several = table.made(name).data
        put(name, several)
    sample = sorted(RAW.iterdir())[0].read_bytes()
    grey = cv2.imdecode(np.frombuffer(sample, np.uint8), cv2.IMREAD_GRAYSCALE)
    for suffix in ("png", "jpg", "bmp", "tif", "webp"):
        put(f"grey.{suffix}", cv2.imencode(f".{suffix}", grey)[1].tobytes())
        put(f"colour.{suffix}", cv2.imencode(f".{suffix}", np.dstack([grey, grey // 2, grey // 3]))[1].tobytes())
    for name, (data, reason) in more_kinds(grey).items():
        put(name, data, reason)
    for bits in (10, 12, 16):
        deep = (grey.astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
        put(f"deep{bits}.png", cv2.imencode(".png", deep)[1].tobytes())
    for k, size in enumerate((1, 2, 7, 16, 65, 128, 300, 999)):
        put(f"side{size}.png", cv2.imencode(".png", cv2.resize(grey, (size, size + k)))[1].tobytes())
    put("empty.png", b"", "empty file")
    put("cut.png", sample[: len(sample) // 2], "truncated")
    put("head.jpg", cv2.imencode(".jpg", grey)[1].tobytes()[:200], "truncated")
    put("notes.txt", b"no image\n", "not an image")
    put("report.pdf", b"%PDF-1.4\n", "no decoder: PDF")
    put("page.html", b"<html></html>", "not an image")
    put("noise.dcm", bytes(range(256)) * 4, "not an image")
    (folder / "gone.png").symlink_to("nowhere.png")
    expected["gone.png"] = "file not readable: a link to nothing"
    (folder / "round.png").symlink_to("round.png")
    expected["round.png"] = "file not readable: a link that leads in a circle"
    os.mkfifo(folder / "pipe.png")
    expected["pipe.png"] = "file not readable: a pipe, not a file"
    (folder / "secret.png").write_bytes(sample)
    expected["secret.png"] = ""
    os.mkdir(folder / "folder.png")
    assert len(expected) >= 75
    told = predict(chosen(), sources([str(folder)]), Path("answers"))
    rows = read_rows(Path("answers"))
    assert sorted(row["file"] for row in rows) == sorted(expected)
    for row in rows:
        reason = expected[row["file"]]
        if row["file"].startswith(("deep", "side")) or (row["file"].endswith(".dcm") and not reason):
            assert (row["status"] == "predicted") != bool(row["reason"])  # some are refused, by a name of the list
            continue
        assert row["reason"].startswith(reason), row
        assert bool(row["reason"]) == bool(reason), row
        assert row["status"] == ("not predicted" if reason else "predicted")
    coloured = {row["file"] for row in rows if "colour" in row["flags"]}
    assert "colour.jpg" in coloured  # of PNG the study has some in colour
    assert not {row["file"] for row in rows if row["file"].startswith("grey")} & coloured
    assert f"{len(rows)} images of {len(expected)} files" in told


def test_frames_are_rows_of_their_own(deployed):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("preprocess:\n", "preprocess:\n  frame: all\n"))
    several = [name for name in hospital.files() if "frames" in name or "cine" in name or "volume" in name]
    name = several[0] if several else "us-rgb-frames"
    Path("cine.dcm").write_bytes(table.made(name).data)
    predict(chosen(), sources(["cine.dcm"]), Path("answers"))
    rows = read_rows(Path("answers"))
    assert [row["frame"] for row in rows] == [str(i) for i in range(1, len(rows) + 1)]
    assert len(rows) > 1


# --- what is said of an image beside its probabilities ------------------------------------------------------------


def flags_of(deployed, name, pixels):
    cv2.imwrite(name, pixels)
    predict(chosen(), sources([name]), Path("answers"))
    return read_rows(Path("answers"))[0]["flags"]


def training_picture():
    split = np.genfromtxt("data/study/split/split.csv", delimiter=",", dtype=str, skip_header=1)
    row = int(split[split[:, 1] == "train"][0, 0])
    name = read_samples().set_index("row").loc[row, "sample_id"]
    return row, cv2.imread(str(RAW / name), cv2.IMREAD_GRAYSCALE)


def test_a_copy_of_a_training_image_is_named(deployed):
    row, picture = training_picture()
    assert f"the same picture as a training image (row {row} of samples.csv)" in flags_of(deployed, "a.png", picture)
    changed = picture.copy()
    changed[20:26, 20:26] += 3
    assert f"all but the same picture as a training image (row {row}" in flags_of(deployed, "b.png", changed)


def test_pictures_of_something_else_are_flagged(deployed):
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, (64, 64), np.uint8)
    assert "contrast" in flags_of(deployed, "noise.png", noise)
    assert "mean grey level" in flags_of(deployed, "black.png", np.zeros((64, 64), np.uint8))


def test_distances_are_those_of_scipy():
    """Of features with a direction in which they hardly vary: far along it is far."""
    generator = np.random.default_rng(4)
    features = generator.normal(size=(400, 6)) * (1, 2, 3, 1, 1, 0.05)
    images = generator.integers(0, 256, (400, 16, 16), np.uint8)
    reference = flags.measure(images, np.arange(300), np.arange(300, 400), lambda _, rows: features[rows])
    inverse = np.linalg.inv(reference.whitening @ reference.whitening.T)
    some = generator.normal(size=(5, 6)) * 3
    expected = [mahalanobis(one, features[:300].mean(0), inverse) for one in some]
    np.testing.assert_allclose(reference.distances(some), expected)
    np.testing.assert_allclose(reference.whitening @ reference.whitening.T, np.cov(features[:300].T), atol=0.5)
    assert (reference.distances(features[300:]) > reference.limit).sum() <= 1
    assert reference.distances(features[:1] + np.array([0, 0, 0, 0, 0, 2]))[0] > reference.limit
    farther, at_limit = reference.flags(images[:2], np.array([reference.limit + 1, reference.limit]))
    assert "farther" in farther[-1]
    assert not any("farther" in flag for flag in at_limit)


@pytest.mark.parametrize("kind", ["grey", "16 bits", "RGB"])
def test_facts_of_a_picture_are_those_of_numpy(kind):
    shape, dtype = ((24, 24, 3) if kind == "RGB" else (24, 24)), ("uint16" if kind == "16 bits" else "uint8")
    image = (np.random.default_rng(3).beta(0.3, 0.3, shape) * np.iinfo(dtype).max).astype(dtype)
    grey = image / np.iinfo(dtype).max
    if kind == "RGB":
        grey = grey @ (0.299, 0.587, 0.114)
    detail = (np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2
    expected = [grey.mean(), grey.std(), (grey < 0.02).mean(), (grey > 0.98).mean(), detail]
    np.testing.assert_allclose(flags.facts(image), expected, rtol=1e-12)


def test_few_test_images_are_flagged(deployed):
    """The limits come from training and validation; of the test images, drawn alike, few are beyond."""
    kept = Predictions.load(Path(f"evaluations/{chosen().name}/predictions.npz"))
    ids = read_samples().set_index("row").loc[kept.test_rows, "sample_id"]
    predict(chosen(), [Source(RAW / name, name) for name in ids], Path("answers"))
    flagged = [row["flags"] for row in read_rows(Path("answers")) if row["flags"]]
    assert len(flagged) <= 0.2 * len(ids), flagged


# --- interrupted, changed, repeated -------------------------------------------------------------------------------


def test_an_interrupted_call_goes_on(deployed, monkeypatch):
    choice, some = chosen(), sources([str(RAW)])[:40]
    predict(choice, some, Path("whole"))
    looked_at = []
    real = running.Predictor.rows

    def counted(self, files):
        looked_at.extend(file.name for file in files)
        if len(looked_at) > 20 and len(looked_at) <= 40:
            raise KeyboardInterrupt
        return real(self, files)

    monkeypatch.setattr(running.Predictor, "rows", counted)
    with pytest.raises(KeyboardInterrupt):
        predict(choice, some, Path("halves"), threads=1)
    journal = Path("halves", JOURNAL)
    with journal.open("ab") as file:
        file.write(b'{"id": "cut in the mid')
    done = len(journal.read_bytes().splitlines()) - 2
    assert done > 0
    looked_at[:] = ["" for _ in range(41)]
    predict(choice, some, Path("halves"), threads=1)
    assert len(looked_at) - 41 == len(some) - done
    for name in ("predictions.csv", "predictions.json", "index.html"):
        assert Path("halves", name).read_bytes() == Path("whole", name).read_bytes()
    assert not journal.exists()


def test_two_calls_into_one_folder_wait_for_each_other(deployed, capsys):
    choice, some = chosen(), sources([str(RAW)])[:3]
    predict(choice, some, Path("alone"))
    Path("out").mkdir()
    other = os.open("out", os.O_RDONLY)  # what a second process holds
    fcntl.flock(other, fcntl.LOCK_EX)
    waiting = threading.Thread(target=predict, args=(choice, some, Path("out")))
    waiting.start()
    waiting.join(2)
    assert waiting.is_alive()
    assert not any(Path("out").iterdir())
    os.close(other)
    waiting.join(60)
    assert Path("out/predictions.csv").read_bytes() == Path("alone/predictions.csv").read_bytes()
    assert "another process is writing into out" in capsys.readouterr().out


def test_no_gpu_is_said_of_the_option(deployed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^--device: 'cuda', and torch sees no CUDA device here; must be cpu$"):
        predict(chosen(), sources([str(RAW)])[:1], Path("out"), device="cuda")
    assert not Path("out").exists()


def test_another_model_does_not_take_over_rows(deployed):
    journal = running.Journal(Path("out", JOURNAL), "one")
    journal.add("a", [running.Row("a", None, "predicted", "", (), (), (0.5,), (0.4,), (0.6,), 1.0, (), {}, "")])
    journal.close()
    for key, there in (("one", True), ("two", False)):
        journal = running.Journal(Path("out", JOURNAL), key)
        assert ("a" in journal) == there
        journal.close()


def test_a_bundle_is_made_once_and_anew_after_a_training(deployed):
    choice = chosen()
    first = bundle(choice)
    made = (first.folder / "model.onnx").stat().st_mtime_ns
    assert (bundle(choice).folder / "model.onnx").stat().st_mtime_ns == made
    run, other = (Path(f"models/{choice.name}/seed{seed}/model.safetensors") for seed in (42, 7))
    shutil.copyfile(other, run)
    second = bundle(choice)
    assert second.folder != first.folder
    assert [path.name for path in KEPT.iterdir()] == [second.folder.name]
    (second.folder / "recipe.json").write_text("{")
    assert bundle(choice).recipe == second.recipe


def test_changed_preprocessing_is_refused(deployed):
    locked = {"stages": {"preprocess": {"params": {"params.yaml": {"preprocess": {"size": 32, "threads": 1}}}}}}
    Path("dvc.lock").write_text(json.dumps(locked))
    with pytest.raises(ParamsError, match=r"preprocess.size: 24, and the images of the study were prepared with 32"):
        bundle(chosen())


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"configuration": "smal-bce"}, "--configuration: 'smal-bce'; use one of: small-bce"),
        ({"ensemble": "mean_al"}, "--ensemble: 'mean_al'; use one of: mean_all"),
    ],
)
def test_names_that_are_not_there(deployed, named, message):
    with pytest.raises(UserError, match=re.escape(message)):
        chosen(**named)


# --- what a person may name ---------------------------------------------------------------------------------------


def test_files_folders_patterns_and_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.png", "a/b/y.dcm", "a/.hidden.png", "a/__MACOSX/z.png", "c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"-")
    Path("list.csv").write_bytes("\ufefffile;age\na/x.png;054Y\nlost.png;NA\n".encode())
    assert [s.name for s in sources(["a"])] == ["x.png", "b/y.dcm"]
    assert [s.name for s in sources(["c.png", "a/*.png", "a/**/*.dcm"])] == ["c.png", "a/x.png", "a/b/y.dcm"]
    assert [(s.name, s.extra) for s in sources(["list.csv"])] == [
        ("a/x.png", {"age": "054Y"}),
        ("lost.png", {"age": "NA"}),
    ]
    assert len(sources(["c.png", "./c.png", str(tmp_path / "c.png")])) == 1


def test_a_name_that_is_not_utf8_has_its_row(deployed):
    folder = Path("odd")
    folder.mkdir()
    shutil.copyfile(sorted(RAW.iterdir())[0], os.fsencode(folder) + b"/caf\xe9.png")
    for _ in range(2):
        predict(chosen(), sources(["odd"]), Path("answers"))
        assert [(row["file"], row["status"]) for row in read_rows(Path("answers"))] == [("caf\\xe9.png", "predicted")]


def test_a_pattern_of_nothing_is_an_error_beside_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(b"-")
    with pytest.raises(UserError, match=re.escape("*.dcm: no file is there")):
        sources(["a.png", "*.dcm"])


def test_the_configuration_is_the_one_that_the_ensembles_are_compared_with(deployed):
    """Also where a seed of the best one has diverged: its mean is undefined, and validation does not choose it."""
    best = chosen().name
    file = Path(f"evaluations/{best}/predictions.npz")
    kept = Predictions.load(file)
    broken = kept.val_logits.copy()
    broken[0] = np.nan
    replace(kept, val_logits=broken).save(file)
    ensemble.ensemble(load_study())
    compared = read_json(ENSEMBLES / "members.json", "ensemble")["compared_with"][0]
    assert chosen().name == f"{compared['model']}-{compared['loss']}" != best


@pytest.mark.parametrize("name", ["nowhere", "*.png", "empty", ""])
def test_what_stands_for_nothing_is_an_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(UserError, match=re.escape(name) or "names nothing"):
        sources([name])


def test_a_table_that_is_a_pipe_is_not_waited_for_and_its_columns_have_one_meaning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.csv")
    Path("twice.csv").write_text("file,a,a\nx.png,1,2\n")
    for name, said in (("pipe.csv", "a pipe, not a file"), ("twice.csv", "two columns are called 'a'")):
        with pytest.raises(UserError, match=said):
            sources([name])
    with pytest.raises(UserError, match="--root: nowhere is not a folder"):
        sources(["twice.csv"], Path("nowhere"))


def test_a_table_without_files_is_an_error(tmp_path):
    (tmp_path / "t.csv").write_text("id,age\n1,2\n")
    with pytest.raises(UserError, match="none of its columns"):
        sources([str(tmp_path / "t.csv")])


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_holds_every_row_and_names_become_no_markup(deployed):
    hostile = "</script><b onmouseover=x>&amp;.png"
    shutil.copyfile(sorted(RAW.iterdir())[0], hostile.replace("/", "_"))
    Path("list.csv").write_text('file,note\n<_script><b onmouseover=x>&amp;.png,"</script><i>"\n')
    Path("<_script><b onmouseover=x>&amp;.png").write_bytes(sorted(RAW.iterdir())[1].read_bytes())
    predict(chosen(), sources(["list.csv", str(RAW)]), Path("answers"))
    page = Path("answers/index.html").read_text(encoding="utf-8")
    rows = read_rows(Path("answers"))
    assert page.count("</script>") == 3
    assert "<b onmouseover" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert [(line[0], line[2]) for line in data] == [(row["file"], row["reason"]) for row in rows]
    assert data[0][9] == {"note": "</script><i>"}
    about = json.loads(re.search(r'id="about">(.*?)</script>', page, re.S)[1])
    assert f"{len(rows):,} images" in about["counts"]
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)


def test_no_cell_of_the_table_is_a_formula_and_no_two_columns_have_one_name(deployed):
    names = ["=1+1.png", "@x.png", "-2+3+cmd|' C calc'!A0.png", "+1.png"]
    for name in names:
        shutil.copyfile(sorted(RAW.iterdir())[0], name)
    lines = ["file,=note,status,table status", *(f"{name},=HYPERLINK(1),-0.5,a" for name in names)]
    Path("list.csv").write_text("\n".join([*lines, ""]))
    Path("answers").mkdir()
    Path("answers/index.html").write_text("mine")
    told = predict(chosen(), sources(["list.csv"]), Path("answers"))
    assert "answers/index.html was there: kept as answers/index.html.1" in told
    rows = read_rows(Path("answers"))
    assert [row["file"] for row in rows] == [f"'{name}" for name in names]
    assert [row["'=note"] for row in rows] == ["'=HYPERLINK(1)"] * 4
    assert [(row["status"], row["table status"], row["table table status"]) for row in rows] == [
        ("predicted", "-0.5", "a")
    ] * 4
    data = re.search(r'id="data">(.*?)</script>', Path("answers/index.html").read_text(encoding="utf-8"), re.S)[1]
    assert [line[0] for line in json.loads(data)] == names
    assert "kept as" not in predict(chosen(), sources(["list.csv"]), Path("answers"))


# --- one class per image ------------------------------------------------------------------------------------------


def test_prediction_sets_hold_the_truth_as_often_as_promised(tmp_path, monkeypatch):
    """Of exchangeable images the sets of a multiclass study hold the truth in at least 90 %, and not in all."""
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 3, 1200)
    logits = generator.normal(size=(2, 1200, 3)) + 1.5 * np.eye(3)[truth]
    labels = np.eye(3, dtype=np.uint8)[truth]
    parts = {}
    for part, some in (("val", slice(0, 600)), ("test", slice(600, 1200))):
        parts |= {f"{part}_rows": np.arange(1200)[some], f"{part}_targets": labels[some]}
        parts |= {f"{part}_logits": logits[:, some].astype(np.float32)}
        parts |= {f"{part}_patients": np.arange(1200)[some].astype(str)}
    monkeypatch.chdir(tmp_path)
    kept = Predictions(task="multiclass", seeds=np.array([1, 2]), classes=np.array(["a", "b", "c"]), **parts)
    kept.save(Path("evaluations/net-ce/predictions.npz"))
    params = ChoiceSections.model_validate(
        {
            "seed": 1,
            "study": {"models": ["net"], "losses": ["ce"], "replicates": [2]},
            "ensemble": {"top_k": 2},
            "split": {"method": "grouped", "validation": 0.2, "test": 0.2},
        }
    )
    choice = choose(params)
    p = probabilities(choice.calibration.apply(choice.combiner.apply(kept.test_logits)), "multiclass")
    among = 1 - p <= choice.conformal
    covered = among[np.arange(600), truth[600:]].mean()
    assert 0.87 <= covered <= 0.93
    assert 1 < among.sum(axis=1).mean() < 3
    assert np.isnan(choice.thresholds).all()
