"""A folder with the network as ONNX, verified, and its recipe; made once for each model and kept in tmp/."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.deploying.choice import FUSION, Choice
from pipeline.deploying.flags import Reference, measure
from pipeline.deploying.recipe import FORMAT, Recipe, thresholds_of
from pipeline.ensembling.settings import EnsembleSections
from pipeline.imaging.region import Regions, model_identity, regions_of
from pipeline.imaging.settings import PreprocessSections
from pipeline.learning.metadata import Scheme
from pipeline.learning.settings import TrainingSections
from pipeline.learning.weights import sha256_of
from pipeline.reporting.english import count
from pipeline.study.disk import told_of
from pipeline.study.errors import UserError
from pipeline.study.files import DATASET, FUSED, READING, SPLIT, made_by, null, read_json, write_json
from pipeline.study.locks import alone_in, locked_stages
from pipeline.study.params import PARAMS_FILE, ParamsError, load, read
from pipeline.study.parts import read_parts
from pipeline.study.prepared import DatasetInfo, as_input, open_images, read_dataset
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder
from pipeline.variants.settings import VariantSections, as_variant

KEPT = Path("tmp/deployed")
"""Bundles that commands keep from one call to the next."""
MODEL, RECIPE, REFERENCE = "model.onnx", "recipe.json", "reference.npz"
_PIXELS = ("size", "channels", "keep_aspect", "clahe", "bits", "store", "frame", "roi")
"""Settings of preprocessing that change what a network gets to see."""
CHECKED = 64
"""Validation images on which ONNX Runtime and torch are compared."""
AT_ONCE = 4
"""Images in one call of ONNX Runtime. Sixteen are as fast (benchmarks/RESULTS.md), and hold more between the layers."""
ON_A_CARD = 64
"""Images in one call of torch on a GPU, however many files and frames are given at once."""
TOLERANCE = 1e-3
"""Largest absolute difference of a logit between them."""
_WITHOUT_TRACES = 2
"""Counts in the key of a bundle: one of before 1 has paths of the machine in its network, of before 2 facts of pictures
with other last digits."""
_VERSIONS = ("torch", "timm", "onnx", "onnxruntime", "opencv-python-headless", "numpy")


class Engine(Protocol):
    """Computes what `pipeline.deploying.network.Network` does; may be called by several threads at once."""

    def __call__(
        self, images: np.ndarray, metadata: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return logits [M, N, K], probabilities [N, K] and features [N, D] of float32 images [N, C, H, W].

        And of metadata, float32 [N, I], if the network takes some.
        """


@dataclass(frozen=True)
class Bundle:
    """A model that is ready for new images.

    Parameters
    ----------
    folder : Path
        Holds `MODEL`, `RECIPE` and `REFERENCE`.
    recipe : Recipe
        Its content.
    """

    folder: Path
    recipe: Recipe

    def reference(self) -> Reference:
        """Read what new images are compared with."""
        return Reference.read(self.folder / REFERENCE)


