"""The rules by which `medmatrix new` chooses the settings of a study, one function each, with reason and evidence.

nnU-Net (Isensee et al., Nature Methods 18, 2021) does so for segmentation: a fingerprint of the data, rules that were
fixed beforehand, and choices left to validation. Here as there a rule is simple enough to be said in a sentence, and
whatever data can decide (which network, which epoch, which ensemble) is left to the validation set of the study.

Numbers are macro AUROC unless said otherwise, and were measured with this pipeline unless a source is named: headers of
studies/*.yaml, reports/ of the default study, benchmarks/RESULTS.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from scipy.special import ndtr, ndtri

from pipeline.planning.choices import Choice, Weights
from pipeline.planning.expected import (
    VALIDATION,
    expected_positives,
    has_published_test,
    may_be_missing,
    rarest_class,
    test_fraction,
    training_images,
    validation_patients,
)
from pipeline.planning.survey import Survey
from pipeline.uncertainty.sample_size import c_statistic_error
from pipeline.uncertainty.support import MIN_PATIENTS

FEW, SOME, MANY = 300, 1000, 10_000
"""Training images: below the first a network from scratch hardly learns; from the last on, seeds become costly."""
STEPS = 700
"""Updates that a small network from scratch was trained for where it had converged."""
BATCH = 16
LEAST_EPOCHS, MOST_EPOCHS = 6, 30
SMALL, LARGER = 80, 128
RATE = 0.004
"""Of a small network from scratch."""
SLOW_STEPS, SLOW_EPOCHS, SLOW_SIDE, SLOW_RATE = 900, 40, 96, 0.002
"""The same where `slowly`."""
USUAL_AUROC, APART, AGREEMENT = 0.9, 0.02, 0.7
"""What a choice is judged at: an AUROC, a difference, and how two networks' AUROCs on the same images correlate."""
IMBALANCE = 10.0
UNEVEN = 1.25
COLOURED = 0.05
"""Share of the images from which on they count as colour."""


def split(survey: Survey, weights: Weights) -> Choice:
    """Published parts if there are a training and a test set; otherwise fractions of patients.

    Reason: a published test set makes results comparable. Otherwise 15 % for choosing and 20 % for testing, and up to
    30 % for testing where a class would have too few positive patients for an interval.

    Evidence: with 10 positive patients and an AUROC of .99, BCa intervals cover .82 instead of .95 (statistics); a mean
    over a test set of 617 patients has a sampling SD of 0.010 AUROC, ten times that of seeds.
    """
    if has_published_test(survey):
        seen = ", ".join(f"{part} {survey.all.images[part]:,}" for part in survey.parts)
        why = "a published test set makes results comparable"
        validation = VALIDATION
        if "val" not in survey.parts:
            why += f"; {VALIDATION:.0%} of the training set are held out to choose by"
        return Choice("split", seen, "official", why, {"split.method": "official", "split.validation": validation})
    rarest, test = rarest_class(survey), test_fraction(survey)
    who = "patients" if survey.patients_known else "images (patients are not known)"
    one = who.split(" ")[0]
    seen = f"no published test set; rarest class: {rarest:,} {one.removesuffix('s') if rarest == 1 else one}"
    if set(survey.parts):
        seen = f"published: {', '.join(survey.parts)}, no test set; rarest class: {rarest:,}"
    chosen = f"grouped: {1 - VALIDATION - test:.0%} / {VALIDATION:.0%} / {test:.0%} of {who}"
    why = f"an interval needs {MIN_PATIENTS} positive {who.split(' ')[0]} in the test set"
    return Choice(
        "split", seen, chosen, why, {"split.method": "grouped", "split.validation": VALIDATION, "split.test": test}
    )


