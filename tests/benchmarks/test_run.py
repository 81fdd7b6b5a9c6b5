"""The register of benchmarks, and how their output is entered into RESULTS.md."""

import ast
import importlib.util

import pytest

from benchmarks.__main__ import BENCHMARKS, RESULTS, entered
from tests.tiny import ROOT


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_has_a_module_and_a_block(name):
    assert importlib.util.find_spec(f"benchmarks.{name}") is not None
    text = entered(RESULTS.read_text(), name, "| new |", "today; a machine")
    assert f"<!-- {name}: written by python -m benchmarks -->\ntoday; a machine\n\n| new |\n<!-- /{name} -->" in text
    assert entered(text, name, "| new |", "today; a machine") == text
    others = [other for other in BENCHMARKS if other != name]
    assert all(f"<!-- /{other} -->" in text for other in others)


def test_every_benchmark_is_registered():
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert files - {"__main__", "plain"} == set(BENCHMARKS)  # plain is a part of parity


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_imports_no_tests(path):
    tree = ast.parse(path.read_text())
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {name for name in modules if name.split(".")[0] in ("tests", "pytest")}


def test_a_block_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="no block for nothing"):
        entered("text", "nothing", "", "")