def onnx_engine(path: Path, threads: int) -> Engine:
    """Return what computes a network with ONNX Runtime on the CPU.

    Parameters
    ----------
    path : Path
        The ONNX file.
    threads : int
        Of one call.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [taken.name for taken in session.get_inputs()]

    def run(images: np.ndarray, metadata: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        given = dict(zip(names, [images] if metadata is None else [images, metadata], strict=True))
        starts = range(0, len(images), AT_ONCE)
        pieces = [session.run(None, {name: of[i : i + AT_ONCE] for name, of in given.items()}) for i in starts]
        logits, probabilities, features = zip(*pieces)
        return np.concatenate(logits, axis=1), np.concatenate(probabilities), np.concatenate(features)

    return run


def torch_engine(choice: Choice, device: str) -> Engine:
    """Return what computes the network of the study with torch on `device`, "cpu" or "cuda"."""
    import torch

    from pipeline.learning import session

    network = network_of(choice).to(session.begin(1, tf32=False, device=device))
    where = next(network.parameters()).device

    def run(images: np.ndarray, metadata: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        given = [images] if metadata is None else [images, metadata]
        at_once = ON_A_CARD if where.type == "cuda" else AT_ONCE
        starts = range(0, len(images), at_once)
        with torch.inference_mode():
            pieces = [network(*(torch.from_numpy(of[i : i + at_once]).to(where) for of in given)) for i in starts]
        logits, probabilities, features = zip(*pieces)
        joined = torch.cat(logits, dim=1), torch.cat(probabilities), torch.cat(features)
        return joined[0].cpu().numpy(), joined[1].cpu().numpy(), joined[2].cpu().numpy()

    return run


def bundle(choice: Choice) -> Bundle:
    """Return the bundle of `choice`: the one of an earlier call if nothing has changed since, or a new one.

    Raises
    ------
    UserError
        If the network cannot be written as ONNX, or ONNX Runtime computes logits that differ by more than `TOLERANCE`.
    ArtifactError
        If a file of the study is missing.
    """
    check_prepared()
    folder = KEPT / f"{choice.name}-{_key(choice)[:16]}"
    if (found := _made(folder)) is not None:
        return found
    KEPT.mkdir(parents=True, exist_ok=True)
    with alone_in(KEPT, f"another process is writing into {KEPT}: waiting for it"):
        if (found := _made(folder)) is not None:  # meanwhile
            return found
        networks = count("network", len(choice.members))
        print(f"{choice.name}: writing {networks} as ONNX, once", file=sys.stderr, flush=True)
        partial = folder.with_name(f"partial-{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            with told_of(str(folder), partial):
                recipe = _make(choice, partial)
            for old in KEPT.glob(f"{choice.name}-*"):  # of the same model before it was trained again
                shutil.rmtree(old, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Bundle(folder, recipe)


def _made(folder: Path) -> Bundle | None:
    """Return the bundle in `folder`; None where there is none yet, or one that was cut, which is made anew."""
    try:
        record = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        if record.get("format") == FORMAT and (folder / MODEL).exists() and (folder / REFERENCE).exists():
            return Bundle(folder, Recipe.read(record))
    except (OSError, ValueError, TypeError):
        pass
    return None


def check_prepared() -> None:
    """Refuse a params.yaml whose section ``preprocess`` is not the one that the study's images were prepared with.

    Raises
    ------
    ParamsError
        If dvc.lock says that they were prepared otherwise, by a setting that changes pixels.
    """
    locked = ((locked_stages().get("preprocess") or {}).get("params") or {}).get(str(PARAMS_FILE), {}).get("preprocess")
    if locked is None:
        return
    now = read(PARAMS_FILE)["preprocess"]
    for name in _PIXELS:
        if now.get(name) != locked.get(name):
            raise ParamsError(
                f"{PARAMS_FILE}:\npreprocess.{name}: {now.get(name)!r}, and the images of the study were prepared with "
                f"{locked.get(name)!r}; set it back, or `dvc repro`"
            )


def study_regions() -> Regions:
    """Return what finds the regions of new images, as those of the study's images were found.

    Raises
    ------
    UserError
        If they were cut to masks of their data set, or by a network whose files have changed since.
    """
    settings = load(PreprocessSections).preprocess.roi
    regions, used = regions_of(settings), read_json(READING, "preprocess").get("region", {})
    if settings is not None and model_identity(settings) != used:
        raise UserError(
            f"preprocess.roi.masks: '{settings.masks}': its files are not those that the study's images were prepared "
            "with; `dvc repro`, or put them back"
        )
    return regions


class NetworkSections(TrainingSections, VariantSections):
    """The sections that say how networks are built, those of folds included."""


def network_of(choice: Choice) -> Any:
    """Load the networks of `choice` with torch, as a `pipeline.deploying.network.Network` on the CPU."""
    from pipeline.deploying.network import assemble

    params, data = load(NetworkSections), read_dataset()
    slope, intercept = choice.calibration.slope.tolist(), choice.calibration.intercept.tolist()
    shape = open_images().shape
    tta = load(EnsembleSections).evaluate.tta
    fused = choice.name if choice.method == FUSION else None
    described = [as_variant(params, getattr(run, "variant", None)).models[run.model] for run in choice.members]
    return assemble(choice.members, described, len(data.classes), shape[1], data.task, slope, intercept, tta, fused)


def _make(choice: Choice, folder: Path) -> Recipe:
    """Write a bundle into the empty `folder`."""
    import torch

    from pipeline.deploying.network import write_onnx

    images = open_images()
    network = network_of(choice)
    channels = 1 if images.ndim == 3 else images.shape[3]
    write_onnx(network, channels, images.shape[1], folder / MODEL)
    run = onnx_engine(folder / MODEL, 2)
    parts = read_parts(["train", "val"])
    some = validation_inputs(network.schemes)
    with torch.inference_mode():
        ours = network(*map(torch.from_numpy, some))[0].numpy()
    apart = difference(choice.name, "ONNX", ours, run(*some)[0])

    def features(pictures: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return run(as_input(pictures), *metadata_of(network.schemes, rows))[2]

    reference = measure(images, parts["train"].rows, parts["val"].rows, features)
    reference.write(folder / REFERENCE)
    recipe = recipe_of(choice, len(some[0]), apart)
    write_json(folder / RECIPE, recipe.record())
    return recipe


def validation_inputs(schemes: Sequence[Scheme] = ()) -> list[np.ndarray]:
    """Return the validation images on which what is written is compared, as the network takes them, and metadata."""
    rows = np.unique(read_parts(["val"])["val"].rows)[:CHECKED]
    return [as_input(open_images()[rows]), *metadata_of(schemes, rows)]


def metadata_of(schemes: Sequence[Scheme], rows: np.ndarray) -> list[np.ndarray]:
    """Return the metadata of the study's images `rows`, one array [N, I] of all schemes; none without a scheme."""
    return [np.concatenate([scheme.of_rows(rows) for scheme in schemes], axis=1)] if schemes else []


