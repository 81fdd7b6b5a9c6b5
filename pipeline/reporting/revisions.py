"""Two revisions of the study beside each other: their reports from git, their predictions from DVC's cache.

Nothing is checked out and nothing is run. Where both revisions have the predictions of a configuration and the same
test images with the same labels, the difference is paired: both are scored on the same draws of patients. Where they
have not, there is no interval of the difference: two intervals that overlap say nothing about it.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate
from pipeline.study.errors import UserError
from pipeline.study.files import DATASET, ENSEMBLES, EVALUATIONS, REPORTS, SAMPLES, ArtifactError
from pipeline.study.params import PARAMS_FILE, parse_yaml
from pipeline.study.predictions import Predictions
from pipeline.uncertainty.comparisons import compare
from pipeline.uncertainty.multiplicity import holm

WORKSPACE = "workspace"
"""What the files of the working directory are called, as DVC does."""
CHOSEN = "chosen ensemble"
METRICS = REPORTS / "metrics.csv"
_PLACES = ("root", "table")
"""Where a data set was read from, which says nothing about its files."""


class Files(Protocol):
    """Where the files of a revision are read from."""

    def read(self, path: Path) -> bytes:
        """Return a file's content; OSError where it is not there."""


@dataclass(frozen=True)
class Revision:
    """A study as one revision has it.

    Parameters
    ----------
    name : str
        As it was asked for.
    commit : str
        Abbreviated hash; empty for the working directory.
    study : StudyResults
        As reports/metrics.csv has it.
    params : dict
        Content of params.yaml.
    files : Files
        Gives what DVC keeps: predictions, and the names of the images.
    """

    name: str
    commit: str
    study: StudyResults
    params: dict[str, Any]
    files: Files


class Row(NamedTuple):
    """A configuration, or the chosen ensemble, in two revisions.

    Parameters
    ----------
    name : str
        Of the configuration.
    seeds : pair of str
        Training seeds, "" where the revision lacks the configuration; of an ensemble its name.
    validation, test : pair of Estimate
        Macro AUROC.
    difference : Estimate
        Second less first, on the test set; its interval if it is paired.
    p : float
        Adjusted by Holm over the rows; NaN where it is not paired.
    note : str
        Why it is not paired; empty where it is.
    """

    name: str
    seeds: tuple[str, str]
    validation: tuple[Estimate, Estimate]
    test: tuple[Estimate, Estimate]
    difference: Estimate
    p: float = math.nan
    note: str = ""


class _Workspace:
    def read(self, path: Path) -> bytes:
        return path.read_bytes()


class _Tracked:
    """Files of a commit that DVC tracks, from its cache or, where one is set up, its remote."""

    def __init__(self, commit: str) -> None:
        self.commit = commit
        self._system: Any = None

    def read(self, path: Path) -> bytes:
        if self._system is None:
            from dvc.api import DVCFileSystem  # takes a second

            self._system = DVCFileSystem(".", rev=self.commit)
        try:
            content: bytes = self._system.cat_file(path.as_posix())
        except OSError:
            raise
        except Exception as error:  # each kind of cache and remote has its own; none says more than "not there"
            raise FileNotFoundError(str(path)) from error
        return content


def read_revision(name: str) -> Revision:
    """Read the reports of a revision: a commit, branch, tag or experiment, or `WORKSPACE`.

    Raises
    ------
    UserError
        If there is no such revision, or it has no reports.
    """
    if name == WORKSPACE:
        if not METRICS.exists():
            raise UserError(f"{METRICS} is missing: run dvc repro, or name two revisions")
        params = PARAMS_FILE.read_text(encoding="utf-8", errors="replace") if PARAMS_FILE.exists() else ""
        return Revision(name, "", from_metrics(METRICS), _yaml(params, name), _Workspace())
    commit = _commit(name)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "metrics.csv"
        content = _show(commit, METRICS)
        if content is None:
            raise UserError(f"{name} ({commit[:7]}) has no {METRICS}: its reports were not committed, or are older")
        table.write_bytes(content)
        study = from_metrics(table)
    return Revision(
        name,
        commit[:7],
        study,
        _yaml((_show(commit, PARAMS_FILE) or b"").decode(errors="replace"), name),
        _Tracked(commit),
    )


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], capture_output=True, check=False)


