"""The rule of the ledger: intervals and tests are scipy's, numbers of seeds the least, errors as rare as it says."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp

from leaderboard.analysis.verdicts import MOST_SEEDS, Comparison, Gap, Ruling, Verdict, rule

HOLDS, FAILS, UNDECIDED = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED

samples = st.lists(st.floats(-10, 10), min_size=2, max_size=12).filter(lambda values: np.std(values) > 1e-3)
bounds = st.sampled_from([(-1.0, 1.0), (-math.inf, 0.0), (0.0, math.inf)])
levels = st.sampled_from([0.05, 0.01, 0.002])
gaps = st.builds(Gap, st.floats(-3, 3), st.floats(0.01, 5), st.integers(2, 30), st.just(-1.0), st.just(1.0))


@given(samples, levels)
def test_intervals_are_students(values: list[float], significance: float) -> None:
    interval = Gap.of(values, -1.0, 1.0).interval(significance)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    low, high = t.interval(1 - significance, len(values) - 1, loc=np.mean(values), scale=error)
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


@given(samples, bounds, levels)
def test_verdicts_are_two_one_sided_tests(values: list[float], bound: tuple[float, float], significance: float) -> None:
    """Equivalence is shown by two one-sided t tests (Schuirmann 1987), a failure by one against the bound."""

    def p_value(mean: float, alternative: str) -> float:
        return float(ttest_1samp(values, mean, alternative=alternative).pvalue) if math.isfinite(mean) else math.nan

    low, high = bound
    inside = [p for p in (p_value(low, "greater"), p_value(high, "less")) if not math.isnan(p)]
    outside = [p for p in (p_value(low, "less"), p_value(high, "greater")) if not math.isnan(p)]
    assume(all(abs(p - significance / 2) > 1e-9 for p in inside + outside))
    expected = UNDECIDED
    if max(inside) < significance / 2:
        expected = HOLDS
    elif min(outside) < significance / 2:
        expected = FAILS
    assert Gap.of(values, low, high).verdict(significance) is expected


@given(gaps, levels)
def test_so_many_more_seeds_decide_and_no_fewer(gap: Gap, significance: float) -> None:
    """Checked with scipy's quantiles: at that number the interval has left the bounds, at one less it has not."""

    def decided(seeds: int) -> bool:
        half = t.ppf(1 - significance / 2, seeds - 1) * gap.deviation / math.sqrt(seeds)
        inside = gap.low <= gap.mean - half and gap.mean + half <= gap.high
        return inside or gap.mean + half < gap.low or gap.mean - half > gap.high

    more = gap.more_seeds(significance)
    if more is None:
        assert not decided(MOST_SEEDS - 1)
    elif more == 0:
        assert gap.verdict(significance) is not UNDECIDED
    else:
        assert gap.verdict(significance) is UNDECIDED
        assert decided(gap.seeds + more)
        assert not decided(gap.seeds + more - 1)


def test_one_seed_knows_no_spread() -> None:
    gap = Gap.of([0.3], -1.0, 1.0)
    assert (gap.verdict(), gap.more_seeds()) == (UNDECIDED, None)
    assert Gap(1.0, 1.0, 5, -1.0, 1.0).more_seeds() is None  # on the bound no number of seeds decides
    assert Gap.of([0.3, 0.3], -1.0, 1.0).verdict() is HOLDS


@given(st.lists(st.sampled_from([HOLDS, FAILS]), min_size=1, max_size=9))
def test_what_all_comparisons_say_is_said(verdicts: list[Verdict]) -> None:
    """Comparisons without an interval, whose verdicts are theirs alone."""
    ruling = rule([Comparison(verdict, {"task": str(n)}) for n, verdict in enumerate(verdicts)])
    assert ruling == (Ruling(verdicts[0]) if len(set(verdicts)) == 1 else Ruling(Verdict.DEPENDS, ("task",)))


def _comparison(gap: Gap, task: str = "a", submission: str = "sgd") -> Comparison:
    return Comparison(gap.verdict(), {"task": task, "submission": submission}, gap)


@given(st.lists(gaps, min_size=1, max_size=6), st.randoms())
def test_the_order_of_comparisons_does_not_matter(found: list[Gap], random: Random) -> None:
    comparisons = [_comparison(gap, str(number)) for number, gap in enumerate(found)]
    shuffled = comparisons.copy()
    random.shuffle(shuffled)
    assert rule(comparisons) == rule(shuffled)


@given(st.lists(gaps, min_size=1, max_size=6))
def test_a_verdict_on_a_claim_contradicts_no_comparison(found: list[Gap]) -> None:
    ruling = rule([_comparison(gap, str(number)) for number, gap in enumerate(found)])
    verdicts = {gap.verdict() for gap in found}
    if ruling.verdict in (HOLDS, FAILS):
        assert verdicts == {ruling.verdict}
    elif ruling.verdict is Verdict.DEPENDS:
        assert {HOLDS, FAILS} <= verdicts
    else:
        assert UNDECIDED in verdicts or {HOLDS, FAILS} <= verdicts


def test_what_a_claim_depends_on() -> None:
    good, bad = Gap(0.0, 0.1, 10, -1.0, 1.0), Gap(5.0, 0.1, 10, -1.0, 1.0)
    runs = [("a", "sgd", good), ("a", "adam", bad), ("b", "sgd", good), ("b", "adam", bad)]
    assert rule([_comparison(gap, task, name) for task, name, gap in runs]).depends_on == ("submission",)
    runs[1:3] = [("a", "adam", good), ("b", "sgd", bad)]
    assert rule([_comparison(gap, task, name) for task, name, gap in runs]).depends_on == ("task",)
    runs[0] = ("a", "sgd", bad)
    assert str(rule([_comparison(gap, task, name) for task, name, gap in runs])) == "depends on task and submission"
    assert str(rule([_comparison(good), _comparison(bad)])) == "depends on the measure"
    stated = [Comparison(Verdict.DEPENDS, depends_on="depth"), _comparison(good)]
    assert str(rule(stated)) == "depends on depth"


def test_how_verdicts_read() -> None:
    assert str(rule([])) == "not measured"
    assert str(rule([_comparison(Gap.of([0.1], -1.0, 1.0))])) == "undecided: more seeds, unknown how many"
    wide = Gap(0.5, 1.0, 5, -1.0, 1.0)
    more = wide.more_seeds()
    assert str(rule([_comparison(wide), _comparison(Gap(0.0, 0.1, 10, -1.0, 1.0))])) == f"undecided: {more} more seeds"
    assert str(Ruling(UNDECIDED, (), 1)) == "undecided: 1 more seed"


def test_dependence_is_rarely_seen_where_there_is_none() -> None:
    """Ten comparisons whose means all lie on their bounds: both verdicts are wrong, and both by chance alone."""
    rng = np.random.default_rng(0)
    rulings = [
        rule([_comparison(Gap.of(rng.normal(size=5), -math.inf, 0.0), str(task)) for task in range(10)]).verdict
        for _ in range(800)
    ]
    assert rulings.count(Verdict.DEPENDS) / len(rulings) < 0.05
    assert rulings.count(HOLDS) == rulings.count(FAILS) == 0
