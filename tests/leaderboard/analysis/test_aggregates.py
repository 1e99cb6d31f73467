"""Aggregates against scipy and rliable, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from rliable import metrics
from scipy import stats

from leaderboard.analysis.aggregates import THRESHOLDS, aggregates, performance_profile, sensitivity
from leaderboard.analysis.statistics import interquartile_mean
from tests.leaderboard.helpers import runs_of, scores_of


@pytest.mark.parametrize("count", [1, 3, 4, 7, 40])
def test_the_interquartile_mean_is_scipys(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))
    assert math.isnan(interquartile_mean([]))


def test_the_interquartile_mean_of_a_submission_is_rliables() -> None:
    runs = np.random.default_rng(0).uniform(size=(10, 4))  # [seeds, tasks]
    scores = scores_of(runs_of({("x", f"a{task}", "norm"): runs[:, task] for task in range(4)}))
    assert aggregates(scores)["iqm"][0] == pytest.approx(metrics.aggregate_iqm(runs))


def test_aggregates_by_hand() -> None:
    # Norm: family a (0.2, 0.4), family b 0.7; flatness: 0.9.
    scores = scores_of(
        runs_of(
            {
                ("x", "a1", "norm"): [0.2],
                ("x", "a2", "norm"): [0.4],
                ("x", "b1", "norm"): [0.7],
                ("x", "b1", "flatness"): [0.9],
            }
        )
    )
    found = {name: float(values[0]) for name, values in aggregates(scores).items()}
    assert found == pytest.approx(
        {
            "geometric": math.sqrt(0.5 * 0.9),
            "arithmetic": 0.7,
            "tasks": math.sqrt(1.3 / 3 * 0.9),
            "iqm": 0.55,
            "worst": 0.5,
        }
    )


def test_sensitivity_counts_places() -> None:
    # y is even, x and z have a weak axis: the worst axis turns them round.
    scores = scores_of(
        runs_of(
            {
                (name, "a1", axis): [score]
                for name, pair in {"x": (1.0, 0.4), "y": (0.6, 0.6), "z": (1.0, 0.3)}.items()
                for axis, score in zip(("norm", "flatness"), pair, strict=True)
            }
        )
    )
    found = sensitivity(scores)
    assert found["geometric"].ranks == [1, 2, 3]
    assert (found["geometric"].tau, found["geometric"].largest_move) == (1.0, 0)
    assert found["worst"].ranks == [2, 1, 3]
    assert found["worst"].largest_move == 1
    assert found["worst"].tau == pytest.approx(1 / 3)
    assert found["arithmetic"].ranks == [1, 3, 2]


def test_performance_profile_by_hand() -> None:
    scores = scores_of(runs_of({("x", "a1", "norm"): [0.2, 0.5, 1.1, 1.25], ("x", "b1", "norm"): [0.0, 0.9]}))
    assert_allclose(performance_profile(scores, (0.1, 0.5, 1.0)), [[(1 + 0.5) / 2, (0.75 + 0.5) / 2, 0.25]])


def test_the_performance_profile_is_rliables() -> None:
    """By its definition, `rliable.library.run_score_deviation`: that module cannot be imported beside pandas 3."""
    runs = np.random.default_rng(0).uniform(size=(10, 4))  # [seeds, tasks]; none is at a threshold
    scores = scores_of(runs_of({("x", f"a{task}", "norm"): runs[:, task] for task in range(4)}))
    assert_allclose(performance_profile(scores)[0], [np.mean(runs > mark) for mark in THRESHOLDS])
