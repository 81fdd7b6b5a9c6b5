"""A study in a repository of its own whose stages are stand-ins: they write what DVC expects, without computing it.

dvc.yaml, params.yaml, stage configure, the launcher and DVC are the real ones. A training run takes a moment, keeps a
checkpoint after each epoch as the real one does, and notes in tmp/journal that it began, went on or came to its end.
"""

import copy
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.shared.tiny import IDENTITY, TINY, copy_tracked
from pipeline.launching.workers import leftovers, mark_of

COPIED = [
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
    ".gitattributes",
    ".dvc/config",
    ".dvc/plots",
]
EPOCHS = 4
STAGES = {
    "download": """
        from pathlib import Path
        Path("data/raw/phantom").mkdir(parents=True, exist_ok=True)
        Path("data/raw/phantom/image").write_text("raw")
        for name in ("inputs/root", "inputs/table", "source/SOURCE.json"):
            Path("data", name).parent.mkdir(parents=True, exist_ok=True)
            Path("data", name).write_text("")
    """,
    "preprocess": """
        from pathlib import Path
        Path("data/study/prepared").mkdir(parents=True)
        Path("data/study/prepared/images").write_text(Path("data/raw/phantom/image").read_text() + " prepared")
    """,
    "split": """
        from pathlib import Path
        Path("data/study/split").mkdir(parents=True)
        Path("data/study/split/split").write_text("split")
        Path("tmp").mkdir(exist_ok=True)
        with open("tmp/journal", "a") as journal:
            journal.write("split\\n")
    """,
    "train": """
        import json, os, sys, time, yaml
        from pathlib import Path
        model, loss, seed = sys.argv[2::2]
        assert Path(f"data/configurations/{model}-{loss}.train.json").exists()
        run = f"{model}-{loss}-{seed}"
        lr = yaml.safe_load(Path("params.yaml").read_text())["models"][model]["lr"]
        Path("tmp/ckpt").mkdir(parents=True, exist_ok=True)
        def note(what):
            with open("tmp/journal", "a") as journal:
                journal.write(f"{what} {run}-{lr}\\n")
        checkpoint = Path(f"tmp/ckpt/{run}-{lr}")
        first = int(checkpoint.read_text()) + 1 if checkpoint.exists() else 1
        note("began" if first == 1 else "went on")
        for epoch in range(first, EPOCHS + 1):
            if Path(f"tmp/fail-{run}").exists() and epoch == 2:
                sys.exit(f"error: {run} fails by order")
            time.sleep(0.1)
            print(f"{model}-{loss} seed {seed}  epoch {epoch}/EPOCHS  loss 0.5  val loss 0.4  val AUROC 0.75  "
                  "9 img/s  at most 00:01 left", flush=True)
            checkpoint.with_suffix(".partial").write_text(str(epoch))
            os.replace(checkpoint.with_suffix(".partial"), checkpoint)
        folder = Path(f"models/{model}-{loss}/seed{seed}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text(f"{run} {lr} {Path('data/study/split/split').read_text()}")
        record = {"seconds": 8.0, "epochs": EPOCHS, "environment": None}
        (folder / "run.json").write_text(json.dumps(record))
        checkpoint.unlink()
        note("ended")
    """,
    "evaluate": """
        import sys
        from pathlib import Path
        model, loss = sys.argv[2::2]
        models = sorted(Path(f"models/{model}-{loss}").glob("seed*/model.safetensors"))
        Path(f"evaluations/{model}-{loss}").mkdir(parents=True)
        Path(f"evaluations/{model}-{loss}/models").write_text("\\n".join(p.read_text() for p in models))
    """,
    "probe": """
        from pathlib import Path
        Path("probes").mkdir()
    """,
    "fuse": """
        from pathlib import Path
        Path("fused").mkdir()
    """,
    "ensemble": """
        from pathlib import Path
        Path("ensembles").mkdir()
        evaluations = sorted(Path("evaluations").glob("*/models"))
        Path("ensembles/all").write_text("\\n".join(p.read_text() for p in evaluations))
    """,
    "report": """
        import json
        from pathlib import Path
        Path("reports").mkdir(exist_ok=True)
        metrics = {"runs": {"lines": Path("ensembles/all").read_text().splitlines()}}
        Path("reports/metrics.json").write_text(json.dumps(metrics))
        for name in ("curves.csv", "roc.csv", "pr.csv", "confusion.csv"):
            Path("reports", name).write_text("")
    """,
}


