"""Where the files between stages lie, and how they are written: complete or not at all.

No other module spells a path of the study.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.study.disk import amount, disk_full, why_full
from pipeline.study.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.lib.npyio import NpzFile

RAW = Path("data/raw")
ABOUT = "ABOUT.txt"
"""In the folder of a data set as published: what it is, and under which terms."""
INPUTS = Path("data/inputs")
"""Links to what the data set reads outside of the project, by the key of params.yaml that names it."""
IGNORE = ".dvcignore"
"""Beside these links: what DVC passes over behind them."""
SOURCE_FOLDER = Path("data/source")
SOURCE = SOURCE_FOLDER / "SOURCE.json"
CONTENT = SOURCE_FOLDER / "content.csv"
"""Digests of all samples as stage download found them."""
PREPARED = Path("data/study/prepared")
IMAGES = PREPARED / "images.npy"
MASKS = PREPARED / "masks.npy"
"""Of segmentation: uint8 [N, H, W], with several classes [N, H, W, K], 255 inside and 0 outside of each structure."""
PREPARATION = PREPARED / "preparation.json"
"""Of segmentation: section ``preprocess`` by which images were made, as a trained network needs it for others."""
DATASET = PREPARED / "dataset.json"
SAMPLES = PREPARED / "samples.csv"
EXCLUDED = PREPARED / "excluded.csv"
DUPLICATES = PREPARED / "duplicates.csv"
EXAMPLES = PREPARED / "examples.npz"
READING = PREPARED / "reading.json"
"""How the files were read: the scale of those that do not say theirs, and every kind with its number of images."""
KINDS = PREPARED / "kinds.npz"
"""A picture of one image of every kind."""
BOXES = PREPARED / "boxes.csv"
SPLIT_FOLDER = Path("data/study/split")
SPLIT = SPLIT_FOLDER / "split.csv"
AUDIT = SPLIT_FOLDER / "audit.json"
WEIGHTS = Path("data/weights")
"""Its folder ``files`` holds, of each model, a link to the file of trained weights that it starts from."""
CONFIGURATIONS = Path("data/configurations")
MODELS = Path("models")
EVALUATIONS = Path("evaluations")
FUSED = Path("fused")
"""Feature ensembles: fused.json lists them with their members, predictions.npz holds their logits."""
ENSEMBLES = Path("ensembles")
PROBES = Path("probes")
EXPLANATIONS = Path("explanations")
"""Heat maps of each configuration by each method, scored: a folder each."""
EXTERNAL_DATA = Path("data/external")
"""Of each external test set a folder: raw, links to its inputs, what was found, and the prepared images."""
EXTERNAL = Path("external")
"""Results on external test sets, a folder each."""
VARIANTS = Path("variants")
"""Of each variant a folder: study (its split, and its images if they are its own), models, evaluations, ensembles."""
REPORTS = Path("reports")
PRIVATE_FIGURES = Path("data/figures")
"""Figures that show images which may not be passed on: git ignores data/."""
CHECKPOINTS = Path("tmp/ckpt")
PSEUDONYM_SALT = Path("tmp/pseudonyms/salt")
PSEUDONYM_KEY = Path("tmp/pseudonyms/key.csv")
"""Which image or patient a pseudonym in the reports stands for: git ignores tmp/."""
AUGMENTED = "augmented.npz"
"""In the folder of a run and of an evaluation: training images as the network gets them, see `write_augmented`."""

_HERE, _SWAP = -100, 2
"""Of Linux: AT_FDCWD, RENAME_EXCHANGE."""


class ArtifactError(UserError):
    """A file between stages is missing or is not what it should be. The message names the stage that makes it."""


def raw_folder(dataset: str) -> Path:
    """Folder of the data set as published."""
    return RAW / dataset


def made_by(path: Path, stage: str) -> Path:
    """Return `path` if it exists.

    Raises
    ------
    ArtifactError
        Naming the stage to run.
    """
    if not path.exists():
        raise ArtifactError(f"{path} is missing; stage '{stage}' makes it: dvc repro {stage}")
    return path


LEFT = Path("tmp/left")
"""Results of training runs that have left the study, under the paths that they had. Nothing reads them again."""
_MAKERS = {
    SOURCE_FOLDER: "download",
    PREPARED: "preprocess",
    SPLIT_FOLDER: "split",
    WEIGHTS: "configure",
    CONFIGURATIONS: "configure",
    MODELS: "train",
    EVALUATIONS: "evaluate",
    PROBES: "probe",
    EXPLANATIONS: "explain",
    EXTERNAL_DATA: "prepare_external",
    EXTERNAL: "evaluate_external",
    VARIANTS: "evaluate_variant",
    FUSED: "fuse",
    ENSEMBLES: "ensemble",
    REPORTS: "report",
}
"""The stage that writes each folder."""
REPLACED = (*(folder for folder in _MAKERS if folder != WEIGHTS), WEIGHTS / "files", CHECKPOINTS, LEFT)
"""Folders of the study's own results, which stages and DVC remove, replace and move: no place for what it reads."""


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Read a file between stages in the body; one that is cut, zeroed or otherwise damaged is told by its name.

    DVC notices such a file by its hash, and puts it right; a stage that is run by hand, or beside what damages it,
    does not ask DVC.

    Raises
    ------
    ArtifactError
        Naming the file, what is wrong with it, and the stage that makes it again.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every library has its own for what contradicts its format
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        maker = next((stage for folder, stage in _MAKERS.items() if path.is_relative_to(folder)), None)
        again = f"; stage '{maker}' makes it again: dvc repro {maker}" if maker else ""
        raise ArtifactError(f"{path} is damaged ({reason[:120] or type(error).__name__}){again}") from error


