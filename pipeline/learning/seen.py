"""What is known of the images that a file of trained weights has learned from, and whether the study tests on them.

A folder of a training run says it: the model file names the data set, run.json beside it the images, patients and
groups of its parts, as digests. What ``medmatrix export --format timm`` writes has both in labels.json. Other files say
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.learning.settings import Model
from pipeline.learning.teacher import digests_of, names_by_part
from pipeline.learning.weights import PACKAGE, ModelError, source, weights_file
from pipeline.study.prepared import DatasetInfo, read_dataset

SAME, UNKNOWN = "the training images of the same split", "images that are not recorded"
RUN, EXPORTED = "run.json", "labels.json"
_IDENTITY = ("title", "classes", "source")
"""By which two data sets of the user's own are told apart: they are called by the way in which they lie on the disk."""


class Seen(NamedTuple):
    """What weights were trained on.

    Parameters
    ----------
    data : dict
        As `DatasetInfo.record`.
    parts : dict of str
        As `pipeline.learning.teacher.digests_of`; empty where they are not recorded.
    before : str or None
        What is known of the weights that this training began with; None where it began at random.
    """

    data: dict[str, Any]
    parts: dict[str, str]
    before: str | None

    def of(self, data: DatasetInfo) -> bool | None:
        """Say whether the data set is `data`; None if it may be."""
        ours = data.record()
        if self.data.get("name") != ours["name"]:
            return False
        same = all(_plain(self.data.get(key)) == _plain(ours[key]) for key in _IDENTITY)
        return True if same or (ours["url"] and self.data.get("url") == ours["url"]) else None


def record(data: DatasetInfo, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an export says of its training images, as `seen_by` reads it; `run` is of run.json."""
    return {"data": data.record(), "parts": run.get("parts") or {}, "before": _before(run)}


def seen_by(file: Path) -> Seen | None:
    """Read what a file of weights, or what lies beside it, says of its training images; None where nothing does."""
    exported = _json(file.with_name(EXPORTED)).get("trained_on")
    if isinstance(exported, dict) and isinstance(exported.get("data"), dict):
        return Seen(exported["data"], exported.get("parts") or {}, exported.get("before"))
    about = _about(file)
    if not about.get("name"):
        return None
    run = _json(file.with_name(RUN))
    if any(run.get(key) != about.get(key) for key in ("model", "loss", "seed")):
        return Seen(about, {}, UNKNOWN)  # of another training run, or none
    return Seen(about, run.get("parts") or {}, _before(run))


def check_unseen(model: str, settings: Model, data: DatasetInfo) -> None:
    """Refuse weights that were trained on other images of the study's data set than its own training images.

    Parameters
    ----------
    model : str
        Key under ``models``, for messages.
    settings : Model
        Its settings.
    data : DatasetInfo
        Of the study, whose split is there.

    Raises
    ------
    ModelError
        Naming the file. Nothing is refused of which nothing is known.
    """
    if settings.weights is None:
        return
    key = f"models.{model}.weights"
    file = weights_file(key, source(key, settings.weights))
    seen = seen_by(file)
    if seen is None or not seen.parts or not seen.of(data):
        return
    ours = digests_of(names_by_part())
    other = [
        name for part, name in (("train", "training"), ("val", "validation")) if seen.parts.get(part) != ours[part]
    ]
    if other:
        raise ModelError(
            f"{key}: {file} was trained on {data.name} by another split: its {' and '.join(other)} part"
            f"{' is' if len(other) == 1 else 's are'} not those of this study, whose test images it may have learned "
            "from; use weights from a study with the same split, or of other images"
        )


def trained_on(settings: Model) -> str:
    """Say what the weights that a model starts from were trained on, for the record of a run that was not refused."""
    file = weights_file("weights", source("weights", str(settings.weights)))
    seen = None if str(settings.weights).startswith(PACKAGE) else seen_by(file)
    if seen is None or seen.before not in (None, SAME):
        return UNKNOWN
    ours = read_dataset()
    if seen.of(ours) is False:
        return f"another data set ({seen.data.get('title') or seen.data['name']})"
    return SAME if seen.of(ours) and seen.parts == digests_of(names_by_part()) else UNKNOWN


def _before(run: Mapping[str, Any]) -> str | None:
    """Return what a run's record says of the weights that it began with."""
    weights = run.get("weights") or {}
    if "trained on" in weights:
        return str(weights["trained on"])
    return UNKNOWN if "file" in weights and "package" not in weights else None


def _about(file: Path) -> dict[str, Any]:
    """Read what this project writes into the header of a model file; nothing of other files."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as opened:
            found = json.loads((opened.metadata() or {}).get("medmatrix", "{}"))
    except (SafetensorError, OSError, ValueError):  # for what reads the weights to say
        return {}
    return found if isinstance(found, dict) else {}


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return json.loads(json.dumps(value))
