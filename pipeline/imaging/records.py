"""What prepared images depend on beside params.yaml and the code that prepares them: a network that finds regions."""

from __future__ import annotations

from typing import Any

from pipeline.imaging.region import model_identity
from pipeline.imaging.settings import PreprocessSection
from pipeline.study.code import ROOT, digests


def region_record(params: PreprocessSection) -> dict[str, Any]:
    """Return the record of regions of interest, for stages ``preprocess`` and ``prepare_external``.

    Returns
    -------
    dict
        region: None, or of a network the SHA-256 of each of its files, and the code that it runs. A change of either is
        a change of the images; the code of networks is no dependency of studies without.
    """
    files = model_identity(params.preprocess.roi)
    if not files:
        return {"region": None}
    return {"region": {"files": files, "code": digests([ROOT / "pipeline/segmenting/use.py"])}}
