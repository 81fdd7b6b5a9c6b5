"""Ask grad-cam for its maps of given outputs and gradients, and keep them in referees.npz.

Needs ``pip install --no-deps --target DIR grad-cam==1.5.7 ttach==0.0.3`` with DIR on PYTHONPATH: one of its
requirements is opencv-python, whose files overwrite those of opencv-python-headless. Run it with
``python -m tests.explaining.make_referees``.
"""

from pathlib import Path

import numpy as np


def example():
    """Return a layer's output, as after ReLU, and gradients, float32 [4, 6, 5, 7].

    Gradients are far from 0, where the epsilon of 1e-6 in grad-cam's Grad-CAM++ makes no difference.
    """
    generator = np.random.default_rng(11)
    output = np.maximum(generator.normal(size=(4, 6, 5, 7)), 0).astype(np.float32)
    gradient = generator.normal(size=(4, 6, 5, 7))
    return output, (gradient + 2 * np.sign(gradient)).astype(np.float32)


def main():
    import pytorch_grad_cam
    from torch import nn

    output, gradient = example()
    classes = {
        "grad-cam": pytorch_grad_cam.GradCAM,
        "grad-cam++": pytorch_grad_cam.GradCAMPlusPlus,
        "layercam": pytorch_grad_cam.LayerCAM,
    }
    images = np.zeros((4, 1, 5, 7), np.float32)
    layer = nn.Conv2d(1, 1, 1)
    kept = {}
    for name, theirs in classes.items():
        with theirs(nn.Sequential(layer), [layer]) as cam:
            kept[name] = np.maximum(cam.get_cam_image(images, layer, None, output, gradient, False), 0)
    np.savez_compressed(Path(__file__).with_name("referees.npz"), **kept)
    transformers(classes)


def transformers(classes):
    """Print how far our maps of whole transformers of timm, with random weights, are from those of grad-cam."""
    import timm
    import torch

    from pipeline.explaining.layers import find_layer
    from pipeline.explaining.maps import Mapper
    from pipeline.learning.networks.models import Classifier

    torch.set_num_threads(1)
    of_depth = {"vit_tiny_patch16_224": 3, "deit_tiny_patch16_224": 3, "deit_tiny_distilled_patch16_224": 3}
    for name, depth in (of_depth | {"swin_tiny_patch4_window7_224": None}).items():
        torch.manual_seed(1)
        shape = {"depths": (1, 1, 1, 1)} if depth is None else {"depth": depth}
        network = timm.create_model(name, num_classes=3, in_chans=1, **shape).eval()
        for part, weight in network.named_parameters():
            if part.startswith("head") and weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.3)
        images = np.random.default_rng(2).random((2, 1, 224, 224), np.float32)
        layer = find_layer(network, 1, 224, 224)
        module, wrapped = network.get_submodule(layer.name), Classifier(network, torch.zeros(1), torch.ones(1), "head")
        with torch.inference_mode():
            k = int(network(torch.from_numpy(images)).mean(0).argmax())  # one with a map
        for method, theirs in classes.items():
            with Mapper([wrapped.eval()], (1, 224, 224), method, layers=[layer]) as mapper:
                ours = mapper.coarse(images, [k]).values[:, 0]
            for parameter in network.parameters():
                parameter.requires_grad_(True)
            with theirs(network, [module], reshape_transform=layer.picture) as cam:
                cam(torch.from_numpy(images), [_Logit(k)] * 2)
                output, gradient = (
                    each[0].numpy()
                    for each in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
                )
                answer = cam.get_cam_image(torch.from_numpy(images), module, None, output, gradient, False)
            answer = np.maximum(answer, 0)
            answer /= np.maximum(answer.max((1, 2), keepdims=True), 1e-30)
            furthest, alive = np.abs(ours - answer).max(), ours.any((1, 2)).sum()
            print(f"{name} {layer.name} {layer.grid} {method}: {furthest:.1e}, {alive} maps")


class _Logit:
    """What grad-cam is to explain."""

    def __init__(self, k):
        self.k = k

    def __call__(self, logits):
        return logits[self.k]


if __name__ == "__main__":
    main()
