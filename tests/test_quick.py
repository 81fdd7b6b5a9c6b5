"""Which tests `make quick` runs."""

import pytest

from tests import quick
from tests.tiny import ROOT


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("pipeline/launching/display.py", ["tests/launching/test_display.py"]),
        ("pipeline/launching/guard.py", ["tests/launching"]),
        ("pipeline/commands/plan.py", ["tests/commands/test_plan.py"]),
        ("pipeline/settings/__init__.py", ["tests/test_params.py"]),
        ("README.md", ["tests/test_readme.py"]),
        ("benchmarks/shared/standin.py", ["tests/benchmarks"]),
        ("tests/launching/test_log.py", ["tests/launching/test_log.py"]),
        ("tests/reporting/conftest.py", ["tests/reporting"]),
        ("tests/tiny.py", []),
        ("LICENSE", []),
    ],
)
def test_a_file_has_the_tests_of_its_name_else_those_of_its_room(file, tests):
    assert quick.tests_of(file) == tests


@pytest.mark.parametrize("file", sorted(str(p.relative_to(ROOT)) for p in (ROOT / "pipeline").glob("*/*.py")))
def test_every_file_of_a_room_has_tests(file):
    assert quick.tests_of(file)


def test_a_file_is_not_run_beside_its_folder():
    assert quick.without_repeats(["tests/a/test_b.py", "tests/a", "tests/c", "tests/a"]) == ["tests/a", "tests/c"]
