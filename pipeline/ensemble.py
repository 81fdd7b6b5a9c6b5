"""Stage `ensemble`: combine the cells' predictions in every way of the registry, and compare with single cells.

Members, weights and thresholds are those of the validation part; of the test part only predictions are combined.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.combining import Members, combine, describe, metrics, predictions_of
from pipeline.ensembling.settings import EnsembleSections
from pipeline.gathered import gather, gather_fused, signs
from pipeline.statistics.comparisons import compare
from pipeline.statistics.ensembles import member_sets, questions, ranked
from pipeline.study.errors import stage_errors
from pipeline.study.files import ENSEMBLES, write_csv, write_json
from pipeline.study.parallel import over_processes
from pipeline.study.params import load


def ensemble(params: EnsembleSections) -> None:
    """Write the ensembles' predictions, metrics, members, and differences from what validation chooses without them."""
    study = gather(params)
    first, val, test = study.labels, study.val, study.test
    auroc = {c: study.val_auroc(z) for c, z in val.items()}
    whole = [c for c, z in val.items() if np.isfinite(z).all()]
    sets, skipped = member_sets([str(c.configuration) for c in whole], [auroc[c] for c in whole], params.ensemble.top_k)
    skipped |= {
        f"{c.configuration} seed {c.seed}": "in no set: its logits are not finite" for c in auroc if c not in whole
    }
    of = params.evaluate
    bootstrap = of.draws()
    scoring = {**bootstrap, "interval": of.interval}
    pieces = []
    for name, places in sets.items():
        members = [whole[i] for i in places]
        pieces.append(
            Members(name, members, *(np.stack([part[c] for c in members]) for part in (val, test)), first, scoring)
        )
    results = over_processes(combine, pieces, of.threads)
    fused, not_fused = gather_fused(study)
    made = [e for some, _ in results for e in some] + fused
    predictions = predictions_of(made, first)
    tables = [table for _, table in results] + [metrics(predictions_of(fused, first), scoring)]
    cell = ranked(auroc)[0]
    configuration = ranked(
        {r: np.mean([auroc[c] for c in auroc if c.configuration == r]) for r in study.configurations}
    )[0]
    single = f"{cell.configuration} seed {cell.seed}"
    alone = {str(r): p.test_logits for r, p in study.configurations.items()}
    competitors = alone | {single: test[cell][None]}
    ensembles = {f"ensemble-{e.name}": e.test_logits[None] for e in made}
    on_test = first.test_targets, first.test_patients
    pairs = compare(first.task, competitors | ensembles, *on_test, margin=of.margin, **bootstrap)
    compared = questions(pairs, [*alone], [str(configuration), single], [*ensembles], 1 - of.confidence)
    by_class = compare(first.task, alone, *on_test, margin=of.margin, classes=list(first.classes), **bootstrap)

    described = {e.name: describe(e, auroc, study.val_auroc(e.val_logits)) for e in made}
    content = {
        "ensembles": described,
        "skipped": skipped | not_fused,
        "compared_with": [configuration._asdict(), cell._asdict()],
    }
    predictions.save(ENSEMBLES / "predictions.npz")
    write_csv(ENSEMBLES / "metrics.csv", pd.concat([t for t in tables if len(t)] or tables))
    write_csv(ENSEMBLES / "comparisons.csv", compared)
    write_csv(ENSEMBLES / "class_comparisons.csv", by_class[by_class["class"] != "macro"])
    write_csv(ENSEMBLES / "signs.csv", signs(study))
    write_json(ENSEMBLES / "members.json", content)


if __name__ == "__main__":
    with stage_errors():
        ensemble(load(EnsembleSections))
