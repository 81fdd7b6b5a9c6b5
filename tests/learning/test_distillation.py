"""What a network learns from its teacher: values and gradients by closed forms, and trainings with one."""

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr, softmax

from pipeline.learning import losses
from pipeline.learning.distillation import Distilled
from pipeline.learning.settings import Teacher
from tests.learning.test_recipes import SGD, plain_network
from tests.learning.tiny_training import Sharpening, changed, data, network, quadrants, run, same

RNG = np.random.default_rng(4)
LOGITS, SAYS = RNG.normal(0, 3, (2, 7, 4))
LABELS = {"multilabel": (RNG.random((7, 4)) < 0.4).astype(float), "multiclass": np.eye(4)[RNG.integers(0, 4, 7)]}
KIND = {"multilabel": "bce", "multiclass": "ce"}


def taught(task, *, temperature=2.0, weight=0.5, kind=None):
    loss = losses.create(kind or KIND[task], {}, task)
    return Distilled.beside(loss, Teacher(file="x.npz", temperature=temperature, weight=weight))


def divergence(task, temperature):
    """Of each image, by SciPy."""
    if task == "multiclass":
        teacher, student = (softmax(z / temperature, axis=1) for z in (SAYS, LOGITS))
        return rel_entr(teacher, student).sum(1)
    teacher, student = (expit(z / temperature) for z in (SAYS, LOGITS))
    return (rel_entr(teacher, student) + rel_entr(1 - teacher, 1 - student)).mean(1)


def both(task, labels=None):
    """Logits with a gradient, and targets."""
    logits = torch.tensor(LOGITS, requires_grad=True)
    return logits, torch.tensor(np.concatenate([LABELS[task] if labels is None else labels, SAYS], 1))


@pytest.mark.parametrize("task", LABELS)
@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.5), (2.5, 0.3), (0.5, 1.0), (20.0, 0.9)])
def test_the_value_is_that_of_the_definition(task, temperature, weight):
    logits, targets = both(task)
    of_labels = losses.create(KIND[task], {}, task)(logits, targets[:, :4]).item()
    expected = (1 - weight) * of_labels + weight * temperature**2 * divergence(task, temperature).mean()
    found = taught(task, temperature=temperature, weight=weight)(logits, targets)
    assert found.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("task", LABELS)
def test_the_gradient_is_that_of_the_paper(task):
    """Hinton et al. 2015, equation 2, times T squared: T (q - p) of each image; over the classes of several labels."""
    logits, targets = both(task)
    taught(task, temperature=3.0, weight=1.0)(logits, targets).backward()
    q, p = ((softmax(z / 3, axis=1) if task == "multiclass" else expit(z / 3)) for z in (LOGITS, SAYS))
    count = 7 if task == "multiclass" else 7 * 4
    np.testing.assert_allclose(logits.grad, 3 * (q - p) / count, rtol=1e-10, atol=1e-15)


def test_at_a_high_temperature_logits_are_matched():
    """Section 2.1 of the paper: with logits of mean 0, half their squared difference, over the number of classes."""
    student, teacher = (z - z.mean(1, keepdims=True) for z in (LOGITS, SAYS))
    targets = torch.tensor(np.concatenate([LABELS["multiclass"], teacher], 1))
    found = taught("multiclass", temperature=100.0, weight=1.0)(torch.tensor(student), targets)
    assert found.item() == pytest.approx(((student - teacher) ** 2).sum(1).mean() / (2 * 4), rel=0.02)


@pytest.mark.parametrize("task", LABELS)
def test_at_a_temperature_of_1_the_gradient_is_that_of_soft_labels(task):
    logits, targets = both(task)
    taught(task, temperature=1.0, weight=1.0)(logits, targets).backward()
    again, _ = both(task)
    soft = torch.tensor(softmax(SAYS, axis=1) if task == "multiclass" else expit(SAYS))
    losses.create(KIND[task], {}, task)(again, soft).backward()
    torch.testing.assert_close(logits.grad, again.grad)


@pytest.mark.parametrize("task", LABELS)
def test_labels_alone_have_the_value_of_their_loss(task):
    logits, targets = both(task)
    assert taught(task)(logits, targets[:, :4]) == losses.create(KIND[task], {}, task)(logits, targets[:, :4])
    assert taught(task)(torch.tensor(SAYS), torch.tensor(np.concatenate([LABELS[task], SAYS], 1))) == pytest.approx(
        0.5 * losses.create(KIND[task], {}, task)(torch.tensor(SAYS), torch.tensor(LABELS[task])).item()
    )


