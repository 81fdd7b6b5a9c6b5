"""The examples of the metric functions, run."""

import doctest
import inspect

from pipeline.metrics import functions


def test_the_examples_hold():
    result = doctest.testmod(functions)
    assert result.failed == 0
    assert result.attempted > 40


def test_every_public_function_has_an_example():
    public = [f for name, f in inspect.getmembers(functions, inspect.isfunction) if not name.startswith("_")]
    bare = {f.__name__ for f in public if f.__module__ == functions.__name__ and ">>> " not in (f.__doc__ or "")}
    assert bare == {"chance_disagreement", "chance_distance"}
