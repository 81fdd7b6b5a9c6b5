import pytest

from pipeline.reporting import english


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b, and c"),
        ([1, 2, 3, 4], "1, 2, 3, and 4"),
    ],
)
def test_listing(items, expected):
    assert english.listing(items) == expected


@pytest.mark.parametrize(
    ("word", "many"),
    [
        ("seed", "seeds"),
        ("class", "classes"),
        ("loss", "losses"),
        ("study", "studies"),
        ("epoch", "epochs"),
        ("day", "days"),
        ("training seed", "training seeds"),
        ("is", "are"),
    ],
)
def test_plural(word, many):
    assert english.plural(word, 1) == word
    assert english.plural(word, 2) == english.plural(word, 0) == many


def test_count_and_seeds():
    assert english.count("image", 0) == "no images"
    assert english.count("image", 1) == "1 image"
    assert english.count("image", 12345) == "12,345 images"
    assert english.seeds([12]) == "seed 12"
    assert english.seeds([12, 22]) == "seeds 12 and 22"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "+0.012"), (-0.0123, "−0.012"), (0.0001, "0.000"), (-0.0001, "0.000")]
)
def test_signed(value, text):
    assert english.signed(value) == text