def intervals(survey: Survey, weights: Weights) -> Choice:
    """Say beforehand which classes will get no interval, and let the study run without a class that a set lacks.

    Reason: what a study cannot tell should be known before it is run. Expected numbers: those of the published test
    set, or the share of patients that the split gives to it. A class of one or two patients is missing from a set
    whatever is done; the others can still be studied.

    Evidence: see `split`; the reports refuse an interval below `MIN_PATIENTS` positive patients. In 200 draws of 80 to
    600 images of NIH's table, split by patient, none of 1,746 classes of 3 to 25 patients was missing from a set, and
    each of 167 of one or two was.
    """
    refused = [f"{name} (about {_short_of(n)})" for name, n in expected_positives(survey).items() if n < MIN_PATIENTS]
    chosen = f"none for {', '.join(refused)}" if refused else "every class will have one"
    least = min(expected_positives(survey).values(), default=0)
    seen = f"positive patients in the test set: {least:.0f} or more"
    if not survey.patients_known:
        seen = seen.replace("patients", "images")
    join = ", or join classes (label_map)" if len(survey.classes) > 2 else ""
    why = f"fewer than {MIN_PATIENTS} cannot carry an interval: find more images{join}"
    settings: dict[str, Any] = {}
    if missing := may_be_missing(survey):
        chosen += f"; allowed to be missing from a set: {', '.join(missing)}"
        settings["split.allow_missing_classes"] = True
    return Choice("intervals", seen, chosen, why if refused else f"each has {MIN_PATIENTS} or more", settings)


def _short_of(expected: float) -> str:
    """Print a number below `MIN_PATIENTS` such that it does not read as one that is enough: 9.9, not 10."""
    return f"{expected:.0f}" if round(expected) < MIN_PATIENTS else f"{min(expected, MIN_PATIENTS - 0.1):.1f}"


def choosing(survey: Survey, weights: Weights) -> Choice:
    """Say beforehand what a choice on the validation set is worth; nothing is set.

    Reason: network, epoch, threshold and ensemble are chosen there. Where it is small, near equals are told apart by
    chance, and the validation result of what was chosen is too good; the test set is not touched by it.

    Evidence: the standard error of an AUROC by Newcombe's formula; two networks on the same images agree to a
    correlation of about .8 (bootstrap of patients, 8 runs on 782 validation images of paediatric radiographs: .5 to
    .9), .7 is assumed. Kermany: two configurations of .915 and .914 on validation changed places from one build to the
    next. Larger validation sets were not measured against the training images that they cost.
    """
    expected = expected_positives(survey, "val")
    people = validation_patients(survey)
    name, positive = min(expected.items(), key=lambda item: item[1], default=("none", 0.0))
    who = "patients" if survey.patients_known else "images"
    seen = f"validation: about {people:.0f} {who}, {positive:.0f} with {name}"
    few = [f"{each} (about {_short_of(n)})" for each, n in expected.items() if n < MIN_PATIENTS]
    if positive < 1 or positive >= people:
        return Choice(
            "choosing", seen, f"{', '.join(few)}: too few to choose by", "such a class counts for nothing there", {}
        )
    error = c_statistic_error(people, positive / people, USUAL_AUROC)
    right = float(ndtr(APART / (error * math.sqrt(2 * (1 - AGREEMENT)))))
    half = min(float(ndtri(0.975)) * error, 0.5)
    chosen = f"AUROC {USUAL_AUROC:g} of {name} is known to +- {half:.2f}"
    why = (
        f"by it, the better of two networks {APART:g} apart wins {10 * right:.0f} times in 10; the test set, which "
        "chooses nothing, says how good that is"
    )
    if few:
        chosen += f"; no interval there: {', '.join(few)}"
    return Choice("choosing", seen, chosen, why, {})


def colour(survey: Survey, weights: Weights) -> Choice:
    """Three channels where images are in colour, and no CLAHE on them.

    Reason: colour is stain or skin, which is a finding; a grey image stored as RGB is one channel three times.

    Evidence: grey radiographs reach AUROC .84 to .93 on one channel with CLAHE (studies nih_subset_cpu, kermany_cpu);
    for CLAHE itself no gain is known (science: .8472 with, .8527 without), so colours are left as they are.
    """
    pictures = survey.pictures
    coloured = pictures.coloured > COLOURED
    seen = f"{pictures.coloured:.0%} of {pictures.looked_at} images looked at are in colour"
    if coloured:
        return Choice(
            "colour", seen, "3 channels, no CLAHE", "colour may be the finding; CLAHE would shift it",
            {"preprocess.channels": 3, "preprocess.clahe.enabled": False},
        )  # fmt: skip
    return Choice(
        "colour", seen, "1 channel, CLAHE", "grey images, also where they are stored as RGB",
        {"preprocess.channels": 1, "preprocess.clahe.enabled": True},
    )  # fmt: skip


