"""The colours and the style of all pictures."""

from __future__ import annotations

from typing import Any

INK, MUTED, LINE, ACCENT, WARM, GOOD = "#101010", "#707071", "#d0d0d1", "#0060a1", "#c04f01", "#007f51"
SERIES = ("#0060a1", "#c04f01", "#007f51", "#8a3ffd", "#b0227c", "#6a6a01", "#0090a1", "#804001")

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    ACCENT: "--accent",
    WARM: "--warm",
    GOOD: "--good",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES[3:], start=4)},
}
"""The colours that matplotlib draws with, and what `palette.css` calls them."""

STYLE: Any = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "text.color": INK,
    "text.parse_math": False,  # a name with a $ in it is a name
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    **dict.fromkeys(("font.size", "axes.titlesize"), 9.5),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), LINE),
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon", "axes.formatter.useoffset"), False),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 0),
}
