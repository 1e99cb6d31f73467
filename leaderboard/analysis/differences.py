"""How far scores scatter, each by itself and pair by pair, over seeds, or over seeds and the draw of the tuning search.

    a stratum is what the runs of one task contribute to the scores: [entries, seeds], and the search of every run
    a score is a sum over strata of means over seeds; so is the difference of two, on the seeds that both have
    variance of a stratum's mean
        over seeds      of the runs about the mean of their search / number of seeds
        over searches   of the means of the searches * sum of squared shares of the seeds
    variances of few runs are moderated by those of the other submissions on the task, and never lowered (`moderation`)
    variance of the sum = sum of the variances; degrees of freedom by Welch and Satterthwaite

A search is one draw of settings and tuning seeds; its setting is scored on seeds of its own. The design is nested, so
means of searches differ by the draw and by their seeds, and their variance holds both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from leaderboard.analysis.moderation import fit_prior
from leaderboard.analysis.statistics import Array, Spread, welch

ROUNDING = 1e-12
"""Differences up to this are none: sums of equal numbers in another order differ so, in every run alike."""


class Source(StrEnum):
    """What a score would vary with if everything were done again."""

    SEEDS = "seeds"
    SEARCHES = "searches"


@dataclass(frozen=True)
class Stratum:
    """What the runs of one task contribute to scores.

    Attributes:
        values: [entries, seeds], NaN where an entry lacks the seed.
        searches: [entries, seeds], the number of the tuning search whose setting the run was made with; None: of one.
    """

    values: Array
    searches: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class Differences:
    """Estimates compared pair by pair: element [a, b] of every array is about ``a - b``.

    Attributes:
        difference: NaN where the two share no seeds of some stratum.
        spread: standard errors, and their degrees of freedom.
        seeds: the number of seeds that the two share, in the stratum where these are fewest.
    """

    difference: Array
    spread: Spread
    seeds: Array

    def statistics(self) -> Array:
        """Student's t [entries, entries]: infinite for a difference without an error, 0 where the error is unknown.

        It is 0 too for a difference that is rounding (`ROUNDING`), whose error can be 0 as well.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            t = self.difference / self.spread.error
        return np.asarray(
            np.where((np.abs(self.difference) <= ROUNDING) | np.isnan(t) | (self.spread.freedom == 0), 0.0, t)
        )

    def p_values(self) -> Array:
        """Two-sided p-values [entries, entries] of Student's paired t-test; 1 where the spread is unknown."""
        t, freedom = self.statistics(), self.spread.freedom
        return np.asarray(np.where(t == 0, 1.0, 2 * stdtr(np.where(freedom > 0, freedom, 1.0), -np.abs(t))))


def spread(strata: Sequence[Stratum], source: Source = Source.SEEDS, moderate: bool = False) -> Spread:
    """The spread [entries] of sums over strata of means over seeds.

    A stratum of which an entry has one seed is unknown, unless `moderate` takes what is usual from the other entries;
    one of which it has none contributes nothing.
    """
    variances, freedoms = [], []
    for stratum in strata:
        sample = _sample(stratum.values, _groups(stratum), source)
        if moderate:
            sample = sample.moderated(sample, sample.freedom.sum())
        variances.append(np.where(sample.count == 0, 0.0, sample.variance / np.maximum(sample.count, 1)))
        freedoms.append(np.where(sample.count == 0, np.inf, sample.freedom))
    return welch(variances, freedoms)


def paired_differences(strata: Sequence[Stratum], source: Source = Source.SEEDS) -> Differences:
    """Compare all pairs of entries, each of which is a sum over `strata` of means over seeds.

    Seeds are shared by the entries, so the variance of a difference is that of the seeds' differences; seeds that only
    one of the two has are left out.
    """
    samples = [_pairs(stratum, source) for stratum in strata]
    with np.errstate(divide="ignore", invalid="ignore"):
        variances = [np.where(sample.count > 0, sample.variance / sample.count, np.nan) for sample in samples]
    for variance in variances:
        np.fill_diagonal(variance, 0.0)
    return Differences(
        np.sum([sample.mean for sample in samples], axis=0),
        welch(variances, [sample.freedom for sample in samples]),
        np.min([sample.count for sample in samples], axis=0),
    )


def _pairs(stratum: Stratum, source: Source) -> _Sample:
    """The differences [entries, entries] of a stratum, their variances moderated."""
    values, groups = stratum.values, _groups(stratum)
    pairs = groups[:, None] * (groups.max(initial=0) + 1) + groups
    sample = _sample(values[:, None] - values, pairs, source)
    upper = np.triu_indices(len(values), 1)
    # All pairs together know no more than the residuals of entries and seeds do (as limma bounds it).
    most = _sample(values, groups, source).freedom.sum() * (len(values) - 1) / len(values)
    return sample.moderated(_Sample(*(array[upper] for array in astuple(sample))), most)


def _groups(stratum: Stratum) -> NDArray[np.intp]:
    """[entries, seeds], the searches counted from 0."""
    if stratum.searches is None:
        return np.zeros(stratum.values.shape, dtype=np.intp)
    return np.unique(stratum.searches, return_inverse=True)[1].reshape(stratum.values.shape)


@dataclass(frozen=True)
class _Sample:
    """Means of samples, the number of their values, the variance that a single value would have by the variance of the
    mean, and the degrees of freedom of that."""

    mean: Array
    count: Array
    variance: Array
    freedom: Array

    def moderated(self, by: _Sample, most: float) -> _Sample:
        """With the prior that the samples `by` give, and `most` degrees of freedom at most.

        No variance is lowered: who scatters more than the others on every task must not borrow their calm. Without
        this, intervals of submissions whose scatter differs by factors of up to four hold in 90 % only.
        """
        variance, freedom = fit_prior(by.variance, by.freedom).moderated(self.variance, self.freedom)
        return replace(self, variance=np.fmax(variance, self.variance), freedom=np.minimum(freedom, max(most, 1.0)))


def _sample(values: Array, groups: NDArray[np.intp], source: Source) -> _Sample:
    """Of `values` [..., seeds] (NaN: missing), each of which belongs to one of the `groups` [..., seeds]."""
    present = ~np.isnan(values)
    count = present.sum(axis=-1).astype(float)
    squares, shares, parts = (np.zeros(count.shape) for _ in range(3))
    means = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for group in range(groups.max(initial=0) + 1):
            here = present & (groups == group)
            size = here.sum(axis=-1)
            means.append(np.where(here, values, 0.0).sum(axis=-1) / size)
            squares += np.square(np.where(here, values - means[-1][..., None], 0.0)).sum(axis=-1)
            shares += (size / count) ** 2
            parts += size > 0
        mean = np.nansum(values, axis=-1) / count
        variance, freedom = squares / (count - parts), count - parts
        if source is Source.SEARCHES and len(means) > 1:
            middle = np.nansum(means, axis=0) / parts
            between = np.nansum((np.array(means) - middle) ** 2, axis=0) / (parts - 1)
            # Where there is one search, the draw is not in the numbers; the seeds are.
            variance = np.where(parts > 1, between * shares * count, variance)
            freedom = np.where(parts > 1, parts - 1, freedom)
    return _Sample(mean, count, np.where(freedom > 0, variance, np.nan), np.maximum(freedom, 0.0))