def slowly(survey: Survey, weights: Weights) -> bool:
    """Some hundreds of colour images without pretrained weights: finer images, half the rate, more epochs.

    Reason: so few images cost little time, and a network from scratch that sees them longer and in more detail at a
    lower rate learns more of them. All three were changed together; which of them counts is not known.

    Evidence: 556 blood cells in 8 classes, 361 for training, three seeds a side, one build: validation AUROC of the
    small DenseNet .978 -> .984, of the CNN .981 -> .988, higher in each of the six pairs of runs; of the ensemble that
    validation chooses .987 -> .991. On the test set, which chose nothing (111 images, paired): +.004 [-.002, .010],
    +.010 [.002, .019], +.007 [-.001, .014].
    """
    return not weights.known and survey.pictures.coloured > COLOURED and training_images(survey) < SOME


def size(survey: Survey, weights: Weights) -> Choice:
    """80 px from scratch, or 96 px, see `slowly`; 128 px with pretrained weights. Pad where shapes vary.

    Never above what the images have.

    A network that takes one size alone, as transformers do, gets images of that size.

    Reason: a small network without a GPU learns from small images in minutes; pretrained features need some detail. A
    picture's shape must not become a sign of its class, so different shapes are padded, not stretched.

    Evidence: from scratch at 64 to 96 px a small DenseNet reaches macro AUROC .87 to .90 on 786 radiographs in seconds
    (performance), at 80 px .93 on the paediatric radiographs; MobileNetV2 fine-tuned at 128 px reaches .950 there.
    """
    pictures = survey.pictures
    usual = LARGER if weights.known else SLOW_SIDE if slowly(survey, weights) else SMALL
    side = weights.size or min(usual, max(pictures.smallest, 32))
    low, high = pictures.aspects
    pad = high / low > UNEVEN
    seen = f"median {pictures.sides[0]} x {pictures.sides[1]} px; width/height {low:.2f} to {high:.2f}"
    why = "pretrained features need some detail" if weights.known else "small networks learn at it without a GPU"
    if slowly(survey, weights):
        why = "of so few images finer ones cost little"
    if weights.size:
        why = f"{weights.arch.partition('.')[0]} takes no other"
    return Choice(
        "size", seen, f"{side} px, {'padded' if pad else 'stretched'}",
        why + ("; shapes vary and must not tell the class" if pad else ""),
        {"preprocess.size": side, "preprocess.keep_aspect": "pad" if pad else "stretch"},
    )  # fmt: skip


def balance(survey: Survey, weights: Weights) -> Choice:
    """No balancing, but class weights where a single-label class is ten times as frequent as another.

    Reason: AUROC, which chooses the epoch, does not depend on frequencies; a decision for the likeliest class does.
    Drawing rare images again and again trains on few images many times.

    Evidence: no way of weighting has a replicated gain of AUROC above .005 (science, section 2). That weights help the
    decisions on rare classes is expected, not measured here; `split.balance` and `train.class_weights` are there to
    try.
    """
    counts = [c.images.total() for c in survey.classes.values() if c.images.total()]
    ratio = max(counts) / min(counts) if counts else 1.0
    seen = f"largest class : smallest = {ratio:.1f} : 1"
    weighted = survey.task == "multiclass" and ratio > IMBALANCE
    return Choice(
        "balance", seen, "class weights in the loss" if weighted else "none",
        "decisions would never fall on the rarest class" if weighted else "AUROC does not depend on frequencies",
        {"split.balance.method": "none", "train.class_weights": "balanced" if weighted else "none"},
    )  # fmt: skip


