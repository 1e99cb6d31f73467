"""What matplotlib writes -> SVG text for a page or a file: themed, described and small."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from leaderboard.figures.style import VARIABLES

PALETTE = Path(__file__).parent / "palette.css"


ALONE = (
    "svg { background: var(--surface) } "
    "text { font-family: sans-serif; paint-order: stroke; stroke: var(--surface); stroke-width: 3px }"
)
"""What the site's style sheet says of pictures, for one that stands alone."""


@dataclass(frozen=True)
class Picture:
    """A figure: SVG text for a page with the site's style sheets, and what it shows in words."""

    svg: str
    alt: str

    def requires_single(self) -> str:
        """SVG text for a file of its own, which any browser shows, light or dark."""
        style = f"<style>{PALETTE.read_text(encoding='utf-8')}{ALONE}</style>"
        size = re.sub(r'.*?viewBox="0 0 (\S+) (\S+)".*', r'width="\1pt" height="\2pt"', self.svg, flags=re.DOTALL)
        return re.sub(r"<svg ([^>]*)>", rf"<svg {size} \1>{style}", self.svg, count=1) + "\n"


SLIMMER = (
    (r"<metadata>.*?</metadata>|<!--.*?-->", ""),
    (r">\s+<", "><"),
    (r'<g id="[^"]*"', "<g"),  # named for nobody
    (r" ?font-family: [^;\"]*;?", ""),  # the style sheet's
    (r"; stroke-linejoin: miter|; stroke-linecap: (square|butt)", ""),
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r"\nL ", " "),  # lines follow a move without being named
    (r" z\n|\n", " "),
    (r'<path d="[^"]*" style="fill: none"/>', ""),  # invisible backgrounds
)
"""Replacements that a reader cannot see: a site of 20 submissions has a hundred pictures."""


def themed(svg: str, name: str, alt: str) -> str:
    """SVG text for a page: themed, described, small, and with identifiers of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'="[^"<>]*"', lambda attribute: re.sub(r"(\d+)\.(?:0\d*|(\d)\d*)", _tenth, attribute[0]), svg)
    for pattern, replacement in SLIMMER:
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    svg = _without_groups(svg)
    prefix = re.sub(r"\W+", "-", name)
    svg = re.sub(r'(id="|"#|url\(#|href="#)([^"#)])', rf"\1{prefix}-\2", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt, quote=True)}" ', 1)


def _without_groups(svg: str) -> str:
    """Without the groups that say nothing: matplotlib nests a handful around every stroke."""
    kept: list[bool] = []

    def tag(found: re.Match[str]) -> str:
        if found[0] == "</g>":
            return "</g>" if kept.pop() else ""
        if not found[0].endswith("/>"):
            kept.append(found[0] != "<g>")
            return found[0] if kept[-1] else ""
        return ""

    return re.sub(r"</?g\b[^>]*>", tag, svg)


def _tenth(number: re.Match[str]) -> str:
    """A coordinate to a tenth of a point."""
    return number[1] if number[2] is None else f"{number[1]}.{number[2]}"
