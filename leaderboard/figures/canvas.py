"""A figure of some panels, from the first stroke to SVG text."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leaderboard.figures.svg import Picture, themed


class Canvas:
    """A figure of some panels, from the first stroke to SVG text."""

    def __init__(
        self,
        panels: int = 1,
        columns: int = 1,
        size: tuple[float, float] = (6.4, 3.6),
        small: bool = False,
        heights: Sequence[float] | None = None,
    ) -> None:
        """size: of a panel, in inches, on average where `heights` says how the rows share the whole height."""
        rows = math.ceil(panels / columns)
        width, height = size[0] * columns, size[1] * rows
        self.figure = Figure(figsize=(width, height), layout=None if small else "constrained")
        # Where all panels are small and alike, fixed margins (in inches) serve, and cost nothing to find.
        margins = {"left": 0.42 / width, "right": 1 - 0.08 / width, "bottom": 0.4 / height, "top": 1 - 0.22 / height}
        spaces = {"wspace": 0.5 / (size[0] - 0.5), "hspace": 0.45 / (size[1] - 0.45)}
        spacing = margins | spaces if small else None
        made = self.figure.subplots(rows, columns, squeeze=False, gridspec_kw=spacing, height_ratios=heights)
        grid = made.ravel()
        for axes in grid[panels:]:
            axes.set_axis_off()
        self.axes: list[Axes] = list(grid[:panels])

    def picture(self, name: str, alt: str) -> Picture:
        """The finished picture; `name` keeps its identifiers apart from those of others on the same page."""
        stream = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": name}):
            self.figure.savefig(stream, format="svg", metadata={"Date": None}, pad_inches=0.02)
        return Picture(themed(stream.getvalue(), name, alt), alt)
