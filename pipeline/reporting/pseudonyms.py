"""Names of images and patients of real data, replaced before any page sees them: reports lie in git, identities do not.

A file name, a patient id or a folder can say who a person is. An image is therefore called by its row of samples.csv
and a pseudonym, ``row 12 (3f9a2c1b)``; a patient by a pseudonym alone. A pseudonym is a keyed hash whose key is drawn
once per checkout: it stays the same from report to report, and nobody without the key can find it by trying names.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from pipeline.learning.weights import FILES
from pipeline.reporting.results import StudyResults
from pipeline.settings import Params
from pipeline.study.files import PSEUDONYM_KEY, PSEUDONYM_SALT, write_csv
from pipeline.study.prepared import DatasetInfo

NOT_SHOWN = "(not shown)"
"""Takes the place of a path."""
_PATHS = ("root", "table")
"""Settings of a data set that are paths."""
_LISTED = "first"
"""Key of SOURCE.json under which file names are listed."""
_DIGITS = 8


def hide(study: StudyResults) -> StudyResults:
    """Return `study` without a name, an id or a path that belongs to its images; drawn data keeps its names.

    Writes `PSEUDONYM_KEY`, where whoever has the images finds an image or a patient again.
    """
    params = _without_paths(study.params, study.synthetic)
    if study.synthetic:
        return replace(study, params=params)
    code = _coder(salt())
    images = _images(study, code)
    patients = {name: code("patient", name) for name in _unique(study.samples["patient_id"])}
    groups = {name: code("group", name) for name in _unique(study.samples["group_id"])}
    _write_key(images, patients if study.patients_known else {})
    clean = _cleaner(images, patients)
    samples = study.samples.assign(
        sample_id=study.samples["sample_id"].map(images),
        patient_id=study.samples["patient_id"].map(patients),
        group_id=study.samples["group_id"].map(groups),
        duplicate_of=study.samples["duplicate_of"].map(lambda name: images.get(name, "")),
    )
    return replace(
        study,
        params=params,
        samples=samples,
        excluded=study.excluded.assign(
            file=study.excluded["file"].map(images), reason=_reasons(study.excluded["reason"], clean)
        ),
        duplicates=_renamed(study.duplicates, ("sample_id", "other_id"), images),
        boxes=_renamed(study.boxes, ("sample_id",), images),
        audit=_audit(study, images, clean),
        dataset=_dataset(study.dataset, clean, code),
    )


def salt(path: Path = PSEUDONYM_SALT) -> bytes:
    """Return the key of this checkout's pseudonyms, 32 bytes; the first call draws it.

    Two processes that ask at once get the same: a file that is there is never replaced.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        drawn = path.with_name(f"salt-{os.getpid()}")
        drawn.touch(0o600)
        drawn.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        try:
            os.link(drawn, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links; two processes at once are then the user's own risk
            os.replace(drawn, path)
        finally:
            drawn.unlink(missing_ok=True)
    return bytes.fromhex(path.read_text(encoding="ascii").strip())


def _coder(key: bytes) -> Callable[[str, str], str]:
    def code(kind: str, name: str) -> str:
        return hashlib.blake2b(name.encode(), key=key, person=kind.encode(), digest_size=_DIGITS // 2).hexdigest()

    return code


def _unique(names: pd.Series) -> list[str]:
    return [str(name) for name in names.unique()]


def _images(study: StudyResults, code: Callable[[str, str], str]) -> dict[str, str]:
    """Return what every image is called: by row if it is kept, by its line of excluded.csv if it is not."""
    rows = study.samples.drop_duplicates("row")
    kept = zip(rows["sample_id"].tolist(), rows["row"].tolist())
    called = {name: f"row {row} ({code('image', name)})" for name, row in kept}
    for line, name in enumerate(study.excluded["file"].tolist(), 1):
        called.setdefault(name, f"excluded {line} ({code('image', name)})")
    return called


def _write_key(images: Mapping[str, str], patients: Mapping[str, str]) -> None:
    rows = [("image", *item) for item in images.items()] + [("patient", *item) for item in patients.items()]
    table = pd.DataFrame(rows, columns=["kind", "name", "pseudonym"])
    write_csv(PSEUDONYM_KEY, table[["pseudonym", "kind", "name"]])
    PSEUDONYM_KEY.chmod(0o600)


def _cleaner(images: Mapping[str, str], patients: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that replaces every name in a text, long names first, and remembers what it has seen."""
    known = {**patients, **{PurePath(name).name: called for name, called in images.items()}, **images}
    # A short patient id ("12") is no name that a text could be searched for.
    names = sorted((n for n in known if len(n) > 3 or n in images), key=lambda name: (-len(name), name))
    seen: dict[str, str] = {}

    def clean(text: str) -> str:
        if text not in seen:
            cleaned = text
            for name in names:
                if name in cleaned:
                    # A function, so that backslashes in the new text stay what they are.
                    cleaned = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", partial(_text, known[name]), cleaned)
            seen[text] = cleaned
        return seen[text]

    return clean


def _text(text: str, _: re.Match[str]) -> str:
    return text


def _reasons(reasons: pd.Series, clean: Callable[[str], str]) -> list[str]:
    """Return reasons without the name of another image; few are left then, and each is searched once."""
    return [
        clean(re.sub(r"(under other labels|mask of):? .*", r"\1", reason, flags=re.DOTALL))
        for reason in reasons.tolist()
    ]


def _renamed(table: pd.DataFrame, columns: Iterable[str], images: Mapping[str, str]) -> pd.DataFrame:
    present = [c for c in columns if c in table]
    return table.assign(**{c: table[c].map(lambda name: images.get(name, NOT_SHOWN)) for c in present})


def _audit(study: StudyResults, images: Mapping[str, str], clean: Callable[[str], str]) -> dict[str, Any]:
    groups = dict(zip(study.samples["row"].tolist(), study.samples["group_id"].tolist()))
    unused = []
    for entry in study.audit.get("unused") or []:
        reason = str(entry.get("reason", "")).replace(f"group {groups.get(entry.get('row'), '')} ", "group ")
        unused.append({**entry, "sample_id": images.get(entry.get("sample_id", ""), ""), "reason": clean(reason)})
    return {**study.audit, "unused": unused}


def _dataset(info: DatasetInfo, clean: Callable[[str], str], code: Callable[[str, str], str]) -> DatasetInfo:
    def within(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: within(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [code("image", item) if key == _LISTED and isinstance(item, str) else within(item) for item in value]
        if isinstance(value, str):
            return NOT_SHOWN if key in _PATHS else clean(value)
        return value

    return replace(
        info,
        notes=tuple(map(clean, info.notes)),
        remarks=tuple(map(clean, info.remarks)),
        source=within(info.source),
    )


def _without_paths(params: Params, synthetic: bool) -> Params:
    """Return the parameters as pages may print them: of files of weights the name alone, of data no path."""
    models = {name: about.without_paths() for name, about in params.models.items()}
    datasets = {name: _without(about) if about and not synthetic else about for name, about in params.datasets.items()}
    external = {
        name: of.model_copy(update={key: NOT_SHOWN for key in _PATHS if of.of_dataset.get(key)})
        for name, of in params.external.items()
    }
    preprocess = params.preprocess
    if preprocess.roi is not None:
        named = preprocess.roi.model_copy(update={"masks": PurePath(preprocess.roi.masks).name})
        preprocess = preprocess.model_copy(update={"roi": named})
    variants = {}
    for name, of in params.variants.items():
        region = of.preprocess.get("roi")
        if isinstance(region, Mapping) and "masks" in region:
            region = {**region, "masks": PurePath(str(region["masks"])).name}
            of = of.model_copy(update={"preprocess": {**of.preprocess, "roi": region}})
        if of.found:
            found = {k: PurePath(str(v)).name if k.endswith(FILES) and v else v for k, v in of.found.items()}
            of = of.model_copy(update={"found": found})
        variants[name] = of
    shown = {"models": models, "datasets": datasets, "external": external, "preprocess": preprocess}
    return params.model_copy(update={**shown, "variants": variants})


def _without(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a data set without its paths, those of the sets that it joins included."""
    return {
        key: NOT_SHOWN if key in _PATHS and value else _without(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
    }
