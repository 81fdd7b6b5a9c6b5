"""A feature ensemble: one new linear head on the features of several trained networks.

The networks are frozen and in evaluation mode, so that an image's features never change: they are computed once, kept
in memory, and the head is trained on them by the study's own loop. That is also why nothing is augmented here: a
changed image would need its features computed anew, in every epoch and by every network.

Model-level ensembles of this kind: Rajaraman, Zamzmi, Antani, PLoS ONE 16(12):e0261307, arXiv 2109.14433, who choose
their members on the test part; here members are chosen and the head is stopped on the validation part.

There is no test-time augmentation here: the networks see each image once, as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.ensembling.predictions import Gathered
from pipeline.ensembling.settings import FeatureSections
from pipeline.learning import losses, session
from pipeline.learning.images.loader import ResidentImages, pieces_of, with_metadata
from pipeline.learning.losses import Loss
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.networks.models import Classifier
from pipeline.learning.settings import Augment, Train, train_settings
from pipeline.learning.training.checkpoints import Checkpoint, fingerprint
from pipeline.learning.training.loop import FittedModel, derive, fit
from pipeline.learning.training.progress import EpochLines
from pipeline.learning.training.provenance import device_name, versions
from pipeline.study.files import (
    CHECKPOINTS,
    FUSED,
    IMAGES,
    SAMPLES,
    SPLIT,
    ArtifactError,
    made_by,
    nulls,
    replaced,
)
from pipeline.study.parts import read_parts, read_split
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder


class ResidentFeatures:
    """Features of one part in memory, in the place of `ResidentImages` for the training loop.

    Parameters
    ----------
    values : Tensor, float32 [n, F]
        On the device that trains.
    targets : Tensor, uint8 [n, K]
        On the same device.

    Attributes
    ----------
    images : Tensor, float32 [n, F, 1, 1]
        The features, as the loop knows images.
    targets : Tensor
        As given.
    """

    residency, metadata = "device", None

    def __init__(self, values: Tensor, targets: Tensor) -> None:
        self.images, self.targets = values[:, :, None, None], targets

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.images.device

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, F, 1, 1)."""
        return tuple(self.images.shape)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features at `index` as float32 [B, F, 1, 1], and targets, float32 [B, K]."""
        index = index.to(self.device)
        return self.images.index_select(0, index), self.targets.index_select(0, index).float()

    def batches(self, order: Tensor, size: int | Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `take` of consecutive pieces of `order`, see `pieces_of`."""
        yield from (self.take(some) for some in pieces_of(order, size))


class FeatureHead(nn.Module):
    """Standardise features, then one linear layer.

    Parameters
    ----------
    mean, std : Tensor, float32 [F]
        Of the training part's features, so that networks of different scales have the same weight; a feature that does
        not vary is 0. Saved with the weights.
    classes : int
        Logits.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, std: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(std > 1e-6, 1 / std.clamp(min=1e-6), 0.0))
        self.linear = nn.Linear(len(mean), classes)
        nn.init.zeros_(self.linear.weight)  # the loss is convex in the head: no start is better than another
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits [N, classes] of features [N, F, 1, 1]."""
        return self.linear((features.flatten(1) - self.mean) * self.scale)

    def head_parameters(self) -> list[nn.Parameter]:
        """List all trained parameters."""
        return list(self.linear.parameters())


def last_layer(model: Classifier) -> nn.Module:
    """Return the layer that makes the logits of `model`: what goes into it is the model's features."""
    layer = model.head_module()
    while isinstance(layer, nn.Sequential):
        layer = layer[-1]
    return layer


def pooled(value: Tensor) -> Tensor:
    """Return the input of `last_layer` as features, float32 [N, F]; a map [N, F, H, W] is averaged over its places."""
    value = value.float()
    return value.mean((2, 3)) if value.ndim == 4 else value.flatten(1)


