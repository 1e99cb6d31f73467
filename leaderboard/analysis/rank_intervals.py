"""Differences of scores -> simultaneous confidence intervals of ranks.

    z[a, b] = the normal quantile of the p-value of t[a, b] = difference[a, b] / error[a, b], on its degrees of freedom
    undecided = all pairs
    repeat:  c = 95 % quantile of the maximum of |z| over the undecided pairs, if all submissions were equal
             decide all undecided pairs with |z| > c
    until nothing is decided
    rank of a: from 1 + number of those decided to be better, to number of submissions - number of those decided worse

This is the step-down max-|t| procedure of Romano and Wolf (2005) as Mogstad, Romano, Shaikh and Wilhelm (2024,
doi:10.1093/restud/rdad006) apply it to ranks; Klein, Wright and Wieczorek (2020, doi:10.1111/rssa.12521) read the ranks
off the decided pairs. All intervals together hold the true ranks with 95 %. With equal errors, the first c is the
quantile of Tukey's studentised range over sqrt(2). More scatter decides fewer pairs, so it widens an interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from leaderboard.analysis.differences import Differences
from leaderboard.analysis.statistics import SIGNIFICANCE, Array

DRAWS = 10_000
DRAW_SEED = 20240117
CHUNK = 4_000_000
"""Numbers held at a time while maxima are drawn."""


@dataclass(frozen=True)
class RankIntervals:
    """Which entries differ, and what ranks that leaves open; all at one level together.

    Attributes:
        low, high: [entries], the best and the worst rank that the data leave open.
        better: [entries, entries], whether the entry of the row is better than that of the column.
        critical: of |z| in the first step, when no pair is decided.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    better: NDArray[np.bool_]
    critical: float


def rank_intervals(differences: Differences, level: float = SIGNIFICANCE, draws: int = DRAWS) -> RankIntervals:
    """Simultaneous confidence intervals of all ranks.

    Args:
        differences: of all pairs of entries, with their errors and degrees of freedom; a pair whose error is unknown is
            never decided, one without an error is decided at once.
        level: one minus the probability that all intervals hold the true ranks.
        draws: of the maximum of |z|; they are the same for every call.
    """
    z = _normal_scores(differences)
    first, second = np.triu_indices(len(z), 1)
    z = z[first, second]
    simulate = _MaximumOfContrasts(differences.spread.error, draws)
    undecided = np.ones(len(z), dtype=bool)
    critical = step = math.nan
    while undecided.any():
        step = simulate.quantile(first[undecided], second[undecided], 1 - level)
        critical = step if math.isnan(critical) else critical
        decided = undecided & (np.abs(z) > step)
        if not decided.any():
            break
        undecided &= ~decided
    better = np.zeros(differences.difference.shape, dtype=bool)
    better[first, second] = ~undecided & (z > 0)
    better[second, first] = ~undecided & (z < 0)
    return RankIntervals(1 + better.sum(axis=0), len(better) - better.sum(axis=1), better, critical)


def _normal_scores(differences: Differences) -> Array:
    """z [entries, entries]: t-statistics with any degrees of freedom, on the scale of the normal distribution."""
    t, freedom = differences.statistics(), differences.spread.freedom
    with np.errstate(invalid="ignore"):
        z = -ndtri(stdtr(np.where(freedom > 0, freedom, 1.0), -np.abs(t)))
    return np.asarray(np.sign(t) * np.where(np.isnan(z), 0.0, z))


class _MaximumOfContrasts:
    """Draws of max |e_a - e_b| / sd(e_a - e_b) where e is normal and contrasts have the standard `errors` [n, n]."""

    def __init__(self, errors: Array, draws: int) -> None:
        variances = np.where(np.isfinite(errors), errors, math.nan) ** 2
        usual = np.nanmean(variances[variances > 0]) if (variances > 0).any() else 1.0
        variances = np.where(np.isnan(variances), usual, variances)
        np.fill_diagonal(variances, 0.0)
        # The covariance of e whose contrasts have these variances, as near as a covariance can have them (as in
        # classical multidimensional scaling).
        centring = np.eye(len(variances)) - 1 / len(variances)
        values, vectors = np.linalg.eigh(-0.5 * centring @ variances @ centring)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        normal = np.random.default_rng(DRAW_SEED).standard_normal((draws, len(variances)))
        self.errors, covariance = normal @ root.T, root @ root.T
        diagonal = np.diag(covariance)
        spread = np.sqrt(np.maximum(diagonal[:, None] + diagonal - 2 * covariance, 0.0))
        with np.errstate(divide="ignore"):
            self.scale = np.where(spread > 1e-9 * spread.max(), 1 / spread, 0.0)

    def quantile(self, first: NDArray[np.intp], second: NDArray[np.intp], probability: float) -> float:
        """Of the maximum over the pairs (first, second)."""
        scale, size = self.scale[first, second], max(1, CHUNK // len(first))
        maxima = [
            np.max(np.abs(part[:, first] - part[:, second]) * scale, axis=1)
            for part in np.array_split(self.errors, math.ceil(len(self.errors) / size))
        ]
        return float(np.quantile(np.concatenate(maxima), probability, method="higher"))