class Standin:
    """The study, its folder, and what its stages noted."""

    forks: Any = None
    """What starts this Python and DVC (``start``, ``run``), in place of new processes."""

    def __init__(
        self,
        folder: Path,
        models: Sequence[str] = ("small", "wide"),
        losses: Sequence[str] = ("bce",),
        replicates: Sequence[int] = (7,),
    ) -> None:
        self.folder = folder
        copy_tracked([*COPIED, "pipeline"], folder)
        for stage, code in STAGES.items():
            text = textwrap.dedent(code).replace("EPOCHS", str(EPOCHS))
            (folder / f"pipeline/{stage}.py").write_text(text)
        warm = folder / "pipeline/launching/warm.py"
        warm.write_text(re.sub(r'^    \*\("torch".*\n(    .*\n)*', "", warm.read_text(), flags=re.MULTILINE))
        assert "torch" not in warm.read_text().split("LIBRARIES = (")[1].split("\n)")[0]  # the stand-ins need none
        (folder / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
        self.content = copy.deepcopy(TINY)
        self.write(study={"models": [*models], "losses": [*losses], "replicates": [*replicates]})
        self.run("git", "init", "-q", "-b", "main")

    def write(self, **sections: Any) -> None:
        """Write params.yaml with other content of some sections."""
        self.content |= sections
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.content, sort_keys=False))

    def set_lr(self, lr: float) -> None:
        """Give every model another learning rate, so that all training runs are due."""
        self.write(models={name: {**model, "lr": lr} for name, model in self.content["models"].items()})

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which ``python`` is this Python and git can commit."""
        binaries = str(Path(sys.executable).parent)
        return os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}"} | IDENTITY

    def start(self, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start the launcher, with more environment; what it prints goes to tmp/printed."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        command = ["-m", "pipeline.commands.launch", *arguments]
        with (self.folder / "tmp/printed").open("w") as printed:
            options: dict[str, Any] = {
                "cwd": self.folder,
                "env": {**self.environment, **(more or {})},
                "stdout": printed,
                "stderr": printed,
                "start_new_session": True,
            }
            if self.forks is not None:
                return self.forks.start(command, **options)
            return subprocess.Popen([sys.executable, *command], **options)

    def printed(self) -> str:
        """Read what the launcher has printed."""
        return (self.folder / "tmp/printed").read_text()

    def launch(self, *arguments: str, status: int = 0) -> str:
        """Run the launcher to its end; return what it printed."""
        more = self.forks.inherited() if self.forks is not None else None
        assert self.start(*arguments, more=more).wait(timeout=600) == status, self.printed()
        return self.printed()

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command that must end with `status`; return what it printed."""
        words = ("-m", *command) if command[0] == "dvc" else command[1:] if command[0] == sys.executable else ()
        options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "timeout": 600}
        if self.forks is not None and words:
            done = self.forks.run(words, **{**options, "env": self.forks.environment(self.environment)})
        else:
            done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def journal(self) -> Counter[str]:
        """Count what the stand-in stages have noted."""
        path = self.folder / "tmp/journal"
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    def ended(self, lr: float) -> Counter[str]:
        """Count how often each training run came to its end under `lr`."""
        names = {line.removeprefix("ended "): n for line, n in self.journal().items() if line.startswith("ended ")}
        return Counter({name.removesuffix(f"-{lr}"): n for name, n in names.items() if name.endswith(f"-{lr}")})

    def metrics(self) -> list[str]:
        """Read the lines of metrics.json."""
        return json.loads((self.folder / "reports/metrics.json").read_text())["runs"]["lines"]

    def expected(self, lr: float) -> list[str]:
        """Return what metrics.json must hold: every training run once, in the order of its files."""
        study = self.content["study"]
        keys = sorted(f"{m}-{lo}" for m in study["models"] for lo in study["losses"])
        seeds = sorted([self.content["seed"], *study["replicates"]], key=lambda s: f"seed{s}")
        return [f"{key}-{seed} {lr} split" for key in keys for seed in seeds]

    def nothing_left(self, seconds: float = 150.0) -> bool:
        """Wait for the processes below the launcher to be gone."""
        deadline = time.monotonic() + seconds
        while leftovers(mark_of(self.folder, None)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
