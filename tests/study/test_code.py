"""What counts as another program, and what does not."""

import ast
import hashlib
import sys
from pathlib import Path

import pytest

from pipeline.study import code
from pipeline.study.code import ROOT, digest, digests

SOURCE = '''"""A module."""

import math

X = 1
"""Said of X."""


def half(x: float) -> float:
    """Halve."""
    return x / 2  # exactly
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# exactly", "# in floating point, so that the smallest number becomes 0"),
        ('"""Halve."""', '"""Return half of `x`."""'),
        ('    """Halve."""\n', ""),
        ('"""Said of X."""\n', ""),
        ("X = 1\n", "X   =   1\n\n\n"),
        ("x / 2", "(x / 2)"),
    ],
)
def test_comments_docstrings_and_layout_are_no_part_of_a_program(old, new):
    assert old in SOURCE
    assert digest(SOURCE.replace(old, new)) == digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x / 2", "x / 2.0"),
        ("X = 1", "X = True"),
        ("X = 1", "X = 1.0"),
        ("X = 1", "X = '1'"),
        ("X = 1", "X = None"),
        ("X = 1", "X = -1"),
        ("x / 2", "2 / x"),
        ("x / 2", "x // 2"),
        ("return x / 2", "return"),
        ("import math", "import cmath"),
        ("X = 1", "X = f'{1}'"),
        ("X = 1", "X = f'{1!r}'"),
        ("def half(x: float)", "def half(x: float = 0)"),
        ("def half(x: float)", "async def half(x: float)"),
        ("X = 1", "X = 1\nX"),
    ],
)
def test_whatever_else_changes_is_another_program(old, new):
    assert old in SOURCE
    assert digest(SOURCE.replace(old, new)) != digest(SOURCE)


def test_a_digest_does_not_depend_on_what_a_version_of_python_adds_to_its_trees():
    """Python 3.12 gave functions type parameters, 3.13 leaves empty lists out of dumps: empty fields do not count."""
    tree = ast.parse(SOURCE)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.type_params = []
            node._fields = (*[f for f in node._fields if f != "type_params"], "type_params")
    assert code._digest(tree) == digest(SOURCE)


def test_the_project_is_followed_through_its_imports_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "ROOT", tmp_path)
    files = {
        "pipeline/__init__.py": '"""A package."""',
        "pipeline/script.py": "import numpy\nfrom pipeline.room import a\n",
        "pipeline/room/__init__.py": "Y = 2\n",
        "pipeline/room/a.py": "def f():\n    from pipeline.room.b import g\n    return g\n",
        "pipeline/room/b.py": "\ufefffrom . import d\nfrom .deeper.e import h\ng = 1\n",
        "pipeline/room/c.py": "unused = 1\n",
        "pipeline/room/d.py": "d = 1\n",
        "pipeline/room/deeper/e.py": "from ..f import h\n",
        "pipeline/room/f.py": "h = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = digests([tmp_path / "pipeline/script.py"])
    room = ["__init__", "a", "b", "d", "deeper/e", "f"]
    assert list(found) == [*(f"pipeline/room/{name}.py" for name in room), "pipeline/script.py"]
    assert found["pipeline/room/f.py"] == digest("h = 1")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """File in which a process with nothing in its memory finds what earlier ones have found; begins it anew."""
    file = tmp_path / "cache/kept.json"
    monkeypatch.setattr(code, "_file", lambda: file)
    monkeypatch.setattr(code, "_unkept", set())
    monkeypatch.setattr(code.sys, "dont_write_bytecode", False)

    def anew():
        monkeypatch.setattr(code, "_known", {})
        return file

    anew()
    return anew


def test_what_was_found_is_found_by_the_next_process_and_another_source_is_read(kept, tmp_path, monkeypatch):
    module = tmp_path / "module.py"
    module.write_text(SOURCE)
    expected = [digest(SOURCE)]
    assert code.digests_of([module]) == expected
    assert [*tmp_path.glob("cache/*")] == [kept()]  # nothing half-written is left
    with monkeypatch.context() as patch:
        patch.setattr(code.ast, "parse", None)  # not read again
        assert code.digests_of([module]) == expected
    module.write_text(SOURCE + "Z = 1\n")
    kept()
    assert code.digests_of([module]) == [digest(SOURCE + "Z = 1\n")] != expected
    kept()
    monkeypatch.setattr(code.ast, "parse", None)  # both are kept
    assert code.digests_of([module]) == [digest(SOURCE + "Z = 1\n")]
    module.write_text(SOURCE)
    assert code.digests_of([module]) == expected


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": ["b"]}', '{"a": ["b", 1]}', "\ufeff", "null"])
def test_a_damaged_memory_is_none(kept, tmp_path, content):
    module = tmp_path / "module.py"
    module.write_text(SOURCE)
    kept().parent.mkdir()
    kept().write_text(content)
    assert code.digests_of([module]) == [code._digest(ast.parse(SOURCE))]
    assert list(code._kept(kept())) == [hashlib.sha256(SOURCE.encode()).hexdigest()]


def test_where_python_writes_no_bytecode_nothing_is_kept(kept, tmp_path, monkeypatch):
    module = tmp_path / "module.py"
    module.write_text(SOURCE)
    monkeypatch.setattr(code.sys, "dont_write_bytecode", True)
    assert code.digests_of([module]) == [code._digest(ast.parse(SOURCE))]
    assert not kept().parent.exists()


def test_a_folder_that_cannot_be_written_to_is_no_error(kept, tmp_path):
    module = tmp_path / "module.py"
    module.write_text(SOURCE)
    kept().parent.write_text("a file where the folder should be")
    assert code.digests_of([module]) == [code._digest(ast.parse(SOURCE))]


def test_the_oldest_are_forgotten(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(code, "AT_MOST", 3)
    modules = [tmp_path / f"module{i}.py" for i in range(5)]
    for number, module in enumerate(modules):
        module.write_text(f"X = {number}\n")
        code.digests_of([module])
    assert list(code._kept(kept())) == [hashlib.sha256(m.read_bytes()).hexdigest() for m in modules[2:]]


def test_the_memory_lies_beside_the_bytecode_and_is_of_this_code():
    assert code._file().parent == Path(code.__file__).parent / "__pycache__"
    assert sys.implementation.cache_tag in code._file().name
    assert hashlib.sha256(Path(code.__file__).read_bytes()).hexdigest()[:16] in code._file().name


def test_the_project_lies_where_the_package_does():
    assert Path(code.__file__) == (ROOT / "pipeline/study/code.py")


def test_imports_are_found_in_every_kind_of_block():
    source = """
try:
    import a1
except ValueError:
    import a2
else:
    import a3
finally:
    import a4
with x:
    import a5
for i in y:
    import a6
else:
    import a7
while z:
    import a8
match q:
    case 1:
        import a9
class C:
    async def f(self):
        async with x:
            import b2
if t:
    pass
elif u:
    import b4
else:
    import b5
try:
    pass
except* ValueError:
    import b6
"""
    tree = ast.parse(source)
    assert {id(each) for each in code._statements(tree.body)} == {
        id(each) for each in ast.walk(tree) if isinstance(each, ast.stmt)
    }
