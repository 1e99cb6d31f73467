"""How far overall scores would move if other tasks had been chosen.

    the score of a submission on a cell (an axis of a task), less the mean of all submissions there, is
        effect of submission on the axis + submission x family + submission x task + submission x cell and seeds
    variances of the last three by the method of moments (Henderson's third; equal to REML where the design is
        balanced and no estimate is negative):
        y = what is left of a submission's cells after the means of its axes are taken out
        for M in (families, tasks, cells):   average of y' M y = sum over components of trace(M V) * variance
    variance of an overall score = slopes' V slopes, with the slopes of the overall score on the cells
    variance of a difference = sum of both, because what all submissions share is taken out

This is the mixed model submission + submission x family + submission x task + seed, with one more term, as a task may
have several axes. Tasks are taken as a sample of the tasks of their family, and families as a sample of kinds of
problems that one might care about. The variances are those of a typical submission; one that suits a family has more at
stake. Submissions are taken to be independent, so two that are alike on every task differ more surely than this says.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from leaderboard.analysis.differences import Differences
from leaderboard.analysis.scoring import Scores
from leaderboard.analysis.statistics import Array, Spread


@dataclass(frozen=True)
class Components:
    """Variances of the scores of a submission on cells, less its means over axes and what all submissions share.

    Attributes:
        family, task: that a family's, or a task's, cells have in common.
        cell: of every cell by itself; the variance of its mean over seeds is within it.
        freedom: degrees of freedom, those of the interaction of submissions and families.
    """

    family: float
    task: float
    cell: float
    freedom: float

    def covariance(self, scores: Scores) -> Array:
        """Of one submission's scores [cells, cells]."""
        family, task, cell = _designs(scores)
        return self.family * family + self.task * task + self.cell * cell


def _designs(scores: Scores) -> tuple[Array, Array, Array]:
    """Which pairs of cells [cells, cells] share a family, a task, everything."""
    families, tasks = (np.array([getattr(cell, key) for cell in scores.cells]) for key in ("family", "task"))
    family, task = ((names[:, None] == names).astype(float) for names in (families, tasks))
    return family, task, np.eye(len(scores.cells))


def components(scores: Scores) -> Components | None:
    """The variances over families, tasks and cells; all submissions must have all cells.

    None where nothing can be known of other tasks: there are fewer than two submissions, or two families, or no axis
    has more than one cell.
    """
    submissions, families = len(scores.names), {cell.family for cell in scores.cells}
    if submissions < 2 or len(families) < 2 or len(scores.cells) <= len(scores.axes):
        return None
    values = np.array([cell.means() for cell in scores.cells])
    values = values - values.mean(axis=1, keepdims=True)
    axes = np.array([[cell.axis == axis for axis in scores.axes] for cell in scores.cells], dtype=float)
    residual = np.eye(len(axes)) - axes @ np.linalg.pinv(axes)
    left, designs = residual @ values, _designs(scores)
    forms = [residual @ design @ residual for design in designs]
    moments = np.array([np.sum(left * (form @ left)) / (submissions - 1) for form in forms])
    traces = np.array([[np.sum(form * design) for design in designs] for form in forms])
    scale = traces.diagonal()
    found = _nonnegative(traces / scale[:, None], moments / scale)
    family, task, cell = map(float, found)
    return Components(family, task, cell, freedom=float((submissions - 1) * (len(families) - 1)))


def _nonnegative(matrix: Array, values: Array) -> Array:
    """The least squares solution [n] without negative entries, for few unknowns: the best over all sets of them.

    `scipy.optimize.nnls` gives the same, but its package takes longer to import than a table to compute.
    """
    count = matrix.shape[1]
    best, least = np.zeros(count), float(np.sum(values**2))
    for size in range(1, count + 1):
        for chosen in itertools.combinations(range(count), size):
            found = np.zeros(count)
            found[[*chosen]] = np.linalg.lstsq(matrix[:, [*chosen]], values, rcond=None)[0]
            error = float(np.sum((matrix @ found - values) ** 2))
            if (found >= 0).all() and error < least:
                best, least = found, error
    return best


def spread_over_tasks(scores: Scores) -> Spread | None:
    """The spread [submissions] of the overall scores over tasks; None where nothing is known of it."""
    found = components(scores)
    if found is None:
        return None
    slopes = scores.sensitivity()
    variance = np.einsum("cs,cd,ds->s", slopes, found.covariance(scores), slopes)
    return Spread(np.sqrt(variance), np.full(len(variance), found.freedom))


def differences_over_tasks(scores: Scores) -> Differences | None:
    """All pairs of submissions compared by their overall scores over tasks; `seeds` are the numbers of tasks."""
    known = spread_over_tasks(scores)
    if known is None:
        return None
    error = np.sqrt(known.error[:, None] ** 2 + known.error**2)
    np.fill_diagonal(error, 0.0)
    freedom = np.broadcast_to(known.freedom, error.shape)
    tasks = np.full(error.shape, float(len(scores.tasks)))
    return Differences(scores.overall[:, None] - scores.overall, Spread(error, freedom), tasks)
