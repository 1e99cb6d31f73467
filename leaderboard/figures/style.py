"""Colours and matplotlib's settings of all pictures."""

from __future__ import annotations

from typing import Any

INK, MUTED, LINE, ACCENT, WARM, GOOD = "#101010", "#707071", "#d0d0d1", "#0060a1", "#c04f01", "#007f51"


SERIES = ("#0060a1", "#c04f01", "#007f51", "#8a3ffd", "#b0227c", "#6a6a01", "#0090a1", "#804001")


VARIABLES = {
    INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", WARM: "--warm", GOOD: "--good",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES[3:], start=4)},
}  # fmt: skip
"""The colours that matplotlib draws with, and what `palette.css` calls them."""


STYLE: Any = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5, "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9.5,
    "axes.titlelocation": "left", "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED, "axes.grid": True,
    "grid.color": LINE, "grid.linewidth": 0.5, "axes.axisbelow": True, "lines.linewidth": 1.4,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "legend.frameon": False,
    "axes.formatter.useoffset": False, "xtick.major.size": 0, "ytick.major.size": 0,
}  # fmt: skip


SMALL: Any = STYLE | {"axes.grid": False}
"""For panels the size of a stamp."""
