"""A drawn figure -> a file for a paper, or SVG text for a page: themed, described and small."""

from __future__ import annotations

import functools
import html
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from leaderboard.figures.style import STYLE, VARIABLES

FORMATS = ("svg", "pdf", "png")
"""What a picture can be written as."""

COLUMN, PAGE = 3.35, 6.9
"""Widths in inches of a column and of both columns of a paper."""

PAPER_SCALE = 0.8
"""Of letters and heights in a paper: 9.5 points become 7.6, and no letter is smaller than 5."""

PRINT_DPI = 300

PALETTE = Path(__file__).parent / "palette.css"

STANDALONE_STYLE = (
    "svg { background: var(--surface) } "
    "text { font-family: sans-serif; paint-order: stroke; stroke: var(--surface); stroke-width: 3px }"
)
"""What the site's style sheet says of pictures, for one that stands alone."""

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", XLINK[1:-1])

GEOMETRY = ("d", "x", "y", "width", "height", "points", "transform")
"""Attributes of coordinates."""

LEGIBLE = 11.0
"""Pixels of the smallest letters that people read on a telephone."""

BODY = 15.0
"""Pixels of a page's own letters on a telephone; no figure's are larger."""

FONT_SIZE = re.compile(r"font(?:-size)?:[^;]*?([\d.]+)px")

COORDINATE = re.compile(r"-?\d+\.\d+")

REDUNDANT = re.compile(r"font-family:|stroke-linejoin: miter|stroke-linecap: (square|butt)")
"""Declarations that the style sheet makes, or that change nothing that a reader can see."""


class ShownFigure(Figure):
    """A figure of matplotlib that notebooks show, without pyplot."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.savefig(stream, format="png", facecolor="white", dpi=110)
        return stream.getvalue()


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure, what its identifiers begin with, and what it shows in words."""

    figure: Figure
    name: str
    alt: str

    @functools.cached_property
    def svg(self) -> str:
        """SVG text for a page with the site's style sheets."""
        return themed(self._saved("svg", {"Date": None}).decode(), self.name, self.alt, VARIABLES)

    @property
    def file_name(self) -> str:
        """A name for a file of it, without a suffix."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-")

    def _saved(self, style: str, metadata: dict[str, Any] | None, **options: Any) -> bytes:
        """What matplotlib writes; the same data give the same bytes."""
        stream = io.BytesIO()
        engine = self.figure.get_layout_engine()
        with mpl.rc_context(STYLE | {"svg.hashsalt": self.name}):
            if engine is not None:  # `savefig` would draw everything twice to lay it out
                engine.execute(self.figure)
                self.figure.set_layout_engine(None)
            try:
                self.figure.savefig(stream, format=style, metadata=metadata, pad_inches=0.02, **options)
            finally:
                self.figure.set_layout_engine(engine)
        return stream.getvalue()

    def file(self, style: str) -> bytes:
        """The picture as a file of one of `FORMATS`. A PDF embeds its fonts as TrueType; PNG has 300 dots an inch."""
        if style == "svg":
            return self.standalone().encode()
        if style == "pdf":
            return self._saved("pdf", {"CreationDate": None})
        return self._saved("png", {"Software": None}, dpi=PRINT_DPI, facecolor="white")

    def for_paper(self, columns: int | None = None) -> Picture:
        """The picture as wide as so many columns of a two-column paper, with letters to match; changes the figure.

        Without a number, one column for a figure that is narrower than a page, and both for others.
        """
        if columns is None:
            columns = 1 if self.figure.get_figwidth() < PAGE else 2
        height = self.figure.get_figheight() * PAPER_SCALE
        self.figure.set_size_inches(COLUMN if columns == 1 else PAGE, height)
        for text in self.figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_fontsize(max(5.0, float(text.get_fontsize()) * PAPER_SCALE))
        for axes in self.figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                size = axis.get_tick_params().get("labelsize")
                if isinstance(size, int | float):  # ticks that are yet to be made
                    axis.set_tick_params(labelsize=max(5.0, size * PAPER_SCALE))
        return self

    def standalone(self) -> str:
        """SVG text for a file of its own, which any browser shows, light or dark."""
        root = ElementTree.fromstring(self.svg)
        _, _, width, height = root.attrib["viewBox"].split()
        root.attrib |= {"width": f"{width}pt", "height": f"{height}pt"}
        style = Element(f"{SVG}style")
        style.text = PALETTE.read_text(encoding="utf-8") + STANDALONE_STYLE
        root.insert(0, style)
        return ElementTree.tostring(root, encoding="unicode") + "\n"


def themed(source: str, name: str, alt: str, variables: Mapping[str, str]) -> str:
    """The SVG text `source` of matplotlib as a page takes it.

    A site of 20 submissions has a hundred pictures, so whatever a reader cannot see is left out: metadata, white space,
    groups without a meaning, invisible backgrounds, and all digits beyond a tenth of a point.

    `source` is the file's text, `alt` what the picture shows in words. `name` distinguishes the picture's identifiers
    from those of others on the same page. `variables` are the CSS variables that take the place of colours.
    """
    root = ElementTree.fromstring(source)
    _slim(root)
    prefix = re.sub(r"\W+", "-", name)
    for element in root.iter():
        for attribute, value in element.attrib.items():
            if attribute == "id":
                element.set(attribute, f"{prefix}-{value}")
            else:
                element.set(attribute, re.sub(r"^#|(?<=url\()#", f"#{prefix}-", value))
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    least, most = _widths(root)
    widths = f'style="--legible:{least}px;--widest:{most}px" '
    description = f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" {widths}'
    svg = ElementTree.tostring(root, encoding="unicode").replace("<svg ", description, 1)
    for colour, variable in variables.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def _widths(root: Element) -> tuple[int, int]:
    """The widths in pixels at which a picture's smallest letters have `LEGIBLE` pixels, and its largest `BODY`."""
    sizes = [float(size) for text in root.iter(f"{SVG}text") for size in FONT_SIZE.findall(text.get("style", ""))]
    width = float(root.attrib["viewBox"].split()[2])
    return math.ceil(width * LEGIBLE / min(sizes, default=LEGIBLE)), math.floor(width * BODY / max(sizes, default=BODY))


def _slim(parent: Element) -> None:
    """Leave out of `parent` and all below it what a reader cannot see."""
    children: list[Element] = []
    for child in parent:
        _slim(child)
        child.text, child.tail = (part if part and part.strip() else None for part in (child.text, child.tail))
        _slim_attributes(child)
        if child.tag == f"{SVG}g" and not child.attrib:
            children += child
        elif not (child.tag == f"{SVG}metadata" or (child.tag == f"{SVG}path" and child.get("style") == "fill: none")):
            children.append(child)
    parent[:] = children


def _slim_attributes(element: Element) -> None:
    if element.tag == f"{SVG}g":
        element.attrib.pop("id", None)
    if "style" in element.attrib:
        declarations = element.attrib["style"].split("; ")
        element.set("style", "; ".join(part for part in declarations if not REDUNDANT.match(part)))
    for attribute in GEOMETRY:
        if attribute in element.attrib:
            lines = re.sub(r"\s*\n(?:L )?", " ", element.attrib[attribute])  # lines follow a move unnamed
            tenths = COORDINATE.sub(lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), lines)
            element.set(attribute, tenths.strip())
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
