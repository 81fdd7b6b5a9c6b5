"""The flow of images and patients: its numbers against the files, its diagram and its figure against each other."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.reporting import page
from pipeline.reporting.english import count, readable
from pipeline.reporting.figures import flow as drawing
from pipeline.reporting.formats import mermaid
from pipeline.reporting.views.flow import MOST_CLASSES, OTHERS, flow
from pipeline.study.files import EXCLUDED, SAMPLES
from pipeline.study.parts import read_split
from tests.reporting.loaded import load_once

pytestmark = pytest.mark.drawn

SHOW = '{% import "shared/flow.md" as diagram %}{{ diagram.show(flow) }}'
NODE = re.compile(r'  (\w+)\["([^"]*)"\]')
EDGE = re.compile(r"  (\w+) ---?> (\w+)")


def diagram(flow):
    """Return the nodes and edges of the diagram, each of whose lines is one or the other."""
    text = page._environment().from_string(SHOW).render(flow=flow)
    text = page._in_words(text).replace(page._KEPT, "").strip()
    first, head, *lines, last = text.split("\n")
    assert (first, head, last) == ("```mermaid", "flowchart TD", "```")
    nodes = dict(match.groups() for match in map(NODE.fullmatch, lines) if match)
    edges = [match.groups() for match in map(EDGE.fullmatch, lines) if match]
    assert len(nodes) + len(edges) == len([line for line in lines if line])
    assert {name for edge in edges for name in edge} == set(nodes)
    return {name: label.split("<br/>") for name, label in nodes.items()}, edges


def figure_texts(flow, monkeypatch):
    """Return the texts of the figure."""
    kept = []
    monkeypatch.setattr(drawing, "save", lambda drawn, path: kept.append(drawn))
    drawing.flow_chart(flow, Path("flow.png"))
    return [text.get_text() for text in kept[0].axes[0].texts if text.get_text()]


def test_the_numbers_are_those_of_the_files(here, monkeypatch):
    study = load_once(here)
    samples = pd.read_csv(SAMPLES, dtype={"patient_id": str}).merge(read_split(), on="row")
    excluded = pd.read_csv(EXCLUDED)
    nodes, edges = diagram(flow(study))
    texts = figure_texts(flow(study), monkeypatch)
    assert nodes["found"] == [f"Found: {len(samples) + len(excluded)} files"]
    kept = f"{len(samples)} images of {samples['patient_id'].nunique()} patients"
    assert nodes["kept"] == ["Kept", kept]
    assert nodes["excluded"][0] == f"Excluded: {len(excluded)} files"
    assert {nodes["found"][0], f"Kept: {kept}", nodes["excluded"][0]} <= set(texts)
    counted = [int(line.rsplit(": ", 1)[1]) for line in nodes["excluded"][1:]]
    assert sum(counted) == len(excluded)
    for key, rows in samples.groupby("part"):
        assert ("kept", key) in edges
        whole = " of ".join([count("image", len(rows)), count("patient", rows["patient_id"].nunique())])
        assert nodes[key][1] == whole
        assert whole in texts
        if key == "unused":
            continue
        of = {line.rsplit(": ", 1)[0]: line.rsplit(": ", 1)[1] for line in nodes[key][2:]}
        for name in study.classes:
            those = rows[rows[name] == 1]
            counted = f"{len(those)} ({those['patient_id'].nunique()})"
            assert of[readable(name)] == counted
            assert counted in texts
        none = rows[~rows[list(study.classes)].any(axis=1)]
        assert of.get("no class") == (f"{len(none)} ({none['patient_id'].nunique()})" if len(none) else None)


def test_without_patients_groups_are_counted(here, monkeypatch):
    study = load_once(here)
    unknown = replace(study, dataset=replace(study.dataset, patients_known=False))
    groups = study.samples["group_id"].nunique()
    with page.about(unknown):
        nodes, _ = diagram(flow(unknown))
    assert nodes["kept"][1].endswith(f"of {groups} groups")
    assert any(text.endswith(f"of {groups} groups") for text in figure_texts(flow(unknown), monkeypatch))


def test_of_many_classes_and_reasons_the_boxes_stay_readable(here, monkeypatch):
    study = load_once(here)
    names = [f"class {i}" for i in range(MOST_CLASSES + 1)]
    many = replace(study, classes=tuple(names), samples=study.samples.assign(**dict.fromkeys(names, 1)))
    many = replace(many, excluded=pd.DataFrame({"file": "f", "reason": [f"reason {i:02}" for i in range(12)]}))
    shown = flow(many)
    assert not shown.by_class
    assert [reason.text for reason in shown.excluded][-2:] == ["reason 07", OTHERS]
    assert sum(reason.number for reason in shown.excluded) == 12
    assert max(map(len, diagram(shown)[0].values())) == 10
    assert figure_texts(shown, monkeypatch)


def test_where_nothing_was_excluded_there_is_no_box(here, monkeypatch):
    study = load_once(here)
    shown = flow(replace(study, excluded=study.excluded[:0]))
    assert "excluded" not in diagram(shown)[0]
    assert not any("Excluded" in text for text in figure_texts(shown, monkeypatch))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ('a"b', "a#34;b"),
        ("<b>x</b>", "#60;b#62;x#60;#47;b#62;"),
        ("`*x*`", "#96;#42;x#42;#96;"),
        ("#1; x", "#35;1#59; x"),
        ("[x]|{y}", "#91;x#93;#124;#123;y#125;"),
        ("Ödem 2\nb", "Ödem 2 b"),
        ("a_b", "a#95;b"),
    ],
)
def test_no_name_is_markdown_or_html_to_mermaid(name, label):
    assert mermaid(name) == label
