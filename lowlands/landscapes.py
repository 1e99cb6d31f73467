"""The training loss between kept solutions and around them, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leaderboard.commands.landscape import losses
from leaderboard.commands.run import RESULTS, use_data

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Landscape:
    """The training loss between solutions and around them.

    Attributes:
        seed: whose solutions they are.
        figure: of matplotlib: a panel for each line, then one for each plane.
        lines: a row for each place `t` of each line (0 is `one`, 1 is `other`), with its `loss`, and with `aligned`,
            the loss with hidden units matched. Empty for one solution.
        planes: a row for each point (`a`, `b`) of the plane around each `submission`, with its `loss`.
    """

    seed: int
    figure: Figure
    lines: pd.DataFrame
    planes: pd.DataFrame


def landscape(
    task: str,
    submissions: str | Sequence[str],
    *,
    results: str | Path = RESULTS,
    track: str | None = None,
    points: int = 41,
    side: int = 21,
    reach: float = 0.5,
    data: str | Path | None = None,
) -> Landscape:
    """The training loss on a task between solutions and around each, as `lowlands landscape` draws it.

    Between each two: the straight line, as they are and with hidden units matched. Around each: the plane of the two
    top eigenvectors of the Hessian, each filter scaled to the weights' own (Li et al. 2018, arXiv:1712.09913).

    Args:
        task: its name.
        submissions: one name in the log, or several.
        results: a log, or a folder of logs, whose solutions were kept (``run(…, keep_solutions=True)``).
        track: which log of a folder; None: its only one.
        points: on a line.
        side: points on a side of a plane.
        reach: how far a plane goes to each side, in lengths of the weights.
        data: the folder of data sets; by default ``$LOWLANDS_DATA``.

    Returns:
        The figure and its numbers, of the first seed on which all have a solution.

    Raises:
        InputError: there are no such results, or no seed on which all reached the target loss and were kept.
    """
    use_data(None if data is None else Path(data))
    names = [submissions] if isinstance(submissions, str) else list(submissions)
    found = losses(Path(results), task, names, track, points, side, reach)
    return Landscape(found.seed, found.picture.figure, found.lines, found.planes)