def _commit(name: str) -> str:
    """Return the hash that git, or DVC for an experiment, means by `name`."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.decode().strip()
    listed = _git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps/").stdout.decode()
    for line in listed.splitlines():
        commit, _, ref = line.partition(" ")
        if ref.rpartition("/")[2] == name and not ref.startswith("refs/exps/exec/"):
            return commit
    raise UserError(f"'{name}' is no commit, branch, tag or experiment of this repository")


def _show(commit: str, path: Path) -> bytes | None:
    """Return a file of a commit, relative to the working directory; None where it has none."""
    found = _git("show", f"{commit}:./{path.as_posix()}")
    return found.stdout if found.returncode == 0 else None


def _yaml(text: str, name: str) -> dict[str, Any]:
    content = parse_yaml(text, f"{PARAMS_FILE} of {name}")
    return content if isinstance(content, dict) else {}


def changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield every setting that differs: its key, and both values as text, an em dash where there is none."""
    one, other = _flat(first), _flat(second)
    for key in dict.fromkeys([*one, *other]):
        before, after = one.get(key, "—"), other.get(key, "—")
        if before != after:
            yield key, before, after


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in content.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{path}.")
        else:
            flat[path] = json.dumps(value, ensure_ascii=False, default=str)
    return flat


def beside(first: Revision, second: Revision, scoring: Mapping[str, Any], margin: float) -> list[Row]:
    """Return every configuration that either revision has, then the ensembles that validation chose.

    Parameters
    ----------
    first, second : Revision
        Differences are second less first.
    scoring : mapping
        Arguments of the bootstrap: draws, confidence, seed.
    margin : float
        Equivalence margin, see `compare`.
    """
    configurations = [{r.key: r for r in revision.study.configurations} for revision in (first, second)]
    rows = []
    for key in dict.fromkeys(name for each in configurations for name in each):
        rows.append(
            _row(key, (first, second), (configurations[0].get(key), configurations[1].get(key)), scoring, margin)
        )
    chosen = (first.study.chosen_ensemble, second.study.chosen_ensemble)
    if any(chosen):
        rows.append(_row(CHOSEN, (first, second), chosen, scoring, margin))
    adjusted = holm(np.array([row.p for row in rows], dtype=float))
    return [row._replace(p=float(p)) for row, p in zip(rows, adjusted, strict=True)]


def _row(
    name: str,
    revisions: tuple[Revision, Revision],
    results: tuple[Results | None, Results | None],
    scoring: Mapping[str, Any],
    margin: float,
) -> Row:
    seeds = tuple(", ".join(map(str, r.seeds)) or r.loss if r else "" for r in results)
    validation, test = (
        tuple(r.get("auroc", part=part) if r else Estimate() for r in results) for part in ("val", "test")
    )
    row = Row(name, (seeds[0], seeds[1]), (validation[0], validation[1]), (test[0], test[1]), Estimate())
    if results[0] is None or results[1] is None:
        lacking = revisions[0 if results[0] is None else 1]
        return row._replace(note=f"not in {lacking.name}")
    sets = [str(revision.params.get("dataset", "not recorded")) for revision in revisions]
    if sets[0] != sets[1]:  # a difference of two numbers about other images would say nothing
        return row._replace(note=f"other data sets: {sets[0]} and {sets[1]}")
    plain = Estimate(test[1].value - test[0].value)
    try:
        one, other = (_predicted(revision, r) for revision, r in zip(revisions, (results[0], results[1]), strict=True))
        other = _aligned(one, other)
    except _NotPaired as error:
        return row._replace(difference=plain, note=str(error))
    logits = {"second": other.predictions.test_logits, "first": one.predictions.test_logits}
    truth = one.predictions
    table = compare(truth.task, logits, truth.test_targets, truth.test_patients, margin=margin, **scoring)
    tested = table.iloc[0]
    if tested["note"]:
        return row._replace(difference=plain, note=str(tested["note"]))
    return row._replace(
        difference=Estimate(tested["difference"], tested["ci_low"], tested["ci_high"]), p=float(tested["p"])
    )


