"""What several tests share: a tiny study on drawn images, prepared once."""

import compileall
import contextlib
import copy
import fcntl
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest
import yaml
from _pytest.runner import runtestprotocol

from benchmarks.shared.reaper import end_with_me
from pipeline.study import code
from tests import forked
from tests.blank import BLANK, empty_figures
from tests.once import enter_copy, made_once
from tests.tiny import ROOT, TINY

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Some hundred processes run the code and copies of it; without its bytecode each would compile it anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Libraries and tests are a million objects, which every full collection would visit in vain: none while they are
# imported, and after that they are left out (`pytest_collection_finish`).
gc.disable()

# A busy machine must not fail a test; the same examples each time on a machine that decides whether a change lands.
hypothesis.settings.register_profile("medmatrix", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("medmatrix")


def pytest_configure(config):
    """Hide a GPU from all tests but those for one; start the servers of `tests.forked`, once for all processes.

    The tests' studies would be trained on it otherwise, in bfloat16, and what is expected is of a CPU.
    """
    if config.getoption("markexpr") != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if forked.FOLDER in os.environ:
        return
    end_with_me()
    compileall.compile_dir(ROOT / "pipeline", quiet=2)
    code.digests_of((ROOT / "pipeline").rglob("*.py"))  # copies of the code come with what was found of it
    folder = Path(tempfile.mkdtemp(prefix="medmatrix-"))  # a path of pytest may be too long for a socket's address
    os.environ[forked.FOLDER] = str(folder)
    servers = [forked.begin(kind, folder) for kind in forked.KINDS]

    def end():
        for server in servers:
            server.communicate()
        shutil.rmtree(folder)
        del os.environ[forked.FOLDER]

    config.add_cleanup(end)
    for server in servers:
        server.stdout.readline()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Have one process of pytest-xdist at a time import a file: the next finds the bytecode of it and its libraries."""
    with contextlib.ExitStack() as stack:
        if isinstance(collector, pytest.Module) and forked.FOLDER in os.environ:
            name = collector.nodeid.replace("/", "-")
            handle = stack.enter_context((Path(os.environ[forked.FOLDER]) / f"{name}.lock").open("w"))
            fcntl.flock(handle, fcntl.LOCK_EX)
        return (yield)


def pytest_runtest_protocol(item, nextitem):
    """Have a process of pytest-xdist tell of a test that passes once: six messages are half of what most tests take."""
    if "PYTEST_XDIST_WORKER" not in os.environ or item.config.option.durations or item.config.option.xmlpath:
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def pytest_collection_finish():
    """Have collections look at what the tests make, and at nothing older."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def forks() -> forked.Forks:
    """Python commands in forks of a process that has imported every library."""
    return forked.Forks("everything")


@pytest.fixture(scope="session")
def plain_forks() -> forked.Forks:
    """Python commands in forks of a process that has imported no library of networks."""
    return forked.Forks("plain")


@pytest.fixture
def tiny() -> dict:
    """Content of the params.yaml of a study that takes seconds."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory) -> Path:
    """A folder in which download, preprocess, split and configure of the tiny study have run."""
    from pipeline import configure, download, preprocess, split
    from pipeline.settings import load

    def make(folder: Path) -> None:
        (folder / "params.yaml").write_text(yaml.safe_dump(TINY))
        study = load()
        download.download(study)
        preprocess.main()
        split.main()
        configure.configure(study)

    return made_once(tmp_path_factory, "prepared", make)


@pytest.fixture
def prepared(prepared_once, tmp_path, monkeypatch) -> Path:
    """A fresh copy of the prepared tiny study, as the working directory."""
    return enter_copy(prepared_once, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def trained_once(prepared_once, tmp_path_factory) -> Path:
    """A folder in which every run of the tiny study has been trained, too."""
    from pipeline import train
    from pipeline.settings import load
    from pipeline.study.runs import runs

    def make(folder: Path) -> None:
        shutil.copytree(prepared_once, folder, dirs_exist_ok=True)
        study = load()
        for run in runs(study):
            train.train(run, study)

    return made_once(tmp_path_factory, "trained", make)


@pytest.fixture
def trained(trained_once, tmp_path, monkeypatch) -> Path:
    """A fresh copy of the trained tiny study, as the working directory."""
    return enter_copy(trained_once, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def evaluated_once(trained_once, tmp_path_factory) -> Path:
    """A folder in which every configuration of the tiny study has been evaluated, too, and its ensembles made."""
    from pipeline import ensemble, evaluate
    from pipeline.settings import load
    from pipeline.study.runs import configurations

    def make(folder: Path) -> None:
        shutil.copytree(trained_once, folder, dirs_exist_ok=True)
        study = load()
        for configuration in configurations(study):
            evaluate.evaluate(configuration, study)
        ensemble.ensemble(study)

    return made_once(tmp_path_factory, "evaluated", make)


@pytest.fixture
def evaluated(evaluated_once, tmp_path, monkeypatch) -> Path:
    """A fresh copy of the evaluated tiny study, as the working directory."""
    return enter_copy(evaluated_once, tmp_path, monkeypatch)


@pytest.fixture
def blank_figures(monkeypatch) -> None:
    """Have reports written by this process alone, with nothing in their figures: those take most of the time."""
    from pipeline.reporting.figures import style

    empty_figures(monkeypatch, style)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


@pytest.fixture
def unpainted_figures(monkeypatch) -> None:
    """Have reports written by this process alone, with figures that are drawn and not painted."""
    from pipeline.reporting.figures import style

    monkeypatch.setattr(style, "png", lambda *_: BLANK)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


_LONG = ("test_repro.py", "test_launch.py", "test_cluster.py", "test_dvc.py", "test_stages.py")
"""Files that take minutes, the longest first."""


def pytest_collection_modifyitems(items):
    """Begin with the longest files, so that no process is left alone with one at the end."""
    rank = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
