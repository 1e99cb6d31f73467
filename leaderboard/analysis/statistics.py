"""The statistics of the leaderboard: small pure functions on arrays that know nothing of records."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtri, stdtr, stdtrit

Array = NDArray[np.float64]


SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; the bounds are NaN where one seed says nothing of the spread."""

    value: float
    low: float
    high: float


def bootstrap_counts(seeds: int, resamples: int, generator: np.random.Generator) -> Array:
    """Weights [resamples, seeds] of a bootstrap over `seeds` seeds: how often each was drawn, over their number."""
    drawn = generator.integers(seeds, size=(resamples, seeds)) + seeds * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * seeds).reshape(resamples, seeds) / seeds


def geometric_mean(values: ArrayLike) -> Array:
    """Geometric mean over the first dimension, of what is not NaN; zero where any is zero."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(values, dtype=float))
    return np.asarray(np.exp(mean_of_known(logs)))


def mean_of_known(values: ArrayLike) -> Array:
    """Mean over the first dimension of what is not NaN; NaN where nothing is known."""
    array = np.asarray(values, dtype=float)
    known = ~np.isnan(array)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, array, 0.0).sum(axis=0) / known.sum(axis=0))


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjustment of p-values (Holm 1979, Scandinavian Journal of Statistics 6)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted


def critical_value(freedom: ArrayLike, level: float = SIGNIFICANCE) -> Array:
    """Two-sided critical value of Student's t at `level`; NaN without a degree of freedom."""
    freedom = np.asarray(freedom, dtype=float)
    return np.asarray(np.where(freedom > 0, stdtrit(np.where(freedom > 0, freedom, 1.0), 1 - level / 2), math.nan))


def expansion(freedom: ArrayLike) -> Array:
    """How much wider than the normal's a 95 % interval must be with so few degrees of freedom.

    Percentile intervals are too narrow for few seeds: they use the normal's quantile where Student's is due (Hesterberg
    2015, arXiv:1411.5279, section 4.3, the "expanded percentile interval").
    """
    return np.asarray(critical_value(freedom) / ndtri(1 - SIGNIFICANCE / 2))


@dataclass(frozen=True)
class Spread:
    """How well estimates are known: standard errors, and Welch-Satterthwaite degrees of freedom (0: not at all)."""

    error: Array
    freedom: Array


