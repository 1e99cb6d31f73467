"""Scores by hand, and the properties that the protocol promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import mannwhitneyu

from leaderboard.results import Results, check
from leaderboard.scoring import axis_score, board, bootstrap_counts, geometric_mean, holm, improvement, ranks
from suite.errors import InputError

NAN = math.nan


def record(submission: str, task: str, seed: int, value: float, axis: str = "norm", **more: Any) -> dict[str, Any]:
    references = {"measure": "m", "scale": "linear", "null": 1.0, "ideal": 0.0, "floor": None}
    return {
        "submission": submission,
        "kind": "optimizer",
        "explicit": False,
        "task": task,
        "family": task[0],
        "seed": seed,
        "phase": "score",
        "trial": 0,
        "converged": True,
        "measures": {"m": value},
        "axes": {axis: references},
        "gradient_evaluations": 10,
        "seconds": 1.0,
        "suite_version": "1",
        "data_fingerprint": f"{task}{seed}",
    } | more


def test_axis_score_by_hand() -> None:
    # Log scale, floor 0.01: the null scores 0, a tenth of the way in log, closer than the floor is exact.
    got = axis_score([1.0, 0.1, 0.01, 1e-9, 10.0], 1.0, 0.01, True, 0.01, True)
    assert_allclose(got, [0, 0.5, 1, 1, 0])
    # Linear, higher is better: beyond the ideal counts up to 1.25 only.
    assert_allclose(axis_score([0.0, 0.5, 1.0, 1.1, 9.0], 0.0, 1.0, False, NAN, True), [0, 0.5, 1, 1.1, 1.25])
    # Linear, lower is better.
    assert_allclose(axis_score([0.4, 0.0, 0.2], 0.4, 0.0, False, NAN, True), [0, 1, 0.5])
    # Log scale, higher is better.
    assert_allclose(axis_score([1.0, 10.0, 100.0], 1.0, 100.0, True, NAN, True), [0, 0.5, 1])


def test_a_lane_that_missed_the_stop_scores_nothing() -> None:
    assert_allclose(axis_score([0.0, NAN, math.inf], 1.0, 0.0, False, NAN, [False, True, True]), 0)
    # Without references nothing is scored.
    assert_allclose(axis_score(0.5, NAN, NAN, True, NAN, True), 0)


@given(st.floats(1e-6, 1e6), st.floats(1.1, 100), st.floats(1e-3, 1e3))
def test_log_scores_do_not_depend_on_the_unit(value: float, ratio: float, unit: float) -> None:
    plain = axis_score(value, ratio, 1.0, True, NAN, True)
    assert_allclose(axis_score(value * unit, ratio * unit, unit, True, NAN, True), plain, rtol=1e-6, atol=1e-9)


def test_families_weigh_equally() -> None:
    # Family a has two tasks (scores 1 and 0), family b one (score 0.2): (0.5 + 0.2) / 2.
    records = [record("x", "a1", s, 0.0) for s in range(3)] + [record("x", "a2", s, 1.0) for s in range(3)]
    records += [record("x", "b1", s, 0.8) for s in range(3)]
    standing = board(Results(records)).standings[0]
    assert standing.axes["norm"].value == pytest.approx(0.35)
    assert standing.overall.value == pytest.approx(0.35)
    assert standing.overall.low == pytest.approx(0.35)


def test_overall_is_the_geometric_mean() -> None:
    assert_allclose(geometric_mean([np.array([0.25, 0.0]), np.array([1.0, 1.0])]), [0.5, 0.0])


def _noisy(names: dict[str, float], seeds: int = 8, spread: float = 0.05) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    noise = rng.normal(scale=spread, size=(seeds, 2))
    return [
        record(name, task, seed, 1 - score + noise[seed, t] + rng.normal(scale=0.01))
        for name, score in names.items()
        for t, task in enumerate(("a1", "b1"))
        for seed in range(seeds)
    ]


def test_adding_a_submission_changes_nobody() -> None:
    before = {s.submission: s for s in board(Results(_noisy({"x": 0.5, "y": 0.6}))).standings}
    records = _noisy({"x": 0.5, "y": 0.6})
    after = board(Results(records + [r | {"submission": "z"} for r in records if r["submission"] == "y"]))
    for standing in after.standings:
        if standing.submission in before:
            assert standing.overall == before[standing.submission].overall
            assert standing.axes == before[standing.submission].axes


def test_indistinguishable_submissions_share_a_rank() -> None:
    records = _noisy({"low": 0.3, "high": 0.7})
    records += [r | {"submission": "twin"} for r in records if r["submission"] == "high"]
    texts = {s.submission: s.rank_text for s in board(Results(records)).standings}
    assert texts == {"high": "1=", "twin": "1=", "low": "3"}


def test_ranks_need_more_than_the_noise_floor() -> None:
    samples = np.array([[0.505] * 200, [0.5] * 200]) + np.linspace(-1e-4, 1e-4, 200)
    assert ranks(np.array([0.505, 0.5]), samples, noise_floor=0.01) == [1, 1]
    assert ranks(np.array([0.505, 0.5]), samples, noise_floor=0.001) == [1, 2]


def test_holm_by_hand() -> None:
    assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]).shape == (0,)


def test_probability_of_improvement_is_mann_whitney() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 20), rng.integers(2, 11, 15)
    assert improvement(a, b) == pytest.approx(mannwhitneyu(a, b).statistic / (20 * 15))


def test_bootstrap_weights() -> None:
    weights = bootstrap_counts(5, 4_000, np.random.default_rng(0))
    assert_allclose(weights.sum(axis=1), 1)
    # Variance of a bootstrap mean is that of the sample over n.
    values = np.array([0.0, 1.0, 2.0, 5.0, 9.0])
    assert (weights @ values).var() == pytest.approx(values.var() / 5, rel=0.1)


def test_intervals_are_reproducible_and_cover() -> None:
    first, second = (board(Results(_noisy({"x": 0.5}))).standings[0].overall for _ in range(2))
    assert first == second
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        scores = rng.normal(0.5, 0.1, size=20)
        interval = board(Results([record("x", "a1", s, 1 - v) for s, v in enumerate(scores)]), resamples=400)
        overall = interval.standings[0].overall
        hits += overall.low <= 0.5 <= overall.high
    assert hits >= 85


def test_incomplete_submissions_are_shown_apart() -> None:
    records = _noisy({"x": 0.5, "y": 0.6})
    made = board(Results([r for r in records if not (r["submission"] == "y" and r["task"] == "b1")]))
    # The one that holds all lanes is ranked, the other says what it lacks.
    assert {s.submission: s.rank_text for s in made.standings} == {"x": "1", "y": "–"}
    assert made.standings[1].missing == ("b1",)


def test_cost_is_relative_to_sgd() -> None:
    records = [record(name, task, 0, 0.5, seconds=s) for name, s in (("sgd", 2.0), ("x", 6.0)) for task in ("a1", "b1")]
    made = {s.submission: s for s in board(Results(records)).standings}
    assert made["x"].relative_seconds == pytest.approx(3.0)


def test_what_must_not_share_a_table() -> None:
    with pytest.raises(InputError, match="mix suite versions 1 and 2"):
        check([record("x", "a1", 0, 0.5), record("x", "a1", 1, 0.5, suite_version="2")])
    with pytest.raises(InputError, match="two data sets for task 'a1', seed 0"):
        check([record("x", "a1", 0, 0.5), record("y", "a1", 0, 0.5, data_fingerprint="other")])
