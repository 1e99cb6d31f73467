"""Scatter over seeds and over searches, against scipy's tests and a simulated design."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from leaderboard.analysis.differences import Source, Stratum, paired_differences, spread

NAN = math.nan


def test_one_pair_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    seeds = rng.normal(size=(4, 7)) + rng.normal(size=7)
    for a, b in combinations(range(4), 2):
        found = paired_differences([Stratum(seeds[[a, b]])])
        assert found.p_values()[0, 1] == pytest.approx(stats.ttest_rel(seeds[a], seeds[b]).pvalue)
        assert found.statistics()[0, 1] == pytest.approx(stats.ttest_rel(seeds[a], seeds[b]).statistic)
        assert_allclose(np.diag(found.p_values()), 1)


def test_only_shared_seeds_are_compared_and_counted() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 9))
    wanted = stats.ttest_rel(values[0, 2:6], values[1, 2:6])
    values[0, 6:], values[1, :2] = NAN, NAN
    found = paired_differences([Stratum(values)])
    assert found.seeds[0, 1] == 4
    assert found.difference[0, 1] == pytest.approx((values[0, 2:6] - values[1, 2:6]).mean())
    assert found.p_values()[0, 1] == pytest.approx(wanted.pvalue)
    apart = np.array([[1.0, 2.0, NAN, NAN], [NAN, NAN, 8.0, 9.0]])
    assert_allclose(paired_differences([Stratum(apart)]).p_values(), 1)


def test_two_strata_combine_as_welch_says() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=5), rng.normal(scale=4.0, size=8)
    # The mean of one sample minus that of another is a sum over two strata, the second with a minus.
    known = spread([Stratum(first[None]), Stratum(-second[None])])
    wanted = stats.ttest_ind(first, second, equal_var=False)
    assert (first.mean() - second.mean()) / known.error[0] == pytest.approx(wanted.statistic)
    assert known.freedom[0] == pytest.approx(wanted.df)


def test_a_lone_seed_tells_nothing_and_exact_strata_limit_nothing() -> None:
    one = paired_differences([Stratum(np.array([[0.0], [1.0]]))])
    assert_allclose(one.p_values(), 1)
    exact = paired_differences([Stratum(np.array([[0.0, 0.0], [1.0, 1.0]]))])
    assert_allclose(exact.p_values(), [[1, 0], [0, 1]])


def test_many_entries_of_equal_scatter_know_it_as_one_sample_does() -> None:
    """Balanced and homogeneous: the variance is near that of all residuals, with at most their degrees of freedom."""
    rng = np.random.default_rng(3)
    values = rng.normal(scale=0.2, size=(12, 4))
    found = paired_differences([Stratum(values)])
    upper = np.triu_indices(12, 1)
    assert found.spread.freedom[upper].max() <= 11 * 3
    assert np.median(found.spread.freedom[upper]) > 2 * 3
    own = np.array([(values[a] - values[b]).var(ddof=1) / 4 for a, b in zip(*upper, strict=True)])
    assert (found.spread.error[upper] ** 2 >= own * (1 - 1e-12)).all(), "no variance is lowered"
    assert np.ptp(found.spread.error[upper]) < np.ptp(np.sqrt(own)), "small ones are raised"


def _nested(rng: np.random.Generator, draws: int, searches: int, seeds: int) -> np.ndarray:
    """[draws, seeds] of runs whose searches have means of variance 0.04; a run about its search has variance 0.01."""
    means = rng.normal(scale=0.2, size=(draws, searches))
    return means[:, np.arange(seeds) % searches] + rng.normal(scale=0.1, size=(draws, seeds))


@pytest.mark.parametrize("seeds", [6, 5])
def test_searches_hold_the_draw_and_seeds_do_not(seeds: int) -> None:
    values = _nested(np.random.default_rng(4), 20_000, 2, seeds)
    labels = np.broadcast_to(np.arange(seeds) % 2, values.shape)
    of_seeds, of_searches = (spread([Stratum(values, labels)], source) for source in Source)
    assert np.mean(of_seeds.error**2) == pytest.approx(0.01 / seeds, rel=0.05)
    assert_allclose(of_seeds.freedom, seeds - 2)
    # What the mean over everything really varies with; with unequal numbers of seeds the estimate is a little higher.
    truth = values.mean(axis=1).var()
    assert np.mean(of_searches.error**2) == pytest.approx(truth, rel=0.05)
    assert_allclose(of_searches.freedom, 1)


def test_the_first_is_one_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(5)
    values = _nested(rng, 1, 3, 12)
    labels = np.arange(12)[None] % 3
    groups = [values[0, labels[0] == search] for search in range(3)]
    within, between = (spread([Stratum(values, labels)], source).error[0] ** 2 * 12 for source in Source)
    assert between / within == pytest.approx(stats.f_oneway(*groups).statistic)


def test_one_search_is_its_seeds() -> None:
    values = np.random.default_rng(6).normal(size=(3, 5))
    one = Stratum(values, np.zeros((3, 5), dtype=np.intp))
    assert_allclose(spread([one], Source.SEARCHES).error, spread([Stratum(values)]).error)
    found, wanted = paired_differences([one], Source.SEARCHES), paired_differences([Stratum(values)])
    assert_allclose(found.spread.error, wanted.spread.error)
