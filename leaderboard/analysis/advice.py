"""What each submission is good for, in a sentence that follows from its numbers by a stated rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leaderboard.analysis.ranking import Board, Standing, best
from leaderboard.analysis.statistics import SIGNIFICANCE

RULE = (
    "Use it: it is among the best on an axis, or on every axis of a family of tasks where it scores 0.5 or more, by a "
    "paired test at 5 % over seeds (a missed run scores 0), and at most half of all are; nobody scores higher with a "
    "setting drawn at random; or nobody takes fewer gradients. Rather use: the first in rank that is higher on every "
    "axis, on one at least by that test, and that regularizes on purpose only if this one does. It is said of these "
    "tasks and seeds, not of others."
)
"""The rule of `advice`, in words."""

WANTED = {"flatness": "flat minima", "norm": "small norms", "generalization": "a small test error"}
"""Axis -> what is wanted by who wants its score to be high."""

IN_BETWEEN = "No clear use: among the best on no axis and in no family of tasks, but nobody is higher on every axis."

HALFWAY = 0.5
"""Between the references: who is best on a family with less has not solved it."""

MANY_MISSED = 0.05
"""Of its runs; with more, the advice says how many missed the target loss."""


def advice(board: Board) -> dict[str, str]:
    """Submission -> one sentence on when to use it, by `RULE`, in the order of the table."""
    ranked = board.ranked
    axes = {axis: np.array(best(ranked.differences(axis), means)) for axis, means in ranked.axis_means.items()}
    families = {
        family: np.all(
            [best(cell.differences(), cell.means()) for cell in ranked.cells if cell.family == family], axis=0
        )
        for family in ranked.family_means
    }
    row_of = {name: row for row, name in enumerate(ranked.names)}
    return {
        standing.submission: _sentence(board, standing, row_of.get(standing.submission), axes, families)
        for standing in board.standings
    }


def _sentence(
    board: Board,
    standing: Standing,
    row: int | None,
    axes: dict[str, NDArray[np.bool_]],
    families: dict[str, NDArray[np.bool_]],
) -> str:
    if row is None:
        lacks = f"it lacks {_plural(len(standing.missing), 'task')}" if standing.missing else "nothing is scored"
        return f"Not ranked: {lacks if standing.converged else 'no run reached a target loss'}."
    others = [other for other in board.standings if other.rank and other is not standing]
    if not others:
        return "Nobody is there to compare it with."
    wanted = [
        f"{what} ({standing.axes[axis].value:.2f})"
        for axis, what in WANTED.items()
        if axis in axes and _tells(axes[axis], row)
    ]
    like = [
        f"{family} ({standing.families[family]:.2f})"
        for family, marks in families.items()
        if _tells(marks, row) and standing.families[family] >= HALFWAY
    ]
    reasons = [f"you want {_listed(wanted, 'or')}"] if wanted else []
    if like:
        reasons.append(f"your tasks are like the {'families' if len(like) > 1 else 'family'} {_listed(like, 'or')}")
    expected = [round(other.expected, 2) for other in others if other.expected is not None]
    if expected and standing.expected is not None and round(standing.expected, 2) >= max(expected):
        reasons.append(f"you cannot tune ({standing.expected:.2f} with any setting)")
    if standing.gradient_evaluations < min(other.gradient_evaluations for other in others):
        reasons.append(f"gradients are dear ({standing.gradient_evaluations:,.0f} a run)")
    if reasons:
        found = f"Use it if {_listed([reasons[0], *(f'if {reason}' for reason in reasons[1:])], 'or')}."
    else:
        found = _rather(board, standing, row, others) or IN_BETWEEN
    missed = standing.runs - standing.converged
    return (
        f"{found} {missed} of {standing.runs} runs missed the target loss."
        if missed > MANY_MISSED * standing.runs
        else found
    )


def _tells(marks: NDArray[np.bool_], row: int) -> bool:
    """Whether the submission of `row` is marked, and at most half of all are: what marks most says nothing of any."""
    return bool(marks[row] and 2 * marks.sum() <= len(marks))


def _rather(board: Board, standing: Standing, row: int, others: Sequence[Standing]) -> str | None:
    """That the first in rank is to be used which is higher on every axis, on one at least by the paired test.

    On which families this one is the higher of the two is said too.
    """
    ranked = board.ranked
    p_values = [ranked.differences(axis).p_values()[row] for axis in ranked.axes]
    for other in others:
        place = ranked.names.index(other.submission)
        higher = all(means[place] > means[row] for means in ranked.axis_means.values())
        told_apart = any(p[place] < SIGNIFICANCE for p in p_values)
        if higher and told_apart and (standing.explicit or not other.explicit):
            lower = [family for family, means in ranked.family_means.items() if round(means[row] - means[place], 2) > 0]
            though = f", though lower on {_listed(lower, 'and')}" if lower else ""
            return f"Rather use {other.submission}: it is higher on every axis{though}."
    return None


def order_basis(board: Board) -> str:
    """What the order of the table rests on, and how many its uncertainties could put first; empty without ranks."""
    ranked = [standing for standing in board.standings if standing.rank and standing.rank_interval]
    if len(ranked) < 2:
        return ""
    axes, tasks = board.ranked.axes, board.ranked.tasks
    counts = sorted({len(cell.seeds) for cell in board.ranked.cells})
    seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else _plural(counts[0], "seed")
    mean = f"the geometric mean of {_listed(axes, 'and')}" if len(axes) > 1 else axes[0]
    first = sum(standing.rank_interval is not None and standing.rank_interval[0] == 1 for standing in ranked)
    over_tasks = [s.rank_over_tasks[0] == 1 for s in ranked if s.rank_over_tasks]
    by_tasks = f", other tasks {sum(over_tasks)}" if len(over_tasks) == len(ranked) else ""
    return (
        f"The order rests on {mean} over {_plural(len(tasks), 'task')} and {seeds}: of the {len(ranked)}, other seeds "
        f"could put {first} first{by_tasks}."
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(words: Sequence[str], last: str) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))
