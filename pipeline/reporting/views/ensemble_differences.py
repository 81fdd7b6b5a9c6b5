"""Facts of the page about ensembles: the tested differences between ensembles and single models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate, Outcome, outcome

VERDICTS = ("above", "below", *(str(o) for o in Outcome if o is not Outcome.DIFFER))


class Difference(NamedTuple):
    """A tested difference in test macro AUROC, ensemble minus single model, as in comparisons.csv but for the sign."""

    ensemble: str
    reference: str
    estimate: Estimate
    p: float
    p_holm: float
    differs: bool
    equivalent: bool
    margin: float
    failed: bool = False

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`; "above" and "below" only where the corrected test is significant and no run failed."""
        found = outcome(self.p_holm, self.differs, self.equivalent, self.failed)
        if found is Outcome.DIFFER:
            return "above" if self.estimate.value > 0 else "below"
        return str(found)

    @property
    def small(self) -> bool:
        """Whether the ensemble is above or below, and by less than the equivalence margin."""
        return self.verdict in ("above", "below") and self.equivalent


class Reference(NamedTuple):
    """A single model that ensembles are compared with.

    Parameters
    ----------
    name : str
        A configuration, or a training run as comparisons.csv calls it.
    run : bool
        It is a training run.
    chosen : bool
        It is the configuration that validation chooses, or the training run with the highest validation AUROC.
    seeds : tuple of int
        Of the configuration; empty for a training run.
    value : Estimate
        Test macro AUROC.
    differences : list of Difference
        Of the ensembles from it.
    own : Difference or None
        That of the chosen ensemble.
    """

    name: str
    run: bool
    chosen: bool
    seeds: tuple[int, ...]
    value: Estimate
    differences: list[Difference]
    own: Difference | None

    @property
    def others(self) -> list[Difference]:
        """Differences of the ensembles that are not chosen."""
        return [d for d in self.differences if d is not self.own]

    @property
    def tally(self) -> list[tuple[str, int]]:
        """How many of `others` have each verdict, in the order of `VERDICTS`."""
        kinds = [d.verdict for d in self.others]
        return [(kind, kinds.count(kind)) for kind in VERDICTS if kind in kinds]

    @property
    def untested(self) -> list[str]:
        """Why ensembles are not tested against it, each reason once; empty text where no reason is recorded."""
        return sorted({d.estimate.note for d in self.differences if d.verdict == "not tested"})


def listed(study: StudyResults) -> tuple[Results, ...]:
    """Return every ensemble; of a bare table those that it has rows of."""
    return study.every_ensemble or study.ensembles


def differences(study: StudyResults) -> list[Difference]:
    """Read the family "ensembles" of the comparisons, each turned so that it is ensemble minus single model."""
    if not study.has_comparisons:
        return []
    table, keys = study.comparisons, {e.key for e in listed(study)}
    found = []
    for row in table[table["family"] == "ensembles"].to_dict("records"):
        turned = row["first"] not in keys
        ensemble, reference = (row["second"], row["first"]) if turned else (row["first"], row["second"])
        if ensemble not in keys:
            continue
        note = row["note"] if isinstance(row.get("note"), str) else ""
        estimate = Estimate(row["difference"], row["ci_low"], row["ci_high"], note=note)
        estimate = estimate.turned() if turned else estimate
        judged = bool(row["distinguishable"]), bool(row["equivalent"]), float(row["margin"])
        failed = bool({ensemble, reference} & study.failing)
        found.append(Difference(ensemble, reference, estimate, row["p"], row["p_holm"], *judged, failed))
    return found


def single_configuration(study: StudyResults, found: Sequence[Difference]) -> Results | None:
    """Return the configuration that ensembles are compared with: the chosen one, where it is among them."""
    references = {d.reference for d in found}
    if study.chosen is not None and (not references or study.chosen.key in references):
        return study.chosen
    return next((r for r in study.configurations if r.key in references), None)


def compared_with(study: StudyResults, name: str, found: Sequence[Difference], best: Results | None) -> Reference:
    """Return the single model called `name` with its differences out of `found`; `best` is the chosen ensemble."""
    runs = {f"{r.key} seed {seed}": (r, seed) for r in study.configurations for seed in r.seeds}
    of_it = [d for d in found if d.reference == name]
    own = next((d for d in of_it if best is not None and d.ensemble == best.key), None)
    if name in runs:
        results, seed = runs[name]
        values = {run: r.get("auroc", None, s, "val").value for run, (r, s) in runs.items()}
        known = {run: value for run, value in values.items() if math.isfinite(value)}
        first = bool(known) and name == max(known, key=known.__getitem__)
        return Reference(name, True, first, (), results.get("auroc", None, seed), of_it, own)
    configuration = next((r for r in study.configurations if r.key == name), None)
    chosen = study.chosen is not None and study.chosen.key == name
    seeds, value = ((), Estimate()) if configuration is None else (configuration.seeds, configuration.get("auroc"))
    return Reference(name, False, chosen, seeds, value, of_it, own)
