"""Templates that are compiled already are those that would be compiled."""

import sys

import jinja2
import pytest

from pipeline.reporting.compiled import Compiled


@pytest.fixture
def fill(tmp_path, monkeypatch):
    """Fill a template in an environment of its own; return the text and whether the template was compiled for it."""
    compiled = []
    generate = jinja2.Environment._generate
    monkeypatch.setattr(
        jinja2.Environment,
        "_generate",
        lambda self, *args, **kwargs: compiled.append(1) or generate(self, *args, **kwargs),
    )
    setup = tmp_path / "setup.py"
    setup.write_text("options")

    def filled(source, options="options"):
        (tmp_path / "page.md").write_text(source)
        setup.write_text(options)
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(tmp_path), bytecode_cache=Compiled(tmp_path, setup)
        )
        before = len(compiled)
        return environment.get_template("page.md").render(n=2), len(compiled) > before

    return filled


def kept(tmp_path):
    return [*(tmp_path / "__pycache__").iterdir()]


def test_a_template_is_compiled_once_and_again_when_it_or_its_environment_changes(fill, tmp_path):
    assert fill("{{ n }} images") == ("2 images", True)
    assert fill("{{ n }} images") == ("2 images", False)
    assert fill("{{ n }} films") == ("2 films", True)
    assert fill("{{ n }} films") == ("2 films", False)
    assert fill("{{ n }} films", "other options") == ("2 films", True)
    assert all(file.suffix == ".jinja" for file in kept(tmp_path))


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-9], lambda content: b"?" * 400])
def test_a_damaged_file_is_compiled_anew(fill, tmp_path, damage):
    fill("{{ n }} images")
    (file,) = kept(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert fill("{{ n }} images") == ("2 images", True)
    assert fill("{{ n }} images") == ("2 images", False)


def test_where_nothing_can_be_written_pages_are_rendered_all_the_same(fill, tmp_path, monkeypatch):
    (tmp_path / "__pycache__").write_text("no folder")
    assert fill("{{ n }} images") == ("2 images", True)
    (tmp_path / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert fill("{{ n }} images") == ("2 images", True)
    assert not (tmp_path / "__pycache__").exists()
