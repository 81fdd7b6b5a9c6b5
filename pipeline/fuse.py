"""Stage `fuse`: where ``ensemble.features`` is on, train a feature ensemble of the best training runs.

The training runs, and the epoch of the head, are chosen on the validation part; the truth of the test part is not read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.ensembling.records import fuse_record
from pipeline.ensembling.settings import FeatureSections
from pipeline.study.errors import stage_errors
from pipeline.study.files import FUSED, write_json
from pipeline.study.params import load
from pipeline.study.records import check_record
from pipeline.study.workplaces import asked_variant, inside


def fuse(params: FeatureSections) -> None:
    """Write the feature ensemble's predictions and what it is made of, or that there is none."""
    for old in [FUSED / "predictions.npz", *FUSED.glob("*.safetensors")]:
        old.unlink(missing_ok=True)
    content: dict[str, Any] = {"models": []}
    if params.ensemble.features:
        # They take as long to import as all else that this stage does in a study without a feature ensemble.
        import numpy as np

        from pipeline.ensembling.predictions import gather

        study, name = gather(params), f"features_top{params.top_k}"
        members = study.best(params.top_k)
        if len(members) < 2:
            content["skipped"] = {name: "one member only"}
        else:
            from pipeline.ensembling.features import train_head

            about, val, test = train_head(name, members, params, study)
            predictions = replace(
                study.labels,
                seeds=np.arange(1),
                methods=np.array([name]),
                val_logits=val[None],
                test_logits=test[None],
            )
            predictions.save(FUSED / "predictions.npz")
            content["models"] = [{"name": name, "members": [run._asdict() for run in members], **about}]
    write_json(FUSED / "fused.json", content)


if __name__ == "__main__":
    with stage_errors(), inside(variant := asked_variant(__doc__)):
        params = load(FeatureSections)
        check_record(variant, "fuse", fuse_record(params))
        fuse(params)
