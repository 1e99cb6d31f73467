"""Pictures as SVG text: small, themed, and the same outside of a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from leaderboard.figures import Chart, Line, Picture, curves
from leaderboard.figures.style import VARIABLES

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def picture() -> Picture:
    lines = [Line("a <b> & 'c'", [1, 10, 100], [3.0, 2.0, None]), Line("d_e", [1, 10, 100], [1.0, 0.5, 0.25])]
    return curves("na me", [Chart("t", lines, "x", "y", x_log=True)], 'Two "curves" & more.')


def test_words_are_kept_and_nothing_invisible(picture: Picture) -> None:
    root = ElementTree.fromstring(picture.svg)
    texts = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    assert {"a <b> & 'c'", "d_e", "x (log scale)", "y", "t"} <= set(texts)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'Two "curves" & more.'
    assert "metadata" not in picture.svg
    assert all(element.attrib for element in root.iter(f"{SVG}g"))
    assert not any(path.get("style") == "fill: none" for path in root.iter(f"{SVG}path"))
    assert not re.search(r"\d\.\d\d", " ".join(path.get("d", "") for path in root.iter(f"{SVG}path")))


def test_identifiers_and_references_carry_the_name(picture: Picture) -> None:
    identifiers = set(re.findall(r' id="([^"]*)"', picture.svg))
    references = set(re.findall(r'(?:url\(|href=")#([^)"]*)', picture.svg))
    assert references
    assert references <= identifiers
    assert all(identifier.startswith("na-me-") for identifier in identifiers)


def test_colours_follow_the_theme(picture: Picture) -> None:
    assert "var(--accent)" in picture.svg
    assert not any(colour in picture.svg for colour in VARIABLES)


def test_a_file_of_its_own_has_a_size_and_the_palette(picture: Picture) -> None:
    root = ElementTree.fromstring(picture.standalone())
    _, _, width, height = root.attrib["viewBox"].split()
    assert (root.get("width"), root.get("height")) == (f"{width}pt", f"{height}pt")
    assert "--accent:" in "".join(root.itertext())
