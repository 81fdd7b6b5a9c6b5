"""Training runs on the nodes of a cluster: what nodes are sent, and a cluster on this machine, in its own network."""

import ast
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks.shared.nodes import ADDRESS, Nodes, namespace
from benchmarks.shared.standin import COPIED, Standin
from benchmarks.shared.waiting import until
from pipeline import train
from pipeline.commands import launch
from pipeline.launching import carrier, cluster, cluster_task
from pipeline.launching.schedule import State, Task
from pipeline.settings import load
from pipeline.study.errors import UserError
from pipeline.study.runs import runs
from tests.forked import PYTHON
from tests.tiny import TINY, copy_tracked


@pytest.fixture(scope="module", autouse=True)
def _dvc_is_forked(forks):
    """Where tests call it themselves; launchers and nodes are processes as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Standin, "forks", forks)
        yield


@pytest.fixture
def project(tmp_path, monkeypatch) -> Standin:
    """A committed study as the working directory."""
    study = Standin(tmp_path / "study", models=("small",))
    commit(study)
    monkeypatch.chdir(study.folder)
    return study


def test_a_node_needs_the_standard_library_alone():
    tree = ast.parse(Path(cluster_task.__file__).read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} <= sys.stdlib_module_names


def test_the_remote_is_that_of_dvc_with_a_url_for_all_nodes(project):
    with pytest.raises(UserError, match="needs a default DVC remote"):
        carrier.remote_of()
    project.run("dvc", "remote", "add", "-q", "-d", "store", "../store")
    assert carrier.remote_of() == carrier.Remote("store", str(project.folder.parent / "store"))
    assert carrier.remote_of("ssh://host/store") == carrier.Remote("store", "ssh://host/store")
    assert carrier.remote_of("mounted/store").url == str(project.folder / "mounted/store")
    project.run("dvc", "remote", "modify", "--local", "store", "url", "s3://bucket/store")
    project.run("dvc", "remote", "modify", "--local", "store", "secret_access_key", "hidden")
    assert "hidden" not in str(carrier.remote_of())
    assert carrier.remote_of() == carrier.Remote("store", "s3://bucket/store")
    with pytest.raises(UserError, match="no run-cache in an HTTP remote"):
        carrier.remote_of("https://host/store")


def test_what_differs_from_the_commit_is_named(project):
    commit = carrier.check_committed()
    (project.folder / "README.md").write_text("of no importance to a training run")
    (project.folder / "dvc.lock").write_text("sent by itself")
    assert carrier.check_committed() == commit
    (project.folder / "params.yaml").write_text("seed: 1\n")
    (project.folder / "pipeline/learning/new.py").write_text("")
    (project.folder / "pipeline/train.py").unlink()
    with pytest.raises(UserError, match=r"params\.yaml, pipeline/learning/new\.py, pipeline/train\.py; commit them"):
        carrier.check_committed()


def test_without_a_commit_there_is_nothing_to_send(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match="a git repository with one"):
        carrier.check_committed()


def test_the_bundle_is_of_the_commit_that_was_checked(project):
    commit = carrier.check_committed()
    assert carrier.bundle(commit).startswith(b"# v2 git bundle")
    project.run("git", "commit", "-q", "--allow-empty", "-m", "another")
    with pytest.raises(UserError, match="was checked out while"):
        carrier.bundle(commit)


def test_a_launch_without_ray_says_what_to_install(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    project.run("dvc", "remote", "add", "-q", "-d", "store", "../store")
    with pytest.raises(UserError, match=r"pip install -r requirements-cluster\.txt"):
        launch.ClusterLaunch(load(), 1, ADDRESS, None)()
    assert project.journal() == {}


def test_nobody_at_the_address_is_said_at_once(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="no answer"):
            cluster._check_answers(f"127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(UserError, match="HOST:PORT"):
        cluster._check_answers("ray://host")


def test_commands_push_both_files_and_run_cache():
    assert cluster_task.train_command("train@a-b-1") == [
        "dvc",
        "--wait-for-lock",
        "repro",
        "--pull",
        "-s",
        "train@a-b-1",
    ]
    for commands, names in [
        (cluster_task.push_commands("train@a-b-1"), ["train@a-b-1"]),
        (carrier.push_commands(["preprocess", "split", "configure"]), ["preprocess", "split", "configure"]),
    ]:
        start = ["dvc", "--wait-for-lock", "push"]
        assert commands == [[*start, *names], [*start, "--run-cache", *names]]


def test_a_run_takes_a_gpu_where_there_is_one_and_its_threads_elsewhere():
    nodes = [{"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}, {}]
    assert cluster.needs(nodes, 2, "auto") == {"num_gpus": 1, "num_cpus": 1}
    assert cluster.needs(nodes, 2, "cpu") == {"num_cpus": 2}
    with pytest.raises(UserError, match="no node of the cluster has more than 8 processors"):
        cluster.needs(nodes, 9, "cpu")
    with pytest.raises(UserError, match="no node of the cluster has a GPU"):
        cluster.needs(nodes[:1], 2, "cuda")
    with pytest.raises(UserError, match="more than 0 processors"):
        cluster.needs([{}], 1, "auto")


def test_trainings_of_the_head_are_counted():
    printed = """Stage 'split' didn't change, skipping
