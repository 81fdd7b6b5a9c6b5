"""The mean of weights, and what it takes no mean of."""

import torch
from torch import nn

from benchmarks.soup import soup


def test_weights_and_statistics_are_averaged_and_counters_kept():
    models = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)) for _ in range(3)]
    for number, model in enumerate(models):
        model[1].num_batches_tracked.fill_(number + 5)
        model[1].running_mean.fill_(number)
    made = soup([model.state_dict() for model in models])
    weights = torch.stack([model[0].weight for model in models])
    torch.testing.assert_close(made["0.weight"], weights.sum(0) / 3)
    assert made["1.running_mean"].tolist() == [1.0, 1.0]
    assert made["1.num_batches_tracked"] == 5
