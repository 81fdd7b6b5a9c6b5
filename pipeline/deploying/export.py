"""A configuration of the study as a folder that runs elsewhere: ONNX, timm or TorchScript, with the whole recipe."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, StrictUndefined

from pipeline.deploying.bundle import (
    MODEL,
    bundle,
    check_prepared,
    difference,
    network_of,
    recipe_of,
    validation_inputs,
)
from pipeline.deploying.choice import FUSION, Choice
from pipeline.deploying.recipe import Recipe
from pipeline.deploying.registry import register
from pipeline.deploying.sums import SUMS, lacking, write_sums
from pipeline.ensembling.predictions import gather
from pipeline.ensembling.sets import ranked
from pipeline.ensembling.settings import EnsembleSections
from pipeline.imaging.settings import PreprocessSections
from pipeline.learning import seen
from pipeline.learning.metadata import CLIP
from pipeline.learning.settings import TrainingSections
from pipeline.study.disk import told_of
from pipeline.study.errors import UserError
from pipeline.study.files import REPORTS, read_json, write_bytes, write_json, write_text
from pipeline.study.locks import alone_in
from pipeline.study.params import load
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Run, VariantRun
from pipeline.study.trainings import run_folder

Format = Literal["onnx", "timm", "torchscript"]
_TEMPLATE = Path(__file__).with_name("export.md")
_SCRIPT = Path(__file__).with_name("predict_onnx.py")
_Written = tuple[list[str], int, float]
"""Training runs, images on which they were compared, largest difference of a logit."""
_OF_AN_ENTRY = (
    *("tag", "license", "origin_url", "paper_name", "paper_ids", "description", "notes"),
    *("test_input_size", "test_crop_pct", "test_pool_size", "label_offset", "label_names", "label_descriptions"),
)
"""What timm's table says of one file of weights, which those of the study are not, whatever they began with."""
_COMBINED = {"mean": "mean of their probabilities", FUSION: "a head on their features"}
_ORIGINS = ".debug_pkl"
_VERSION = ("version", ".data/version")
"""The record of the format, by its place in archives of an older and of a newer one, as some operators need."""
_OF_THE_WRITER = (*_VERSION, "byteorder", ".data/serialization_id")
"""Records of an archive of TorchScript that each writer makes itself."""
_DIFFERENCE = "largest absolute difference of a logit"


def export(choice: Choice, form: Format, out: Path, seed: int | None = None) -> str:
    """Write a configuration in a form that runs without this project.

    Parameters
    ----------
    choice : Choice
        A configuration, or an ensemble whose members are combined by the mean of their probabilities or by a head on
        their features.
    form : {"onnx", "timm", "torchscript"}
        ONNX and TorchScript hold all seeds and give calibrated probabilities; timm knows single networks, and gets one.
    out : Path
        Is made; must not hold anything yet, but for a part of an export that was killed.
    seed : int, optional
        Of timm; the seed with the highest validation macro AUROC if not given.

    Returns
    -------
    str
        What a person is to be told.

    Raises
    ------
    UserError
        If `out` is not empty, timm cannot express the network, or the written network computes other logits than the
        study's on validation images.
    """
    _check_form(choice, form)
    check_prepared()
    parent = out.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    with alone_in(parent, f"--out: another process is writing into {parent}: waiting for it"):
        return _export(choice, form, out, seed)


def _check_form(choice: Choice, form: Format) -> None:
    roi = load(PreprocessSections).preprocess.roi
    if roi is not None:
        raise UserError(
            f"preprocess.roi.masks: '{roi.masks}': the network expects images that were cut to a region, and what is "
            "exported cannot find it; use medmatrix predict, or export a study without roi"
        )
    if choice.method not in ("mean", FUSION):
        raise UserError(
            f"{choice.name}: its members are combined by {choice.method}, which is no part of a network; must be a "
            "configuration, or an ensemble by mean or features"
        )
    if form == "timm" and any(isinstance(run, VariantRun) for run in choice.members):
        raise UserError("--format timm: holds a single network; must be used without --folds")
    if form == "timm" and (choice.method == FUSION or len({run.configuration for run in choice.members}) > 1):
        raise UserError(
            f"--format timm: {choice.name} is an ensemble; must be a configuration, of which one seed is written"
        )


