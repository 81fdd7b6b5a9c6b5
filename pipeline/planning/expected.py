"""How many patients and images each set of a study will have, before it is split."""

from __future__ import annotations

from pipeline.planning.survey import Survey
from pipeline.uncertainty.support import MIN_PATIENTS

VALIDATION, TEST, MOST_TEST = 0.15, 0.2, 0.3
"""Shares of the images: for choosing, for testing, and at most for testing."""


def has_published_test(survey: Survey) -> bool:
    """Whether a training and a test set are published."""
    return {"train", "test"} <= set(survey.parts)


def rarest_class(survey: Survey) -> int:
    """Return the positive patients of the rarest class, 0 without any class."""
    return min((counts.people() for counts in survey.classes.values() if counts.images), default=0)


def test_fraction(survey: Survey) -> float:
    """Return the share of patients for testing where no test set is published, see `rules.split`."""
    fractions = (TEST, 0.25, MOST_TEST)
    enough = next((f for f in fractions if survey.all.people() * f >= 1.5 * MIN_PATIENTS), MOST_TEST)
    return next((f for f in fractions if rarest_class(survey) * f >= MIN_PATIENTS), enough)


def expected_positives(survey: Survey, part: str = "test") -> dict[str, float]:
    """Return the positive patients that each class will have in a part, about."""
    published = has_published_test(survey)
    share = VALIDATION if part == "val" else test_fraction(survey)
    found = {}
    for name, counts in survey.classes.items():
        if published and part in survey.parts:
            found[name] = float(counts.people(part))
        elif published:
            found[name] = counts.people("train") * VALIDATION
        else:
            found[name] = counts.people() * share
    return found


def may_be_missing(survey: Survey) -> list[str]:
    """Return the classes of which one of the three sets will have no image with or none without it.

    A class needs a patient for each set, of which published sets bring their own. Empty where too few classes would
    remain to be told apart: the split then says so.
    """
    published = has_published_test(survey)
    own = [part for part in survey.parts if part != "train"] if published else []
    divided = "train" if published else None
    missing = []
    for name, counts in survey.classes.items():
        enough = [
            of.people(divided) >= 3 - len(own) and all(of.people(part) for part in own)
            for of in (counts, survey.all.without(counts))
        ]
        if not all(enough):
            missing.append(name)
    left = len(survey.classes) - len(missing)
    return missing if left >= (1 if survey.task == "multilabel" else 2) else []


def validation_patients(survey: Survey) -> float:
    """Return about how many patients the validation set will have."""
    if has_published_test(survey):
        if "val" in survey.parts:
            return survey.all.people("val")
        return survey.all.people("train") * VALIDATION
    return survey.all.people() * VALIDATION


def training_images(survey: Survey) -> int:
    """Return about how many images there are to train on."""
    if has_published_test(survey):
        return round(survey.all.images["train"] * (1 if "val" in survey.parts else 1 - VALIDATION))
    return round(survey.all.images.total() * (1 - VALIDATION - test_fraction(survey)))
