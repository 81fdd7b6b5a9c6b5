"""Whatever changes behind `root:` and `table:` is seen: by DVC, by stage download, and while the images are read."""

import csv
import os
import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import preprocess
from pipeline.datasets import DatasetError, open_dataset
from pipeline.datasets.settings import DataSections
from pipeline.datasets.shared import inputs
from pipeline.download import download
from pipeline.study import mending
from pipeline.study.files import CONTENT, EXCLUDED, IMAGES, INPUTS, PREPARED, SAMPLES, SOURCE, raw_folder
from pipeline.study.inputs import located, main_checkout
from pipeline.study.params import load
from tests.tiny import ROOT

FOLDER = {"image_folder": {"root": "../images"}}
TABLE = {"image_table": {"root": "../images", "table": "../labels.csv", "label_column": "label"}}


def picture(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".bmp", pixels)[1].tobytes())  # a size that does not depend on the content


def label(rows):
    with Path("../labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *rows])


@pytest.fixture(params=["image_folder", "image_table"])
def project(request, tiny, tmp_path, monkeypatch):
    """Twelve images beside an empty project, in folders of classes; a table that says the same of them."""
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    names = [f"{name}/{number}.bmp" for name in ("a", "b") for number in range(6)]
    for seed, name in enumerate(names):
        picture(tmp_path / "images" / name, seed)
    label([[name, name[0]] for name in names])
    tiny |= {"dataset": request.param, "datasets": FOLDER | TABLE, "losses": {"ce": {}}}
    tiny["study"] = {"models": ["small"], "losses": ["ce"]}
    tiny["split"]["method"] = "grouped"
    tiny["ensemble"]["top_k"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(tiny))
    return request.param


def replace_one():
    old = Path("../images/a/3.bmp").stat()
    picture(Path("../images/a/3.bmp"), 99)
    assert Path("../images/a/3.bmp").stat().st_size == old.st_size
    return "the image of 'a/3.bmp' is another"


def exchange_keeping_its_time():
    old = Path("../images/b/2.bmp").stat()
    picture(Path("../new.bmp"), 77)
    os.utime("../new.bmp", ns=(old.st_atime_ns, old.st_mtime_ns))
    os.replace("../new.bmp", "../images/b/2.bmp")
    new = Path("../images/b/2.bmp").stat()
    assert (new.st_size, new.st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    return "the image of 'b/2.bmp' is another"


def remove_one():
    Path("../images/a/0.bmp").unlink()
    return "'a/0.bmp'"


def add_one():
    picture(Path("../images/a/7.bmp"), 55)
    rows = [line.split(",") for line in Path("../labels.csv").read_text().split()[1:]]
    label([*rows, ["a/7.bmp", "a"]])
    return "'a/7.bmp' is new"


def flip_labels():
    rows = [line.split(",") for line in Path("../labels.csv").read_text().split()[1:]]
    label([[name, {"a": "b", "b": "a"}[of] if name.endswith(("1.bmp", "2.bmp")) else of] for name, of in rows])
    Path("../images/a/1.bmp").rename("../images/x.bmp")
    Path("../images/b/1.bmp").rename("../images/a/1.bmp")
    Path("../images/x.bmp").rename("../images/b/1.bmp")
    return "'a/1.bmp'"


CHANGES = [replace_one, exchange_keeping_its_time, remove_one, add_one, flip_labels]
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)


def run():
    download(load(DataSections))
    preprocess.main()
    return {path.name: path.read_bytes() for path in sorted(PREPARED.iterdir())}


@every_change
def test_a_change_between_download_and_preprocess_is_an_error_that_names_it(project, change, capsys):
    download(load(DataSections))
    said = change()
    with pytest.raises(SystemExit):
        preprocess.main()
    error = capsys.readouterr().err
    assert f"datasets.{project}.root: '../images'" in error
    assert "has changed since stage 'download' looked at it" in error
    assert said in error
    assert not SAMPLES.exists()
    assert not IMAGES.exists()


@every_change
def test_a_change_changes_what_preprocess_depends_on_and_the_result_is_that_of_a_fresh_run(project, change):
    before = run()
    content = CONTENT.read_bytes()
    change()
    after = run()
    assert CONTENT.read_bytes() != content
    assert after != before
    shutil.rmtree("data")
    assert run() == after


def test_nothing_changes_nothing(project, capsys):
    before, source = run(), SOURCE.read_bytes()
    assert "warning" not in capsys.readouterr().err
    for path in Path("../images").rglob("*.bmp"):
        os.utime(path)
    assert run() == before
    assert SOURCE.read_bytes() == source


@pytest.fixture
def dvc(project, tmp_path):
    """DVC in the clone with stage download alone, which has run; call it for the status."""
    from dvc.repo import Repo

    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["download"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"download": stage | {"deps": []}}}))
    shutil.copy(ROOT / ".dvcignore", ".dvcignore")
    download(load(DataSections))
    repo = Repo.init(no_scm=True)
    repo.commit(force=True)
    yield repo.status
    repo.close()