class _NotPaired(Exception):
    """Two revisions cannot be scored on the same images. The message says why."""


class _Predicted(NamedTuple):
    """Predictions with what tells their images apart: ids, and what the data set recorded of its files."""

    predictions: Predictions
    images: list[str]
    source: dict[str, Any]


def _predicted(revision: Revision, results: Results) -> _Predicted:
    ensemble = results.model == "ensemble"
    path = ENSEMBLES / "predictions.npz" if ensemble else EVALUATIONS / results.key / "predictions.npz"
    where = "here" if revision.name == WORKSPACE else "in DVC's cache"
    with _lacking(f"the predictions of {revision.name} are not {where}"):
        predictions = _load(revision.files.read(path))
        samples = pd.read_csv(
            io.BytesIO(revision.files.read(SAMPLES)), usecols=["row", "sample_id"], dtype="str", keep_default_na=False
        )
        about = json.loads(revision.files.read(DATASET))
    if ensemble:
        place = list(predictions.methods).index(results.loss)
        predictions = replace(
            predictions,
            seeds=predictions.seeds[:1],
            val_logits=predictions.val_logits[place : place + 1],
            test_logits=predictions.test_logits[place : place + 1],
            methods=(),
        )
    called = dict(zip(samples["row"].astype(int), samples["sample_id"]))
    return _Predicted(
        predictions,
        [called[row] for row in predictions.test_rows.tolist()],
        _source(revision, about),
    )


def _source(revision: Revision, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells the files of a data set; of drawn images the settings that they are drawn by."""
    source = {key: value for key, value in (about.get("source") or {}).items() if key not in _PLACES}
    drawn_by = revision.params.get("datasets", {}).get(about.get("name")) if about.get("synthetic") else None
    return {"name": about.get("name"), "source": source, "drawn_by": drawn_by}


@contextmanager
def _lacking(message: str) -> Iterator[None]:
    try:
        yield
    except OSError:
        raise _NotPaired(message) from None
    except (TypeError, ValueError, KeyError, ArtifactError) as error:
        raise _NotPaired(f"{message} in a form that this version reads ({type(error).__name__})") from None


def _load(content: bytes) -> Predictions:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.npz"
        path.write_bytes(content)
        return Predictions.load(path)


def _aligned(one: _Predicted, other: _Predicted) -> _Predicted:
    """Return `other` with its test images in the order of `one`.

    Raises
    ------
    _NotPaired
        If they are not the same images of the same patients under the same labels.
    """
    if one.predictions.classes.tolist() != other.predictions.classes.tolist():
        raise _NotPaired("other classes")
    common = len(set(one.images) & set(other.images))
    if sorted(one.images) != sorted(other.images):
        raise _NotPaired(f"other test images: {common} in common of {len(one.images)} and {len(other.images)}")
    if one.source != other.source:
        raise _NotPaired("the files of the data set differ, so the test images may")
    order = np.argsort(np.argsort(np.array(one.images), kind="stable"), kind="stable")
    places = np.argsort(np.array(other.images), kind="stable")[order]
    p = other.predictions
    moved = replace(
        p,
        test_rows=p.test_rows[places],
        test_logits=p.test_logits[:, places],
        test_targets=p.test_targets[places],
        test_patients=p.test_patients[places],
    )
    pair = (np.nan_to_num(of.test_targets.astype(float), nan=-1.0) for of in (moved, one.predictions))
    changed = int(np.not_equal(*pair).any(axis=1).sum())
    if changed:
        raise _NotPaired(f"the labels of {changed} test images differ")
    if _partition(moved.test_patients) != _partition(one.predictions.test_patients):
        raise _NotPaired("the patients of the test images differ")
    return other._replace(predictions=moved)


def _partition(patients: Sequence[str] | np.ndarray) -> list[int]:
    """Number patients in the order in which they come, so that other names for the same people are equal."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(str(name), len(numbers)) for name in patients]
