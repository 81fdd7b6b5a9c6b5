"""What stage ensemble does in a study of regression: means of predictions, and configurations compared."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from pipeline.ensembling.settings import EnsembleSections
from pipeline.regressing.scores import METRICS, scores
from pipeline.regressing.values import FILE, SIDES, Values, mixed
from pipeline.study.files import ENSEMBLES, EVALUATIONS, ArtifactError, write_csv, write_json
from pipeline.study.predictions import METRIC_COLUMNS
from pipeline.study.runs import configurations
from pipeline.study.trainings import evaluation_folder
from pipeline.uncertainty.comparisons import Side, difference_error, kind_of_seeds, tests_of
from pipeline.uncertainty.multiplicity import holm

COMPARED = ("mae", "r2")
"""Metrics whose differences are tested; each is a family of its own."""
ALL = "mean_all"
"""Name of the mean of every training run of the study; that of a configuration's seeds is ``mean_`` and its name."""


def ensemble_regression(params: EnsembleSections) -> None:
    """Write the mean predictions of each configuration's seeds and of all runs, their metrics, and comparisons."""
    named = {str(c): c for c in configurations(params) if (evaluation_folder(c) / FILE).exists()}
    found = {name: Values.load(evaluation_folder(c) / FILE) for name, c in named.items()}
    if not found:
        raise ArtifactError(f"{EVALUATIONS} holds no configuration of this study: dvc repro evaluate")
    members = {f"mean_{name}": [name] for name, values in found.items() if len(values.names) > 1}
    members |= {ALL: list(found)} if len(found) > 1 else {}
    write_csv(ENSEMBLES / "comparisons.csv", compared(found, params))
    made = {name: combined([found[of] for of in names]) for name, names in members.items()}
    tables = []
    for name, sides in made.items():
        table = scores([name], sides, **params.evaluate.draws(), with_mean=False).rows
        tables.append(table.assign(model="ensemble", loss=name, seed="")[METRIC_COLUMNS])
    write_csv(ENSEMBLES / "metrics.csv", pd.concat(tables) if tables else pd.DataFrame(columns=METRIC_COLUMNS))
    described = {
        name: {
            "method": "mean",
            "set": name.removeprefix("mean_"),
            "fitted_on": "nothing",
            "members": [{**named[c]._asdict(), "seed": int(seed)} for c in names for seed in found[c].names.tolist()],
        }
        for name, names in members.items()
    }
    write_json(ENSEMBLES / "members.json", {"ensembles": described, "skipped": {}, "chosen": None})


def combined(members: list[Values]) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return the mean of all runs of some configurations, as `scores` takes it; without a spread where one has none."""
    sides = {}
    for side in SIDES:
        values, spreads = (
            np.concatenate([getattr(m, f"{side}_{what}") for m in members]) for what in ("values", "spreads")
        )
        value, spread = mixed(values, spreads)
        truth = getattr(members[0], f"{side}_targets"), getattr(members[0], f"{side}_patients")
        sides[side] = (value[None], spread[None], *truth)
    return sides


def compared(found: dict[str, Values], params: EnsembleSections) -> pd.DataFrame:
    """Test every pair of configurations for a difference, paired on the test patients.

    Returns
    -------
    DataFrame
        first, second, metric, difference (first - second, of means over seeds), ci_low, ci_high, p, p_holm (of the
        pairs of a metric), distinguishable, seeds (`comparisons.kind_of_seeds`), error, freedom, note.
    """
    settings = params.evaluate
    measured = {}
    for name, values in found.items():
        side = values.test_values, values.test_spreads, values.test_targets, values.test_patients
        measured[name] = scores(values.names.tolist(), {"test": side}, **settings.draws())
    patients = len(np.unique(next(iter(found.values())).test_patients))
    rows = []
    for metric in COMPARED:
        m = METRICS.index(metric)
        for first, second in combinations(found, 2):
            one, other = (Side(measured[n].values[:, m], measured[n].draws[:, :, m]) for n in (first, second))
            difference = float(one.values.mean() - other.values.mean())
            error, freedom = difference_error(one, other, max(patients - 1, 1))
            tested = tests_of(difference, error, freedom, settings.confidence, 1.0, np.inf)
            kept = {key: tested[key] for key in ("difference", "ci_low", "ci_high", "p")}
            note = "" if np.isfinite(tested["p"]) else "the uncertainty of the difference could not be estimated"
            about = {"first": first, "second": second, "metric": metric, "seeds": kind_of_seeds(one, other)}
            rows.append({**about, **kept, "error": error, "freedom": freedom, "note": note})
    columns = ["first", "second", "metric", "seeds", "difference", "ci_low", "ci_high", "p", "error", "freedom", "note"]
    table = pd.DataFrame(rows, columns=columns)
    adjusted = np.full(len(table), np.nan)
    for metric in COMPARED:
        chosen = (table["metric"] == metric).to_numpy()
        adjusted[chosen] = holm(table.loc[chosen, "p"].to_numpy(float))
    return table.assign(p_holm=adjusted, distinguishable=adjusted < 1 - settings.confidence)