@contextmanager
def opened_arrays(path: Path) -> Iterator[NpzFile]:
    """Open an .npz file between stages, see `intact`; NumPy leaves one open that it finds to be damaged."""
    import numpy as np

    with intact(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


def write_json(path: Path, content: Any, sort_keys: bool = False) -> None:
    """Write `content` as indented JSON in a stable form; the file is complete or absent."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys) + "\n"
    write_text(path, text)


def null(value: float) -> float | None:
    """Return `value`, or JSON's null where it is undefined."""
    return value if math.isfinite(value) else None


def nulls(numbers: dict[str, float]) -> dict[str, float | None]:
    """Put JSON's null where a number is undefined."""
    return {name: null(value) for name, value in numbers.items()}


@contextmanager
def replaced(path: Path, size: int | None = None) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` at the end: the file is complete, or as it was before.

    The suffix stays, as NumPy adds its own to a name without. Where the body raises, what it wrote is removed.

    Parameters
    ----------
    path : Path
        The file; its folder is made.
    size : int, optional
        Bytes that it will have, about; for the message of a full disk.

    Raises
    ------
    DiskFull
        If it does not fit on the disk.
    """
    partial = path.with_name(f"partial-{path.name}")  # one name: what a kill leaves is overwritten by the next
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except UserError:
        raise
    except Exception as error:
        if (why := why_full(error)) is None:
            raise
        written = partial.stat().st_size if partial.exists() else 0
        needed = f"more than {amount(written)}" if size is None else amount(size)
        raise disk_full(str(path), path.parent, why, needed, spare=written) from error
    finally:
        with suppress(OSError):  # where nothing could be written: the error that says so is the one to be seen
            partial.unlink(missing_ok=True)


@contextmanager
def exchanged(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `folder` at the end, as a whole.

    Where the body raises, or is killed, `folder` is as it was before. It may be a link to a folder.
    """
    folder = folder.resolve() if folder.is_symlink() else folder
    partial, old = folder.with_name(f"partial-{folder.name}"), folder.with_name(f"partial-old-{folder.name}")
    if old.exists() and not folder.exists():
        os.rename(old, folder)  # killed between the two steps of `_exchange`
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            _exchange(partial, folder, old)
        else:
            os.rename(partial, folder)
    finally:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _exchange(one: Path, other: Path, aside: Path) -> None:
    """Exchange two folders in one step, or where the file system cannot, in two."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is None or swap(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _SWAP):
        os.rename(other, aside)
        os.rename(one, other)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends; the file is complete or absent."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`; the file is complete or absent."""
    with replaced(path, len(content)) as partial:
        partial.write_bytes(content)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` without its index; the file is complete or absent."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path, text: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """Read a table that `write_csv` wrote: nothing but an empty field is missing.

    Parameters
    ----------
    path : Path
        CSV; it must exist.
    text : iterable of str
        Columns that stay text, whatever they look like; those that the table does not have are passed over.
    **options
        Of `pandas.read_csv`.

    Raises
    ------
    ArtifactError
        If it is damaged, see `intact`.

    Notes
    -----
    By default pandas takes ``NA``, ``None``, ``nan``, ``null`` and a dozen more for missing: names that classes,
    patients and files may have.
    """
    import pandas as pd

    dtypes = {**dict.fromkeys(text, "str"), **options.pop("dtype", {})}
    with intact(path):
        _check_end(path)
        return pd.read_csv(path, dtype=dtypes, **{"keep_default_na": False, "na_values": [""], **options})


def _check_end(path: Path) -> None:
    """Refuse a table that was cut: its last line would be lost, or half of it taken for the whole."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            raise ValueError("its end is missing")


def read_json(path: Path, stage: str) -> Any:
    """Read a JSON file that `stage` makes."""
    made_by(path, stage)
    with intact(path):
        return json.loads(path.read_text(encoding="utf-8"))
