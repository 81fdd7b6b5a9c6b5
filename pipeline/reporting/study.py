"""Everything the reports are written from, in one typed container, read from the stages' files or from a bare table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from pipeline.reporting import roc
from pipeline.settings import Params
from pipeline.study.errors import UserError
from pipeline.study.files import (
    AUDIT,
    AUGMENTED,
    BOXES,
    DUPLICATES,
    ENSEMBLES,
    EXAMPLES,
    EXCLUDED,
    PROBES,
    made_by,
    read_json,
)
from pipeline.study.parts import read_split
from pipeline.study.predictions import METRIC_COLUMNS, Predictions, read_metrics
from pipeline.study.prepared import DatasetInfo, open_images, read_dataset, read_samples
from pipeline.study.runs import Configuration, configurations, runs, seeds
from pipeline.study.trainings import evaluation_folder

MEAN = "mean"
ENSEMBLE = "ensemble"
PROBE = "probe"
NO_INTERVAL = "no interval: the table holds no results by patient"
NOT_IN_TABLE = "not in the metrics table"

_REQUIRED = ["model", "loss", "seed", "part", "class", "metric", "value"]
_NUMBERS = ["value", "ci_low", "ci_high", "n", "n_positive"]
_KEY = ["model", "loss", "seed", "part", "class", "metric"]
_AVERAGED = ("auroc", "average_precision", "f1", "precision", "sensitivity", "specificity")
"""Metrics of single classes: of the whole part there is their mean. The others have a value of their own there."""
_BOUNDS = {
    **dict.fromkeys((*_AVERAGED, "accuracy", "balanced_accuracy"), (0.0, 1.0)),
    **dict.fromkeys(("mcc", "kappa"), (-1.0, 1.0)),
}


class ReportError(UserError):
    """There is nothing to report on, or a metrics table is not what it should be."""


class Estimate(NamedTuple):
    """A number with what a reader needs to judge it; NaN where something does not exist, `note` then says why."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: float = math.nan
    n_positive: float = math.nan
    note: str = NOT_IN_TABLE

    @classmethod
    def of_row(cls, row: Any) -> Estimate:
        """Read a row of a table with the columns of metrics.csv."""
        note = row.note if isinstance(row.note, str) else ""
        return cls(row.value, row.ci_low, row.ci_high, row.n, row.n_positive, note)

    def turned(self) -> Estimate:
        """Return a difference the other way round."""
        return self._replace(value=-self.value, low=-self.high, high=-self.low)