def test_it_is_computed_in_float32_under_autocast():
    logits, targets = both("multilabel")
    with torch.autocast("cpu", torch.bfloat16):
        found = taught("multilabel")(logits.bfloat16(), targets.float())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(taught("multilabel")(logits, targets).item(), rel=0.02)


def test_labels_that_are_not_known_are_taught_all_the_same():
    some = LABELS["multilabel"].copy()
    some[:, 1], some[3] = np.nan, np.nan
    logits, targets = both("multilabel", some)
    found = taught("multilabel", temperature=1.0)(logits, targets)
    known = ~np.isnan(some)
    entropy = np.logaddexp(0, LOGITS) - np.nan_to_num(some) * LOGITS
    expected = 0.5 * entropy[known].mean() + 0.5 * divergence("multilabel", 1.0).mean()
    assert found.item() == pytest.approx(expected, rel=1e-10)
    found.backward()
    np.testing.assert_allclose(logits.grad[3], 0.5 * (expit(LOGITS[3]) - expit(SAYS[3])) / 28, rtol=1e-10)


@pytest.mark.parametrize("unknown", [False, True])
def test_parts_of_a_batch_add_up_to_its_mean(unknown):
    labels = LABELS["multilabel"].copy()
    labels[:5, 2] = np.nan if unknown else 0.0
    logits, targets = both("multilabel", labels)
    loss = taught("multilabel", weight=0.3)
    loss._of_labels._partial = unknown
    parts = [loss.of_part(logits[a:b], targets[a:b], targets) for a, b in ((0, 3), (3, 5), (5, 7))]
    assert sum(parts).item() == pytest.approx(loss(logits, targets).item(), rel=1e-10)


def says(part, seed=5):
    """Logits of a teacher for images of `tiny_training`."""
    logits = np.random.default_rng(seed).normal(0, 2, part.targets.shape)
    part.targets = torch.cat([part.targets.float(), torch.from_numpy(logits).float()], 1)
    return part


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path):
    ends = []
    for number, (batch, accumulate) in enumerate([(8, 2), (16, 1)]):
        settings = changed(**SGD, batch_size=batch, accumulate=accumulate)
        loss = taught("multilabel")
        ends.append(run(tmp_path / str(number), settings, model=plain_network(), train=says(data()), loss=loss, lr=0.1))
    torch.testing.assert_close(ends[0].state, ends[1].state, rtol=1e-5, atol=1e-6)


def test_a_training_is_validated_by_its_labels_alone(tmp_path):
    ends = [
        run(tmp_path / str(seed), train=says(data(), seed), loss=taught("multilabel", weight=0.4), model=network())
        for seed in (5, 6)
    ]
    assert not same(*ends)
    rows = [  # hardly moved: its validation is the same whoever teaches
        run(tmp_path / name, changed(**SGD), model=plain_network(), train=train, loss=loss, lr=1e-9).history[0]
        for name, train, loss in (("taught", says(data()), taught("multilabel")), ("plain", data(), "bce"))
    ]
    assert rows[0]["val_loss"] == pytest.approx(rows[1]["val_loss"], rel=1e-6)
    assert rows[0]["val_auroc"] == rows[1]["val_auroc"]
    assert rows[0]["train_loss"] != pytest.approx(rows[1]["train_loss"], rel=1e-3)


def test_a_student_learns_what_its_teacher_knows(tmp_path):
    """Labels at random, and a teacher that says the truth."""
    train, val = quadrants(160), quadrants(60, 1)
    truth = 4.0 * train.targets.float()
    drawn = torch.randint(0, 4, (160,), generator=torch.Generator().manual_seed(1))
    train.targets = torch.cat([torch.eye(4)[drawn], truth], 1)
    settings, loss = changed(epochs=12, patience=12), taught("multiclass", weight=1.0)
    found = run(tmp_path, settings, train=train, val=val, loss=loss, model=network(classes=4))
    assert found.history[-1]["val_auroc"] > 0.95


def test_the_form_of_an_epoch_is_that_of_the_loss_of_labels():
    loss = Distilled.beside(Sharpening(), Teacher(file="x.npz"))
    logits, targets = both("multilabel")
    early, late = (loss.at_epoch(epoch, 4)(logits, targets) for epoch in (1, 4))
    plain = [Sharpening().at_epoch(epoch, 4)(logits, targets[:, :4]) for epoch in (1, 4)]
    assert (early - late).item() == pytest.approx(0.5 * (plain[0] - plain[1]).item())