def welch(variances: Sequence[Array], freedoms: Sequence[Array]) -> Spread:
    """The spread of a sum over strata, of elementwise variances with their degrees of freedom (Welch 1947).

    A stratum without variance is exact; one whose variance is unknown (NaN) leaves the sum unknown.
    """
    variance = np.sum(variances, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = [np.where(own == 0, 0.0, own**2 / freedom) for own, freedom in zip(variances, freedoms, strict=True)]
        freedom = np.where(variance == 0, math.inf, variance**2 / np.sum(squares, axis=0))
    return Spread(np.sqrt(variance), np.where(np.isnan(variance), 0.0, freedom))


def spread(strata: Sequence[Array]) -> Spread:
    """The spread of sums over strata (tasks) of means over seeds.

    Every stratum [entries, seeds] holds what each seed contributes, NaN where an entry lacks the seed. A stratum of
    which an entry has one seed is unknown, one of which it has none contributes nothing.
    """
    moments = [_moments(stratum) for stratum in strata]
    return welch([variance for variance, _ in moments], [held - 1 for _, held in moments])


def _moments(stratum: Array) -> tuple[Array, Array]:
    """Variance of the mean over seeds, and number of seeds, both [entries]; no seeds count as exactly known."""
    held = (~np.isnan(stratum)).sum(axis=1).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.nansum((stratum - mean_of_known(stratum.T)[:, None]) ** 2, axis=1) / (held - 1) / held
    return np.where(held == 0, 0.0, variance), np.where(held == 0, math.inf, held)


@dataclass(frozen=True)
class Differences:
    """Estimates that share seeds, pair by pair: entry [a, b] of every array is about ``a - b``."""

    difference: Array
    spread: Spread

    def p_values(self) -> Array:
        """Two-sided p-values of Student's paired t-test; 1 where nothing is known of the spread."""
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * stdtr(self.spread.freedom, -np.abs(self.difference) / self.spread.error)
        return np.asarray(np.where((self.difference == 0) | np.isnan(p), 1.0, p))


def paired_differences(estimates: ArrayLike, strata: Sequence[Array]) -> Differences:
    """Compare estimates [entries] pair by pair, each a sum over strata (tasks) of means over seeds; see `spread`.

    Seeds are shared by the entries, so the variance of a difference is that of the seeds' differences; where two
    entries hold different seeds, only the shared ones are paired.
    """
    estimates = np.asarray(estimates, dtype=float)
    variances, freedoms = [], []
    for stratum in strata:
        variance, held = _moments(stratum)
        total = variance[:, None] + variance
        paired = total - 2 * _covariance(stratum)
        # What rounding leaves of two equal rows is no variance.
        variances.append(np.where(paired < 1e-12 * total, 0.0, paired))
        freedoms.append(np.minimum(held[:, None], held) - 1)
    return Differences(estimates[:, None] - estimates, welch(variances, freedoms))


def _covariance(stratum: Array) -> Array:
    """Covariances [entries, entries] of the means over seeds, from the seeds that two entries share."""
    known = (~np.isnan(stratum)).astype(float)
    held, shared = known.sum(axis=1), known @ known.T
    centred = np.nan_to_num(stratum - mean_of_known(stratum.T)[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = centred @ centred.T / (shared - 1) * shared / np.outer(held, held)
    return np.where(shared > 1, covariance, 0.0)


def improvement(scores: Array) -> Array:
    """Probability [a, b] that a random run of `a` scores above one of `b`, ties counted half (Mann-Whitney).

    scores [entries, runs], NaN where a run is absent; NaN for an entry without runs.
    """
    known = ~np.isnan(scores)
    _, codes = np.unique(scores[known], return_inverse=True)
    histogram = np.zeros((len(scores), codes.max(initial=0) + 1))
    np.add.at(histogram, (np.nonzero(known)[0], codes), 1.0)
    with np.errstate(invalid="ignore"):
        share = histogram / known.sum(axis=1, keepdims=True)
    return np.asarray(share @ (np.cumsum(share, axis=1) - 0.5 * share).T)


def best_of(values: ArrayLike) -> tuple[Array, Array]:
    """What tuning with k = 1 … n of the n trials would have found, on average over which k.

    values [n]: the criterion (smaller is better), inf for a trial that missed the stop. Returns the expected best
    criterion, given that a trial met the stop, and the chance that one did, both [n]. All subsets of size k are equally
    likely (Dodge et al. 2019, arXiv:1909.03004; without replacement as in Tang et al. 2020, arXiv:2004.13705).
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    count = len(ordered)
    k, place = np.arange(1, count + 1)[:, None], np.arange(count)
    # The best of k is the value at `place` if all others come from the count - place - 1 behind it.
    behind = count - place - 1
    with np.errstate(invalid="ignore"):
        logs = _log_choose(behind, k - 1) - _log_choose(count, k)
    chances = np.where(behind >= k - 1, np.exp(logs), 0.0)
    met = np.isfinite(ordered)
    chance = chances[:, met].sum(axis=1)
    with np.errstate(invalid="ignore"):
        return chances[:, met] @ ordered[met] / chance, chance


def _log_choose(n: ArrayLike, k: ArrayLike) -> Array:
    n, k = np.asarray(n, dtype=float), np.asarray(k, dtype=float)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def seeds_to_separate(
    difference: float, deviation: float, strata: float = 1.0, level: float = SIGNIFICANCE, power: float = 0.8
) -> int:
    """The least number of seeds with which a paired t-test finds `difference` with the given power.

    deviation: the standard deviation of the seeds' differences, as one seed in every task gives it. strata: by how many
    tasks' worth of seeds the degrees of freedom grow.

    Raises:
        ValueError: there is no difference.
    """
    if not difference:
        raise ValueError("No number of seeds separates equals.")
    effect = abs(difference) / deviation if deviation else math.inf

    def enough(seeds: int) -> bool:
        freedom = strata * (seeds - 1)
        needed = (stdtrit(freedom, 1 - level / 2) + stdtrit(freedom, power)) / effect
        return bool(needed**2 <= seeds)

    most = 2
    while not enough(most):
        most *= 2
    return bisect.bisect_left(range(most), True, lo=2, key=enough)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> Array:
    """Kendall's tau-a between two sets of scores [..., entries] of the same entries (ties count as neither)."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    upper = np.triu_indices(first.shape[-1], 1)
    signs = [np.sign(scores[..., upper[0]] - scores[..., upper[1]]) for scores in (first, second)]
    return np.asarray((signs[0] * signs[1]).mean(axis=-1))


def pareto_front(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points [n, measures], lower is better, no other point is at least as good as everywhere and better once."""
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
