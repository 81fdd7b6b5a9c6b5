#!/bin/sh
# grad-cam 1.5.7 (PyPI): the weights of Grad-CAM++ are g^2 / (2 g^2 + sum(A) g^3 + 1e-6), with g the gradient of the class
# score at a place of the map A. Behind global average pooling g is a weight of the last layer divided by the number of
# places, 0.02 / 49 = 4e-4 for a 7 x 7 map, and g^2 = 2e-7 is smaller than the constant that was to guard a division: the
# weights are no longer about 1/2 but fall with g^2, and the map is another one than that of the paper's formula
# (arXiv 1710.11063, equation 19). The same network with its score multiplied by 100 (its decisions are the same) has
# g^2 far above the constant, and there package and formula agree.
# Valid input: a convolution, ReLU, average pooling and a linear layer, random weights, eight images of noise.
# Fails if a later release behaves otherwise.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 grad-cam==1.5.7 numpy==2.4.6
cat > "$work/maps.py" <<'P'
import sys

import numpy as np
import torch
from pytorch_grad_cam import GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn


class Network(nn.Module):
    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(1, 64, 5, stride=4, padding=2), nn.ReLU())
        self.classifier = nn.Linear(64, 3)
        nn.init.normal_(self.classifier.weight, std=0.02)
        self.scale = scale

    def forward(self, x):
        return self.scale * self.classifier(self.features(x).mean((2, 3)))


def by_formula(network, images):
    a = network.features(images).detach().requires_grad_()
    score = network.scale * network.classifier(a.mean((2, 3)))[:, 0]
    (g,) = torch.autograd.grad(score.sum(), a)
    total = a.sum((2, 3), keepdim=True)
    alpha = torch.where(g != 0, g**2 / (2 * g**2 + total * g**3), 0)
    weights = (alpha * g.clamp(min=0)).sum((2, 3), keepdim=True)
    return (weights * a).sum(1).clamp(min=0).detach()


def scaled(maps):
    maps = np.asarray(maps, float)
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / (high - low)


images = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))
apart = {}
for scale in (1, 100):
    network = Network(scale).eval()
    with GradCAMPlusPlus(model=network, target_layers=[network.features]) as cam:
        cam(input_tensor=images, targets=[ClassifierOutputTarget(0)] * 8)
        package = cam.compute_cam_per_layer(images, [ClassifierOutputTarget(0)] * 8, False)[0][:, 0]
    formula = by_formula(network, images)
    resized = torch.nn.functional.interpolate(formula[:, None], package.shape[1:], mode="bilinear")[:, 0]
    apart[scale] = float(np.abs(scaled(package) - scaled(resized)).max())
    print(f"score x {scale}: maps scaled to 0..1 differ by up to {apart[scale]:.2f}")
as_described = apart[1] > 0.1 and apart[100] < 0.05
print("as described" if as_described else "CHANGED")
sys.exit(not as_described)
P
"$work/venv/bin/python" "$work/maps.py"
