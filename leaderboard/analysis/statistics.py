"""The statistics of the leaderboard: small pure functions on arrays, without any knowledge of records.

Importing `scipy.stats` takes half a second, which printing a table should not cost. So this module uses the special
functions beneath it, and has its own `geometric_mean` (`scipy.stats.gmean`), `interquartile_mean`
(`scipy.stats.trim_mean`) and `sign_flip_p_value` (`scipy.stats.permutation_test`, which takes a hundred times as long);
tests compare them with the originals.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtri, stdtrit

Array = NDArray[np.float64]

SIGNIFICANCE = 0.05
"""Level of all tests; intervals are at one minus it."""

FLIP_SEED = 20041109


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; the bounds are NaN where one seed says nothing of the spread."""

    value: float
    low: float
    high: float


def bootstrap_counts(seeds: int, resamples: int, generator: np.random.Generator) -> Array:
    """The weights [resamples, seeds] of a bootstrap: how often each seed was drawn, divided by the number of seeds."""
    drawn = generator.integers(seeds, size=(resamples, seeds)) + seeds * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * seeds).reshape(resamples, seeds) / seeds


def geometric_mean(values: ArrayLike) -> Array:
    """Geometric mean over the first dimension of values >= 0 that are not NaN: 0 where one is 0, NaN where all are."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(values, dtype=float))
    return np.asarray(np.exp(nanmean(logs)))


def nanmean(values: ArrayLike) -> Array:
    """Mean over the first dimension of what is not NaN; NaN, without a warning, where all is (unlike `np.nanmean`)."""
    array = np.asarray(values, dtype=float)
    present = ~np.isnan(array)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(present, array, 0.0).sum(axis=0) / present.sum(axis=0))


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of what is left of values [n] when a quarter, rounded down, is cut at either end; NaN of nothing."""
    ordered = np.sort(np.asarray(values, dtype=float))
    cut = len(ordered) // 4
    return float(nanmean(ordered[cut : len(ordered) - cut]))


def critical_value(freedom: ArrayLike, level: float = SIGNIFICANCE) -> Array:
    """Two-sided critical value of Student's t at `level`, elementwise; NaN where there is no degree of freedom."""
    freedom = np.asarray(freedom, dtype=float)
    return np.asarray(np.where(freedom > 0, stdtrit(np.where(freedom > 0, freedom, 1.0), 1 - level / 2), math.nan))