@torch.inference_mode()
def features(model: Classifier, data: ResidentImages, batch_size: int, precision: str = "float32") -> Tensor:
    """Compute what goes into the head of `model` for every image, in order.

    Parameters
    ----------
    model : Classifier
        Is left in evaluation mode.
    data : ResidentImages
        N images, on the model's device.
    batch_size : int
        Images per call.
    precision : {"float32", "bfloat16"}
        Of the model's arithmetic.

    Returns
    -------
    Tensor, float32 [N, F]
        The input of `last_layer`, as `pooled` gives it.
    """
    batches: list[Tensor] = []
    device = next(model.parameters()).device
    hook = last_layer(model).register_forward_pre_hook(lambda module, inputs: batches.append(pooled(inputs[0])))
    model.eval()
    try:
        with session.autocast(device, precision):
            for images, _, known in with_metadata(data, torch.arange(len(data)), batch_size):
                model(images, *known)
    finally:
        hook.remove()
    return torch.cat(batches)


def concatenate(
    members: Sequence[Callable[[], Classifier]], parts: Mapping[str, ResidentImages], batch_size: int
) -> dict[str, ResidentFeatures]:
    """Put the features of all members side by side, for each part.

    Parameters
    ----------
    members : sequence of callable
        Each returns a trained network on the device of the data: one is in memory at a time.
    parts : mapping of str to ResidentImages
        By name.
    batch_size : int
        Images per call.

    Returns
    -------
    dict of str to ResidentFeatures
        F is the sum of the members' features.
    """
    by_part: dict[str, list[Tensor]] = {name: [] for name in parts}
    for member in members:
        model = member()
        for name, data in parts.items():
            known = None if model.late is None else model.late.scheme.of_rows(data.rows)
            by_part[name].append(features(model, data.beside(known), batch_size))
    return {name: ResidentFeatures(torch.cat(by_part[name], dim=1), data.targets) for name, data in parts.items()}


