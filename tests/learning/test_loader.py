import numpy as np
import pytest
import torch

from pipeline.learning.loader import ResidentImages, epoch_order

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(9, 6, 6), (9, 6, 6, 3)])
def test_batches_are_the_chosen_rows_in_order(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rows = np.array([7, 2, 4])
    targets = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)
    data = ResidentImages(images, rows, targets, CPU)
    got = list(data.batches(torch.tensor([2, 0, 1]), 2))
    assert [len(x) for x, _ in got] == [2, 1]
    everything = torch.cat([x for x, _ in got])
    expected = images[rows][[2, 0, 1]].reshape(3, 6, 6, -1).transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_allclose(everything.numpy(), expected, rtol=1e-6)
    assert everything.dtype == torch.float32
    assert torch.cat([t for _, t in got]).tolist() == [[1, 1], [1, 0], [0, 1]]


def test_an_epoch_draws_each_row_as_often_as_asked():
    copies = np.array([1, 3, 0, 2])
    order = epoch_order(copies, torch.Generator().manual_seed(0))
    assert np.bincount(order.numpy(), minlength=4).tolist() == copies.tolist()
    assert torch.equal(order, epoch_order(copies, torch.Generator().manual_seed(0)))
    orders = {tuple(epoch_order(copies, torch.Generator().manual_seed(s)).tolist()) for s in range(20)}
    assert len(orders) > 5