Stage 'train@a-b-1' is cached - skipping run, checking out outputs
Running stage 'replicate@a-b-2':
> python -m pipeline.train --model a --loss b --seed 2
Running stage 'evaluate@a-b':
Running stage 'train@c-b-1':"""
    assert carrier.trainings(printed.splitlines()) == ["replicate@a-b-2", "train@c-b-1"]


class Shown(list):
    """What was shown of the tasks."""

    def changed(self, task):
        self.append((task.name, task.state))

    def refresh(self, tasks):
        pass


def test_what_is_told_of_a_run_goes_into_its_log_and_its_outcome_counts(tmp_path):
    shown = Shown()
    task = Task("a-b-1", ["dvc", "train@a-b-1"], tmp_path / "log", attempts=1)
    attempt = cluster.Attempt(task, shown)
    running = "Running stage 'train@a-b-1':\n"
    attempt.told("run1", "north", "")
    attempt.told("run1", "north", running)
    attempt.told("run2", "south", "")
    attempt.told("run1", "north", "of an execution that is over\n")
    attempt.told("run2", "south", running)
    attempt.ended({"status": 1, "log": running + "error: no luck\n", "node": "south", "seconds": 2.0})
    assert task.state is State.RETRY
    task.attempts += 1
    attempt.told("run3", "south", "")
    attempt.ended({"status": 0, "log": running + "whole\n", "node": "south", "seconds": 3.0})
    attempt.told("run3", "south", "too late\n")
    assert shown == [
        ("a-b-1 on north", State.STARTING),
        ("a-b-1 on north", State.RUNNING),
        ("a-b-1 on south", State.STARTING),
        ("a-b-1 on south", State.RUNNING),
        ("a-b-1 on south", State.RETRY),
        ("a-b-1 on south", State.STARTING),
        ("a-b-1 on south", State.RUNNING),
        ("a-b-1 on south", State.DONE),
    ]
    headed, *lines = task.log.read_text().splitlines()
    assert headed.startswith("--- a-b-1, attempt 1 on north")
    assert [line.split(", 2")[0] for line in lines] == [
        running.strip(),
        "--- a-b-1, attempt 1 on south",
        running.strip(),
        "error: no luck",
        "--- a-b-1, attempt 2 on south",
        running.strip(),
        "whole",
    ]
    assert "; north was lost or could not go on" in lines[1]


def test_a_run_without_any_node_keeps_what_was_told(tmp_path):
    task = Task("a-b-1", ["dvc", "train@a-b-1"], tmp_path / "log", attempts=2)
    attempt = cluster.Attempt(task, Shown())
    attempt.told("run", "north", "")
    attempt.told("run", "north", "last words\n")
    attempt.ended({"status": 1, "log": "NodeDiedError: gone\n", "node": "", "seconds": 0.0})
    assert task.state is State.FAILED
    assert task.log.read_text().endswith("last words\nNodeDiedError: gone\n")


def test_a_work_folder_that_another_user_could_write_to_is_refused(tmp_path):
    for mode in (0o777, 0o770, 0o707):
        folder = tmp_path / f"{mode:o}"
        folder.mkdir()
        folder.chmod(mode)
        with pytest.raises(RuntimeError, match=r"must be of user .* and writable for nobody else"):
            cluster_task.check_own(folder)
        folder.chmod(0o755)
        cluster_task.check_own(folder)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(RuntimeError, match="must be a folder and no link"):
        cluster_task.check_own(tmp_path / "link")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_work_folder_of_another_user_is_refused(tmp_path):
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(RuntimeError, match="is of user 12345"):
        cluster_task.check_own(tmp_path)


@pytest.mark.parametrize("url", ["ssh://host:22/store", "/a folder/of, one #2/it's", "s3://bucket/50%"])
def test_dvc_reads_the_configuration_of_a_clone(url, tmp_path, monkeypatch):
    from dvc.config import Config

    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    work = {"commit": "c", "remote": "store", "url": url}
    subprocess.run(cluster_task.setup_commands(work, Path("bundle"), tmp_path / "its cache")[-1], check=True)
    config = Config(str(tmp_path / ".dvc"))
    assert config["remote"]["store"]["url"] == url
    assert config["core"]["remote"] == "store"
    assert config["core"]["autostage"] is False
    assert config["cache"]["dir"] == str(tmp_path / "its cache")


@pytest.mark.slow
def test_a_run_done_elsewhere_is_taken_over_and_one_that_was_not_is_an_error(tmp_path, monkeypatch):
    head = Head(tmp_path / "head")
    monkeypatch.chdir(head.folder)
    head.run("dvc", "repro", "split", "configure")
    inputs = ["preprocess", "split", "configure"]
    for command in carrier.push_commands(inputs):
        head.run(*command)
    work = carrier.work(carrier.check_committed(), carrier.remote_of(), inputs)
    monkeypatch.setenv(cluster_task.FOLDER, str(tmp_path / "node"))
    run = {"name": "small-bce-42", "stage": "train@small-bce-42", "finished": "models/small-bce/seed42/run.json"}
    outcome = cluster_task.train(work, run)
    assert outcome["status"] == 0, outcome["log"]
    assert "Running stage 'train@small-bce-42'" in outcome["log"]
    assert not (tmp_path / "node" / work["key"] / "data/raw").exists()  # raw data stays where it is
    carrier.collect([run["stage"]], head.environment, Path("tmp/collect.log"))
    assert (head.folder / run["finished"]).exists()
    with pytest.raises(
        UserError, match="replicate@small-bce-7 was reported done, yet would be trained here: its inputs"
    ):
        carrier.collect([run["stage"], "replicate@small-bce-7"], head.environment, Path("tmp/collect.log"))
    assert head.journal().keys() <= {"split", f"began small-bce-7-{head.lr}"}
    shutil.rmtree(tmp_path / "node")
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(RuntimeError, match="dvc --wait-for-lock pull preprocess split configure failed on"):
        cluster_task.train(work, run)


@pytest.fixture(scope="module")
def network():
    """Words before a command that put it into a network with nothing but loopback."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install -r requirements-cluster.txt")
    with namespace() as words:
        if words is None:
            pytest.skip("no network namespace can be made here, and outside of one Ray listens on all interfaces")
        yield words


