"""What stands in params.yaml reaches no shell: `dvc repro` runs a stage's command before the stage can look at it."""

import copy
import shlex
import subprocess
from pathlib import Path

import pytest
from dvc.exceptions import ReproductionError
from dvc.parsing import DataResolver, ParseError, ResolveError
from dvc.repo import Repo
from ruamel.yaml import YAML

from pipeline import settings
from pipeline.study.params import ParamsError
from tests.tiny import ROOT

CANARY = "canary"
HOSTILE = [
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"; touch {CANARY} #",
    f"x && touch {CANARY}",
    f"x | touch {CANARY}",
    f"'; touch {CANARY}; '",
    f'"; touch {CANARY}; "',
    f"\\'; touch {CANARY}; \\'",
    f"x\ntouch {CANARY}\n",
    f"'x''\ntouch {CANARY}\n'",
    f"x\u2028touch {CANARY}\u2028",
    f"x\x0btouch {CANARY}",
    f"> {CANARY}",
    f"${{x:=$(touch {CANARY})}}",
    f'-c \'import os; open("{CANARY}", "w")\'',
    "../../" + CANARY,
]
"""Each would make a file called `CANARY` if a shell took it for more than one word."""


def everywhere(content, word):
    """Put `word` in place of every name and every value of params.yaml, however deep, and keep the sections."""
    if isinstance(content, dict):
        return {key: everywhere(below, word) for key, below in content.items()}
    if isinstance(content, list):
        return [everywhere(below, word) for below in content] or [word]
    return word


def planted(word):
    content = everywhere(read_yaml(ROOT / "params.yaml"), word)
    content["study"] = {"models": [word], "losses": [word], "replicates": [f"{word} "]}
    content["external"] = {word: {"dataset": word, "root": word}}
    return content | {key: {word: {word: word}, **content[key]} for key in ("models", "losses", "datasets")}


def read_yaml(path):
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Repo.init(no_scm=True) as repo:
            yield repo