def difference(name: str, form: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest absolute difference of logits [..., N, K] from the study's.

    Raises
    ------
    UserError
        If it is above `TOLERANCE`: what was written computes something else.
    """
    apart = float(np.abs(ours - theirs).max())
    if not apart <= TOLERANCE:
        raise UserError(
            f"{name}: the network as {form} is off by {apart:.2g} in a logit of {ours.shape[-2]} validation images; "
            f"allowed is {TOLERANCE:g}. It is not written"
        )
    return apart


def recipe_of(choice: Choice, checked: int, apart: float) -> Recipe:
    """Collect everything beside the weights.

    Parameters
    ----------
    choice : Choice
        The model.
    checked : int
        Validation images on which what was written was compared with the study's networks.
    apart : float
        Largest absolute difference of a logit among them.
    """
    from pipeline.learning.networks.models import scheme_of  # imports torch

    taken = [scheme_of(_weights(run)) for run in choice.members]
    data, images = read_dataset(), open_images()
    return Recipe(
        name=choice.name,
        how=choice.how,
        method=choice.method,
        task=data.task,
        classes=data.classes,
        members=tuple(run.name for run in choice.members),
        sha256=tuple(sha256_of(_weights(run)) for run in choice.members),
        preprocess=load(PreprocessSections).preprocess.model_dump(mode="json"),
        bits=read_json(READING, "preprocess")["scale"]["bits"],
        channels=1 if images.ndim == 3 else images.shape[3],
        slope=tuple(choice.calibration.slope.tolist()),
        intercept=tuple(choice.calibration.intercept.tolist()),
        thresholds=thresholds_of(choice.thresholds),
        n_validation=choice.n_validation,
        conformal=None if choice.conformal is None else null(choice.conformal),
        class_wise=() if choice.class_wise is None else tuple(thresholds_of(pair) for pair in choice.class_wise),
        checked=checked,
        largest_difference=apart,
        about=_about(data) | ({"head_sha256": sha256_of(head)} if (head := _head(choice)) is not None else {}),
        metadata=tuple(scheme.record() for scheme in dict.fromkeys(taken) if scheme is not None),
    )


def _about(data: DatasetInfo) -> dict[str, Any]:
    return {
        "dataset": data.name,
        "title": data.title,
        "licence": data.licence,
        "citation": data.citation,
        "synthetic": data.synthetic,
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
    }


def _head(choice: Choice) -> Path | None:
    """Return the weights of a feature ensemble's head; None for what has none."""
    if choice.method != FUSION:
        return None
    return made_by(FUSED / f"{choice.name}.safetensors", "fuse")


def _weights(run: Run) -> Path:
    return run_folder(run) / "model.safetensors"


def _key(choice: Choice) -> str:
    """Digest all that a bundle is made of."""
    digest = hashlib.sha256(PARAMS_FILE.read_bytes())
    for path in (made_by(DATASET, "preprocess"), made_by(SPLIT, "split")):
        digest.update(path.read_bytes())
    for run in choice.members:
        digest.update(sha256_of(made_by(_weights(run), "train")).encode())
    if (head := _head(choice)) is not None:
        digest.update(sha256_of(head).encode())
    fitted = (choice.method, choice.calibration.slope.tolist(), choice.calibration.intercept.tolist())
    digest.update(
        json.dumps([FORMAT, _WITHOUT_TRACES, *fitted, thresholds_of(choice.thresholds), choice.conformal]).encode()
    )
    digest.update(b"" if choice.class_wise is None else choice.class_wise.tobytes())
    return digest.hexdigest()
