"""Values are written into params.yaml in their places, and nothing else changes."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.searching.applying import applied, as_yaml
from pipeline.study.params import ParamsError, parse_yaml
from pipeline.study.workplaces import with_values
from tests.tiny import ROOT

VALUES = {
    "models.cnn.lr": 1.5e-05,
    "models.cnn.options.drop_rate": 0.25,
    "models.cnn.weight_decay": 0.1,
    "train.batch_size": 8,
    "train.layer_decay": 0.8,
    "train.clip_grad": None,
    "train.ema_warmup": False,
    "train.augment.brightness": 0.05,
    "train.mix.mixup": 0.3,
    "train.plateau.patience": 3,
    "losses.zlpr.kind": "zlpr",
    "losses.bce.pos_weight_cap": 3.0,
}


@pytest.mark.parametrize("file", ["params.yaml", "studies/kermany_cpu.yaml"])
def test_every_other_line_and_comment_stays(file):
    before = (ROOT / file).read_text()
    values = {key: value for key, value in VALUES.items() if key.split(".")[1] != "cnn" or "  cnn:" in before}
    after = applied(values, ROOT / file)
    expected = with_values(parse_yaml(before, ""), values)
    assert parse_yaml(after, "") == expected == yaml.safe_load(after)  # by YAML 1.2, and by 1.1
    assert re.findall("#.*", after) == re.findall("#.*", before)
    kept = set(before.splitlines())
    assert sum(line not in kept for line in after.splitlines()) <= len(values)
    assert applied(values, ROOT / file) == after


@pytest.mark.parametrize(
    ("text", "values", "told"),
    [
        ("train: {augment: none}\n", {"train.augment.noise": 0.1}, "train.augment.noise: does not lie in a map"),
        ("a: &x {b: 1}\nc: *x\n", {"c.b": 2}, "cannot be changed in these places alone; set by hand: c.b: 2"),
        ("a: &x 1\nb: *x\n", {"a": 2}, "cannot be changed in these places alone; set by hand: a: 2"),
        ("a: &x\n  b: 1\nc: *x\n", {"a": {"b": 2}}, "cannot be changed in these places alone; set by hand: a: {b: 2}"),
    ],
)
def test_what_cannot_be_changed_in_its_place_is_refused(text, values, told, tmp_path):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=re.escape(told)):
        applied(values, tmp_path / "params.yaml")


@pytest.mark.parametrize("variant", ["fold2: {split: {fold: 2}}  # x", "fold2:  # x\n    split: {fold: 2}"])
def test_what_a_fold_has_found_stands_on_one_line_beside_its_split(variant, tmp_path):
    file, found = tmp_path / "params.yaml", {"models.cnn.lr": 0.003, "train.augment": {"shift": 0.1}, "train.ema": None}
    file.write_text(f"a: 1  # y\nvariants:\n  # z\n  {variant}\n  fold3: {{split: {{fold: 3}}}}\nb: 2\n")
    text = applied({"a": 3, "variants.fold2.found": found}, file)
    assert "found: {models.cnn.lr: 0.003, train.augment: {shift: 0.1}, train.ema: null}" in text
    expected = {"fold2": {"split": {"fold": 2}, "found": found}, "fold3": {"split": {"fold": 3}}}
    assert yaml.safe_load(text) == {"a": 3, "variants": expected, "b": 2}
    assert re.findall("#.*", text) == ["# y", "# z", "# x"]
    file.write_text(text)
    again = applied({"variants.fold2.found": {"train.ema": 0.9}}, file)
    assert again == text.replace(re.search("found: .*null}", text)[0], "found: {train.ema: 0.9}")


@pytest.mark.parametrize(
    "value",
    [
        1e-05,
        1e-30,
        3e20,
        0.1,
        12,
        True,
        None,
        "none",
        "no",
        "1.5",
        "a b",
        "12:30",
        [8, [1, "x"]],
        {"mixup": 0.2, "n": None},
        {"a b": {"no": None}},
        [None, 1.0],
    ],
)
def test_a_value_is_read_as_it_was_by_both_versions_of_yaml(value):
    text = f"key: {as_yaml(value)}\n"
    assert parse_yaml(text, "")["key"] == value == yaml.safe_load(text)["key"]
    assert type(parse_yaml(text, "")["key"]) is type(value) is type(yaml.safe_load(text)["key"])


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("a: 1\n")
    assert applied({"a": 2}) == "a: 2\n"
    assert Path("params.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize(
    ("text", "key", "after"),
    [
        (
            "a:  # x\n  # y\n  b: 1  # z\n  c:\n    - 2\n    - 3  # z\n# w\nd: 1\n",
            "a",
            "a: VALUE  # x\n  # y\n# w\nd: 1\n",
        ),
        ("a:\n- 1\n-   - 2\n    - 3\n\nd: 1\n", "a", "a: VALUE\n\nd: 1\n"),
        ("t:\n  a:\n    b: 1\n    c:\n  d: 1\n", "t.a", "t:\n  a: VALUE\n  d: 1\n"),
        ("t:\n  a:\n    b: {c: [1,\n      2]}", "t.a", "t:\n  a: VALUE"),
        ("t:\n  a:\n    b: |\n      one\n      two\n  d: 1\n", "t.a", "t:\n  a: VALUE\n  d: 1\n"),
    ],
)
@pytest.mark.parametrize("value", ["none", {"rotation": 5}, [8, 16]])
def test_a_map_or_list_on_lines_of_its_own_becomes_one_line(text, key, after, value, tmp_path):
    (tmp_path / "params.yaml").write_text(text)
    written = applied({key: value}, tmp_path / "params.yaml")
    assert written == after.replace("VALUE", as_yaml(value))
    assert yaml.safe_load(written) == with_values(yaml.safe_load(text), {key: value})


def test_the_augmentation_of_the_default_study_can_be_a_preset():
    before = (ROOT / "params.yaml").read_text()
    after = applied({"train.augment": "seeds002"}, ROOT / "params.yaml")
    assert yaml.safe_load(after)["train"] == {**yaml.safe_load(before)["train"], "augment": "seeds002"}
    assert [line for line in after.splitlines() if line not in before.splitlines()] == ["  augment: seeds002"]
