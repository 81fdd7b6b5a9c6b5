"""The members as one network with its normalisation inside, in torch and as ONNX."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.ensembling.features import FeatureHead, last_layer, load_head, pooled
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import views
from pipeline.learning.networks.models import Classifier
from pipeline.learning.settings import Model, Tta
from pipeline.study.errors import UserError
from pipeline.study.files import made_by
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder

OPSET = 18
INPUT, METADATA = "images", "metadata"
OUTPUTS = ("logits", "probabilities", "features")


class Network(nn.Module):
    """All members on the same images.

    Parameters
    ----------
    members : sequence of Classifier [M]
        In evaluation mode.
    task : {"multilabel", "multiclass"}
        Sigmoid or softmax.
    slope, intercept : Tensor, float32 [K]
        Of the calibration.
    tta : Tta
        Changes over which logits are averaged, as stage ``evaluate`` does.

    Attributes
    ----------
    schemes : tuple of Scheme
        Metadata that the members take: the second input has theirs side by side, each scheme once. Empty for members
        that take none; there is no such input then.
    """

    slope: Tensor
    intercept: Tensor

    def __init__(
        self, members: Sequence[Classifier], task: str, slope: Tensor, intercept: Tensor, tta: Tta | None = None
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.task, self.tta = task, tta
        self.register_buffer("slope", slope)
        self.register_buffer("intercept", intercept)
        self._features: list[Tensor] = []
        head = members[0].late or members[0].head_module()  # whose first input is the image's features alone
        head.register_forward_pre_hook(lambda module, inputs: self._features.append(inputs[0]))
        taken = [None if member.late is None else member.late.scheme for member in members]
        self.schemes = tuple(dict.fromkeys(scheme for scheme in taken if scheme is not None))
        ends = list(accumulate(len(scheme.inputs) for scheme in self.schemes))
        self._places: list[tuple[int, int] | None] = [
            None if scheme is None else (end - len(scheme.inputs), end)
            for scheme in taken
            for end in [0 if scheme is None else ends[self.schemes.index(scheme)]]
        ]
        self.eval()

    def known(self, metadata: Tensor | None) -> list[tuple[Tensor, ...]]:
        """Return what each member takes beside the images, of metadata [N, I] of all."""
        if (metadata is None) != (not self.schemes):
            raise TypeError("metadata are given to networks without them, or not to networks that take them")
        return [() if metadata is None or at is None else (metadata[:, at[0] : at[1]],) for at in self._places]

    def forward(self, images: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what the members say.

        Parameters
        ----------
        images : Tensor, float32 [N, C, H, W]
            In [0, 1], prepared as the study's.
        metadata : Tensor, float32 [N, I], optional
            Encoded by `schemes`, side by side.

        Returns
        -------
        logits : Tensor, float32 [M, N, K]
            Of each member.
        probabilities : Tensor, float32 [N, K]
            Calibrated, of the mean of the members' probabilities.
        features : Tensor, float32 [N, D]
            What the first member's head gets of the images.
        """
        self._features.clear()
        logits = torch.stack(
            [
                torch.stack([member(view, *known) for view in views(images, self.tta)]).mean(0)
                for member, known in zip(self.members, self.known(metadata))
            ]
        )
        features = self._features[0].flatten(1)
        self._features.clear()
        return logits, self._probabilities(logits), features

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Average probabilities in logarithms, where those that are sure keep their order, and calibrate."""
        if self.task == "multiclass":
            likely = torch.logsumexp(functional.log_softmax(logits, -1), 0) - math.log(len(logits))
            return functional.softmax(likely * self.slope + self.intercept, -1)
        odds = torch.logsumexp(functional.logsigmoid(logits), 0) - torch.logsumexp(functional.logsigmoid(-logits), 0)
        return torch.sigmoid(odds * self.slope + self.intercept)


class FusedNetwork(Network):
    """A feature ensemble: the members' features side by side, and a head on them, as stage ``fuse`` trains it.

    Parameters
    ----------
    members : sequence of Classifier [M]
        In evaluation mode, in the order in which the head knows their features.
    head : FeatureHead
        In evaluation mode.
    task, slope, intercept
        As for `Network`.
    """

    def __init__(
        self, members: Sequence[Classifier], head: FeatureHead, task: str, slope: Tensor, intercept: Tensor
    ) -> None:
        super().__init__(members, task, slope, intercept)
        self.head = head
        self._joined: list[Tensor] = []
        for member in members:
            last_layer(member).register_forward_pre_hook(lambda _, inputs: self._joined.append(pooled(inputs[0])))

    def forward(self, images: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what the head says.

        Parameters
        ----------
        images, metadata
            As for `Network`.

        Returns
        -------
        logits : Tensor, float32 [1, N, K]
            Of the head.
        probabilities : Tensor, float32 [N, K]
            Calibrated.
        features : Tensor, float32 [N, D]
            What the first member's head gets.
        """
        self._joined.clear()
        super().forward(images, metadata)
        logits = self.head(torch.cat(self._joined, 1)[:, :, None, None])[None]
        features = self._joined[0]
        self._joined.clear()
        return logits, self._probabilities(logits), features


def assemble(
    members: Sequence[Run],
    described: Sequence[Model],
    classes: int,
    size: int,
    task: str,
    slope: Sequence[float],
    intercept: Sequence[float],
    tta: Tta | None,
    fused: str | None = None,
) -> Network:
    """Load the members' weights into one network, on the CPU.

    Parameters
    ----------
    members : sequence of Run
        Trained in this study.
    described : sequence of Model
        Of each member, the architecture.
    classes, size : int
        K, and pixels per side of the prepared images.
    task, slope, intercept, tta
        As for `Network`.
    fused : str, optional
        Name of a feature ensemble, whose members they are; without test-time augmentation, as stage ``fuse``.

    Raises
    ------
    ArtifactError
        If a model file is missing.
    """
    loaded = [
        models.rebuild(run.model, model, classes, size, made_by(run_folder(run) / "model.safetensors", "train"))
        for run, model in zip(members, described, strict=True)
    ]
    calibration = torch.tensor(slope).float(), torch.tensor(intercept).float()
    if fused is not None:
        return FusedNetwork(loaded, load_head(fused), task, *calibration)
    return Network(loaded, task, *calibration, tta)


def write_onnx(network: Network, channels: int, size: int, path: Path) -> None:
    """Write the network as one ONNX file; the number of images is free.

    Parameters
    ----------
    network : Network
        On the CPU.
    channels, size : int
        Of the images, `size` in pixels per side.
    path : Path
        Is written over.

    Raises
    ------
    UserError
        If the exporter cannot express the network.
    """
    example = [torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))]
    if network.schemes:
        example.append(torch.zeros(2, sum(len(scheme.inputs) for scheme in network.schemes)))
    n = torch.export.Dim("n")
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch's own deprecations, and of constants in timm's code
            torch.onnx.export(
                network,
                tuple(example),
                path,
                input_names=[INPUT, METADATA][: len(example)],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                dynamic_shapes=({0: n}, {0: n})[: len(example)],
                verbose=False,
            )
    except Exception as error:  # torch's own type has changed from version to version
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"the network cannot be written as ONNX by torch {torch.__version__}: {reason}") from None
    finally:
        log.setLevel(level)
    _without_traces(path)


def _without_traces(path: Path) -> None:
    """Take out where torch's code and ours lay on this machine, which its exporter writes beside every node.

    The file is passed on: it must not tell a user's name, and is the same from every folder.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for each in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        each.ClearField("metadata_props")
    onnx.save(model, path)
