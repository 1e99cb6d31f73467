"""Curves of records -> charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leaderboard.figures.lines import Chart, Line


def chart(title: str, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> Chart:
    """A panel of one record's curve, or of the same curve of several."""
    first = lines[0][1]
    own = [Line(name, curve["x"], curve["y"]) for name, curve in lines]
    oracle = None if first["oracle"] is None else Line("oracle", first["x"], first["oracle"])
    return Chart(
        title, own, first["x_label"], first["y_label"], first["x_log"], first["y_log"], first["points"], oracle
    )