def _export(choice: Choice, form: Format, out: Path, seed: int | None) -> str:
    """Write into a folder aside, which takes the place of `out` at the end."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not lacking(out))):  # a part of a killed export
        raise UserError(f"--out: {out} is not an empty folder: name one that is, or a new one")
    folder = out.resolve()
    partial = folder.with_name(f".medmatrix-partial-{folder.name}")  # nobody else's: what a kill left is removed
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with told_of(f"--out: {out}", partial):
            which, checked, apart = _WRITERS[form](choice, partial, seed)
            _write_recipe(
                recipe_of(choice, checked, apart), partial, form, [r for r in choice.members if r.name in which]
            )
        if folder.exists():  # the user's, which keeps its owner and mode
            for name in (SUMS, *sorted(path.name for path in partial.iterdir() if path.name != SUMS)):
                (partial / name).replace(folder / name)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    files = ", ".join(sorted(path.name for path in out.iterdir()))
    return f"{out}: {files}\n{_DIFFERENCE} from the study's, on {checked} validation images: {apart:.2g}"


def registered(choice: Choice, form: Format, name: str, seed: int | None = None) -> str:
    """Write a model into the registry of git and DVC.

    Parameters
    ----------
    choice, form, seed
        As for `export`.
    name : str
        Of the model in the registry.

    Raises
    ------
    UserError
        As `export` and `pipeline.deploying.registry.register`.
    """
    data = read_dataset()
    about = {"task": data.task, "dataset": data.name, "licence": data.licence, "synthetic": data.synthetic}
    _check_form(choice, form)
    check_prepared()
    return register(choice, name, form, lambda out: _export(choice, form, out, seed), about)


def _onnx(choice: Choice, folder: Path, seed: int | None) -> _Written:
    _only_timm(seed)
    made = bundle(choice)
    shutil.copyfile(made.folder / MODEL, folder / MODEL)
    shutil.copyfile(_SCRIPT, folder / _SCRIPT.name)
    return list(made.recipe.members), made.recipe.checked, made.recipe.largest_difference


def _torchscript(choice: Choice, folder: Path, seed: int | None) -> _Written:
    import warnings

    import torch

    _only_timm(seed)
    network = network_of(choice)
    some = tuple(map(torch.from_numpy, validation_inputs(network.schemes)))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's own deprecation
        # Traced on two images and checked on others: what depends on their number would show.
        traced = torch.jit.trace(network, tuple(of[:2] for of in some), check_trace=False)
        written = io.BytesIO()  # on a full disk torch's own writer ends the process
        torch.jit.save(traced, written)
        write_bytes(folder / "model.pt", _without_origins(written.getvalue()))
        again = torch.jit.load(folder / "model.pt")
        ours, theirs = (each(*some)[0].numpy() for each in (network, again))
    return [run.name for run in choice.members], len(some[0]), difference(choice.name, "TorchScript", ours, theirs)


def _without_origins(archive: bytes) -> bytes:
    """Copy an archive of TorchScript without the records of where its code stood: paths of this machine.

    They serve messages of errors alone. torch's own writer keeps records where a reader may map them.
    """
    import torch

    reader, copy = torch._C.PyTorchFileReader(io.BytesIO(archive)), io.BytesIO()
    writer = torch._C.PyTorchFileWriter(copy)
    for name in reader.get_all_records():
        if not name.endswith(_ORIGINS) and name not in _OF_THE_WRITER:
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    version = next(name for name in reader.get_all_records() if name in _VERSION)
    writer.set_min_version(int(reader.get_record(version)))
    writer.write_end_of_file()
    return copy.getvalue()


def _timm(choice: Choice, folder: Path, seed: int | None) -> _Written:
    import torch

    from pipeline.learning.eager import timm
    from pipeline.learning.networks import models

    run = _one(choice, seed)
    described, classes = load(TrainingSections).models[run.model], read_dataset().classes
    if described.metadata:
        raise UserError(
            f"models.{run.model}.metadata: {', '.join(described.metadata)}: timm's networks take images alone; use "
            "--format onnx or torchscript"
        )
    if described.arch == "baseline_cnn" or described.hidden is not None or described.head != "linear":
        what = "baseline_cnn" if described.arch == "baseline_cnn" else "a head of its own (hidden, head)"
        raise UserError(f"models.{run.model}: {what} is no network of timm's; use --format onnx or torchscript")
    size = open_images().shape[1]
    classifier = models.rebuild(run.model, described, len(classes), size, run_folder(run) / "model.safetensors")
    if classifier.output is not None:
        raise UserError(
            f"losses.{run.loss}: its network ends in a layer for ordered classes, which timm's has not; use --format "
            "onnx or torchscript"
        )
    network: Any = classifier.backbone
    mean, std = (values.flatten().tolist() for values in (classifier.mean, classifier.std))
    network.pretrained_cfg = {
        **{name: value for name, value in network.pretrained_cfg.items() if name not in _OF_AN_ENTRY},
        "architecture": network.pretrained_cfg.get("architecture", described.arch.partition(".")[0]),
        "mean": mean,
        "std": std,
        "input_size": [len(mean), size, size],
        "crop_pct": 1.0,
        "num_classes": len(classes),
    }
    options = {**described.options, "in_chans": len(mean)}
    network.num_classes = len(classes)
    config = {"label_names": list(classes)}
    timm.models.save_for_hf(network, str(folder), model_config=config, model_args=options, safe_serialization=True)
    images = torch.from_numpy(validation_inputs()[0])
    with torch.inference_mode():
        again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        ours = classifier(images).numpy()
        if images.shape[1] == 1 and len(mean) == 3:
            images = images.expand(-1, 3, -1, -1)
        theirs = again((images - torch.tensor(mean).reshape(1, -1, 1, 1)) / torch.tensor(std).reshape(1, -1, 1, 1))
    return [run.name], len(images), difference(choice.name, "timm", ours, theirs.numpy())


_WRITERS: dict[Format, Callable[[Choice, Path, int | None], _Written]] = {
    "onnx": _onnx,
    "timm": _timm,
    "torchscript": _torchscript,
}


def _only_timm(seed: int | None) -> None:
    if seed is not None:
        raise UserError("--seed: is of --format timm alone; the other formats hold all seeds")


def _one(choice: Choice, seed: int | None) -> Run:
    """Return the run of `seed`, or of the seed that validation chooses."""
    by_seed = {run.seed: run for run in choice.members}
    if seed is None:
        study = gather(load(EnsembleSections))
        return ranked({run: study.val_auroc(study.val[run]) for run in choice.members})[0]
    if seed not in by_seed:
        raise UserError(f"--seed: {seed}; use one of: {', '.join(map(str, by_seed))}")
    return by_seed[seed]


def _write_recipe(recipe: Recipe, folder: Path, form: Format, members: list[Run]) -> None:
    """Write what stands beside the network of some training runs: preparation, labels, card, licence, sums."""
    single, runs = form == "timm", [run.name for run in members]
    about = [read_json(run_folder(run) / "run.json", "train") for run in members]
    began = list(dict.fromkeys(_beginning(each) for each in about))
    pixels = ("size", "channels", "keep_aspect", "clahe", "bits", "store", "frame", "max_pixels")
    write_json(folder / "preprocess.json", {name: recipe.preprocess[name] for name in pixels})
    labels = {
        "task": recipe.task,
        "classes": list(recipe.classes),
        "training_runs": runs,
        "combined_by": _COMBINED[recipe.method] if len(runs) > 1 else "one run alone",
        "calibration": None if single else {"slope": list(recipe.slope), "intercept": list(recipe.intercept)},
        "thresholds_of_calibrated_probabilities": None if single else list(recipe.thresholds),
        "chosen_on_validation_images": recipe.n_validation,
        **({"trained_on": seen.record(read_dataset(), about[0])} if single else {}),
    }
    write_json(folder / "labels.json", labels)
    scheme = recipe.scheme()
    if scheme is not None:
        write_json(folder / "metadata.json", {"clip": CLIP, "inputs": list(scheme.inputs), "columns": scheme.record()})
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    card = REPORTS / "model_cards" / f"{recipe.name}.md"
    facts = {
        "recipe": recipe,
        "form": form,
        "runs": runs,
        "outputs": 1 if recipe.method == FUSION else len(runs),
        "apart": f"{recipe.largest_difference:.2g}",
        "card": card.exists(),
        "began": began,
        "inputs": [] if scheme is None else scheme.inputs,
        "columns": [] if scheme is None else list(dict.fromkeys(scheme.names)),
    }
    write_text(folder / "README.md", template.render(facts))
    if card.exists():
        write_text(folder / "MODEL_CARD.md", _without_links(card.read_text(encoding="utf-8")))
    write_text(
        folder / "LICENCE.txt",
        f"The network was trained on: {recipe.about['title']}\nLicence of these images: {recipe.about['licence']}\n"
        f"To be cited: {recipe.about['citation']}\n"
        f"Licence of the trained weights: not recorded. They began as {'; '.join(began)}.\n",
    )
    write_sums(folder)


def _beginning(about: dict[str, Any]) -> str:
    """Say by run.json what a training run began with, and under which licence; a file of the user's is not named."""
    if "weights" not in about:
        return "weights that are not recorded"
    if not about["weights"]:
        return "random weights"
    known = {name: value for name, value in about["weights"].items() if value is not None}
    place = known.get("package") or known.get("hub")
    return f"weights of {place or 'a file'} (licence: {known.get('licence', 'not recorded')})"


def _without_links(page: str) -> str:
    """Keep the words of links to files that do not come along, and leave pictures out."""
    page = re.sub(r"!\[[^\]]*\]\([^)]*\)\n?", "", page)
    return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", page)
