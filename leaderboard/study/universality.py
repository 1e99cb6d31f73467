"""Universality: do submissions rank alike on every task, or does each task have its own ranking?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from leaderboard.analysis.statistics import Array, Interval


def kendalls_w(scores: Array) -> float:
    """Kendall's coefficient of concordance of scores [tasks, submissions], corrected for ties.

    In [0, 1], where 1 is one ranking; NaN if every task ties all submissions. Kendall and Babington Smith 1939 (Annals
    of Mathematical Statistics 10).
    """
    ranks = rankdata(scores, axis=1)
    m, n = ranks.shape
    ties = sum((counts**3 - counts).sum() for counts in (np.unique(row, return_counts=True)[1] for row in ranks))
    maximum = m**2 * (n**3 - n) - m * ties
    return float(12 * _rank_sum_variation(ranks) / maximum) if maximum > 0 else float("nan")


def _rank_sum_variation(ranks: Array) -> float:
    """Squared deviations of the submissions' rank sums from their mean: W up to a factor that ties decide."""
    m, n = ranks.shape
    return float(((ranks.sum(axis=0) - m * (n + 1) / 2) ** 2).sum())


@dataclass(frozen=True)
class Universality:
    """How alike tasks rank submissions.

    Attributes:
        w, p_value: Kendall's W, and the share of random rankings with a W as large.
        held_out: task -> Spearman's correlation of its ranking with the mean rank over all other tasks.
        predicted: the mean of `held_out`, with a 95 % bootstrap interval over tasks.
    """

    w: float
    p_value: float
    held_out: dict[str, float]
    predicted: Interval


def universality(scores: pd.DataFrame, generator: np.random.Generator, permutations: int = 2_000) -> Universality:
    """How alike tasks rank submissions by `scores` [tasks, submissions], where larger is better, without gaps.

    `permutations` random rankings give the p-value, and as many bootstrap draws the interval. Fewer than two tasks or
    three submissions are a ValueError.
    """
    if scores.shape[0] < 2 or scores.shape[1] < 3:
        raise ValueError("Universality needs two tasks and three submissions at least.")
    values = scores.to_numpy(dtype=float)
    ranks = rankdata(values, axis=1)
    variation = _rank_sum_variation(ranks)
    # A shuffle within tasks leaves the ties as they are, so W grows with the variation alone.
    shuffled = [_rank_sum_variation(generator.permuted(ranks, axis=1)) for _ in range(permutations)]
    p_value = (1 + sum(other >= variation * (1 - 1e-12) for other in shuffled)) / (permutations + 1)
    held_out = {}
    for row, task in enumerate(scores.index):
        others = np.delete(ranks, row, axis=0).mean(axis=0)
        if len(set(ranks[row])) > 1 and len(set(others)) > 1:
            held_out[str(task)] = float(spearmanr(others, ranks[row]).statistic)
    correlations = np.array(list(held_out.values()))
    draws = generator.choice(correlations, size=(permutations, len(correlations))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    predicted = Interval(float(correlations.mean()), float(low), float(high))
    return Universality(kendalls_w(values), p_value, held_out, predicted)
