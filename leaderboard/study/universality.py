"""Universality: do submissions rank alike on every task, or does each task have its own ranking?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from leaderboard.analysis.statistics import Interval

Array = NDArray[np.float64]


def kendalls_w(scores: Array) -> float:
    """Kendall's coefficient of concordance of scores [tasks, submissions], corrected for ties; 1 is one ranking.

    Kendall and Babington Smith 1939 (Annals of Mathematical Statistics 10). NaN if every task ties all submissions.
    """
    ranks = rankdata(scores, axis=1)
    m, n = ranks.shape
    ties = sum((counts**3 - counts).sum() for row in ranks for counts in [np.unique(row, return_counts=True)[1]])
    most = m**2 * (n**3 - n) - m * ties
    return float(12 * _spread(ranks) / most) if most > 0 else float("nan")


def _spread(ranks: Array) -> float:
    """Squared deviations of the submissions' rank sums from their mean: W up to a factor that ties decide."""
    m, n = ranks.shape
    return float(((ranks.sum(axis=0) - m * (n + 1) / 2) ** 2).sum())


@dataclass(frozen=True)
class Universality:
    """`w`: Kendall's W. `p_value`: share of random rankings with a W as large.

    `held_out`: how well the mean rank over all other tasks foretells a task's own ranking, Spearman's correlation per
    task; `predicted` is their mean with a bootstrap interval over tasks.
    """

    w: float
    p_value: float
    held_out: dict[str, float]
    predicted: Interval


def universality(scores: pd.DataFrame, generator: np.random.Generator, permutations: int = 2_000) -> Universality:
    """Analyse `scores`: a row per task, a column per submission, larger is better, no gaps.

    Raises:
        ValueError: fewer than two tasks or three submissions.
    """
    if scores.shape[0] < 2 or scores.shape[1] < 3:
        raise ValueError("Universality needs two tasks and three submissions at least.")
    values = scores.to_numpy(dtype=float)
    ranks = rankdata(values, axis=1)
    spread = _spread(ranks)
    # A shuffle within tasks leaves the ties as they are, so the spread decides.
    shuffled = [_spread(generator.permuted(ranks, axis=1)) for _ in range(permutations)]
    p_value = (1 + sum(other >= spread * (1 - 1e-12) for other in shuffled)) / (permutations + 1)
    held_out = {}
    for row, task in enumerate(scores.index):
        others = np.delete(ranks, row, axis=0).mean(axis=0)
        if len(set(ranks[row])) > 1 and len(set(others)) > 1:
            held_out[str(task)] = float(spearmanr(others, ranks[row]).statistic)
    found = np.array(list(held_out.values()))
    draws = generator.choice(found, size=(permutations, len(found))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Universality(kendalls_w(values), p_value, held_out, Interval(float(found.mean()), float(low), float(high)))