@every_change
def test_dvc_sees_a_change_and_no_path_of_this_machine_stands_in_its_record(dvc, project, change, tmp_path):
    assert dvc() == {}
    change()
    outs = [each for entry in dvc()["download"] for each in entry.get("changed outs", {})]
    assert set(outs) <= {"data/inputs/root", "data/inputs/table"}
    assert outs
    lock = Path("dvc.lock").read_text()
    assert str(tmp_path) not in lock
    assert "root: ../images" in lock


def test_dvc_sees_classes_whatever_they_are_called(dvc, project):
    """A pattern of .dvcignore that means a folder of the project must not mean one of the user's."""
    for name in ("tmp", ".venv", "__pycache__", "x.part"):
        picture(Path("../images") / name / "1.bmp", 1)
        assert "download" in dvc(), name
        shutil.rmtree(Path("../images") / name)
        assert dvc() == {}


def test_dvc_takes_nothing_away(project):
    """Removing the outputs of the stage, as `dvc remove --outs` does, leaves the images where they are."""
    from dvc.repo import Repo

    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["download"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"download": stage | {"deps": []}}}))
    download(load(DataSections))
    with Repo.init(no_scm=True) as repo:
        repo.commit(force=True)
        outs = repo.index.stages[0].outs
        for out in outs:
            if out.def_path.startswith("data/inputs"):
                try:
                    out.remove()
                except OSError:
                    assert out.def_path == "data/inputs/root"  # it refuses a link to a folder
    assert len(list(Path("../images").rglob("*.bmp"))) == 12
    assert Path("../labels.csv").exists()


def hide_by_dvcignore(root):
    (root / ".dvcignore").write_text("*.bmp\n")
    return ".dvcignore, of a repository of DVC's"


def hide_by_repository(root):
    (root / "a/.dvc").mkdir()
    return "a/.dvc, of a repository of DVC's"


def hide_by_link(root):
    shutil.move(root / "a", root.parent / "elsewhere")
    (root / "a").symlink_to(root.parent / "elsewhere")
    return "a is a link to another folder"


def name_of_other_bytes(root):
    Path(os.fsdecode(os.fsencode(root / "a") + b"/caf\xe9.bmp")).write_bytes(b"")
    return r"the name 'a/caf\\xe9.bmp' is not UTF-8, and neither DVC nor a table can hold it; rename it"


def folder_of_other_bytes(root):
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).mkdir()
    return r"the name '\\xff' is not UTF-8"


HIDDEN = [hide_by_dvcignore, hide_by_repository, hide_by_link, name_of_other_bytes, folder_of_other_bytes]


@pytest.mark.parametrize("hide", HIDDEN, ids=lambda f: f.__name__)
def test_a_folder_in_which_changes_would_not_be_seen_is_refused(project, hide):
    said = hide(Path("../images"))
    with pytest.raises(DatasetError, match=r"datasets\.\w+\.root: '\.\./images'.*" + said):
        inputs.check_inputs(open_dataset(project, (FOLDER | TABLE)[project]))


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # its name may be no longer than 107 bytes


