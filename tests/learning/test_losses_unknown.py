"""Labels that are not known, or soft, in every multi-label loss: values, gradients, counts, and what is refused."""

import numpy as np
import pytest
import torch

from pipeline.learning import losses
from pipeline.learning.images.mixing import mix
from pipeline.learning.losses import Loss, for_training
from pipeline.learning.settings import Mix
from pipeline.study.params import ParamsError
from tests.learning.loss_references_multilabel import REFERENCES
from tests.learning.test_losses import SETTLED, batch

OF_LABELS = [case for case in SETTLED if case.values[1] == "multilabel"]
every = pytest.mark.parametrize(("kind", "task", "settings"), OF_LABELS)
POSITIVES, TOTALS = [6, 36, 66, 96, 12], np.array([200, 140, 90, 150, 30])
RIGHT = 30.0
"""A logit at which a positive costs nothing, to eleven digits, under every loss that is a mean over labels."""


def masks(shape):
    rng = np.random.default_rng(4)
    some = rng.random(shape) < 0.7
    block = np.ones(shape, bool)
    block[2], block[:, 1] = False, False
    one = np.zeros(shape, bool)
    one[3, 2] = True
    return {"some": some, "a row and a column": block, "all but one": one}


def ready(kind, settings):
    return losses.create(kind, settings, "multilabel").counted(POSITIVES, TOTALS.tolist())


def expected(kind, z, t, known, settings):
    """The mean of the references over known labels, or over images of what is defined by image."""
    reference, facts = REFERENCES[kind], {"positives": POSITIVES, "total": TOTALS, **settings}
    hidden = np.where(known, t, np.nan)
    if kind in ("zlpr", "two_way"):
        kept = known.any(1) if kind == "zlpr" else np.ones(len(z), bool)
        return reference(z[kept], hidden[kept], **facts)
    terms = []
    for i, k in np.argwhere(known):
        alone, label = np.full((1, z.shape[1]), RIGHT), np.ones((1, z.shape[1]))
        alone[0, k], label[0, k] = z[i, k], t[i, k]
        with np.errstate(over="ignore"):  # in what np.where does not take
            terms.append(z.shape[1] * reference(alone, label, **facts))
    return np.mean(terms)


@pytest.mark.parametrize("which", ["some", "a row and a column", "all but one"])
@every
def test_value_is_that_of_the_known_labels(kind, task, settings, which):
    logits, targets = batch("multilabel", scale=2.0)
    known = masks(tuple(logits.shape))[which]
    if kind == "two_way" and which == "all but one":
        targets[3, 2] = 1  # without any positive the reference has no image to average over
    value = ready(kind, settings)(logits, targets.masked_fill(torch.tensor(~known), float("nan")))
    assert value.item() == pytest.approx(expected(kind, logits.numpy(), targets.numpy(), known, settings), rel=1e-9)


@every
def test_gradient_of_an_unknown_label_is_exactly_zero(kind, task, settings):
    logits, targets = batch("multilabel", n=5, seed=1)
    for known in masks(tuple(logits.shape)).values():
        hidden = targets.masked_fill(torch.tensor(~known), float("nan"))
        z = logits.clone().requires_grad_()
        ready(kind, settings)(z, hidden).backward()
        assert (z.grad[torch.tensor(~known)] == 0).all()
        # Not even where the network says something absurd there.
        far = logits.clone().masked_fill(torch.tensor(~known), 1e6).requires_grad_()
        ready(kind, settings)(far, hidden).backward()
        assert torch.equal(far.grad, z.grad)
    torch.autograd.gradcheck(lambda x: ready(kind, settings)(x, hidden), logits.requires_grad_())


@every
def test_without_any_known_label_there_is_nothing_to_learn(kind, task, settings):
    logits = torch.ones(3, 5, requires_grad=True)
    value = ready(kind, settings)(logits, torch.full((3, 5), float("nan")))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@every
def test_where_all_are_known_the_value_is_that_without_masks(kind, task, settings):
    logits, targets = batch("multilabel", seed=2)
    loss = ready(kind, settings)
    masked = loss.of_known(logits, targets, torch.ones_like(targets, dtype=bool))
    assert masked.item() == pytest.approx(loss(logits, targets).item(), rel=1e-12)


