"""The statistics against other people's, and by hand."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.stats.power import TTestPower

from leaderboard.analysis.statistics import (
    best_of,
    bootstrap_counts,
    critical_value,
    expansion,
    geometric_mean,
    mean_ranks,
    nemenyi_distance,
    pareto_front,
    probability_of_improvement,
    rank_correlation,
    seeds_to_separate,
    sign_flip_p_value,
)

NAN = math.nan


def test_geometric_mean() -> None:
    assert_allclose(geometric_mean([[0.25, 0.0, 0.3], [1.0, 1.0, NAN]]), [0.5, 0.0, 0.3])


def test_bootstrap_weights() -> None:
    weights = bootstrap_counts(5, 4_000, np.random.default_rng(0))
    assert_allclose(weights.sum(axis=1), 1)
    # Variance of a bootstrap mean is that of the sample over n.
    values = np.array([0.0, 1.0, 2.0, 5.0, 9.0])
    assert (weights @ values).var() == pytest.approx(values.var() / 5, rel=0.1)


def test_critical_values() -> None:
    assert_allclose(critical_value([2, 10, math.inf]), stats.t([2, 10, 1e9]).ppf(0.975))
    assert math.isnan(critical_value(0))
    assert expansion(math.inf) == pytest.approx(1)


def test_probability_of_improvement_is_mann_whitney() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, size=(3, 20)).astype(float)
    scores[2, 5:] = NAN
    found = probability_of_improvement(scores)
    for a in range(3):
        for b in range(3):
            one, two = (row[~np.isnan(row)] for row in (scores[a], scores[b]))
            assert found[a, b] == pytest.approx(stats.mannwhitneyu(one, two).statistic / (len(one) * len(two)))


@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 7.0, math.inf]), min_size=1, max_size=6))
def test_best_of_k_is_the_mean_over_all_choices(values: list[float]) -> None:
    best, chance = best_of(values)
    for k in range(1, len(values) + 1):
        minima = np.array([min(chosen) for chosen in combinations(values, k)])
        met = np.isfinite(minima)
        assert chance[k - 1] == pytest.approx(met.mean())
        if met.any():
            assert best[k - 1] == pytest.approx(minima[met].mean())
        else:
            assert math.isnan(best[k - 1])


@pytest.mark.parametrize("effect", [0.05, 0.3, 1.0, 2.0, 5.0])
def test_seeds_to_separate_is_the_power_analysis_of_statsmodels(effect: float) -> None:
    wanted = TTestPower().solve_power(effect_size=effect, alpha=0.05, power=0.8)
    assert seeds_to_separate(effect * 3.0, 3.0) == pytest.approx(math.ceil(wanted), abs=1)


def test_seeds_to_separate_at_the_edges() -> None:
    assert seeds_to_separate(1.0, 0.0) == 2
    with pytest.raises(ValueError, match="equals"):
        seeds_to_separate(0.0, 1.0)


def test_rank_correlation_is_kendalls() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 8))
    assert_allclose(
        rank_correlation(first, second), [stats.kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)]
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_pareto_front_by_its_definition(points: list[tuple[int, int]]) -> None:
    def beaten(point: tuple[int, int]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)

    assert pareto_front(points).tolist() == [not beaten(point) for point in points]


def test_mean_ranks_and_critical_distance_are_demsars() -> None:
    # Demšar 2006, table 5 (a): two-tailed Nemenyi quantiles at 5 % for 2, 5 and 10 classifiers.
    for entries, quantile in ((2, 1.960), (5, 2.728), (10, 3.164)):
        wanted = quantile * math.sqrt(entries * (entries + 1) / (6 * 14))
        assert nemenyi_distance(entries, 14) == pytest.approx(wanted, rel=1e-3)
    assert_allclose(mean_ranks([[0.9, 0.5, 0.5], [0.1, 0.2, 0.3]]), [2.0, 2.25, 1.75])


@pytest.mark.parametrize("count", [2, 5, 12, 40])
def test_sign_flips_are_those_of_scipy(count: int) -> None:
    values = np.random.default_rng(count).normal(0.3, 1.0, size=count)
    expected = stats.permutation_test(
        (values,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).pvalue
    # Both are exact where 2 ** count is small; else each counts 9,999 draws.
    assert sign_flip_p_value(values) == pytest.approx(expected, abs=1e-12 if count < 13 else 0.02)
    assert sign_flip_p_value(-values) == pytest.approx(sign_flip_p_value(values), abs=0.02)
