"""A plain training script, as a careful researcher writes it in an hour: what `benchmarks.parity` compares with.

It knows nothing of the pipeline: a data set and transforms of torchvision, a DataLoader, AdamW with torch's defaults, a
cosine, gradients clipped, the best epoch by scikit-learn's AUROC on the validation set.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

CHANGES = transforms.Compose(
    [transforms.RandomAffine(5, translate=(0.04, 0.04), scale=(0.95, 1.05)), transforms.ColorJitter(0.1, 0.1)]
)
"""What params.yaml asks for."""


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Images uint8 [N, C, H, W] and targets float [N, K]: normalised, and changed at random if they are trained on."""

    def __init__(self, images: Tensor, targets: Tensor, mean: list[float], std: list[float], train: bool) -> None:
        self.images, self.targets = images, targets
        last = transforms.Normalize(mean, std)
        self.transform = transforms.Compose([CHANGES, last]) if train else last

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        """Return an image and its targets."""
        return self.transform(self.images[place].float() / 255), self.targets[place]


def auroc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean over the classes that have both labels."""
    kept = [k for k in range(targets.shape[1]) if 0 < targets[:, k].sum() < len(targets)]
    return float(np.mean([roc_auc_score(targets[:, k], scores[:, k]) for k in kept]))


def train(
    network: nn.Module,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    *,
    single_label: bool,
    epochs: int,
    batch_size: int,
    lr: float,
    clip: float,
) -> list[float]:
    """Train `network`, which takes normalised images, and return the macro AUROC on `val` after each epoch."""
    grey = train[0].float().div(255).transpose(0, 1).flatten(1)
    mean, std = grey.mean(1).tolist(), grey.std(1).tolist()
    loader = DataLoader(Pictures(*train, mean, std, train=True), batch_size, shuffle=True, drop_last=True)
    held_out = DataLoader(Pictures(*val, mean, std, train=False), 4 * batch_size)
    criterion: nn.Module = nn.CrossEntropyLoss() if single_label else nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    found = []
    for _ in range(epochs):
        network.train()
        for images, targets in loader:
            optimizer.zero_grad()
            criterion(network(images), targets).backward()
            nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            logits = torch.cat([network(images) for images, _ in held_out])
        scores = logits.softmax(1) if single_label else logits
        found.append(auroc(val[1].numpy(), scores.numpy()))
    return found