@pytest.fixture
def commands(repository, monkeypatch):
    """Return what DVC would run for the stages of dvc.yaml under some content of params.yaml."""
    monkeypatch.chdir(repository.root_dir)
    stages = read_yaml(ROOT / "dvc.yaml")

    def of(content):
        with Path("params.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(content, file)
        resolved = DataResolver(repository, repository.root_dir, copy.deepcopy(stages)).resolve()["stages"]
        # As `dvc.stage.run` divides a command, and hands each line to a shell.
        return {name: stage["cmd"].splitlines() for name, stage in resolved.items()}

    return of


def run(commands, folder):
    """Run commands as DVC does, each line in a shell of its own until one fails, in `folder`.

    Returns
    -------
    list of list of str
        What ``python``, here a program that only notes its arguments, was given each time.
    """
    (folder / "python").write_text('#!/bin/sh\nprintf "%s\\0" "$@" >> words\nprintf "\\n\\0" >> words\n')
    (folder / "python").chmod(0o755)
    script = "\n".join(" && ".join(f"sh -c {shlex.quote(line)}" for line in lines) for lines in commands)
    subprocess.run(["/bin/sh"], input=script.encode(), cwd=folder, env={"PATH": f"{folder}:/usr/bin:/bin"}, stderr=-3)
    words = (folder / "words").read_bytes().decode() if (folder / "words").exists() else ""
    return [each.split("\0")[:-1] for each in words.split("\n\0")[:-1]]


@pytest.mark.parametrize("word", HOSTILE)
def test_nothing_that_stands_in_params_runs_as_a_command(word, commands, tmp_path):
    found = commands(planted(word))
    assert {"train", "replicate", "evaluate", "explain", "prepare_external", "evaluate_external"} <= {
        name.split("@")[0] for name in found
    }
    given = run(found.values(), tmp_path)
    assert len(given) >= len(found) - (6 if len(word.splitlines()) > 1 else 0)  # a cut word is an error of the shell's
    assert not (tmp_path / CANARY).exists()


def test_the_test_sees_a_canary(tmp_path):
    assert run([[f"python -m pipeline.train --model {HOSTILE[0]}"]], tmp_path) == [["-m", "pipeline.train", "--model"]]
    assert (tmp_path / CANARY).exists()


def test_a_name_is_one_word_of_the_command(commands, tmp_path):
    content = planted(HOSTILE[0])
    found = commands(content)
    name = f"train@{HOSTILE[0]}-{HOSTILE[0]}-{HOSTILE[0]}"
    further = f"replicate@{HOSTILE[0]}-{HOSTILE[0]}-{HOSTILE[0]} "
    given = ["--model", HOSTILE[0], "--loss", HOSTILE[0], "--seed"]
    first, second = run([found[name], found[further]], tmp_path)
    assert first == ["-m", "pipeline.train", *given, HOSTILE[0]]
    # The same command but for the seed: what one stage has trained the other finds in the run-cache.
    assert second[:-1] == first[:-1]


@pytest.mark.parametrize("name", [{"$(touch canary)": 1}, ["$(touch canary)"], {"a": {"; touch canary": "x"}}])
def test_dvc_refuses_maps_and_lists_as_names_whose_keys_it_would_not_quote(name, commands):
    for key, items in (("models", [name]), ("losses", [name]), ("replicates", [name])):
        content = planted("x")
        content["study"][key] = items
        with pytest.raises((ResolveError, ParseError), match="Cannot interpolate"):
            commands(content)


def test_commands_hold_nothing_of_params_but_items_of_a_matrix():
    """DVC quotes the values of a map; a value by itself, or part of a word, it puts into the command as it is."""
    for name, stage in read_yaml(ROOT / "dvc.yaml")["stages"].items():
        command, template, rest = stage["cmd"].partition("${item}")
        assert "$" not in command + rest, name
        assert not template or (command.endswith(" ") and rest == ""), name


@pytest.mark.parametrize("word", HOSTILE)
def test_every_stage_refuses_such_names(word, tiny):
    for section, key in (("study", "models"), ("study", "losses"), ("study", "replicates")):
        with pytest.raises(ParamsError, match=rf"{section}\.{key}"):
            settings.parse({**tiny, section: {**tiny[section], key: [word]}})
    for key in ("models", "losses"):
        with pytest.raises(ParamsError, match=key):
            settings.parse({**tiny, key: {**tiny[key], word: next(iter(tiny[key].values()))}})
    with pytest.raises(ParamsError, match="external"):
        settings.parse({**tiny, "external": {word: {"dataset": "phantom"}}})
    for key in ("dataset", "seed"):
        with pytest.raises(ParamsError, match=key):
            settings.parse({**tiny, key: word})


def test_outputs_whose_path_holds_a_name_outlive_a_name_that_leads_elsewhere(tmp_path, monkeypatch):
    """DVC removes the outputs of a stage before it runs it; a name like ``../x`` must have been refused before.

    The outputs of a stage that comes before stage configure are kept. The later ones depend on a record of
    that name, which stage configure does not write of such a one, and DVC begins no stage without its dependencies.
    """
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    for name, stage in stages.items():
        for out in stage["outs"]:
            path, flags = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            if "${" in path and not flags.get("persist"):
                assert any(dep.startswith("data/configurations/${") for dep in stage["deps"]), (name, path)
    clone = tmp_path / "some" / "clone"
    clone.mkdir(parents=True)
    monkeypatch.chdir(clone)
    with Repo.init(no_scm=True):
        pass
    precious = [clone / "precious.json", tmp_path / "precious-x" / "seed1"]
    few = {name: stages[name] for name in ("weights", "configure", "train") if name in stages}
    for stage in ("weights", "configure"):
        if stage in few:
            few[stage] |= {"cmd": "false", "deps": ["params.yaml"], "params": ["seed", "study"]}
    few["train"] |= {"deps": [d for d in few["train"]["deps"] if d != "data/study"]}
    content = {"seed": 1, "study": {"models": ["../../../precious"], "losses": ["x"], "replicates": []}}
    for path, text in ((Path("dvc.yaml"), {"stages": few}), (Path("params.yaml"), content)):
        with path.open("w") as file:
            YAML(typ="safe").dump(text, file)
    for path in precious:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with Repo() as repo:
        outs = {out.fs_path for stage in repo.index.stages for out in stage.outs}
        assert str(precious[1]) in outs
        assert str(precious[0]) in outs or "weights" not in stages
        with pytest.raises(ReproductionError):
            repo.reproduce(on_error="keep-going")
    assert [path.read_text() for path in precious] == ["mine", "mine"]