IRREGULAR = {
    "dangling.bmp": (lambda path: path.symlink_to("nowhere.bmp"), "a link to nothing"),
    "circle.bmp": (lambda path: path.symlink_to("circle.bmp"), "a link that leads in a circle"),
    "circle two.bmp": (lambda path: path.symlink_to("circle.bmp"), "a link that leads in a circle"),
    "pipe [1]*.bmp": (os.mkfifo, "a pipe, not a file"),
    "#!pipe.dcm": (os.mkfifo, "a pipe, not a file"),
    "socket.bmp": (socket_at, "a socket, not a file"),
    "device.bmp": (lambda path: path.symlink_to("/dev/zero"), "a device, not a file"),
    "linked pipe.bmp": (lambda path: path.symlink_to("pipe [1]*.bmp"), "a pipe, not a file"),
}


@pytest.fixture
def irregular(project):
    """Entries of `a` that are no files, beside its images, and in the table; a folder with the name of an image."""
    folder = Path("../images/a")
    for name, (make, _) in IRREGULAR.items():
        make(folder / name)
    picture(folder / "folder.bmp" / "6.bmp", 66)
    os.mkfifo(folder / "pipe")  # it could be DICOM
    os.mkfifo(folder / "notes.txt")
    rows = [line.split(",") for line in Path("../labels.csv").read_text().split()[1:]]
    named = [*IRREGULAR, "folder.bmp/6.bmp", *(["folder.bmp"] if project == "image_table" else [])]
    label([*rows, *([f"a/{name}", "a"] for name in named)])
    return project


def test_what_is_no_file_is_excluded_by_name_with_the_reason(irregular, capsys):
    run()
    excluded = pd.read_csv(EXCLUDED, keep_default_na=False).set_index("file")["reason"].to_dict()
    expected = {f"a/{name}": f"file not readable: {reason}" for name, (_, reason) in IRREGULAR.items()}
    if irregular == "image_table":
        expected["a/folder.bmp"] = "file not readable: a folder, not a file"
    assert {name: excluded.get(name) for name in expected} == expected
    samples = pd.read_csv(SAMPLES, keep_default_na=False)["sample_id"].tolist()
    assert "a/folder.bmp/6.bmp" in samples
    assert len(samples) == 13
    said = capsys.readouterr().err
    for name, (_, reason) in IRREGULAR.items():
        assert f"note: datasets.{irregular}.root: '../images': a/{name}: {reason}; it is left out" in said


def test_dvc_passes_over_what_is_no_file_and_over_nothing_else(irregular, dvc):
    assert dvc() == {}
    picture(Path("../images/a/pipe 1x.bmp"), 5)  # which a pattern would take for `pipe [1]*.bmp`
    assert "download" in dvc()
    Path("../images/a/pipe 1x.bmp").unlink()
    assert dvc() == {}
    picture(Path("../images/a/circle two.bmp.bmp"), 5)
    assert "download" in dvc()


def test_medmatrix_new_does_not_wait_at_a_pipe(irregular):
    from pipeline.planning.survey import survey

    table = "../labels.csv" if irregular == "image_table" else None
    assert set(survey("../images", table).classes) == {"a", "b"}


def test_folders_that_may_not_be_looked_into_are_named(project, monkeypatch, capsys):
    """As root may look into all of them, the refusal is acted."""
    picture(Path("../images/a/closed/6.bmp"), 6)
    scandir = os.scandir

    def refusing(path="."):
        if os.fspath(path).endswith(("closed", "images/b" if everything else "closed")):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    everything = False
    monkeypatch.setattr(os, "scandir", refusing)
    if project == "image_table":
        run()  # whose rows name files, none of them there
        return
    run()
    assert "a/closed/,folder not readable: Permission denied" in EXCLUDED.read_text()
    everything = True
    with pytest.raises(DatasetError, match=r"class folder 'b': Permission denied; make it readable"):
        download(load(DataSections))


