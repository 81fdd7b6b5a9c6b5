"""The page of `dvc plots show` and what it draws with."""

import configparser
import json
import re

import pytest
from dvc_render.html import HTML
from dvc_render.vega import VegaRenderer

from tests.tiny import ROOT

PAGE = ROOT / ".dvc/plots/page.html"


def page() -> str:
    """The page as DVC fills it in."""
    document = HTML(PAGE.read_text()).with_scripts(VegaRenderer.SCRIPTS).with_element("<div id='one'></div>")
    return document.embed()


def test_dvc_is_told_of_the_page():
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc/config")
    assert (ROOT / ".dvc" / config["plots"]["html_template"]).samefile(PAGE)


def test_the_network_is_not_asked_where_the_scripts_of_the_set_up_are():
    html = page()
    assert "<div id='one'></div>" in html
    inert = re.search(r'<template id="network">(.*?)</template>', html, re.DOTALL)
    assert "https://" in inert[1]
    assert "https://" not in html.replace(inert[0], "")
    order = [html.index(part) for part in ('src="../.venv/vega.js"', "window.vegaEmbed ||", inert[0], "<div id='one'>")]
    assert order == sorted(order)


def test_make_writes_the_scripts_where_the_page_looks_for_them():
    assert "docs/offline_plots.py $(VENV)/vega.js" in (ROOT / "Makefile").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cells", "confusion_cells"])
def test_vega_of_the_set_up_draws_the_templates(name):
    vega = pytest.importorskip("vl_convert")
    rows = [{"cell": c, "rev": "workspace", "x": i, "y": i / 3, "n": i} for c in "ab" for i in range(3)]
    text = (ROOT / f".dvc/plots/{name}.json").read_text().replace('"<DVC_METRIC_DATA>"', json.dumps(rows))
    for mark, value in (("X", "x"), ("Y", "y")):
        text = text.replace(f"<DVC_METRIC_{mark}>", value)
    svg = vega.vegalite_to_svg(re.sub(r"<DVC_METRIC_\w+>", "words", text), vl_version="5.21")
    assert svg.count("<path") > 4
