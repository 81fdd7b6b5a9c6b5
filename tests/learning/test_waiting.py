"""No step waits for a CUDA device: what is copied there is not waited for. Fake tensors of torch stand for the card."""

import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.learning.constants import constant
from tests.learning.test_losses import SETTLED, ready
from tests.tiny import ROOT


class Copies(TorchDispatchMode):
    """Counts copies to a card that wait until it has done all its work."""

    def __init__(self):
        super().__init__()
        self.waiting = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        to = kwargs.get("device")
        if func is torch.ops.aten._to_copy.default and to is not None and not kwargs.get("non_blocking"):
            self.waiting.append((args[0].device.type, torch.device(to).type))
        return func(*args, **kwargs)


@pytest.fixture
def copies():
    with FakeTensorMode(), Copies() as counted:
        yield counted


def test_a_copy_that_waits_is_seen(copies):
    like = torch.rand(3, device="cuda")
    like.new_tensor([1.0, 2.0])
    assert copies.waiting == [("cpu", "cuda")]
    assert constant([1.0, 2.0], like).device == like.device
    assert len(copies.waiting) == 1


@pytest.mark.parametrize(("kind", "task", "settings"), SETTLED)
def test_no_loss_waits(copies, kind, task, settings):
    loss = ready(kind, settings, task)
    loss._partial = False  # as `for_training` finds; whether labels are missing would be asked of each batch
    value = loss(torch.zeros(7, 5, device="cuda"), torch.zeros(7, 5, device="cuda"))
    assert value.device.type == "cuda"
    assert copies.waiting == []


def test_no_change_of_images_waits():
    """Of the source: their draws are numbers of the processor, which fake tensors do not have."""
    steps = [ROOT / f"pipeline/learning/images/{name}.py" for name in ("augmentation", "jpeg", "mixing", "randaugment")]
    text = "\n".join(file.read_text() for file in steps)
    copies = re.findall(r"\.to\((?!torch\.)[^()]*\)", text)
    assert len(copies) > 8
    assert [copy for copy in copies if "non_blocking=True" not in copy] == [".to(device)"]  # once, kept: `_basis`
    assert not re.findall(r"new_tensor\(|as_tensor\(|\btensor\([^()]*device=|\.cuda\(", text)
