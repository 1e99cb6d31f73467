"""What every figure of the shipped results draws: letters within the canvas, on nothing, of no machine's notation."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import lowlands
from leaderboard.figures import Picture
from leaderboard.figures.style import STYLE
from leaderboard.site.figure_list import figures
from leaderboard.site.shared import SiteContext

ROUNDING = 1.0
"""Pixels: measured letters and drawn ones differ by less."""


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Of small panels those of three submissions: a site has some for each of them."""
    context = SiteContext(lowlands.load()._records, (), (), "", None)
    every = {f"{board.kind}/{name}": make for board in context.boards for name, make in figures(context, board).items()}
    panels = [name for name in every if re.match(r"\w+/(tuning|training):", name)]
    chosen = {f"{kind}:{name}" for kind in ("tuning", "training") for name in ("muon", "sam", "vit")}
    made = [make() for name, make in every.items() if name not in panels or name.partition("/")[2] in chosen]
    return [picture for picture in made if picture is not None]


def _drawn(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Bbox]]:
    """Every text that is drawn, with its box in pixels; a tick out of view is not."""
    boxes: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def recorded(text: Text, renderer: Any, *args: Any, **kwargs: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            boxes.append((text.get_text(), Text.get_window_extent(text, renderer)))
        draw(text, renderer, *args, **kwargs)

    with monkeypatch.context() as patch, mpl.rc_context(STYLE):
        patch.setattr(Text, "draw", recorded)
        FigureCanvasAgg(picture.figure).draw()
    assert len(boxes) > 4
    yield from boxes


def test_letters_are_within_the_canvas_and_cross_no_others(
    pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(pictures) > 40
    for picture in pictures:
        boxes = list(_drawn(picture, monkeypatch))
        width, height = picture.figure.bbox.size
        for text, box in boxes:
            inside = min(box.x0, box.y0, width - box.x1, height - box.y1) > -ROUNDING
            assert inside, f"{picture.name}: {text} leaves the canvas"
            assert not re.search(r"\de[+-]?\d", text), f"{picture.name}: {text}"
        for (one, a), (other, b) in itertools.combinations(boxes, 2):
            common = Bbox.intersection(a, b)
            crossing = common is not None and min(common.size) > ROUNDING
            assert not crossing, f"{picture.name}: {one} lies on {other}"


def test_log_scales_are_named(pictures: list[Picture]) -> None:
    named = 0
    for axes in itertools.chain.from_iterable(picture.figure.axes for picture in pictures):
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                named += 1
                assert "log scale" in axis.get_label_text() + axes.get_title(loc="left")
    assert named > 20