def mean_interval(values: ArrayLike) -> Interval:
    """The mean of values [n] with Student's 95 % interval; NaN counts as not there, and bounds of one value are NaN."""
    there = np.asarray(values, dtype=float)
    there = there[~np.isnan(there)]
    mean, count = float(nanmean(there)), len(there)
    half = math.nan
    if count > 1:
        half = float(critical_value(count - 1)) * float(np.std(there, ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def expansion(freedom: ArrayLike) -> Array:
    """How much wider than the normal's a 95 % interval must be with so few degrees of freedom, elementwise.

    Percentile intervals are too narrow for few seeds: they use the normal's quantile where Student's is due (Hesterberg
    2015, arXiv:1411.5279, section 4.3, the "expanded percentile interval").
    """
    return np.asarray(critical_value(freedom) / ndtri(1 - SIGNIFICANCE / 2))


@dataclass(frozen=True)
class Spread:
    """Standard errors of estimates, and their Welch-Satterthwaite degrees of freedom; 0 where the error is unknown."""

    error: Array
    freedom: Array


def welch(variances: Sequence[Array], freedoms: Sequence[Array]) -> Spread:
    """The spread of a sum of independent estimates, one for each stratum (Welch 1947, Biometrika 34).

    Each stratum has an array of variances (0: it is exact; NaN: unknown) and one of their degrees of freedom, all of
    one shape. The spread is unknown where the variance of any stratum is.
    """
    total = np.sum(variances, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = [np.where(v == 0, 0.0, v**2 / freedom) for v, freedom in zip(variances, freedoms, strict=True)]
        freedom = np.where(total == 0, math.inf, total**2 / np.sum(squares, axis=0))
    return Spread(np.sqrt(total), np.where(np.isnan(total), 0.0, freedom))


def probability_of_improvement(scores: Array) -> Array:
    """The probability [entries, entries] that a random run of a scores above a random run of b (Mann-Whitney).

    `scores` are [entries, runs], NaN where a run is missing. Ties count half; an entry without runs gets NaN.
    """
    present = ~np.isnan(scores)
    _, codes = np.unique(scores[present], return_inverse=True)
    histogram = np.zeros((len(scores), codes.max(initial=0) + 1))
    np.add.at(histogram, (np.nonzero(present)[0], codes), 1.0)
    with np.errstate(invalid="ignore"):
        share = histogram / present.sum(axis=1, keepdims=True)
    return np.asarray(share @ (np.cumsum(share, axis=1) - 0.5 * share).T)


def best_of(values: ArrayLike) -> tuple[Array, Array]:
    """What tuning with k = 1 … n of the n trials would have given, averaged over all subsets of size k.

    Dodge et al. 2019, arXiv:1909.03004; without replacement as in Tang et al. 2020, arXiv:2004.13705.

    `values` [n] are the criterion of each trial (smaller is better), inf for one that missed the target loss. Returned
    are [n] the expected best of k trials, given that one reached the target loss, and [n] the probability that one did.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    count = len(ordered)
    k, position = np.arange(1, count + 1)[:, None], np.arange(count)
    # The best of k is the value at `position` if all others come from the count - position - 1 behind it.
    behind = count - position - 1
    with np.errstate(invalid="ignore"):
        logs = _log_choose(behind, k - 1) - _log_choose(count, k)
    probabilities = np.where(behind >= k - 1, np.exp(logs), 0.0)
    reached = np.isfinite(ordered)
    total = probabilities[:, reached].sum(axis=1)
    with np.errstate(invalid="ignore"):
        return probabilities[:, reached] @ ordered[reached] / total, total


def _log_choose(n: ArrayLike, k: ArrayLike) -> Array:
    n, k = np.asarray(n, dtype=float), np.asarray(k, dtype=float)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def seeds_to_separate(
    difference: float, deviation: float, strata: float = 1.0, level: float = SIGNIFICANCE, power: float = 0.8
) -> int:
    """The smallest number of seeds per task, at least 2, with which a two-sided paired t-test detects a difference.

    `deviation` is the standard deviation of the difference with one seed in every task, `strata` the number of tasks
    whose degrees of freedom add up, `power` the probability of detection. ValueError: there is no difference.
    """
    if not difference:
        raise ValueError("No number of seeds separates equals.")
    effect = abs(difference) / deviation if deviation else math.inf

    def enough(seeds: int) -> bool:
        freedom = strata * (seeds - 1)
        needed = (stdtrit(freedom, 1 - level / 2) + stdtrit(freedom, power)) / effect
        return bool(needed**2 <= seeds)

    upper = 2
    while not enough(upper):
        upper *= 2
    return bisect.bisect_left(range(upper), True, lo=2, key=enough)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> Array:
    """Kendall's tau-a between two sets of scores [..., entries] of the same entries; a tied pair counts as 0."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    upper = np.triu_indices(first.shape[-1], 1)
    signs = [np.sign(scores[..., upper[0]] - scores[..., upper[1]]) for scores in (first, second)]
    return np.asarray((signs[0] * signs[1]).mean(axis=-1))


def sign_flip_p_value(values: ArrayLike, resamples: int = 9_999) -> float:
    """The two-sided p-value of the mean of values [n] that are symmetric about 0 if there is no effect.

    Args:
        values: independent differences; at least one.
        resamples: draws of signs, where there are more than so many choices of them. All of them otherwise: exact.
    """
    values = np.asarray(values, dtype=float)
    if exact := 2 ** len(values) <= resamples:
        signs = 1.0 - 2.0 * (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1)
    else:
        signs = np.random.default_rng(FLIP_SEED).choice([-1.0, 1.0], size=(resamples, len(values)))
    # Sums that are equal but for rounding count as equal.
    extreme = np.count_nonzero(np.abs(signs @ values) >= (1 - 1e-12) * abs(values.sum()))
    return float(extreme / len(signs)) if exact else float((extreme + 1) / (resamples + 1))


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points [n, measures] are Pareto optimal: no other is at most as high everywhere and lower somewhere."""
    points = np.asarray(points, dtype=float)
    no_worse = (points[:, None] <= points).all(axis=2)
    better = (points[:, None] < points).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))


def mean_ranks(scores: ArrayLike) -> Array:
    """Mean over cells of the ranks [entries] of scores [cells, entries], 1 for the highest; ties share their mean."""
    from scipy.stats import rankdata  # half a second that a table has no need of

    return np.asarray(rankdata(-np.asarray(scores, dtype=float), axis=1).mean(axis=0))


def nemenyi_distance(entries: int, cells: int, level: float = SIGNIFICANCE) -> float:
    """The difference of two mean ranks over `cells` beyond which they differ at `level` (Demšar 2006, JMLR 7)."""
    from scipy.stats import studentized_range

    quantile = studentized_range.ppf(1 - level, entries, math.inf) / math.sqrt(2)
    return float(quantile * math.sqrt(entries * (entries + 1) / (6 * cells)))