def test_files_that_may_not_be_read_are_excluded_by_name(project, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("a/2.bmp") and access(path, mode))
    run()
    assert "a/2.bmp,file not readable: Permission denied" in EXCLUDED.read_text()
    ignored = INPUTS / ".dvcignore"
    whole = ignored.read_text()
    assert "/root/a/2.bmp" in whole
    Path(".dvc").mkdir(exist_ok=True)
    assert mending.mend_links() == []
    for cut in (whole[:-1], whole[: len(whole) // 2], "", "\0" * len(whole), "# no"):
        ignored.write_text(cut)
        (told,) = mending.mend_links()
        assert "is not whole; it and the links beside it are removed" in told
        assert not [*INPUTS.iterdir()]  # stage download makes all of them again
        download(load(DataSections))
        assert ignored.read_text() == whole


def test_the_folder_of_the_project_is_no_folder_of_images(project):
    with pytest.raises(DatasetError, match=r"datasets\.image_folder\.root: '\.\.' holds this project itself"):
        inputs.check_inputs(open_dataset("image_folder", {"root": ".."}))


def test_links_that_stay_in_the_folder_and_links_to_files_are_followed(project):
    Path("../images/c").symlink_to("a")
    Path("../images/b/9.bmp").symlink_to("../a/1.bmp")
    inputs.check_inputs(open_dataset("image_folder", FOLDER["image_folder"]))
    inputs.link_inputs(open_dataset("image_folder", FOLDER["image_folder"]))
    assert (INPUTS / "root/b/9.bmp").exists()


def test_a_link_is_turned_when_the_setting_is_another_and_goes_when_it_is_empty(project):
    inputs.link_inputs(open_dataset("image_table", TABLE["image_table"]))
    assert (INPUTS / "table").samefile("../labels.csv")
    shutil.copytree("../images", "../others")
    inputs.link_inputs(open_dataset("image_folder", {"root": "../others"}))
    assert (INPUTS / "root").samefile("../others")
    assert not (INPUTS / "table").is_symlink()
    inputs.link_inputs(open_dataset("phantom", {}))
    assert not (INPUTS / "root").is_symlink()
    assert (INPUTS / "root").read_text()  # DVC warns of what is empty
    assert len(list(Path("../others").rglob("*.bmp"))) == 12


def test_an_image_that_appears_after_download_is_a_change_too(project):
    label([["a/0.bmp", "a"], ["b/0.bmp", "b"], ["b/late.bmp", "b"]])
    data = open_dataset("image_table", TABLE["image_table"])
    assert inputs.record(data, Path("data"))["unreadable"] == 1
    content = inputs.read_content()
    picture(Path("../images/b/late.bmp"), 4)
    late = list(inputs.verified(data.samples(Path("data")), content, data))[2]
    with pytest.raises(DatasetError, match=r"the image of 'b/late\.bmp' is another"):
        late.read()


def test_in_an_experiments_workspace_paths_count_from_the_clone(project, monkeypatch):
    clone = Path.cwd()
    assert main_checkout() is None
    assert located("../images").samefile("../images")
    for place in (".dvc/tmp/exps/standalone/tmp1234", ".dvc/tmp/exps/tmp99"):
        (clone / place).mkdir(parents=True)
        monkeypatch.chdir(clone / place)
        assert main_checkout() == clone
        assert located("../images").samefile(clone.parent / "images")
        assert located(str(clone.parent / "images")) == clone.parent / "images"
        monkeypatch.chdir(clone)
    assert located("~/x") == Path.home() / "x"


def test_an_experiment_borrows_what_was_fetched_and_leaves_it_as_it_is(prepared, tiny, monkeypatch):
    folder = prepared / raw_folder("phantom")
    (folder / "x.part").write_text("half")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    source = SOURCE.read_bytes()
    work = prepared / ".dvc/tmp/exps/standalone/tmp1"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    Path("params.yaml").write_text(yaml.safe_dump(tiny))

    def draw(*_):
        raise InterruptedError("drawing")

    monkeypatch.setattr("pipeline.datasets.phantom.dataset.write_all", draw)
    download(load(DataSections))
    assert SOURCE.read_bytes() == source
    assert not (raw_folder("phantom") / "x.part").exists()
    # Another drawing takes the place of the borrowed files in the workspace alone.
    tiny["datasets"]["phantom"]["seed"] = 4
    Path("params.yaml").write_text(yaml.safe_dump(tiny))
    with pytest.raises(InterruptedError, match="drawing"):
        download(load(DataSections))
    assert not list(raw_folder("phantom").rglob("*.png"))
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()} == before
