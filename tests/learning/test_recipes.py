"""Recipes of training: what each does to a step, against a plain computation; all of them across a kill."""

import pytest
import torch
from torch import nn

from tests.learning.tiny_training import changed, data, network, run

SGD = {
    "epochs": 1,
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0.0,
}


def plain_network():
    """Without batch normalisation and dropout, whose outputs depend on the size of a batch."""
    model = network()
    model.body[1], model.body[-1] = nn.Identity(), nn.Identity()
    return model


@pytest.mark.parametrize(("size", "batches", "images"), [(8, 2, 41), (2, 4, 27), (4, 3, 24)])
def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path, size, batches, images):
    ends, seen = [], []
    for number, (batch, accumulate) in enumerate([(size, batches), (size * batches, 1)]):
        model = plain_network()
        model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])) if module.training else None)
        settings = changed(**SGD, batch_size=batch, accumulate=accumulate, clip_grad=0.5)
        ends.append(run(tmp_path / str(number), settings, model=model, train=data(images), lr=0.1))
    torch.testing.assert_close(ends[0].state, ends[1].state, rtol=1e-5, atol=1e-6)
    assert ends[0].history[0]["train_loss"] == pytest.approx(ends[1].history[0]["train_loss"], rel=1e-6)
    assert min(seen) > 1
    assert max(seen) == size * batches
