"""A study on drawn images that takes seconds, and copies of the project to run it in."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

TINY: dict[str, Any] = {
    "seed": 42,
    "dataset": "phantom",
    "study": {"models": ["small", "wide"], "losses": ["bce", "zlpr"], "replicates": [7]},
    "datasets": {"phantom": {"images": 220, "size": 64, "seed": 3, "min_prevalence": 0.08}},
    "preprocess": {"size": 24, "threads": 1},
    "split": {"method": "official", "validation": 0.25, "test": 0.2, "allow_missing_classes": True},
    "train": {"epochs": 2, "batch_size": 32, "patience": 2, "warmup_epochs": 0.5, "threads": 1},
    "models": {
        "small": {"arch": "baseline_cnn", "lr": 0.01, "options": {"filters": [4], "hidden": 8}},
        "wide": {"arch": "baseline_cnn", "lr": 0.01, "options": {"filters": [8], "hidden": 8}},
    },
    "losses": {"bce": {}, "zlpr": {}},
    "evaluate": {"bootstrap": 100, "threads": 1},
    "ensemble": {"top_k": 2},
    "explain": {"methods": []},
    "external": {},
    "variants": {},
    "report": {"private_figures": None},
    "about": {},
}

IDENTITY = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
"""Environment in which git can commit."""


def copy_tracked(names: Iterable[str], folder: Path) -> None:
    """Copy files and folders of the project into `folder`, with bytecode and what is known of the code beside it."""
    for name in names:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc.*", "*.json.*"))  # half-written ones
        else:
            shutil.copy(source, target)
