"""A worker that is forked is a worker that was started anew, but sooner."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.shared.waiting import gone, until
from pipeline.launching import guard, warm, workers
from pipeline.launching.warm import Warm
from pipeline.launching.workers import Worker
from tests.tiny import ROOT, copy_tracked

until = partial(until, seconds=120.0)

STAGE = """
    import json, os, sys, time
    from pathlib import Path
    told = {
        "arguments": sys.argv[1:],
        "name": __name__,
        "folder": os.getcwd(),
        "given": os.environ.get("GIVEN"),
        "input": sys.stdin.read(),
        "marked": os.environ["MEDMATRIX_LAUNCH"],
        "group": os.getpgrp(),
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "warm": "colorsys" in sys.modules,
        "path": sys.path[0],
        "ignored": __import__("signal").getsignal(15).name,
    }
    Path(sys.argv[1] + ".part").write_text(json.dumps(told))
    os.replace(sys.argv[1] + ".part", sys.argv[1])
    print("printed by the stage", flush=True)
    print("said by the stage", file=sys.stderr)
    if "wait" in sys.argv:
        while not Path("go").exists():
            time.sleep(0.02)
    if "finish" in sys.argv:
        Path("run.json").write_text("{}")
        while not Path("recorded").exists():
            time.sleep(0.02)
    if "die" in sys.argv:
        os.kill(os.getpid(), 9)
    sys.exit(int(sys.argv[2]))
"""
COMMAND = """
    import subprocess, sys
    status = subprocess.call(["/bin/sh", "-c", "python -m pipeline.stage " + " ".join(sys.argv[1:])])
    sys.exit(status + 1 if status >= 0 else 100 - status)
