"""A training of a second: drawn images, a small network with all kinds of layers that a loop must treat right."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pipeline.learning import losses
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.settings import Train
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.training.loop import fit

CPU = torch.device("cpu")
LR = 0.01
SETTINGS = Train(
    epochs=4,
    batch_size=8,
    patience=9,
    threads=1,
    augment={"horizontal_flip": 0.0, "shift": 0.05},
)
SIZES = [7, 7, 7, 7, 7, 6]
"""Of the batches of an epoch of `data()`, 41 images in batches of at most 8."""
STEPS = len(SIZES)


class Network(nn.Module):
    """Batch norm (buffers), dropout (draws), and a head of its own."""

    def __init__(self, classes=2):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Dropout(0.2)
        )
        self.head = nn.Linear(4 * 3 * 3, classes)

    def forward(self, images):
        return self.head(self.body(images))

    def head_parameters(self):
        return self.head.parameters()


class Sharpening(losses.Loss):
    """Focal loss whose exponent rises from epoch to epoch: a loss with a schedule of its own."""

    tasks = frozenset({"multilabel", "multiclass"})
    gamma: float = 0.0

    def at_epoch(self, epoch, epochs):
        return self.model_copy(update={"gamma": 2 * epoch / epochs})

    def per_sample(self, logits, targets):
        entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return ((1 - torch.exp(-entropy)) ** self.gamma * entropy).mean(1)


def data(n=41, seed=0, labels=None, device=CPU):
    """Images whose left or right half is bright, and two labels that say which; or other `labels`, [n, K]."""
    rng = np.random.default_rng(seed)
    halves = (rng.random((n, 2)) < 0.5).astype(np.uint8)
    images = rng.integers(0, 80, (n, 16, 16), dtype=np.uint8)
    images[:, :, :8] += (120 * halves[:, :1, None]).astype(np.uint8)
    images[:, :, 8:] += (120 * halves[:, 1:, None]).astype(np.uint8)
    return ResidentImages(images, np.arange(n), halves if labels is None else labels, device)


def quadrants(n=41, seed=0):
    """The same images with one label of four: which halves are bright."""
    halves = data(n, seed).targets.numpy()
    return data(n, seed, np.eye(4, dtype=np.uint8)[2 * halves[:, 0] + halves[:, 1]])


def network(seed=3, classes=2):
    torch.manual_seed(seed)
    return Network(classes)


def run(folder, settings=SETTINGS, *, seed=3, init=None, lr=LR, train=None, val=None, loss="bce", model=None, **others):
    """Train on `data()`; `init` seeds the initial weights, `others` go to `fit`."""
    train, val = train or data(), val or data(30, 1)
    classes = train.targets.shape[1]
    if isinstance(loss, str):
        loss = losses.create(loss, {}, "multilabel" if loss == "bce" else "multiclass")
    return fit(
        model or network(seed if init is None else init, classes),
        loss,
        train,
        np.ones(len(train), np.int64),
        val,
        lr=lr,
        settings=settings,
        seed=seed,
        checkpoint=Checkpoint(folder, "key"),
        **others,
    )


def changed(**keys):
    """Settings with other values, checked as those of a params file are."""
    return Train.model_validate({**SETTINGS.model_dump(), **keys})


def same(a, b):
    """Say whether two trainings are the same to the bit, but for the clock."""
    clock = ("seconds", "images_per_second")
    rows = [[{k: v for k, v in row.items() if k not in clock} for row in x.history] for x in (a, b)]
    equal = a.state.keys() == b.state.keys() and all(torch.equal(a.state[k], b.state[k]) for k in a.state)
    return equal and rows[0] == rows[1] and a.best_epoch == b.best_epoch
