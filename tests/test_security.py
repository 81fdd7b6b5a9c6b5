"""docs/security.md names a test for each of its claims."""

import ast
import re

from tests.tiny import ROOT

TEXT = (ROOT / "docs/security.md").read_text()


def test_every_claim_names_tests_that_exist():
    table = TEXT.partition("## Not trusted")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 14
    for what, _, _, shown in rows:
        named = re.findall(r"`([a-z_/]+(?:\.py|/))`", shown)
        assert named, what
        for path in named:
            assert (ROOT / "tests" / path).exists(), path


def test_tables_are_read_by_readers_that_take_no_name_for_a_missing_value():
    """Only an empty cell is missing: pandas by itself takes ``None``, ``NA`` and a dozen more names for nothing."""
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith(("read_csv", "read_excel")):
                keywords = {k.arg: k.value for k in node.keywords}
                given = ast.unparse(node)
                assert "keep_default_na" in keywords or "'keep_default_na': False" in given, f"{path}: {given}"
                assert "keep_default_na=True" not in given
