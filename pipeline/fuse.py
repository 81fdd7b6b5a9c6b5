"""Stage `fuse`: where ``ensemble.features`` is on, train one new linear head on the joined features of the best cells.

The cells, and the epoch of the head, are chosen on the validation part; the truth of the test part is not read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.ensembling.settings import FeatureSections
from pipeline.gathered import gather
from pipeline.study.errors import stage_errors
from pipeline.study.files import FUSED, write_json
from pipeline.study.params import load


def fuse(params: FeatureSections) -> None:
    """Write the fused model's predictions and what it is made of, or that there is none."""
    (FUSED / "predictions.npz").unlink(missing_ok=True)
    content: dict[str, Any] = {"models": []}
    if params.ensemble.features:
        study, name = gather(params), f"features_top{params.ensemble.top_k}"
        members = study.best(params.ensemble.top_k)
        if len(members) < 2:
            content["skipped"] = {name: "one member only"}
        else:
            from pipeline.fused_head import train_head  # and torch with it, for which a study without does not wait

            about, val, test = train_head(name, members, params, study)
            logits = {"val_logits": val[None], "test_logits": test[None]}
            made = replace(study.labels, seeds=np.arange(1), methods=np.array([name]), **logits)
            made.save(FUSED / "predictions.npz")
            content["models"] = [{"name": name, "members": [cell._asdict() for cell in members], **about}]
    write_json(FUSED / "fused.json", content)


if __name__ == "__main__":
    with stage_errors():
        fuse(load(FeatureSections))
