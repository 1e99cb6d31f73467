"""What matplotlib writes -> SVG text for a page or a file: themed, described and small."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

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

COORDINATE = re.compile(r"-?\d+\.\d+")

REDUNDANT = re.compile(r"font-family:|stroke-linejoin: miter|stroke-linecap: (square|butt)")
"""Declarations that the style sheet makes, or that change nothing that a reader can see."""


@dataclass(frozen=True)
class Picture:
    """A figure: SVG text for a page with the site's style sheets, and what it shows in words."""

    svg: str
    alt: str

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
    description = f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" '
    svg = ElementTree.tostring(root, encoding="unicode").replace("<svg ", description, 1)
    for colour, variable in variables.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


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