def models(survey: Survey, weights: Weights) -> Choice:
    """Pretrained weights if there are any: features frozen, and fine-tuned; otherwise two small networks from scratch.

    Reason: with few images features must come from elsewhere; which of the candidates is best, validation decides.

    Evidence: paediatric radiographs, 4,400 for training: MobileNetV2 fine-tuned .950, frozen .918, from scratch
    .928 (paired, Holm). 556 blood cells in 8 classes, 361 for training: EfficientNet-Lite0 fine-tuned .991, frozen
    .915 (one seed, 10 of 30 epochs; paired, p < .001); linear probe on frozen ImageNet features: balanced accuracy .82,
    on random ones .41. From scratch only small networks learn from some hundreds of images: small DenseNet and CNN,
    .84 and .88 on 950 drawn radiographs, .98 and .99 on these cells (see `slowly`); depthwise networks do not. The
    rates are MobileNetV2's and EfficientNet-Lite0's; transformers were not measured.
    """
    n = training_images(survey)
    source_of = f"weights: {PurePath(weights.file).name}" if weights.file else "weights: timm hub"
    seen = f"about {n:,} training images; {source_of if weights.known else 'no weights'}"
    if weights.known:
        source = {"pretrained": True} if weights.hub else {"weights": weights.file}
        both = {"arch": weights.arch, **source, **weights.extra}
        chosen = {
            "frozen": {**both, "lr": 0.003, "trainable": "head"},
            "tuned": {**both, "lr": 0.0006, "head_lr": 0.001},
        }
        if n >= SOME:
            chosen["cnn"] = {**_FROM_SCRATCH["cnn"], "lr": RATE}
        why = "features learned elsewhere, kept or adapted" + (
            "; beside a small network of its own" if n >= SOME else ""
        )
        return Choice("models", seen, ", ".join(chosen), why, {"models": chosen, "study.models": list(chosen)})
    rate = SLOW_RATE if slowly(survey, weights) else RATE
    chosen = {name: {**about, "lr": rate} for name, about in _FROM_SCRATCH.items() if n >= FEW or name == "cnn"}
    why = "small networks learn from scratch; validation decides"
    if n < SOME:
        why = f"{n:,} images are few for a network from scratch: give --weights FILE if you can"
    return Choice(
        "models", seen, ", ".join(chosen) + " from scratch", why, {"models": chosen, "study.models": list(chosen)}
    )


_FROM_SCRATCH: dict[str, dict[str, Any]] = {
    "densenet": {
        "arch": "densenet121",
        "lr": RATE,
        "options": {"growth_rate": 16, "block_config": [1, 2, 4, 4], "bn_size": 2},
    },
    "cnn": {
        "arch": "baseline_cnn",
        "lr": RATE,
        "warmup_epochs": 1,  # as in params.yaml
        "options": {"filters": [8, 32, 64, 64], "drop_rate": 0.1, "batch_norm": True},
    },
}


def pretrained(survey: Survey, weights: Weights) -> Choice:
    """Weights are used as they were trained: architecture, normalisation and size of timm's table, found by name.

    Reason: a file of tensors tells neither normalisation nor padding; a wrong one costs accuracy without an error.

    Evidence: of 1,151 architectures with weights in timm 34 have some that were normalised otherwise than others: there
    the tag is asked for. What a wrong guess costs: MobileNetV2 converted from Keras, linear probe on frozen features of
    558 blood cells at 128 px: AUROC .962 as it was trained ([-1, 1], padded as TensorFlow does), .969 with ImageNet's
    mean, .960 with torch's padding, .974 with both: where a head is trained anew, little, and not to its harm.
    """
    why = f"as timm's table says, {weights.doubt}" if weights.doubt else "normalised as in their training"
    return Choice(
        "weights", f"{weights.arch.partition('.')[0]}, told by {weights.told_by}",
        f"{weights.arch}: {weights.normalised}", why, {},
    )  # fmt: skip


def losses(survey: Survey, weights: Weights) -> Choice:
    """The plain loss of the task: cross-entropy, or binary cross-entropy per class.

    Reason: one question at a time; time is better spent on seeds than on losses.

    Evidence: no loss has a replicated gain of AUROC above .005 over it (science, section 2); measured here BCE is above
    ZLPR by .034 [.010, .058] on 1,605 radiographs, and cross-entropy and focal loss are not told apart on 5,840. On the
    former, what these rules choose against the study written by hand, which adds ZLPR (nih_subset_cpu): the networks
    are the same, the ensemble that validation chooses is above by .017 [.007, .028] (p = .004, 227 images). On Kermany,
    by hand with focal loss (kermany_cpu): six runs instead of eight; what validation chooses is above by .002
    [-.000, .004], its ensemble by .002 [-.001, .005] (624 images).
    """
    loss = "bce" if survey.task == "multilabel" else "ce"
    more = "asl, zlpr, focal" if survey.task == "multilabel" else "focal, label_smoothing"
    chosen = "binary cross-entropy" if survey.task == "multilabel" else "cross-entropy"
    return Choice(
        "losses", survey.task.replace("multilabel", "multi-label").replace("multiclass", "one class per image"),
        f"{loss} ({chosen})", f"no other is reliably better; to compare, add {more}", {"study.losses": [loss]},
    )  # fmt: skip


