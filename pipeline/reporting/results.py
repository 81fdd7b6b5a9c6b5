"""What the pages are rendered from: one typed container for a whole study and for a bare metrics table.

Nothing in it is None for "there is none". A table that does not exist is `NO_TABLE`, predictions that do not exist are
`NO_PREDICTIONS`; settings, data set and audit of a bare table are `UNKNOWN`, which refuses every question. Whether
something is there is asked by the `has_...` properties and by `StudyResults.recorded`, and answered once: where the
container is filled (`pipeline.reporting.loading`, `pipeline.reporting.bare_table`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from pipeline.explaining.results import Explanation
from pipeline.external.results import External
from pipeline.regressing.values import Values
from pipeline.reporting import roc, terms
from pipeline.reporting.values import (
    ENSEMBLE,
    MEAN,
    NO_AUGMENTED,
    NO_EXAMPLES,
    NO_KINDS,
    NO_PREDICTIONS,
    NO_TABLE,
    UNKNOWN,
    Augmented,
    Estimate,
    Examples,
    KindPictures,
    Sample,
    exists,
)
from pipeline.searching.record import Record
from pipeline.settings import Params
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import DatasetInfo
from pipeline.study.runs import Configuration
from pipeline.variants.ensembles import NOT_FOLDED, Ensembles, OverFolds, over_folds
from pipeline.variants.folds import Fold, OutOfFold, common_seeds, out_of_fold
from pipeline.variants.grouping import folds_of, is_fold
from pipeline.variants.results import VariantResults

AVERAGED = ("auroc", "average_precision", "f1", "precision", "sensitivity", "specificity")
"""Metrics of single classes: of the whole part there is their mean. The others have a value of their own there."""
_NUMBERS = ["value", "ci_low", "ci_high", "n", "n_positive"]


def _no_table() -> pd.DataFrame:
    return NO_TABLE


class FoldSearch(NamedTuple):
    """A search within a fold: its record, the variant that tests the fold (None: the study), its split as it is now."""

    record: Record
    variant: str | None
    split: str


@dataclass(frozen=True)
class Results:
    """The results of a configuration under all its seeds, or of one ensemble.

    Parameters
    ----------
    model, loss : str
        The configuration; for an ensemble "ensemble" and the method.
    seeds : tuple of int
        Training seeds with results, ascending; empty for an ensemble.
    metrics : DataFrame
        Rows of metrics.csv; ensembles have their rows under seed "mean".
    spread : DataFrame
        seeds.csv for AUROC: whether seeds differ, one row per class. This table and those below are empty where
        there is none.
    history : DataFrame
        Training curves, one row per epoch.
    runs : tuple of dict
        What each training run recorded, one item per seed.
    predictions : Predictions
        Logits and labels; for an ensemble those of this method alone. `has_predictions` says whether there are any.
    augmented : Augmented
        Training images as the network sees them; without rows for runs that are older than this file.
    suits : DataFrame
        seed_suits_class.csv: whether a seed suits a class; empty for one seed or a bare table.
    interaction : dict
        seed_by_class.json: the same over all classes together; may be empty.
    reliability : DataFrame
        reliability.csv, of the test set: seed, class ("overall" for single-label), calibrated (bool), then forecast
        and observed frequency in bins of equal mass.
    confusion : DataFrame
        confusion.csv, of the test set: seed, truth, predicted, n; empty for multi-label, as each class is decided
        separately.
    subgroups : DataFrame
        subgroups.csv, of the test set: variable, subgroup, then the columns of metrics.csv without model and loss;
        empty where the data set has no such variable.
    disagreement : DataFrame
        disagreement.csv: how often the seeds decide differently, one row per class.
    clinical : dict of str to DataFrame
        Tables of `pipeline.scoring.clinical.Clinical` and "subgroup_gaps", by name of the file; empty where there are
        none.
    patient_of : dict of int to str
        Patient of every row of the images; empty where patients are not known. Those of `predictions` are what was
        drawn: groups, as patients who share an image count as one.
    predicted : Values or None
        Of regression, values.npz: what is predicted of every image.
    images : DataFrame
        Of segmentation, images.csv: the scores of every mask.
    probabilities : uint8 [S, N, K, H, W]
        Of segmentation, of the test set, memory-mapped: in 255ths. Without a run where there are none.
    """

    model: str
    loss: str
    seeds: tuple[int, ...]
    metrics: pd.DataFrame
    spread: pd.DataFrame = field(default_factory=_no_table)
    history: pd.DataFrame = field(default_factory=_no_table)
    runs: tuple[dict[str, Any], ...] = ()
    predictions: Predictions = field(default_factory=lambda: NO_PREDICTIONS)
    augmented: Augmented = NO_AUGMENTED
    suits: pd.DataFrame = field(default_factory=_no_table)
    interaction: dict[str, Any] = field(default_factory=dict)
    reliability: pd.DataFrame = field(default_factory=_no_table)
    confusion: pd.DataFrame = field(default_factory=_no_table)
    subgroups: pd.DataFrame = field(default_factory=_no_table)
    disagreement: pd.DataFrame = field(default_factory=_no_table)
    clinical: dict[str, pd.DataFrame] = field(default_factory=dict)
    patient_of: dict[int, str] = field(default_factory=dict)
    predicted: Values | None = None
    images: pd.DataFrame = field(default_factory=_no_table)
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0, 0), np.uint8))

    @property
    def key(self) -> str:
        """Name in tables, file names and metrics.json."""
        return f"{self.model}-{self.loss}"

    @property
    def has_predictions(self) -> bool:
        """Whether logits of single images are there."""
        return self.predictions is not NO_PREDICTIONS

    @cached_property
    def _estimates(self) -> dict[tuple[str, str, str, str], Estimate]:
        columns = ["seed", "part", "class", "metric", *_NUMBERS, "note"]
        rows = zip(*(self.metrics[column].tolist() for column in columns))
        return {(seed, part, group, metric): Estimate(*rest) for seed, part, group, metric, *rest in rows}

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
            Part of the split; of the training set metrics.csv holds little, see `pipeline.scoring.predict`.
        """
        name = MEAN if seed is None else str(seed)
        whole = ("macro", "overall") if metric in AVERAGED else ("overall", "macro")
        groups = whole if group is None else (group,)
        keys = [(name, part, g, metric) for g in groups]
        return next((self._estimates[key] for key in keys if key in self._estimates), Estimate())

    def values(self, metric: str, group: str | None = None, part: str = "test") -> np.ndarray:
        """Return the values of all seeds, NaN where one is missing."""
        return np.array([self.get(metric, group, seed, part).value for seed in self.seeds])

    def sd(self, metric: str, group: str | None = None, part: str = "test") -> float:
        """Return the standard deviation over seeds (n - 1), NaN for fewer than two."""
        values = self.values(metric, group, part)
        values = values[np.isfinite(values)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

    @cached_property
    def roc(self) -> np.ndarray:
        """Sensitivity [S, K, G] of the test set on `roc.GRID`, seeds as in `seeds`; S = 0 without predictions."""
        if not self.has_predictions:
            return np.zeros((0, 0, len(roc.GRID)))
        curves, trained = roc.of_classes(self.predictions), self.predictions.seeds.tolist()
        return curves[[trained.index(seed) for seed in self.seeds]] if self.seeds else curves

    def sample(self, part: Literal["val", "test"] = "test") -> Sample:
        """Return the size of `part`."""
        if not self.has_predictions:
            return Sample(self.get("auroc", part=part).n, math.nan)
        p = self.predictions
        rows, groups = (p.val_rows, p.val_patients) if part == "val" else (p.test_rows, p.test_patients)
        if self.patient_of:
            groups = np.array([self.patient_of[row] for row in rows.tolist()])
        return Sample(len(rows), len(np.unique(groups)))

    def confusions(self, classes: Sequence[str]) -> np.ndarray:
        """Return test images by true (row) and decided class, float [S, K, K], of the seeds that have decisions."""
        if self.confusion.empty:
            return np.zeros((0, len(classes), len(classes)))
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
        """Return what the training run under `seed` recorded; empty where nothing is."""
        return next((run for run in self.runs if run.get("seed") == seed), {})


@dataclass(frozen=True)
class StudyResults:
    """Everything the pages show.

    Parameters
    ----------
    title : str
        Of the data set, or of a bare table.
    task : {"multilabel", "multiclass", "segmentation", "regression"}
        Decides which metrics lead, and which pages there are.
    classes : tuple of str
        In the data set's order.
    configurations, ensembles : tuple of Results
        In the study's order.
    every_ensemble : tuple of Results
        Each set by each method; `ensembles` are those of them that lead the pages, see `sets.shown`.
    described : dict of str to dict
        Of every ensemble: method, set, fitted_on, val_auroc, members (each with model, loss, seed, val_auroc and
        weight, null where the method has none) and parameters, as in members.json.
    skipped : dict of str to str
        Why an ensemble was not built, or a training run is in none.
    class_comparisons : DataFrame
        class_comparisons.csv: every pair of configurations, one row per class.
    missing : tuple of str
        Training runs and files of the study without results, a phrase each.
    dataset : DatasetInfo
        dataset.json; this, `audit` and `params` are `UNKNOWN` unless `recorded`.
    audit : dict
        audit.json of the split.
    params : Params
        The settings of the study.
    excluded : DataFrame
        excluded.csv: file, reason.
    comparisons : DataFrame
        Rows of comparisons.csv, tested on the same patients: every pair of configurations (family "recipes"), and
        every ensemble against what validation would choose without it.
    probes : tuple of Results
        What logistic regressions on a thumbnail and on metadata score, ``loss`` says on which; empty where the probes
        are off or have not run.
    signs : DataFrame
        signs.csv: cell, gate and sentence of every sign that a training run or its labels are not what they should be.
    samples : DataFrame
        samples.csv with the columns part, copies, and augmented of split.csv: one row per entry, an image once with
        augmented 0 and, under protocol augment_before_split, once more for each of its augmented copies.
    images : uint8 or uint16 [N, H, W] or [N, H, W, 3]
        images.npy, memory-mapped; N = 0 for a bare table.
    boxes : DataFrame
        boxes.csv, in pixels of `images`; empty where the data set has none.
    duplicates : DataFrame
        duplicates.csv, with ``labels_agree`` as bool; `NO_TABLE` in a folder that is older than this file.
    examples : Examples
        Images before and after CLAHE; without rows where it is off.
    reading : dict
        reading.json: ``scale`` and ``kinds``; empty in a folder that is older than this file.
    kinds : KindPictures
        One image of each kind of file.
    grade_comparisons : DataFrame
        grade_comparisons.csv: every pair of configurations by quadratic weighted kappa; of ordered classes alone.
    external : tuple of External
        Results on external test sets; empty where the study has none.
    explanations : tuple of Explanation
        Heat maps; likewise.
    variants : tuple of VariantResults
        The study with one thing changed; likewise.
    searched : Record or None
        The search of settings, if there was one in a study without folds.
    searches : dict of int to FoldSearch
        The searches within folds, by the numbers of these.
    masks : uint8 [N, H, W, K]
        Of segmentation: masks.npy, memory-mapped; N = 0 in other studies.
    """

    title: str
    task: Literal["multilabel", "multiclass", "segmentation", "regression"]
    classes: tuple[str, ...]
    configurations: tuple[Results, ...]
    ensembles: tuple[Results, ...] = ()
    every_ensemble: tuple[Results, ...] = ()
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    class_comparisons: pd.DataFrame = field(default_factory=_no_table)
    missing: tuple[str, ...] = ()
    dataset: DatasetInfo = UNKNOWN
    audit: dict[str, Any] = UNKNOWN
    params: Params = UNKNOWN
    excluded: pd.DataFrame = field(default_factory=_no_table)
    comparisons: pd.DataFrame = field(default_factory=_no_table)
    probes: tuple[Results, ...] = ()
    signs: pd.DataFrame = field(default_factory=_no_table)
    samples: pd.DataFrame = field(default_factory=_no_table)
    images: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    boxes: pd.DataFrame = field(default_factory=_no_table)
    duplicates: pd.DataFrame = field(default_factory=_no_table)
    examples: Examples = NO_EXAMPLES
    reading: dict[str, Any] = field(default_factory=dict)
    kinds: KindPictures = NO_KINDS
    grade_comparisons: pd.DataFrame = field(default_factory=_no_table)
    external: tuple[External, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    variants: tuple[VariantResults, ...] = ()
    searched: Record | None = None
    searches: dict[int, FoldSearch] = field(default_factory=dict)
    masks: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.uint8))

    # --- what is there -----------------------------------------------------------------------------------------------

    @property
    def recorded(self) -> bool:
        """Whether this is a whole study, with its settings, data set, images, and audit; False for a bare table."""
        return self.params is not UNKNOWN

    @property
    def sources(self) -> int:
        """How many sources the images are from, by a column of that name; without one they count as one."""
        return max(1, self.samples["source"].nunique()) if "source" in self.samples else 1

    @property
    def has_comparisons(self) -> bool:
        """Whether the pairs of configurations were tested; True with no rows where there is a single one."""
        return exists(self.comparisons)

    @property
    def leading_comparisons(self) -> int:
        """Tests in the first tier of the family that p is corrected for; see docs/statistics.md.

        They are the pairs of configurations and what the chosen ensemble is compared with; of a table that is older
        than the column "tier", all.
        """
        if not self.has_comparisons:
            return 0
        tested = self.comparisons["p"].notna()
        return int((tested & (self.comparisons["tier"] == 1)).sum() if "tier" in self.comparisons else tested.sum())

    @property
    def has_class_comparisons(self) -> bool:
        """Whether they were tested class by class."""
        return exists(self.class_comparisons)

    @property
    def has_signs(self) -> bool:
        """Whether signs of failure were looked for; True with no rows where none was seen."""
        return exists(self.signs)

    @property
    def has_duplicates(self) -> bool:
        """Whether copies were looked for; True with no rows where there is none."""
        return exists(self.duplicates)

    @property
    def synthetic(self) -> bool:
        """Whether a program drew the images; False where that is not recorded."""
        return self.recorded and self.dataset.synthetic

    @property
    def patients_known(self) -> bool:
        """Whether the data set says whose the images are; a bare table is believed to count patients."""
        return self.dataset.patients_known if self.recorded else True

    @property
    def named(self) -> tuple[int, int] | None:
        """How many images name their patient, of how many, where some do and others do not."""
        source = (self.dataset.source or {}) if self.recorded else {}
        found = [of for each in (source, *(source.get("sets") or {}).values()) if (of := each.get("patients_named"))]
        return (sum(of["images"] for of in found), sum(of["of"] for of in found)) if found else None

    @property
    def has_blocks(self) -> bool:
        """Whether images are kept together by number, in the place of patients."""
        settings = self.params.datasets.get(self.params.dataset) if self.recorded else None
        return bool(settings and settings.get("groups"))

    @property
    def graded(self) -> tuple[str, ...]:
        """Metrics of grades, where the classes are ordered; of a bare table those that it has."""
        if self.recorded:
            return terms.GRADES if self.dataset.ordered else ()
        return tuple(m for m in terms.GRADES if any(r.get(m).exists for r in self.configurations))

    @property
    def notes(self) -> tuple[str, ...]:
        """Limits that the data set states; none for a bare table."""
        return self.dataset.notes if self.recorded else ()

    @property
    def leaks_by_design(self) -> bool:
        """Whether the images were augmented before they were split."""
        return self.recorded and self.audit.get("protocol") == "augment_before_split"

    @property
    def private_figures(self) -> bool:
        """Whether figures that show images stay out of git, see ``report.private_figures`` in params.yaml."""
        asked = self.params.report.private_figures if self.recorded else None
        return not self.synthetic if asked is None else asked

    # --- what leads --------------------------------------------------------------------------------------------------

    @property
    def alpha(self) -> float:
        """Level below which an adjusted p value counts, one minus the confidence of the intervals."""
        return 1 - (self.params.evaluate.confidence if self.recorded else 0.95)

    @property
    def interval_name(self) -> str:
        """What intervals are called in table heads."""
        return f"{100 * self.params.evaluate.confidence:g} % CI" if self.recorded else "CI"

    @property
    def models(self) -> list[str]:
        """Models of the study, whether they have results or not."""
        return list(
            dict.fromkeys(self.params.study.models if self.recorded else (r.model for r in self.configurations))
        )

    @property
    def losses(self) -> list[str]:
        """Losses of the study, whether they have results or not."""
        return list(dict.fromkeys(self.params.study.losses if self.recorded else (r.loss for r in self.configurations)))

    @property
    def everything(self) -> tuple[Results, ...]:
        """Configurations, then the ensembles that lead the pages."""
        return (*self.configurations, *self.ensembles)

    @property
    def several_seeds(self) -> bool:
        """Whether any configuration has more than one seed."""
        return any(len(r.seeds) > 1 for r in self.configurations)

    @property
    def collapsed(self) -> tuple[tuple[Results, int, str], ...]:
        """Training runs that learned nothing: configuration, seed, and how it shows."""
        return tuple(
            (r, run["seed"], str(run["collapsed"]))
            for r in self.configurations
            for run in r.runs
            if run.get("collapsed")
        )

    @cached_property
    def failing(self) -> frozenset[str]:
        """Configurations, training runs and ensembles, named as in comparisons, in which a run learned nothing."""
        runs = {(r.model, r.loss, seed) for r, seed, _ in self.collapsed}
        names = {r.key for r, _, _ in self.collapsed} | {f"{r.key} seed {seed}" for r, seed, _ in self.collapsed}
        for name, about in self.described.items():
            if runs & {(m["model"], m["loss"], m["seed"]) for m in about.get("members", [])}:
                names.add(f"{ENSEMBLE}-{name}")
        return frozenset(names)

    @cached_property
    def leading(self) -> str:
        """The metric that leads the pages: AUROC, or what a bare table without any has."""
        for metric in ("auroc", "accuracy", "f1", "dice", "r2"):
            if any(r.get(metric, part=p).exists for r in self.configurations for p in ("test", "val")):
                return metric
        return "auroc"

    @property
    def leading_name(self) -> str:
        """What the leading metric is called in a sentence."""
        return terms.macro(self.leading)

    @property
    def chosen(self) -> Results | None:
        """The configuration with the highest mean of `leading` on validation, the first of those that tie, or None."""
        return highest(self.configurations, self.leading)

    @property
    def tied(self) -> tuple[Results, ...]:
        """The configurations whose validation equals that of `chosen` to all digits, where there are several; or none.

        Equal by chance or by a table's rounding: which of them is called chosen says nothing.
        """
        return equals(self.configurations, self.chosen, self.leading)

    @property
    def subject(self) -> Results | None:
        """The configuration that pages about a single one are about: the chosen one, or the only one."""
        return self.chosen or (self.configurations[0] if len(self.configurations) == 1 else None)

    @property
    def chosen_ensemble(self) -> Results | None:
        """The ensemble with the highest validation AUROC, the first of those that tie; of masks Dice, of numbers R2."""
        return highest(self.ensembles, self._chooses_ensembles)

    @property
    def tied_ensembles(self) -> tuple[Results, ...]:
        """The ensembles whose validation equals that of `chosen_ensemble`, as `tied`; in the order they are made in."""
        return equals(self.every_ensemble or self.ensembles, self.chosen_ensemble, self._chooses_ensembles)

    @property
    def _chooses_ensembles(self) -> str:
        return {"segmentation": "dice", "regression": "r2"}.get(self.task, "auroc")

    @cached_property
    def folds(self) -> dict[str, list[Fold]]:
        """Of each configuration the folds on which it has results; none where the study has not two."""
        every = {
            r.key: folds_of(Configuration(r.model, r.loss), r.predictions, self.variants, self.params.split)
            for r in self.configurations
            if self.variants and r.has_predictions
        }
        return {key: folds for key, folds in every.items() if len(folds) > 1 and common_seeds(folds)}

    @cached_property
    def out_of_fold(self) -> dict[str, OutOfFold]:
        """Of each configuration what it reaches over all folds; see `folds`."""
        return {key: out_of_fold(folds, **self.params.evaluate.draws()) for key, folds in self.folds.items()}

    @cached_property
    def ensembles_over_folds(self) -> OverFolds:
        """What the ensembles reach over all folds; nothing where there are not two folds."""
        if not self.folds:
            return NOT_FOLDED
        split = self.params.split
        own = Ensembles({e.loss: e.predictions for e in self.every_ensemble}, self.described, self.skipped)
        others = {v.split.fold: v.ensembles for v in self.variants if is_fold(v, split)}
        return over_folds({split.fold: own, **others}, **self.params.evaluate.draws())

    def is_chosen(self, results: Results) -> bool:
        """Whether `results` is the configuration that validation chooses."""
        return self.chosen is not None and results.key == self.chosen.key


def equals(candidates: Sequence[Results], chosen: Results | None, metric: str = "auroc") -> tuple[Results, ...]:
    """Return the candidates whose mean of `metric` on validation is that of `chosen` to all digits, if several are."""
    if chosen is None:
        return ()
    best = chosen.get(metric, part="val").value
    equal = tuple(r for r in candidates if abs(r.get(metric, part="val").value - best) <= 1e-12)
    return equal if len(equal) > 1 else ()


def highest(candidates: Sequence[Results], metric: str = "auroc") -> Results | None:
    """Return the candidate with the highest mean of `metric` on validation; the test set is not used for any choice."""
    scored = [(c.get(metric, part="val"), c) for c in candidates]
    return max(((e.value, c) for e, c in scored if e.exists), key=lambda pair: pair[0], default=(0.0, None))[1]
