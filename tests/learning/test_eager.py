"""Libraries imported without torch's compiler: it stays away from what compiles nothing, and is there for what does."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from pipeline.learning.settings import Train
from pipeline.learning.training import optimizers

ALONE = """
import sys
from pipeline.learning import eager, session
from pipeline.learning.networks import models
from pipeline.learning.settings import Model, Train
from pipeline.learning.training import optimizers
import numpy as np
import torch

session.begin(1, False)
settings = Train(epochs=1, batch_size=4)
model = models.build("small", Model(arch="resnet10t", lr=0.01), 1, 3, 32, np.zeros((2, 32, 32), np.uint8))
optimizer = optimizers.create(model, 0.01, None, settings)
for _ in range(2):
    optimizer.zero_grad()
    model(torch.ones(2, 1, 32, 32)).sum().backward()
    optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
assert models.macs(model, 1, 32) > 1e6
eager.library("segmentation_models_pytorch"), eager.library("timm.scheduler"), eager.library("timm.utils")
held = sorted(name for name in sys.modules if name.startswith("torch._dynamo"))
assert not held, held

from torchvision.ops.roi_align import is_compile_supported
import torch._dynamo
assert is_compile_supported("cpu") is torch._dynamo.utils.is_compile_supported("cpu")
assert torch._dynamo.config.recompile_limit == 8  # which timm's Kron would have lifted
compiled = torch.compile(torch.nn.Linear(3, 2), backend="eager")
assert compiled(torch.ones(1, 3)).shape == (1, 2)
print("done")
"""


def test_a_training_step_does_not_import_the_compiler_and_it_is_there_when_it_is_asked_for():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["done"], done.stderr


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_steps_are_those_of_torch(name):
    settings = Train(optimizer=name, epochs=1, batch_size=4, weight_decay=0.01)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    taken = optimizers.create(ours, 0.1, None, settings)
    groups = [{"params": [theirs.bias], "weight_decay": 0.0}, {"params": [theirs.weight], "weight_decay": 0.01}]
    of_torch = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=0.1, fused=True),
        "sgd": lambda: torch.optim.SGD(groups, lr=0.1, momentum=settings.momentum, nesterov=True),
    }[name]()
    seen = []
    taken.register_step_post_hook(lambda *_: seen.append(True))
    for step in range(4):
        images = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        for model, optimizer in ((ours, taken), (theirs, of_torch)):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()
        taken.load_state_dict(taken.state_dict())
    for key, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key])
    assert len(seen) == 4
    assert taken.step(lambda: torch.tensor(7.0)) == 7.0  # a closure's value is returned