def training(survey: Survey, weights: Weights) -> Choice:
    """As many epochs as give about 700 updates, 6 to 30, or 900 and 40, see `slowly`; patience of six tenths of them.

    Reason: a network learns by updates: the fewer images, the more epochs. The best epoch is kept, so more do no harm.

    Evidence: 1,130 training images: 10 epochs; 4,430: 6 epochs, as in the studies nih_subset_cpu and kermany_cpu
    (.657 and .932 on their test sets); with pretrained weights 7 epochs of batches of 32 (study
    paediatric_pneumonia_transfer).
    """
    n = training_images(survey)
    batch = 2 * BATCH if weights.known else BATCH
    least = LEAST_EPOCHS + weights.known
    steps, most = (SLOW_STEPS, SLOW_EPOCHS) if slowly(survey, weights) else (STEPS, MOST_EPOCHS)
    epochs = min(max(round(steps * batch / max(n, 1)), least), most)
    updates = epochs * max(math.ceil(n / batch), 1)
    patience = max(4, round(0.6 * epochs))
    return Choice(
        "training", f"about {n:,} training images", f"{epochs} epochs of batches of {batch}, patience {patience}",
        f"about {updates:,} updates (aim: {steps}, in {least} to {most} epochs); the best epoch is kept",
        {"train.epochs": epochs, "train.batch_size": batch, "train.patience": patience},
    )  # fmt: skip


def augmentation(survey: Survey, weights: Weights) -> Choice:
    """Flips and larger rotations for colour images; for grey ones small shifts and rotations without a flip.

    Reason: cells, skin and tissue have no upper side; grey images are mostly of a body, whose left is not its right (a
    mirrored chest has its heart on the wrong side).

    Evidence: published for blood smears are both flips and rotations by 20 degrees (`augment: seeds003`); on small
    radiographs all augmentation off and on are within noise (performance: .860, .853 and .842, .835 without and with).
    """
    if survey.pictures.coloured > COLOURED:
        return Choice(
            "augmentation", "colour images", "both flips, rotation 20 degrees", "cells, skin, tissue have no top",
            {"train.augment.horizontal_flip": 0.5, "train.augment.vertical_flip": 0.5, "train.augment.rotation": 20},
        )  # fmt: skip
    return Choice(
        "augmentation", "grey images", "small shifts and rotations, no flip", "left and right may differ, as in a body",
        {"train.augment.horizontal_flip": 0.0, "train.augment.vertical_flip": 0.0, "train.augment.rotation": 5},
    )  # fmt: skip


def seeds(survey: Survey, weights: Weights) -> Choice:
    """Three seeds per configuration, two from 10,000 training images on.

    Reason: a single run cannot tell a difference between configurations from one between seeds.

    Evidence: SD over seeds .001 to .014 AUROC in the studies; one seed each: type I error .083 to .148 at nominal .05.
    """
    n = training_images(survey)
    further = [12, 22] if n < MANY else [12]
    return Choice(
        "seeds", f"about {n:,} training images", f"42, {', '.join(map(str, further))}",
        "one run cannot tell a configuration from its seed", {"seed": 42, "study.replicates": further},
    )  # fmt: skip


RULES: tuple[Callable[[Survey, Weights], Choice], ...] = (
    split,
    intervals,
    choosing,
    colour,
    size,
    balance,
    models,
    losses,
    training,
    augmentation,
    seeds,
)
"""In the order of the printed table."""


def choose(survey: Survey, weights: Weights) -> list[Choice]:
    """Apply every rule; then the ensemble takes three training runs, or as many as there are."""
    rules = list(RULES)
    if weights.known:
        rules.insert(rules.index(models) + 1, pretrained)
    choices = [rule(survey, weights) for rule in rules]
    settings = {key: value for choice in choices for key, value in choice.settings.items()}
    runs = len(settings["study.models"]) * len(settings["study.losses"]) * (1 + len(settings["study.replicates"]))
    top = min(3, runs)
    choices.append(
        Choice(
            "ensemble",
            f"{runs} training {'run' if runs == 1 else 'runs'}",
            f"the best {top} on validation",
            "gains are measured, not assumed",
            {"ensemble.top_k": top},
        )
    )
    return choices
