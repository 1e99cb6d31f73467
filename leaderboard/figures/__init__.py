"""Pictures as SVG text, for pages and for files of their own.

Drawn with matplotlib's figure objects alone (no pyplot: nothing global, nothing to close). Colours are CSS variables of
`palette.css`, so that one picture serves light and dark. The same data give the same bytes: a fixed salt for
identifiers, no date, coordinates rounded to a tenth of a point.
"""

from leaderboard.figures.canvas import Canvas
from leaderboard.figures.charts import Chart, Line, curves, runtimes, small_multiples, tuning
from leaderboard.figures.comparisons import (
    Panel,
    Place,
    Strip,
    critical_difference,
    distributions,
    scores,
    track_agreement,
    tradeoff,
)
from leaderboard.figures.svg import PALETTE, Picture

__all__ = [
    "PALETTE",
    "Canvas",
    "Chart",
    "Line",
    "Panel",
    "Picture",
    "Place",
    "Strip",
    "critical_difference",
    "curves",
    "distributions",
    "runtimes",
    "scores",
    "small_multiples",
    "track_agreement",
    "tradeoff",
    "tuning",
]
