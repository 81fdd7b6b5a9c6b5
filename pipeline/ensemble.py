"""Stage `ensemble`: combine the training runs' predictions in every way of the registry, and compare with single runs.

Members, weights and thresholds are those of the validation part; of the test part only predictions are combined.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.checking.signs import signs
from pipeline.ensembling.comparing import compare
from pipeline.ensembling.grades import grade_comparisons
from pipeline.ensembling.predictions import (
    MemberSet,
    chosen_of,
    clinical_of,
    combine,
    describe,
    gather,
    gather_feature_ensembles,
    predictions_of,
    score_ensembles,
)
from pipeline.ensembling.records import ensemble_record
from pipeline.ensembling.sets import means_of, member_sets, ranked
from pipeline.ensembling.settings import EnsembleSections
from pipeline.regressing.ensembles import ensemble_regression
from pipeline.study.errors import stage_errors
from pipeline.study.files import ENSEMBLES, write_csv, write_json
from pipeline.study.parallel import over_processes, processors, safe_to_fork
from pipeline.study.params import load
from pipeline.study.prepared import read_dataset
from pipeline.study.records import check_record
from pipeline.study.workplaces import asked_variant, inside

MOST = 4
"""Processes."""
WORTH_A_PROCESS = 1e8
"""Decisions x draws above which processes that are no forks save more than the seconds that each takes to start."""


def ensemble(params: EnsembleSections) -> None:
    """Write the ensembles' predictions, metrics, members, and differences from what validation chooses without them."""
    study, settings = gather(params), params.evaluate
    labels = study.labels
    auroc = {run: study.val_auroc(logits) for run, logits in study.val.items()}
    finite = study.members
    names = [str(run.configuration) for run in finite]
    if params.top_k < params.ensemble.top_k:
        print(f"ensemble.top_k: {params.ensemble.top_k}, of training runs there are {params.top_k}: all are taken")
    sets, skipped = member_sets(names, [auroc[run] for run in finite], params.top_k)
    for run in (run for run in auroc if run not in finite):
        whole = np.isfinite(study.val[run]).all()
        skipped[str(run)] = f"in no set: {'it has learned from an ensemble' if whole else 'its logits are not finite'}"
    bootstrap = settings.draws()
    pieces = []
    for name, places in sets.items():
        members = [finite[i] for i in places]
        val, test = (np.stack([part[run] for run in members]) for part in (study.val, study.test))
        pieces.append(MemberSet(name, members, val, test, labels, bootstrap))
    worth_it = safe_to_fork() or labels.test_targets.size * settings.bootstrap > WORTH_A_PROCESS
    results = over_processes(combine, pieces, min(processors(), MOST) if worth_it else 1)
    of_features, not_trained = gather_feature_ensembles(study)
    made = [e for ensembles, _ in results for e in ensembles] + of_features
    predictions = predictions_of(made, labels)
    tables = [table for _, table in results] + [score_ensembles(predictions_of(of_features, labels), bootstrap)]

    run, configuration = ranked(auroc)[0], ranked(means_of(auroc))[0]
    metrics = pd.concat([t for t in tables if len(t)] or tables)
    chosen = chosen_of(metrics)
    compared, by_class = compare(study, (configuration, run), made, chosen, settings)
    alone = {str(c): p.test_logits for c, p in study.configurations.items()}

    content = {
        "ensembles": {e.name: describe(e, auroc, study.val_auroc(e.val_logits)) for e in made},
        "skipped": skipped | not_trained,
        "compared_with": [configuration._asdict(), run._asdict()],
        "chosen": chosen,
    }
    predictions.save(ENSEMBLES / "predictions.npz")
    write_csv(ENSEMBLES / "metrics.csv", metrics)
    write_csv(ENSEMBLES / "comparisons.csv", compared)
    write_csv(ENSEMBLES / "class_comparisons.csv", by_class)
    write_csv(ENSEMBLES / "signs.csv", signs(study))
    if labels.ordered:
        write_csv(ENSEMBLES / "grade_comparisons.csv", grade_comparisons(alone, labels, settings))
    for name, table in clinical_of(predictions, chosen, settings).items():
        write_csv(ENSEMBLES / f"{name}.csv", table)
    write_json(ENSEMBLES / "members.json", content)


if __name__ == "__main__":
    with stage_errors(), inside(asked_variant(__doc__)):
        params = load(EnsembleSections)
        check_record(None, "ensemble", ensemble_record(params))
        task = read_dataset().task
        if task == "segmentation":
            # Imports torch, for which other studies do not wait.
            from pipeline.segmenting.ensembles import ensemble_segmentation

            ensemble_segmentation(params)
        elif task == "regression":
            ensemble_regression(params)
        else:
            ensemble(params)
