"""The checklist: its items against the published numbers, its states against what was answered."""

import re
from dataclasses import replace

import pytest

from pipeline.reporting import page
from pipeline.reporting.guidelines import CLAIM, DOES_NOT_APPLY, GUIDELINES, TRIPOD, Item
from pipeline.reporting.settings import About
from pipeline.reporting.views import checklist
from pipeline.reporting.views.checklist import State, answer
from pipeline.settings import parse
from pipeline.study.params import ParamsError
from tests.reporting.loaded import load_once

# Of the published tables: the letters of each item.
TRIPOD_LETTERS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab"}
TRIPOD_LETTERS[27] = "abc"


def items(guideline):
    return [item for section in guideline.sections.values() for item in section]


def rows(text):
    return [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if re.match(r"\| \d", line)]


def test_the_items_are_numbered_as_published():
    assert [item.number for item in items(CLAIM)] == [str(i) for i in range(1, 45)]
    expected = [f"{i}{letter}" for i in range(1, 28) for letter in TRIPOD_LETTERS.get(i, [""])]
    assert [item.number for item in items(TRIPOD)] == expected
    assert len(expected) == 52


def test_every_fact_has_its_sentence_and_every_key_its_item():
    sentences = page._environment().get_template("shared/answers.md").module
    every = [item for guideline in GUIDELINES for item in items(guideline)]
    facts = {fact for item in every for fact in (*item.facts, item.drawn) if fact}
    assert facts == {name for name in vars(sentences) if not name.startswith("_")}
    assert set(DOES_NOT_APPLY) <= facts
    assert {key for item in every for key in item.about} == set(About.model_fields)


@pytest.mark.parametrize(
    ("item", "about", "drawn", "state", "missing"),
    [
        (Item("1", "", ("split",)), {}, False, State.STUDY, []),
        (Item("1", "", ("subgroups",)), {}, False, State.PART, []),
        (Item("1", "", ("split",), ("title",)), {}, False, State.PART, ["title"]),
        (Item("1", "", ("split",), ("title",)), {"title": "t"}, False, State.AUTHOR, []),
        (Item("1", "", (), ("title", "site")), {}, False, State.OPEN, ["title", "site"]),
        (Item("1", "", (), ("title", "site")), {"site": "t"}, False, State.PART, ["title"]),
        (Item("1", "", (), ("ethics",), drawn="no_person"), {}, True, State.NOT_APPLICABLE, []),
        (Item("1", "", (), ("ethics",), drawn="no_person"), {}, False, State.OPEN, ["ethics"]),
        (Item("1", "", (), ("ethics",), drawn="no_person"), {"ethics": "waived"}, True, State.AUTHOR, []),
        (Item("1", "", ("source",), ("site",), drawn="source"), {}, True, State.STUDY, []),
        (Item("1", "", ("dates",), ("dates",), either=True), {}, False, State.OPEN, ["dates"]),
        (Item("1", "", ("no_update",)), {}, False, State.NOT_APPLICABLE, []),
    ],
)
def test_an_item_is_answered_as_far_as_what_is_known(item, about, drawn, state, missing):
    found = answer(item, About(**about), {"subgroups": False, "dates": False}, drawn)
    assert (found.state, found.missing, found.texts) == (state, missing, list(about.values()))


def test_dates_of_the_images_do_without_those_of_the_authors():
    item = Item("5b", "", ("dates",), ("dates",), either=True)
    assert answer(item, About(), {"dates": True}, False).state == State.STUDY


def test_the_counts_are_those_of_the_tables(here, tmp_path):
    study = load_once(here)
    (path,) = checklist.render(study, tmp_path)
    text = path.read_text()
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    counts = [line.split("|")[2:-1] for line in head.splitlines() if line.startswith("| [")]
    for guideline, counted, part in zip(GUIDELINES, counts, parts):
        states = [row[2] for row in rows(part)]
        assert [int(n) for n in counted] == [len(items(guideline)), *(states.count(state) for state in State)]
    assert "](errors.md" not in text  # this folder has no such page


def test_all_is_answered_once_the_authors_have_written_it(here, tmp_path):
    study = load_once(here)
    texts = {key: f"the text of {key}, with | and <b>" for key in About.model_fields}
    told = replace(
        study,
        params=study.params.model_copy(update={"about": About(**texts)}),
        dataset=replace(study.dataset, synthetic=False, patients_known=False),
    )
    with page.about(told):
        (path,) = checklist.render(told, tmp_path)
    text = path.read_text()
    assert State.OPEN not in text
    assert "Set `about" not in text
    assert "answers all that the study cannot know" in text
    for key in About.model_fields:
        assert rf"the text of {key}, with \| and &lt;b>" in text
    assert "patient" not in text.lower()
    assert "is in two sets is not known" in text
    assert all(len(row) == 5 for row in rows(text.replace(r"\|", "")) if len(row) > 4)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"fundings": "x"}, r"about\.fundings: unknown key \(did you mean 'funding'\?\)"),
        ({"dates": 2015}, r"about\.dates: 2015 is no text to YAML; must stand in quotes"),
        ({"ethics": True}, r"about\.ethics: True is no text to YAML"),
    ],
)
def test_what_is_no_text_is_refused_by_its_key(about, message, tiny):
    with pytest.raises(ParamsError, match=message):
        parse({**tiny, "about": about})


@pytest.mark.parametrize("about", [None, {}, {"title": None}, {"title": "  "}])
def test_nothing_may_be_written(about, tiny):
    assert parse({**tiny, "about": about}).about.given() == {}
