"""Intervals of ranks against Tukey's studentised range, by hand, and in a simulation of their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, stdtrit
from scipy.stats import studentized_range

from benchmarks.rank_coverage import DESIGNS, OUTCOMES, SEEDS, coverage
from leaderboard.analysis.differences import Differences, Stratum, paired_differences
from leaderboard.analysis.rank_intervals import rank_intervals
from leaderboard.analysis.statistics import Array, Spread


def _differences(estimates: Array, errors: Array, freedom: float = math.inf) -> Differences:
    """Independent estimates with these standard errors."""
    pair = np.sqrt(errors[:, None] ** 2 + errors**2)
    np.fill_diagonal(pair, 0.0)
    seeds = np.full(pair.shape, 9.0)
    return Differences(estimates[:, None] - estimates, Spread(pair, np.full(pair.shape, freedom)), seeds)


@pytest.mark.parametrize("entries", [2, 3, 6, 18, 40])
def test_with_equal_errors_the_critical_value_is_tukeys(entries: int) -> None:
    found = rank_intervals(_differences(np.zeros(entries), np.ones(entries)), draws=40_000)
    assert found.critical == pytest.approx(studentized_range.ppf(0.95, entries, math.inf) / math.sqrt(2), abs=0.03)
    assert found.low.tolist() == [1] * entries
    assert found.high.tolist() == [entries] * entries


@pytest.mark.parametrize("freedom", [4, 12, 60])
@pytest.mark.parametrize("entries", [3, 10])
def test_with_few_degrees_of_freedom_it_is_no_smaller_than_tukeys(entries: int, freedom: int) -> None:
    """Tukey's pairs share one variance, ours each have one of their own, whose maximum is a little larger."""
    critical = rank_intervals(_differences(np.zeros(entries), np.ones(entries), freedom), draws=40_000).critical
    wanted = studentized_range.ppf(0.95, entries, freedom) / math.sqrt(2)
    assert wanted - 0.03 < stdtrit(freedom, ndtr(critical)) < 1.4 * wanted


def test_the_later_steps_decide_what_the_first_leaves_open() -> None:
    """Two of three pairs are decided at once; the third needs only what a single test needs."""
    single, tukey = 1.96, studentized_range.ppf(0.95, 3, math.inf) / math.sqrt(2)
    gap = math.sqrt(2) * (single + tukey) / 2
    found = rank_intervals(_differences(np.array([gap + 30, 30, 0.0]), np.ones(3)), draws=40_000)
    assert found.critical == pytest.approx(tukey, abs=0.03)
    assert (found.low.tolist(), found.high.tolist()) == ([1, 2, 3], [1, 2, 3])
    alone = rank_intervals(_differences(np.array([gap, 0.0, gap / 2]), np.ones(3)), draws=40_000)
    assert not alone.better.any()


def test_unknown_errors_decide_nothing_and_none_decide_at_once() -> None:
    unknown = _differences(np.array([5.0, 0.0]), np.array([math.nan, 1.0]), 0.0)
    assert not rank_intervals(unknown).better.any()
    exact = rank_intervals(_differences(np.array([0.0, 1e-9, 0.0]), np.zeros(3)))
    assert (exact.low.tolist(), exact.high.tolist()) == ([2, 1, 2], [3, 1, 3])
    assert rank_intervals(_differences(np.array([1.0]), np.array([1.0]))).high.tolist() == [1]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-40, 40), st.floats(0.5, 1.0)), min_size=2, max_size=8),
    st.floats(2.0, 20.0),
)
def test_a_larger_error_widens_the_interval(entries: list[tuple[int, float]], factor: float) -> None:
    estimates, errors = (np.array(column, dtype=float) for column in zip(*entries, strict=True))
    before = rank_intervals(_differences(estimates, errors), draws=2_000)
    errors[0] *= factor
    after = rank_intervals(_differences(estimates, errors), draws=2_000)
    assert after.low[0] <= before.low[0]
    assert after.high[0] >= before.high[0]


@example([[0.0, 0.0, 1e-295], [0.0, 0.0, 0.0]])  # a square that underflows is no missing error
@example([[0.1 + 0.2] * 3, [0.3] * 3])  # rounding, in every run alike
@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=2, max_size=8))
def test_intervals_hold_the_rank_and_contradict_no_order(runs: list[list[float]]) -> None:
    values = np.array(runs)
    found = rank_intervals(paired_differences([Stratum(values)]), draws=2_000)
    means = values.mean(axis=1)
    for entry, mean in enumerate(means):
        above, level = (means > mean + 1e-12).sum(), (np.abs(means - mean) <= 1e-12).sum()
        assert found.low[entry] <= 1 + above
        assert found.high[entry] >= above + level


def test_scatter_about_a_fixed_mean_widens_the_interval_of_a_table() -> None:
    """The chain from runs: variances are estimated and moderated, and the others' intervals change with them."""
    for draw in range(12):
        rng = np.random.default_rng(draw)
        merit, tasks = np.linspace(0.3, 0.7, 9), []
        for _ in range(6):
            noise = rng.normal(scale=0.03, size=(9, 3))
            tasks.append(merit[:, None] + noise - noise.mean(axis=1, keepdims=True))
        entry = draw % 9
        widths = []
        for factor in (1, 4, 16):
            scattered = [task.copy() for task in tasks]
            for task in scattered:
                task[entry] = merit[entry] + factor * (task[entry] - merit[entry])
            found = rank_intervals(paired_differences([Stratum(task) for task in scattered]), draws=4_000)
            widths.append(found.high[entry] - found.low[entry])
        assert widths == sorted(widths), (draw, widths)
        assert widths[-1] > widths[0]


@pytest.mark.parametrize(("outcome", "seeds"), [("Gaussian", 3), ("heavy-tailed", 5), ("0/1", 5)])
def test_the_intervals_hold_as_often_as_they_say(outcome: str, seeds: int) -> None:
    """Where no submission is better than another, a hundred times; the whole table is below."""
    assert coverage(outcome, "equal", seeds, 100).coverage >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_coverage(outcome: str) -> None:
    for design in DESIGNS:
        for seeds in SEEDS:
            found = coverage(outcome, design, seeds)
            assert found.coverage >= 0.93 or seeds < 5, found