"""
LAUNCHER = """
    import os, sys, time
    from pathlib import Path
    from pipeline.launching import workers
    from pipeline.launching.warm import Warm
    environment = workers.base_environment("killed")
    warm = Warm(environment, Path("warm.log"))
    worker = workers.Worker(["command", "told", "0", "wait"], environment, Path("log"), warm=warm)
    while not Path("told").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the project whose server imports one library, which takes no time."""
    folder = tmp_path_factory.mktemp("warm")
    copy_tracked(["pipeline"], folder)
    file = folder / "pipeline/launching/warm.py"
    file.write_text(re.sub(r"LIBRARIES = \(\n.*?\n\)", 'LIBRARIES = ("colorsys",)', file.read_text(), flags=re.DOTALL))
    for name, code in {"pipeline/stage.py": STAGE, "command.py": COMMAND, "launcher.py": LAUNCHER}.items():
        (folder / name).write_text(textwrap.dedent(code))
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("told", "go", "run.json", "recorded", "log"):
        Path(name).unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        server = Warm(environment(), folder / "warm.log")
    with server:
        yield server


def environment(**more):
    return {**workers.base_environment("warm"), **more}


def told():
    return json.loads(Path("told").read_text())


@pytest.mark.parametrize("kind", ["warm", "cold"])
def test_a_stage_finds_what_a_new_process_would_have(here, server, kind):
    chosen = server if kind == "warm" else None
    worker = Worker(["command", "told", "4", "a b"], environment(GIVEN="this"), here / "log", warm=chosen)
    assert worker.wait() == 5
    facts = told()
    assert facts["arguments"] == ["told", "4", "a", "b"]
    assert facts["name"] == "__main__"
    assert (facts["given"], facts["marked"], facts["input"]) == ("this", "warm", "")
    assert facts["folder"] == facts["path"] == str(here)
    assert facts["group"] == worker._process.pid
    assert facts["ignored"] == "SIG_DFL"
    assert facts["warm"] == (kind == "warm")
    assert (here / "log").read_text() == "printed by the stage\nsaid by the stage\n"


def test_code_is_read_as_it_lies_on_the_disk(here, server):
    module = here / "pipeline/said.py"
    for word in ("first", "second and longer"):
        module.write_text(f"print({word!r})\n")
        assert Worker(["pipeline.said"], environment(), here / "log", warm=server).wait() == 0
    assert (here / "log").read_text() == "first\nsecond and longer\n"


def test_a_stage_that_a_signal_ends_is_seen_to_have_been(here, server):
    # A shell that did not make way for its command tells of signal 9 as status 137.
    status = Worker(["command", "told", "0", "die"], environment(), here / "log", warm=server).wait()
    assert status in (100 + 9, 137 + 1)


def test_stopping_a_worker_ends_the_stage(here, server):
    worker = Worker(["command", "told", "0", "wait"], environment(), here / "log", warm=server)
    until(Path("told").exists)
    assert worker.poll() is None
    worker.stop()
    assert worker.wait() in (100 + signal.SIGTERM, 128 + signal.SIGTERM + 1)
    until(lambda: gone(told()["pid"]))


def test_a_guard_that_is_killed_leaves_no_stage(here, server):
    worker = Worker(["command", "told", "0", "wait"], environment(), here / "log", warm=server)
    until(Path("told").exists)
    os.kill(worker._process.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    until(lambda: gone(told()["pid"]))


def test_work_that_has_ended_is_recorded_before_a_worker_stops(here, server):
    file = here / "run.json"
    worker = Worker(["command", "told", "0", "finish"], environment(), here / "log", finished=file, warm=server)
    until(file.exists)
    worker.stop()
    time.sleep(4 * guard.PAUSE_SECONDS)
    assert worker.poll() is None
    Path("recorded").touch()
    assert worker.wait() == 1


def test_a_launcher_that_is_killed_leaves_nothing(here):
    done = subprocess.run([sys.executable, "launcher.py"], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    until(lambda: gone(told()["pid"]))
    until(lambda: not [p for p in workers.leftovers("killed") if not gone(p.pid)])


def test_workers_start_anew_when_the_server_has_died(here):
    with Warm(environment(), here / "warm.log") as server:
        running = Worker(["command", "told", "0", "wait"], environment(), here / "log", warm=server)
        until(Path("told").exists)
        pid = told()["pid"]
        server._process.kill()
        assert running.wait() == -signal.SIGKILL
        until(lambda: gone(pid))
        Path("told").unlink()
        assert Worker(["command", "told", "0"], environment(), here / "log", warm=server).wait() == 1
        assert not told()["warm"]


def test_a_server_that_declines_says_so_and_workers_start_anew(here, capfd):
    (here / "yaml.py").write_text("import threading, time\nthreading.Thread(target=time.sleep, args=(30,)).start()\n")
    (here / "colorsys.py").write_text("import yaml\n")
    try:
        with Warm(environment(), here / "warm.log") as server:
            assert Worker(["command", "told", "0"], environment(), here / "log", warm=server).wait() == 1
    finally:
        (here / "yaml.py").unlink()
        (here / "colorsys.py").unlink()
    assert not told()["warm"]
    assert "declined: the libraries have started threads" in (here / "warm.log").read_text()
    assert capfd.readouterr().out.count("note: every process imports its libraries anew") == 1


def test_the_socket_is_gone_when_the_server_is(here):
    with Warm(environment(), here / "warm.log") as server:
        assert Worker(["command", "told", "0"], environment(), here / "log", warm=server).wait() == 1
        place = Path(server._address).parent
        assert place.stat().st_mode & 0o077 == 0
        assert {path.name for path in place.iterdir()} == {"bin", "server"}  # the worker's own has gone with it
    assert not place.exists()


def test_a_worker_whose_server_cannot_be_made_does_its_work(here):
    with Warm(environment(), here / "warm.log") as server:
        assert Worker(["command", "told", "0"], environment(), here / "log", warm=server).wait() == 1
        place = Path(server._address).parent
        shutil.rmtree(place / "bin")
        place.rename(place.with_name(place.name + "-moved"))
        server._address = str(place.with_name(place.name + "-moved") / "server")
        Path("told").unlink()
        assert Worker(["command", "told", "0"], environment(), here / "log", warm=server).wait() == 1
        shutil.rmtree(place.with_name(place.name + "-moved"))
    assert not told()["warm"]
    assert "note: no server for the commands of this worker" in (here / "log").read_text()


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("", 0, ""),
        ("raise SystemExit", 0, ""),
        ("import sys; sys.exit(300)", 300 & 0xFF, ""),
        ("import sys; sys.exit('error: by order')", 1, "error: by order\n"),
        ("import atexit; atexit.register(print, 'at the end')", 0, "at the end\n"),
        ("print('not flushed', end='')", 0, "not flushed"),
        (
            "import threading, time; threading.Thread(target=lambda: time.sleep(0.3) or print('later')).start()",
            0,
            "later\n",
        ),
        ("from concurrent.futures import ThreadPoolExecutor as T; t = T(2); t.submit(print, 'pooled')", 0, "pooled\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_a_fork_ends_as_a_new_process_does(here, server, code, status, said):
    (here / "ends.py").write_text(code + "\n")
    for chosen in (server, None):
        (here / "log").unlink(missing_ok=True)
        assert Worker(["ends"], environment(), here / "log", warm=chosen).wait() == status
        assert (here / "log").read_text().endswith(said)


def test_a_request_that_is_no_request_ends_nothing(here, server):
    assert Worker(["command", "told", "0"], environment(), here / "log", warm=server).wait() == 1
    for wrong in (b"no json\n", b'{"command": 3}\n', b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(server._address)
            connection.sendall(wrong)
    elsewhere = warm.Request(["command"], environment(), str(here / "absent"))
    connection, _ = warm.ask(server._address, elsewhere, (0, 1, 2))
    with connection:
        assert json.loads(connection.recv(100)) == {"status": 1}
    Path("told").unlink()
    assert Worker(["command", "told", "0"], environment(), here / "log", warm=server).wait() == 1
    assert told()["warm"]


def test_a_process_with_threads_is_not_forked():
    alone = "from pipeline.launching.warm import safe_to_fork; print(safe_to_fork())"
    code = f"import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); {alone}"
    said = [
        subprocess.run([sys.executable, "-c", c], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for c in (code, alone)
    ]
    assert said == ["False\n", "True\n"]


@pytest.mark.slow
def test_the_libraries_are_those_of_the_stages_and_can_be_forked(forks):
    """A stage that imports a library which is not in the list would import it again for every training run."""
    code = """
        import importlib, sys
        from pipeline.launching import warm
        for name in warm.LIBRARIES:
            importlib.import_module(name)
        assert warm.safe_to_fork()
        before = {*sys.modules}
        for stage in ("train", "evaluate", "probe", "fuse", "ensemble", "report"):
            importlib.import_module(f"pipeline.{stage}")
        own = {"pipeline", *sys.stdlib_module_names}
        print(*sorted(name for name in {*sys.modules} - before if name.split(".")[0] not in own))
    """
    around = {**os.environ, "OPENBLAS_NUM_THREADS": "4", "OMP_NUM_THREADS": "4"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
    if hasattr(os, "pidfd_open"):  # with one thread the tests' own server has them, and has found itself safe to fork
        assert os.environ["OMP_NUM_THREADS"] == "1"
        code = (
            "import sys; before = {*sys.modules}; from pipeline.launching.warm import LIBRARIES\n"
            "ours = {name for name in LIBRARIES if name.startswith('pipeline.')}  # read anew by each fork\n"
            "assert 'torch' in LIBRARIES and {*LIBRARIES} - ours <= before, {*LIBRARIES} - before"
        )
        forks.run(["-c", code], cwd=ROOT, check=True)


def test_a_fork_takes_down_what_it_has_made_and_nothing_of_the_libraries(forks, tmp_path):
    code = """
        import sys, tempfile, weakref
        assert "torch" in sys.modules
        registered = [*weakref.finalize._registry]
        assert registered and not any(one.atexit for one in registered)
        folder = tempfile.TemporaryDirectory(dir=".")  # kept to the end of the process
    """
    forks.run(["-c", textwrap.dedent(code)], cwd=tmp_path, check=True)
    assert [*tmp_path.iterdir()] == []