@every
def test_parts_of_a_batch_add_up_to_it(kind, task, settings):
    if kind == "two_way":
        pytest.skip("ranks the images of a batch: it is not the sum of its parts")
    logits, targets = batch("multilabel", n=8)
    hidden = targets.masked_fill(torch.tensor(~masks((8, 5))["some"]), float("nan"))
    loss = ready(kind, settings)
    loss._partial = True
    parts = [loss(z, t) * loss.part_of(t, hidden) for z, t in zip(logits.tensor_split(3), hidden.tensor_split(3))]
    assert sum(parts).item() == pytest.approx(loss(logits, hidden).item(), rel=1e-12)


@every
def test_every_loss_of_several_labels_leaves_out_what_is_unknown(kind, task, settings):
    assert losses.loss_class(kind).masks()


@pytest.mark.parametrize("kind", [k for k in losses.available() if losses.loss_class(k).soft_targets])
def test_soft_labels_cost_their_share_of_both_values(kind):
    if "multilabel" not in losses.loss_class(kind).tasks or kind == "zlpr":
        return  # zlpr weighs inside of its logarithms: test_losses has its formula
    logits, targets = batch("multilabel", n=4)
    targets[1, 2], targets[2, 3] = 0.7, float("nan")
    loss, ends = ready(kind, {}), []
    for value in (1.0, 0.0):
        ends.append(loss(logits, targets.clone().masked_fill(targets == 0.7, value)).item())
    assert loss(logits, targets).item() == pytest.approx(0.7 * ends[0] + 0.3 * ends[1], rel=1e-12)


def hidden_targets():
    targets = np.array([[1, 0, np.nan], [np.nan, 1, 0], [0, 1, 1], [0, np.nan, 0]], np.float32)
    return targets, np.array([1, 2, 1, 0])


def test_counts_are_those_of_known_labels():
    targets, draws = hidden_targets()
    loss = for_training("bce", {"pos_weight_cap": 10.0}, "multilabel", targets, draws, "none")
    like = torch.zeros(1, dtype=torch.float64)
    positives, total = loss.counts(like)
    assert positives.tolist() == [1, 3, 1]
    assert total.tolist() == [2, 4, 3]
    # Of a class that is never known nothing is drawn, and nothing breaks.
    never = np.where([[False, False, True]], np.nan, targets).astype(np.float32)
    assert for_training("class_balanced", {}, "multilabel", never, draws, "none").counts(like)[0].tolist() == [1, 3, 0]


def test_known_labels_are_counted_as_before():
    targets = np.array([[1, 0], [1, 1], [0, 0]], np.uint8)
    loss = for_training("bce", {"pos_weight_cap": 10.0}, "multilabel", targets, np.array([1, 2, 3]), "none")
    assert loss.counts(torch.zeros(1))[1] == 6
    assert loss._partial is False


@pytest.mark.parametrize("kind", ["focal", "two_way", "class_balanced", "ldam"])
def test_soft_labels_are_refused_by_name_where_they_have_no_meaning(kind):
    targets, draws = hidden_targets()
    targets[0, 0] = 0.7
    with pytest.raises(ParamsError, match=rf"losses\.{kind} is defined for labels of 0 and 1 alone.*asl, bce"):
        for_training(kind, {}, "multilabel", targets, draws, "none")


def test_a_loss_that_cannot_leave_labels_out_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(Loss, "masks", classmethod(lambda cls: cls.__name__ != "Hill"))
    with pytest.raises(ParamsError, match=r"study\.losses: 'hill' is not defined where labels are unknown.*asl, bce"):
        for_training("hill", {}, "multilabel", *hidden_targets(), "none")


def test_a_mixture_knows_a_label_that_all_its_parts_know():
    rng = np.random.default_rng(0)
    images, targets = torch.zeros(64, 1, 4, 4), torch.tensor(rng.integers(0, 2, (64, 6)).astype(np.float32))
    targets[torch.tensor(rng.random((64, 6)) < 0.3)] = float("nan")
    whole = targets.nan_to_num(nan=-1.0)
    settings = Mix(mixup=0.4, cutmix=0.0, probability=0.5)
    _, mixed = mix(images, targets, settings, np.random.default_rng(1))
    partner = torch.from_numpy(np.random.default_rng(1).permutation(64))
    unmixed = (mixed.nan_to_num(nan=-1.0) == whole).all(1)
    assert 16 < unmixed.sum() < 48  # these keep what they know, whatever the partner does not
    assert torch.equal(mixed[~unmixed].isnan(), (targets.isnan() | targets[partner].isnan())[~unmixed])
