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


if __name__ == "__main__":
    main()
