"""What tuning trials are chosen by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from leaderboard.analysis.robustness import Trial
from leaderboard.figures.canvas import Canvas
from leaderboard.figures.marks import log_axis, name_ends
from leaderboard.figures.style import ACCENT, MUTED, SMALL, WARM
from leaderboard.figures.svg import Picture


@mpl.rc_context(SMALL)
def tuning(submission: str, found: Sequence[Trial]) -> Picture | None:
    """What trials are chosen by against their step size (or first tuned number), a panel for each task."""
    key = _tuned(found)
    tasks = sorted({trial.task for trial in found})
    if key is None or not tasks:
        return None
    columns = 5
    canvas = Canvas(len(tasks), columns, (2.1, 1.4), small=True)
    for axes, task in zip(canvas.axes, tasks, strict=True):
        own = [trial for trial in found if trial.task == task]
        known = [trial for trial in own if math.isfinite(trial.criterion)]
        for chosen, colour, size in ((False, MUTED, 3.5), (True, ACCENT, 6.0)):
            points = [(t.hyperparameters[key], t.criterion) for t in known if t.chosen == chosen]
            axes.plot(*_columns(points), "o", color=colour, markersize=size)
        # Along the lower edge: ended by the race (a tick), or missed the stop (a cross).
        for raced, marker, colour in ((True, "|", MUTED), (False, "x", WARM)):
            points = [(t.hyperparameters[key], 0.04) for t in own if t not in known and t.raced == raced]
            edge = axes.get_xaxis_transform()
            axes.plot(*_columns(points), marker, color=colour, transform=edge, clip_on=False, markersize=5)
        values = np.array([trial.hyperparameters[key] for trial in own], dtype=float)
        if values.min() > 0 and values.max() > values.min():
            log_axis(axes, "x")
        axes.margins(0.12)
        name_ends(axes, values, np.array([trial.criterion for trial in known]))
        axes.set_title(task, fontsize=7.5)
    canvas.figure.text(0.5, 0.01, key, ha="center", fontsize=7.5, color=MUTED)
    missed = sum(math.isinf(trial.criterion) and not trial.raced for trial in found)
    return canvas.picture(
        f"tuning-{submission}",
        f"Tuning trials of {submission}: the criterion (validation loss, or gradient evaluations to the stop) against "
        f"{key} on {len(tasks)} tasks; {missed} of {len(found)} trials missed the stop.",
    )


def _columns(points: Sequence[tuple[Any, float]]) -> tuple[list[Any], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _tuned(found: Sequence[Trial]) -> str | None:
    """The hyper-parameter to draw over: ``lr``, else the first number that differs between trials."""
    varied = [
        key
        for key in (found[0].hyperparameters if found else ())
        if all(isinstance(trial.hyperparameters.get(key), int | float) for trial in found)
        and len({trial.hyperparameters[key] for trial in found}) > 1
    ]
    return "lr" if "lr" in varied else next(iter(varied), None)