FORKED = f"""
import os, sys
if "default_worker.py" in " ".join(sys.orig_argv) and os.path.exists({{file!r}}):
    sys.executable = os.environ[{PYTHON!r}]
"""
"""What Python does before all else in a process of Ray that works: what that starts are forks while a file is there."""


@pytest.fixture(scope="module")
def nodes_of_all(network, tmp_path_factory, forks):
    """A head without processors, and nodes a and b with one each."""
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(FORKED.format(file=str(folder / "forked")))
    nodes = Nodes(folder, network, {**forks.inherited(), "PYTHONPATH": str(folder / "site")})
    try:
        yield nodes
    finally:
        nodes.end()


@pytest.fixture
def nodes(nodes_of_all):
    """Those of all tests, which a test that fails must not keep busy; what they start are forks."""
    for name, number in {"a": 2, "b": 3}.items():
        if name not in nodes_of_all.running:  # at first, and where another test has ended it
            nodes_of_all.start(name, number)
    (nodes_of_all.folder / "forked").touch()
    yield nodes_of_all
    for launcher in nodes_of_all.launchers:
        launcher.kill()
        launcher.wait()
    nodes_of_all.launchers.clear()


class Head(Standin):
    """A study whose trainings can be held and made to fail wherever they run, to be launched on `nodes`."""

    def __init__(self, folder: Path, nodes: Nodes | None = None):
        self.nodes = nodes
        super().__init__(folder, models=("small",))
        train = folder / "pipeline/train.py"
        text = train.read_text().replace('Path(f"tmp/fail-', f'Path(f"{folder}/tmp/fail-')
        held = f'while Path("{folder}/tmp/hold").exists():\n    time.sleep(0.05)\n'
        train.write_text(text.replace("for epoch in", held + "for epoch in"))
        (folder / "tmp").mkdir()
        commit(self)
        self.run("dvc", "remote", "add", "-q", "-d", "store", "../store")
        self.lr = self.content["models"]["small"]["lr"]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **super().environment,
            **(self.nodes.environment if self.nodes else {}),
            "PATH": super().environment["PATH"],
        }

    def start(self, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.Popen:
        with (self.folder / "tmp/printed").open("w") as printed:
            launcher = subprocess.Popen(
                [*self.nodes.namespace, sys.executable, "-c", LAUNCHER, "--ray", ADDRESS, *arguments],
                cwd=self.folder,
                env={**self.environment, **(more or {})},
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes.launchers.append(launcher)
        return launcher


LAUNCHER = f"""
import os, sys
sys.executable = os.environ.pop({PYTHON!r}, sys.executable)
from pipeline.commands import launch
launch.main()
"""


def commit(study: Standin) -> None:
    study.run("git", "add", "-A")
    study.run("git", "commit", "-qm", "study")


def ended(nodes: Nodes, *names: str) -> list[str]:
    return sorted(line.split()[1] for line in nodes.journal(*names) if line.startswith("ended"))


@pytest.mark.slow
def test_runs_are_spread_over_both_nodes_and_one_that_fails_is_named_and_done_by_the_next_launch(nodes, tmp_path):
    head = Head(tmp_path / "head", nodes)
    failing = head.folder / "tmp/fail-small-bce-7"
    failing.touch()
    (nodes.folder / "broken").touch()  # where a folder should be
    nodes.start("broken", 9)
    printed = head.launch(status=1)
    nodes.kill("broken")
    assert printed.count(" is left out:\nFileExistsError") == 1
    assert (
        "failed: small-bce-7, 2 times, see tmp/launch/small-bce-7.log:\n  error: small-bce-7 fails by order" in printed
    )
    assert "missing: small-bce, seed 7\n" in printed
    log = (head.folder / "tmp/launch/small-bce-7.log").read_text()
    assert log.count("--- small-bce-7, attempt") == log.count("error: small-bce-7 fails by order") == 2
    assert "collected 1 training run; 0 were trained on this machine" in printed
    assert head.metrics() == [line for line in head.expected(head.lr) if not line.startswith("small-bce-7 ")]
    failing.unlink()
    printed = head.launch()
    assert "collected 2 training runs; 0 were trained on this machine" in printed
    assert head.metrics() == head.expected(head.lr)
    assert head.journal() == {"split": 1}
    assert ended(nodes, "a", "b") == [f"small-bce-42-{head.lr}", f"small-bce-7-{head.lr}"]
    assert nodes.journal("a")
    assert nodes.journal("b")
    assert "epoch 4/4" in (head.folder / "tmp/launch/small-bce-7.log").read_text()


@pytest.mark.slow
def test_a_real_study_is_trained_to_the_bytes_of_this_machine(nodes, prepared):
    head = object.__new__(Head)
    head.folder, head.nodes = prepared.parent / "head", nodes
    copy_tracked([*COPIED, "pipeline"], head.folder)
    study = {"models": ["small"], "losses": ["bce"], "replicates": [7]}
    for folder in (prepared, head.folder):
        (folder / "params.yaml").write_text(yaml.safe_dump({**TINY, "study": study}))
    (head.folder / "tmp").mkdir()
    (head.folder / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    head.run("git", "init", "-q")
    commit(head)
    store = str(nodes.folder / "store")
    Path(store).mkdir()
    (prepared.parent / "here").symlink_to(store)
    head.run("dvc", "remote", "add", "-q", "-d", "store", "../here")
    launcher = head.start("--remote-url", store)
    loaded = load()
    for run in runs(loaded):
        train.train(run, loaded)
    until(lambda: "collected 2 training runs; 0 were trained" in head.printed() or launcher.poll() is not None)
    assert launcher.poll() is None, head.printed()
    for seed in (42, 7):
        model = f"models/small-bce/seed{seed}/model.safetensors"
        assert (head.folder / model).read_bytes() == (prepared / model).read_bytes()


@pytest.mark.slow
def test_ctrl_c_and_a_lost_node_leave_no_training_behind_and_the_study_is_the_same(nodes, tmp_path):
    (nodes.folder / "forked").unlink()  # forks would not be found below the nodes
    head = Head(tmp_path / "head", nodes)
    hold = head.folder / "tmp/hold"
    hold.touch()
    before = {name: len(nodes.journal(name)) for name in "ab"}

    def begun(name: str) -> bool:
        return len(nodes.journal(name)) > before[name]

    def trainings() -> list[psutil.Process]:
        found = []
        for process in nodes.processes():
            with contextlib.suppress(psutil.Error):  # one that has just ended has no command line
                if "pipeline.train" in process.cmdline():
                    found.append(process)
        return found

    launcher = head.start()
    until(lambda: (begun("a") and begun("b")) or launcher.poll() is not None)
    assert launcher.poll() is None, head.printed()
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=300) == 128 + signal.SIGINT
    assert "stopped; " in head.printed()
    until(lambda: trainings() == [], 30)  # what was killed on a busy machine is there for a moment

    before = {name: len(nodes.journal(name)) for name in "ab"}
    launcher = head.start()
    until(lambda: (begun("a") and begun("b")) or launcher.poll() is not None)
    assert launcher.poll() is None, head.printed()
    nodes.kill("b")
    until(
        lambda: len(trainings()) == 1 or launcher.poll() is not None, pause=0.2
    )  # that of b ends, though nobody has killed it
    hold.unlink()
    assert launcher.wait(timeout=300) == 0, head.printed()
    assert "was lost or could not go on" in "".join(p.read_text() for p in (head.folder / "tmp/launch").glob("*.log"))
    assert "collected 2 training runs; 0 were trained on this machine" in head.printed()
    assert head.metrics() == head.expected(head.lr)
    assert [run for run in ended(nodes, "b") if run not in ended(nodes, "a")] == []


def test_what_ray_is_given_needs_no_project(tmp_path):
    cloudpickle = pytest.importorskip("ray", reason="Ray is not installed").cloudpickle
    cloudpickle.register_pickle_by_value(cluster_task)
    try:
        (tmp_path / "sent").write_bytes(cloudpickle.dumps((cluster_task.train, cluster_task.Board)))
    finally:
        cloudpickle.unregister_pickle_by_value(cluster_task)
    code = (
        "import sys; from ray import cloudpickle; run, board = cloudpickle.load(open('sent', 'rb')); "
        "assert not [name for name in sys.modules if name.startswith('pipeline')]; board().put('', '', '', ''); "
        "print(run.__globals__['node_folder']())"
    )
    environment = {**os.environ, cluster_task.FOLDER: "/node"}
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "/node\n", done.stderr