class Augmented(NamedTuple):
    """Training images as prepared and as drawn, uint8 [R, 1 + draws, H, W] or [R, 1 + draws, H, W, 3], and their rows.

    It stands for the training of a recipe under its first seed.
    """

    rows: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class Results:
    """What is known of a recipe under all its seeds, or of one ensemble.

    Parameters
    ----------
    model, loss : str
        The recipe; for an ensemble "ensemble" and the method.
    seeds : tuple of int
        Training seeds with results, ascending; empty for an ensemble.
    metrics : DataFrame
        Rows of metrics.csv; ensembles have their rows under seed "mean".
    spread : DataFrame or None
        seeds.csv for AUROC: whether seeds can be told apart, a class a row.
    history : DataFrame or None
        Training curves, an epoch a row.
    runs : tuple of dict
        What training recorded, a seed an item.
    predictions : Predictions or None
        Logits and truth; for an ensemble those of this method alone.
    augmented : Augmented or None
        Training images as the network sees them; None for trainings that were done before there was this file.
    suits : DataFrame or None
        seed_suits_class.csv: whether a seed suits a class; None for one seed or a bare table.
    interaction : dict or None
        seed_by_class.json: the same over all classes together.
    expected : DataFrame or None
        recipe.csv: what to expect of the recipe under other seeds and with other patients.
    reliability : DataFrame or None
        reliability.csv, of the test part: seed, class ("overall" for single-label), calibrated (bool), then forecast
        and observed frequency in bins of equal mass.
    confusion : DataFrame or None
        confusion.csv, of the test part: seed, truth, predicted, n; None for multi-label, as decisions are made class
        by class.
    subgroups : DataFrame or None
        subgroups.csv, of the test part: variable, subgroup, then the columns of metrics.csv without model and loss;
        None where the data set has no such variable.
    disagreement : DataFrame or None
        disagreement.csv: how often the seeds decide differently, a class a row.
    """

    model: str
    loss: str
    seeds: tuple[int, ...]
    metrics: pd.DataFrame
    spread: pd.DataFrame | None = None
    history: pd.DataFrame | None = None
    runs: tuple[dict[str, Any], ...] = ()
    predictions: Predictions | None = None
    augmented: Augmented | None = None
    suits: pd.DataFrame | None = None
    interaction: dict[str, Any] | None = None
    expected: pd.DataFrame | None = None
    reliability: pd.DataFrame | None = None
    confusion: pd.DataFrame | None = None
    subgroups: pd.DataFrame | None = None
    disagreement: pd.DataFrame | None = None

    @property
    def key(self) -> str:
        """Name in tables, file names and metrics.json."""
        return f"{self.model}-{self.loss}"

    @cached_property
    def _estimates(self) -> dict[tuple[str, str, str, str], Estimate]:
        columns = ["seed", "part", "class", "metric", *_NUMBERS, "note"]
        return {tuple(row[:4]): Estimate(*row[4:]) for row in self.metrics[columns].itertuples(index=False, name=None)}

    def get(self, metric: str, group: str | None = None, seed: int | None = None, part: str = "test") -> Estimate:
        """Look up a number.

        Parameters
        ----------
        metric : str
            As in metrics.csv.
        group : str, optional
            A class; by default the whole part: "macro", or "overall" for metrics that are no mean over classes.
        seed : int, optional
            A training seed; by default the mean over seeds.
        part : {"test", "val", "train"}
            Part of the split; of the training part metrics.csv holds little, see `pipeline.scoring.predict`.
        """
        name = MEAN if seed is None else str(seed)
        whole = ("macro", "overall") if metric in _AVERAGED else ("overall", "macro")
        groups = whole if group is None else (group,)
        found = [e for g in groups if (e := self._estimates.get((name, part, g, metric))) is not None]
        return found[0] if found else Estimate()

    def values(self, metric: str, group: str | None = None, part: str = "test") -> np.ndarray:
        """Return the values of all seeds, NaN where one is missing."""
        return np.array([self.get(metric, group, seed, part).value for seed in self.seeds])

    def sd(self, metric: str, group: str | None = None, part: str = "test") -> float:
        """Return the standard deviation over seeds (n - 1), NaN for fewer than two."""
        values = self.values(metric, group, part)
        values = values[np.isfinite(values)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    @cached_property
    def roc(self) -> np.ndarray | None:
        """Sensitivity [S, K, G] of the test part on `roc.GRID`, seeds as in `seeds`; None without predictions."""
        if self.predictions is None:
            return None
        curves, trained = roc.of_classes(self.predictions), self.predictions.seeds.tolist()
        return curves[[trained.index(seed) for seed in self.seeds]] if self.seeds else curves

    def confusions(self, classes: Sequence[str]) -> np.ndarray | None:
        """Return test images by true (row) and decided class, float [S, K, K], of the seeds that have decisions."""
        if self.confusion is None:
            return None
        table, order = self.confusion.astype({"truth": "str", "predicted": "str"}), list(classes)
        return np.stack(
            [
                rows.pivot(index="truth", columns="predicted", values="n")
                .reindex(index=order, columns=order)
                .fillna(0)
                .to_numpy(float)
                for _, rows in table.groupby("seed", sort=True)
            ]
        )

    def run(self, seed: int) -> dict[str, Any]:
        """Return what training recorded under `seed`; empty where nothing is known."""
        return next((run for run in self.runs if run.get("seed") == seed), {})


class Examples(NamedTuple):
    """The same images without and with contrast enhancement, both uint8 [E, H, W] or [E, H, W, 3], and their rows."""

    rows: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class StudyResults:
    """What the pages are rendered from. A bare metrics table leaves most of it None.

    Parameters
    ----------
    title : str
        Of the data set.
    task : {"multilabel", "multiclass"}
        Decides which metrics lead.
    classes : tuple of str
        In the data set's order.
    recipes, ensembles : tuple of Results
        In the study's order.
    every_ensemble : tuple of Results
        Each set by each method; `ensembles` are those of them that lead the pages, see `_shown`.
    described : dict of str to dict
        Of every ensemble: method, set, fitted_on, val_auroc, members (each with model, loss, seed, val_auroc and
        weight, null where the method has none) and parameters, as in members.json.
    skipped : dict of str to str
        Why an ensemble was not made, or a training is in none.
    class_comparisons : DataFrame or None
        class_comparisons.csv: every pair of recipes, a class a row.
    missing : tuple of str
        Cells and files of the study without results, a phrase each.
    comparisons : DataFrame or None
        Rows of comparisons.csv, tested on the same patients: every pair of recipes (family "recipes"), and every
        ensemble against what validation would choose without it.
    probes : tuple of Results
        What logistic regressions on a thumbnail and on metadata score, ``loss`` says on which; empty where the probes
        are off or have not run.
    signs : DataFrame or None
        signs.csv: cell, gate and sentence of every sign that a training or its labels are not what they should be.
    samples : DataFrame or None
        samples.csv with the columns part, copies, and augmented of split.csv: an entry a row, an image once with
        augmented 0 and, under protocol augment_before_split, once more for each of its augmented copies.
    images : uint8 [N, H, W] or [N, H, W, 3], or None
        images.npy, memory-mapped.
    boxes : DataFrame or None
        boxes.csv, in pixels of `images`; None where the data set has none.
    duplicates : DataFrame or None
        duplicates.csv, with ``labels_agree`` as bool; None in a folder that was prepared before there was this file.
    examples : Examples or None
        Images before and after CLAHE; None where it is off.
    """

    title: str
    task: Literal["multilabel", "multiclass"]
    classes: tuple[str, ...]
    configurations: tuple[Results, ...]
    ensembles: tuple[Results, ...] = ()
    every_ensemble: tuple[Results, ...] = ()
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    class_comparisons: pd.DataFrame | None = None
    missing: tuple[str, ...] = ()
    dataset: DatasetInfo | None = None
    audit: dict[str, Any] | None = None
    excluded: pd.DataFrame | None = None
    params: Params | None = None
    comparisons: pd.DataFrame | None = None
    probes: tuple[Results, ...] = ()
    signs: pd.DataFrame | None = None
    samples: pd.DataFrame | None = None
    images: np.ndarray | None = None
    boxes: pd.DataFrame | None = None
    duplicates: pd.DataFrame | None = None
    examples: Examples | None = None

    @property
    def interval_name(self) -> str:
        """What intervals are called in table heads."""
        return f"{100 * self.params.evaluate.confidence:g} % CI" if self.params else "CI"

    @property
    def collapsed(self) -> tuple[tuple[Results, int, str], ...]:
        """Trainings that learned nothing: recipe, seed, and how it shows."""
        return tuple(
            (r, run["seed"], str(run["collapsed"]))
            for r in self.configurations
            for run in r.runs
            if run.get("collapsed")
        )

    @cached_property
    def leading(self) -> str:
        """The metric that leads the pages: AUROC, or what a bare table without any has."""
        for metric in ("auroc", "accuracy", "f1"):
            if any(math.isfinite(r.get(metric, part=p).value) for r in self.configurations for p in ("test", "val")):
                return metric
        return "auroc"

    @property
    def chosen(self) -> Results | None:
        """The recipe with the highest mean of `leading` on validation, the first of those that tie, or None."""
        return highest(self.configurations, self.leading)

    @property
    def subject(self) -> Results | None:
        """The recipe that pages about a single one speak of: the chosen one, or the only one."""
        return self.chosen or (self.configurations[0] if len(self.configurations) == 1 else None)

    @property
    def chosen_ensemble(self) -> Results | None:
        """The ensemble with the highest validation AUROC."""
        return highest(self.ensembles)


def highest(candidates: Sequence[Results], metric: str = "auroc") -> Results | None:
    """Return the candidate with the highest mean of `metric` on validation; the test part has no say in any choice."""
    scored = [(c.get(metric, part="val").value, c) for c in candidates]
    scored = [(value, c) for value, c in scored if math.isfinite(value)]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def load_study(params: Params) -> StudyResults:
    """Read what the stages wrote for the cells of `params`; folders of other cells are never looked at.

    Raises
    ------
    ReportError
        If no recipe has results.
    """
    info = read_dataset()
    found, missing, trained = [], [], seeds(params)
    for configuration in configurations(params):
        results = _load_recipe(configuration)
        if results is None:
            missing.append(f"{configuration}, all seeds ({', '.join(map(str, trained))})")
            continue
        found.append(results)
        missing += [f"{configuration}, seed {seed}" for seed in trained if seed not in results.seeds]
    if not found:
        raise ReportError(f"none of the {len(runs(params))} cells has results; run: dvc repro evaluate")
    made, described, skipped = _load_ensembles()
    if not made:
        missing.append("the ensembles")
    comparisons = ENSEMBLES / "comparisons.csv"
    excluded = pd.read_csv(made_by(EXCLUDED, "preprocess"), dtype="str", keep_default_na=False)
    return StudyResults(
        title=info.title,
        task=info.task,
        classes=info.classes,
        configurations=tuple(found),
        ensembles=tuple(e for e in made if e.loss in _shown(described)),
        every_ensemble=made,
        described=described,
        skipped=skipped,
        class_comparisons=_table(ENSEMBLES / "class_comparisons.csv"),
        missing=tuple(missing),
        dataset=info,
        audit=read_json(AUDIT, "split"),
        excluded=excluded,
        params=params,
        comparisons=pd.read_csv(comparisons) if comparisons.exists() else None,
        probes=_load_probes(),
        signs=_table(ENSEMBLES / "signs.csv"),
        samples=_load_samples(),
        images=open_images(),
        boxes=pd.read_csv(BOXES, dtype={"sample_id": "str"}) if BOXES.exists() else None,
        duplicates=_load_duplicates(),
        examples=_load_examples(),
    )


def _load_samples() -> pd.DataFrame:
    split = read_split()
    if "augmented" not in split:
        split = split.assign(augmented=0)
    table = read_samples().merge(split, on="row", validate="one_to_many")
    return table.sort_values(["row", "augmented"], ignore_index=True)


def _load_duplicates() -> pd.DataFrame | None:
    if not DUPLICATES.exists():
        return None
    text = dict.fromkeys(("sample_id", "other_id", "kind", "action", "labels_agree"), "str")
    table = pd.read_csv(DUPLICATES, dtype=text, keep_default_na=False, na_values={"hamming": [""], "correlation": [""]})
    return table.assign(labels_agree=table["labels_agree"].str.lower().isin(["true", "1"]))


def _load_examples() -> Examples | None:
    if not EXAMPLES.exists():
        return None
    with np.load(EXAMPLES, allow_pickle=False) as file:
        return Examples(**{name: file[name] for name in Examples._fields})


def _load_recipe(configuration: Configuration) -> Results | None:
    folder = evaluation_folder(configuration)
    if not (folder / "metrics.csv").exists():
        return None
    metrics = with_means(_tidy(read_metrics(folder / "metrics.csv")))
    spread = pd.read_csv(made_by(folder / "seeds.csv", "evaluate"), dtype={"best_seeds": "str"})
    return Results(
        *configuration,
        seeds=_seeds_of(metrics),
        metrics=metrics,
        spread=spread[spread["metric"] == "auroc"] if "metric" in spread else spread,
        history=pd.read_csv(made_by(folder / "history.csv", "evaluate")),
        runs=tuple(read_json(folder / "runs.json", "evaluate")),
        predictions=Predictions.load(made_by(folder / "predictions.npz", "evaluate")),
        augmented=_load_augmented(folder / AUGMENTED),
        suits=_table(folder / "seed_suits_class.csv", "best_seed"),
        interaction=read_json(path, "evaluate") if (path := folder / "seed_by_class.json").exists() else None,
        expected=_table(folder / "recipe.csv"),
        reliability=_table(folder / "reliability.csv"),
        confusion=_filled(_table(folder / "confusion.csv", "truth", "predicted")),
        subgroups=_table(folder / "subgroups.csv", "subgroup", "seed"),
        disagreement=_table(folder / "disagreement.csv"),
    )


def _filled(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """Pass on a table that has rows."""
    return None if table is None or table.empty else table


def _table(path: Path, *text: str) -> pd.DataFrame | None:
    """Read a table that not every evaluation has."""
    return pd.read_csv(path, dtype=dict.fromkeys((*text, "class", "note"), "str")) if path.exists() else None


def _load_augmented(path: Path) -> Augmented | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        return Augmented(**{name: file[name] for name in Augmented._fields})


def _load_ensembles() -> tuple[tuple[Results, ...], dict[str, dict[str, Any]], dict[str, str]]:
    path = ENSEMBLES / "metrics.csv"
    if not path.exists():
        return (), {}, {}
    metrics = _tidy(read_metrics(path, "ensemble"))
    predictions = Predictions.load(ENSEMBLES / "predictions.npz", "ensemble")
    about = read_json(ENSEMBLES / "members.json", "ensemble")
    made = tuple(
        Results(ENSEMBLE, str(name), (), metrics[metrics["loss"] == name], predictions=_one(predictions, i))
        for i, name in enumerate(predictions.methods)
    )
    return made, about["ensembles"], about["skipped"]


def _load_probes() -> tuple[Results, ...]:
    path = PROBES / "metrics.csv"
    if not path.exists():
        return ()
    metrics = read_metrics(path, "probe").assign(seed=MEAN)  # as of an ensemble: one prediction, no seeds
    return tuple(Results(PROBE, name, (), rows) for name, rows in metrics.groupby("loss", sort=False))


def _shown(described: dict[str, dict[str, Any]]) -> list[str]:
    """Choose what the pages show: of each method the ensemble that validation values most, and the mean of all."""
    best: dict[str, str] = {}
    for name, of in described.items():
        other = best.get(of["method"])
        if other is None or (of["val_auroc"] or -1.0) > (described[other]["val_auroc"] or -1.0):
            best[of["method"]] = name
    return [name for name in described if name in best.values() or name == "mean_all"]


def _one(predictions: Predictions, index: int) -> Predictions:
    content = dict(vars(predictions))
    for key in ("seeds", "val_logits", "test_logits"):
        content[key] = content[key][index : index + 1]
    return Predictions(**{**content, "methods": predictions.methods[index : index + 1]})


def _tidy(metrics: pd.DataFrame) -> pd.DataFrame:
    metrics = metrics.copy()
    metrics["seed"] = metrics["seed"].fillna("")
    metrics.loc[(metrics["model"] == ENSEMBLE) & (metrics["seed"] == ""), "seed"] = MEAN
    return metrics


def _seeds_of(metrics: pd.DataFrame) -> tuple[int, ...]:
    return tuple(sorted(int(s) for s in metrics["seed"].unique() if s != MEAN))


def with_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Add the mean over seeds of every number that has no row for it; it gets no interval, and the note says why."""
    group = ["model", "loss", "part", "class", "metric"]
    present = set(metrics.loc[metrics["seed"] == MEAN, group].itertuples(index=False, name=None))
    rows = metrics[metrics["seed"] != MEAN]
    known = pd.Series(
        [key in present for key in rows[group].itertuples(index=False, name=None)], rows.index, dtype=bool
    )
    lacking = rows[~known]
    if lacking.empty:
        return metrics
    # A mean over the seeds that happen to have a value would compare unlike things: one missing, and there is none.
    means = lacking.groupby(group, sort=False, as_index=False).agg(
        value=("value", lambda v: v.mean(skipna=False)), n=("n", "first"), n_positive=("n_positive", "first")
    )
    means = means.assign(seed=MEAN, ci_low=np.nan, ci_high=np.nan, note=NO_INTERVAL)
    return pd.concat([metrics, means[METRIC_COLUMNS]], ignore_index=True)


def from_metrics(path: Path) -> StudyResults:
    """Read a bare metrics table.

    Parameters
    ----------
    path : Path
        CSV with the columns model, loss, seed, part, class, metric, value, and where known ci_low, ci_high, n,
        n_positive, note. Means over seeds are computed where the table has none.

    Raises
    ------
    ReportError
        Naming the column or the line that is wrong.
    """
    try:
        table = pd.read_csv(path, dtype="str", keep_default_na=False)
    except FileNotFoundError:
        raise ReportError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: not a CSV table: {error}") from None
    metrics = with_means(_tidy(_checked(table, path)))
    found = [
        Results(model, loss, () if model == ENSEMBLE else _seeds_of(rows), rows)
        for (model, loss), rows in metrics.groupby(["model", "loss"], sort=False)
    ]
    keys = [r.key for r in found]
    for key in sorted({k for k in keys if keys.count(k) > 1}):
        raise ReportError(f"{path}: two pairs of model and loss are both written '{key}'; rename one")
    overall = metrics[metrics["class"] == "overall"]
    return StudyResults(
        title=path.stem,
        task="multiclass" if (overall["metric"] == "accuracy").any() else "multilabel",
        classes=tuple(c for c in metrics["class"].unique() if c not in ("macro", "overall")),
        configurations=tuple(r for r in found if r.model != ENSEMBLE),
        ensembles=tuple(r for r in found if r.model == ENSEMBLE),
    )


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    lacking = [c for c in _REQUIRED if c not in table]
    if lacking:
        raise ReportError(f"{path}: no column {', '.join(lacking)}; it needs {', '.join(_REQUIRED)}")
    if table.empty:
        raise ReportError(f"{path}: a header and no rows")
    for column in METRIC_COLUMNS:
        if column not in table:
            table[column] = ""
    table = table[METRIC_COLUMNS].apply(lambda c: c.str.strip())

    def refuse(bad: Iterable[bool], column: str, allowed: str) -> None:
        for line, wrong, text in zip(range(2, len(table) + 2), bad, table[column]):
            if wrong:
                raise ReportError(f"{path}, line {line}, column {column}: '{text}' is not allowed; allowed: {allowed}")

    for column in ("model", "loss"):
        name = re.compile(r"[A-Za-z0-9_+.-]*[A-Za-z0-9_+]")
        refuse([not name.fullmatch(t) for t in table[column]], column, "letters, digits and _ + . -")
    ensemble = table["model"] == ENSEMBLE
    numbered = table["seed"].str.fullmatch(r"\d+") | (table["seed"] == MEAN) | (ensemble & (table["seed"] == ""))
    refuse(~numbered, "seed", f"a whole number or '{MEAN}'")
    refuse(~table["part"].isin(["train", "val", "test"]), "part", "train, val or test")
    for column in ("class", "metric"):
        refuse(table[column] == "", column, "a name")
    for line, again in zip(range(2, len(table) + 2), table.duplicated(_KEY)):
        if again:
            raise ReportError(f"{path}, line {line}: a second row for {', '.join(table.loc[line - 2, _KEY])}")
    for column in _NUMBERS:
        numeric = pd.to_numeric(table[column], errors="coerce")
        empty = table[column].str.lower().isin(["", "nan"])
        refuse(~empty & ~np.isfinite(numeric), column, "a number, or nothing")
        table[column] = numeric
    for metric, (low, high) in _BOUNDS.items():
        outside = (table["metric"] == metric) & ((table["value"] < low) | (table["value"] > high))
        refuse(outside, "value", f"{low:g} to {high:g} for {metric}")
    refuse(table["ci_low"] > table["ci_high"], "ci_low", "at most ci_high")
    return table[METRIC_COLUMNS]