def fit_head(
    parts: Mapping[str, ResidentFeatures],
    draws: np.ndarray,
    loss: Loss,
    *,
    lr: float,
    settings: Train,
    seed: int,
    checkpoint: Checkpoint,
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> tuple[FeatureHead, FittedModel]:
    """Train a head on the training part's features, its epoch chosen on the validation part.

    Parameters
    ----------
    parts : mapping of str to ResidentFeatures
        "train" and "val"; others are not looked at.
    draws : int64 [n]
        Draws per epoch of each training image.
    loss : Loss
        What is minimised.
    lr, settings, seed, checkpoint, report
        As for `loop.fit`; what is for networks alone is off whatever they say: augment, compile, mix, progressive,
        layer_decay.

    Returns
    -------
    head : FeatureHead
        With the weights of the best epoch, in evaluation mode.
    fitted : FittedModel
        What the loop returned.
    """
    train, val = parts["train"], parts["val"]
    used = torch.from_numpy(np.flatnonzero(draws)).to(train.device)
    values = train.images.index_select(0, used).flatten(1).double()
    torch.manual_seed(derive(seed, 0))
    head = FeatureHead(values.mean(0).float(), values.std(0, correction=0).float(), train.targets.shape[1])
    head = head.to(train.device)
    none = dict.fromkeys(("mix", "progressive", "layer_decay"))
    off = {"augment": Augment(horizontal_flip=0.0), "compile": False, **none}
    settings = settings.model_copy(update=off)
    fitted = fit(
        head, loss, train, draws, val, lr=lr, settings=settings, seed=seed, checkpoint=checkpoint, report=report
    )
    head.load_state_dict(fitted.state)
    return head.eval(), fitted


def head_file(name: str) -> Path:
    """Return where the head of the feature ensemble `name` lies."""
    return FUSED / f"{name}.safetensors"


def save_head(head: FeatureHead, path: Path) -> None:
    """Write the weights of a head, complete or not at all."""
    state = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    with replaced(path) as partial:
        save_file(state, partial)


def load_head(name: str) -> FeatureHead:
    """Read the head of the feature ensemble `name`, on the CPU and in evaluation mode.

    Raises
    ------
    ArtifactError
        If stage `fuse` has not written it.
    """
    state = load_file(made_by(head_file(name), "fuse"))
    classes, size = state["linear.weight"].shape
    head = FeatureHead(torch.zeros(size), torch.ones(size), classes)
    head.load_state_dict(state)
    return head.eval()


def head_logits(head: FeatureHead, data: ResidentFeatures, batch_size: int) -> np.ndarray:
    """Compute the logits of every image, float32 [N, K], in order."""
    return predict(head, data, batch_size, "float32").cpu().numpy()


def rebuild(run: Run, params: FeatureSections, classes: int, size: int, device: torch.device) -> Classifier:
    """Build the trained network of `run`, for images of `size` pixels."""
    file = made_by(run_folder(run) / "model.safetensors", "train")
    model = models.rebuild(run.model, params.models[run.model], classes, size, file)
    return model.to(device).to(memory_format=torch.channels_last)


def join(members: list[Run], params: FeatureSections, settings: Train, study: Gathered) -> dict[str, ResidentFeatures]:
    """Compute the members' features of all parts; those of the test part have zeros in the place of the truth.

    Raises
    ------
    ArtifactError
        If the evaluations are of other images than the split.
    """
    device, images, classes = session.choose_device(settings.device), open_images(), len(study.labels.classes)
    parts, split = read_parts(["train", "val"]), read_split()
    test = split[split["part"] == "test"].sort_values(["row", "augmented"])
    entries = {name: (part.rows, part.targets, part.augmented) for name, part in parts.items()}
    no_truth = np.zeros((len(test), classes), np.uint8)
    entries["test"] = test["row"].to_numpy(), no_truth, test["augmented"].to_numpy()
    for name, rows in (("val", study.labels.val_rows), ("test", study.labels.test_rows)):
        if not np.array_equal(entries[name][0], rows):
            raise ArtifactError(f"evaluations are of another {name} part than the split: dvc repro evaluate")
    loaded = {
        name: ResidentImages(images, rows, targets, device, augmented, settings.residency)
        for name, (rows, targets, augmented) in entries.items()
    }
    networks = [partial(rebuild, run, params, classes, images.shape[1], device) for run in members]
    return concatenate(networks, loaded, 4 * settings.batch_size)


def train_head(
    name: str, members: list[Run], params: FeatureSections, study: Gathered
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Train a head with the settings of the first member's configuration.

    Parameters
    ----------
    name : str
        Of the feature ensemble, for the display of its progress.
    members : list of Run
        The training runs whose features are joined, the best first.
    params : FeatureSections
        Of the study.
    study : Gathered
        The training runs' predictions, for the images that they are of.

    Returns
    -------
    about : dict
        What fused.json says of it, JSON-compatible.
    val_logits, test_logits : float32 [N, K]
        Its predictions.
    """
    best, data, training = members[0], read_dataset(), read_parts(["train"])["train"]
    settings, described = train_settings(params, best.model), params.models[best.model]
    lr = described.head_lr or described.lr
    session.begin(settings.threads, settings.tf32, settings.device)
    parts = join(members, params, settings, study)
    weighting = training.targets, training.draws, settings.class_weights, data.ordered
    loss = losses.for_training(best.loss, params.losses[best.loss], data.task, *weighting)
    decisive = {
        "members": members,
        "train": settings.deciding(),
        "loss": [type(loss).__name__, loss.task, loss.model_dump(), *(["ordered"] if loss.of_ordered else [])],
        "head": [lr, params.seed],
        "device": device_name(parts["train"].device),
        "versions": versions(parts["train"].device),
    }
    networks = [run_folder(run) / "model.safetensors" for run in members]
    key = fingerprint(decisive, [IMAGES, SAMPLES, SPLIT, *networks])
    checkpoint = Checkpoint(CHECKPOINTS, key)
    with EpochLines(name, settings.epochs, settings.log_every) as progress:
        head, fitted = fit_head(
            parts,
            training.draws,
            loss,
            lr=lr,
            settings=settings,
            seed=params.seed,
            checkpoint=checkpoint,
            report=progress,
        )
    save_head(head, head_file(name))
    val_logits, test_logits = (head_logits(head, parts[part], 4 * settings.batch_size) for part in ("val", "test"))
    checkpoint.delete()
    about = {"features": parts["train"].shape[1], "loss": best.loss, "lr": lr, "best_epoch": fitted.best_epoch}
    about |= nulls({"val_auroc": fitted.history[fitted.best_epoch - 1]["val_auroc"]})
    return about, val_logits, test_logits
