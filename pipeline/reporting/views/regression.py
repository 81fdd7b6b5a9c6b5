"""Facts of the pages about regression: the front page of such a study, and the page with every number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.regressing.scores import Sums
from pipeline.regressing.values import Values
from pipeline.reporting import page
from pipeline.reporting.figures import overview
from pipeline.reporting.figures import regression as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate, Outcome, Sample
from pipeline.reporting.views import provenance, shared
from pipeline.study.runs import runs
from pipeline.study.target import COLUMN

LEADS = "r2"
AGREEMENT = ("bias", "loa_low", "loa_high", "coverage")
_PAGES = {
    "regression.md": "agreement, differences, by seed, how it was computed and chosen, provenance",
    "search.md": "settings found by validation, and the luck in that",
    "data.md": "patients, target, exclusions, split",
    "timing.md": "the one page that a clock changes",
}


class Row(NamedTuple):
    """A configuration or an ensemble: its R2 on validation, SD of R2 over seeds, and metrics on the test set."""

    results: Results
    validation: Estimate
    sd: float
    r2: Estimate
    mae: Estimate
    rmse: Estimate
    ccc: Estimate


class Agreement(NamedTuple):
    """The same row by Bland and Altman, and how many truths lie in predicted intervals."""

    results: Results
    estimates: list[Estimate]


class Plain(NamedTuple):
    """Predicting the mean of the training set for every test image."""

    mean: float
    mae: float
    rmse: float
    r2: float


class Seed(NamedTuple):
    """A training run; `values` are R2, MAE, RMSE and CCC on the test set."""

    key: str
    seed: int
    values: list[float]
    epoch: int | None


@dataclass(frozen=True)
class Facts:
    """What both pages say."""

    study: StudyResults
    target: str
    unit: str
    rows: list[Row]
    agreement: list[Agreement]
    chosen: Row | None
    ensemble: Row | None
    pairs: list[shared.Pair]
    plain: Plain
    sample: Sample
    trained: int
    planned: int

    @property
    def tested(self) -> list[shared.Pair]:
        """Pairs of configurations by their MAE."""
        return [pair for pair in self.pairs if pair.metric == "mae"]

    @property
    def differing(self) -> list[shared.Pair]:
        """Those that differ."""
        return [pair for pair in self.tested if pair.outcome is Outcome.DIFFER]


def _row(results: Results) -> Row:
    wanted = [results.get(metric, "overall") for metric in ("r2", "mae", "rmse", "ccc")]
    return Row(results, results.get(LEADS, "overall", part="val"), results.sd(LEADS, "overall"), *wanted)


def plain(study: StudyResults) -> Plain:
    """Return what the mean of the training targets, one number for all, reaches on the test set."""
    table = study.samples[study.samples["augmented"] == 0]
    of = {part: table[table["part"] == part][COLUMN].to_numpy(float) for part in ("train", "test")}
    mean, truth = float(of["train"].mean()), of["test"]
    constant, nothing = np.full((1, len(truth)), mean), np.full((1, len(truth)), np.nan)
    sums = Sums.over(constant, nothing, truth, np.zeros(len(truth), np.int64), 1)
    mae, rmse, r2 = sums.measured()[0, 0, :3].tolist()
    return Plain(mean, mae, rmse, r2)


def facts(study: StudyResults) -> Facts:
    """Return what the pages of a study of regression say."""
    chosen, ensemble, target = study.chosen, study.chosen_ensemble, study.dataset.target
    return Facts(
        study,
        target.name if target else "target",
        target.unit if target else "",
        [_row(results) for results in study.everything],
        [Agreement(r, [r.get(metric, "overall") for metric in AGREEMENT]) for r in study.everything],
        None if chosen is None else _row(chosen),
        None if ensemble is None else _row(ensemble),
        shared.pairs(study, study.comparisons),
        plain(study),
        shared.sample_of_test(study),
        sum(len(r.seeds) for r in study.configurations),
        len(runs(study.params)),
    )


def _seeds(study: StudyResults) -> list[Seed]:
    return [
        Seed(
            r.key,
            seed,
            [r.get(metric, "overall", seed).value for metric in ("r2", "mae", "rmse", "ccc")],
            r.run(seed).get("best_epoch"),
        )
        for r in study.configurations
        for seed in r.seeds
    ]


def render_front(study: StudyResults, folder: Path) -> list[Path]:
    """Write README.md and its figure into `folder`."""
    return shared.write_front(study, folder, LEADS, facts(study), _PAGES)


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write regression.md and its figures into `folder`."""
    out, of = folder / "regression.md", facts(study)
    subject = study.subject or study.configurations[0]
    values: Values | None = subject.predicted
    drawn = None
    if values is not None:
        mean = values.test_values.mean(axis=0)
        name = f"{of.target}, {of.unit}" if of.unit else of.target
        limits = [subject.get(metric, "overall").value for metric in AGREEMENT[:3]]
        drawn = figures.agreement(values.test_targets, mean, limits, name, folder / "figures" / "regression.png")
    curves = overview.validation_curves(study, folder / "figures" / "validation-r2.png", LEADS)
    page.write(
        out,
        "regression/regression.md",
        study=study,
        facts=of,
        banner_facts=shared.banner(study),
        subject=subject,
        seeds=_seeds(study),
        drawn=bool(drawn),
        curves=bool(curves),
        spreads=any(row.estimates[3].exists for row in of.agreement),
        noted=[
            (row.results.key, label, e)
            for row in of.rows
            for label, e in (("R²", row.r2), ("MAE", row.mae), ("RMSE", row.rmse), ("CCC", row.ccc))
        ],
        provenance=provenance.provenance(study),
    )
    return [out, *(path for path in (drawn, curves) if path)]
