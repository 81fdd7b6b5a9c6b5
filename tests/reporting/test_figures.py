"""Figures are saved as matplotlib itself would save them, in a third of its passes."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.lines import Line2D
from PIL import Image

from pipeline.reporting.figures import style


def drawn():
    figure = style.figure(5, 3)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0.2, 0.9], label="a line")
    left.set_title("A title that is longer than its axes are wide, and reaches beyond them")
    left.text(1.3, 0.5, "outside of the axes")
    right.imshow(np.arange(12).reshape(3, 4), cmap="gray")
    figure.legend(loc="outside lower center")
    return figure


@pytest.mark.pictures
def test_a_figure_has_the_pixels_that_matplotlib_gives_it(tmp_path):
    with style.styled():
        style.save(drawn(), tmp_path / "ours.png", every_colour=True)
        theirs, figure = BytesIO(), drawn()
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
        figure.savefig(theirs, dpi=style.DPI, bbox_inches="tight", pad_inches=style.PADDING)
    ours = np.array(Image.open(tmp_path / "ours.png").convert("RGB"))
    np.testing.assert_array_equal(ours, np.array(Image.open(theirs).convert("RGB")))
    assert ours.min() < 60 and ours.std() > 10  # noqa: PT018


@pytest.mark.pictures
def test_a_sign_is_drawn_around_its_place(tmp_path):
    with style.styled():
        figure = style.figure(2, 2)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.add_line(Line2D([0.5], [0.5], linestyle="", marker=style.glyph("★"), color="black", markersize=60))
        style.save(figure, tmp_path / "sign.png", every_colour=True)
    dark = np.array(Image.open(tmp_path / "sign.png").convert("L")) < 128
    height, width = dark.shape
    rows, columns = np.nonzero(dark)
    assert abs(rows.min() + rows.max() - height) <= 3
    assert abs(columns.min() + columns.max() - width) <= 3
    assert 60 * style.DPI / 72 * 0.9 < max(np.ptp(rows), np.ptp(columns)) < 60 * style.DPI / 72 * 1.1
    assert 0.2 < dark[rows.min() : rows.max(), columns.min() : columns.max()].mean() < 0.45  # a star, not a box or "$"
