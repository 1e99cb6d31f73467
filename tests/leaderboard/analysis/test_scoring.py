"""Scores by hand, and the properties that the protocol promises."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from leaderboard.analysis.results import load
from leaderboard.analysis.scoring import AXES, Scores, add_scores, axis_score, tabulate
from suite import task
from suite.storage.record import SCHEMA, seal
from tests.leaderboard.helpers import noisy, record, runs_of, scores_of

NAN = math.nan


def test_the_axes_are_those_of_the_tasks() -> None:
    assert AXES == task.AXES


def test_axis_score_by_hand() -> None:
    # Log scale, floor 0.01: score_0 scores 0, a tenth of the way in log, closer than the floor is exact.
    got = axis_score([1.0, 0.1, 0.01, 1e-9, 10.0], 1.0, 0.01, True, 0.01, True)
    assert_allclose(got, [0, 0.5, 1, 1, 0])
    # Linear, higher is better: beyond score_1 counts up to 1.25 only.
    assert_allclose(axis_score([0.0, 0.5, 1.0, 1.1, 9.0], 0.0, 1.0, False, NAN, True), [0, 0.5, 1, 1.1, 1.25])
    # Linear, lower is better.
    assert_allclose(axis_score([0.4, 0.0, 0.2], 0.4, 0.0, False, NAN, True), [0, 1, 0.5])
    # Log scale, higher is better.
    assert_allclose(axis_score([1.0, 10.0, 100.0], 1.0, 100.0, True, NAN, True), [0, 0.5, 1])


def test_a_run_that_missed_the_target_loss_scores_nothing() -> None:
    assert_allclose(axis_score([0.0, NAN, math.inf], 1.0, 0.0, False, NAN, [False, True, True]), 0)
    # Without references nothing is scored.
    assert_allclose(axis_score(0.5, NAN, NAN, True, NAN, True), 0)


@given(st.floats(1e-6, 1e6), st.floats(1.1, 100), st.floats(1e-3, 1e3))
def test_log_scores_do_not_depend_on_the_unit(value: float, ratio: float, unit: float) -> None:
    plain = axis_score(value, ratio, 1.0, True, NAN, True)
    assert_allclose(axis_score(value * unit, ratio * unit, unit, True, NAN, True), plain, rtol=1e-6, atol=1e-9)


def test_families_weigh_equally() -> None:
    # Family a has two tasks (scores 1 and 0), family b one (score 0.2): (0.5 + 0.2) / 2.
    scores = scores_of(
        runs_of({("x", "a1", "norm"): [1.0] * 3, ("x", "a2", "norm"): [0.0] * 3, ("x", "b1", "norm"): [0.2] * 3})
    )
    assert scores.axis_means["norm"] == pytest.approx(0.35)
    assert scores.overall == pytest.approx(0.35)
    assert scores.weights[:, 0].tolist() == [0.25, 0.25, 0.5]


def test_overall_is_the_geometric_mean_of_the_axes() -> None:
    scores = scores_of(runs_of({("x", "a1", "flatness"): [0.25, 0.25], ("x", "a1", "norm"): [1.0, 1.0]}))
    assert scores.overall == pytest.approx(0.5)


def two_axes(seed: int = 0) -> Scores:
    """Two submissions on three tasks of two families with two axes, and one that lacks a task."""
    rng = np.random.default_rng(seed)
    cells = [("a1", "norm"), ("a2", "norm"), ("a2", "flatness"), ("b1", "flatness"), ("b1", "norm")]
    return scores_of(
        runs_of(
            {
                (name, task, axis): rng.uniform(0.2, 0.9, size=6)
                for name in ("x", "y", "z")
                for task, axis in cells
                if (name, task) != ("z", "a2")
            }
        )
    )


def test_sensitivity_is_the_derivative_of_the_overall_score() -> None:
    scores, step = two_axes(), 1e-6
    slopes = scores.sensitivity()
    for number, cell in enumerate(scores.cells):
        means = [other.means() + (step if other is cell else 0.0) for other in scores.cells]
        moved = np.exp(np.mean([np.log(mean) for mean in scores.combine(means).values()], axis=0))
        assert_allclose((moved - scores.overall) / step, slopes[number], atol=1e-5)


def test_the_error_of_the_overall_score_is_what_a_bootstrap_finds() -> None:
    scores = two_axes()
    samples = scores.resampled_overall(4_000)
    assert_allclose(samples.std(axis=1), scores.spread().error, rtol=0.1)
    x, y = (scores.names.index(name) for name in "xy")
    # Of the two alone, whose variances nobody else's moderate.
    assert scores.only("xy").differences().spread.error[0, 1] == pytest.approx((samples[x] - samples[y]).std(), rel=0.1)


def test_seeds_are_resampled_jointly() -> None:
    records = noisy({"x": 0.5})
    both = scores_of(records + [r | {"submission": "twin"} for r in records])
    samples = both.resampled_overall(500)
    assert_allclose(samples[0], samples[1])


def test_runs_of_different_seeds() -> None:
    rows = [record("x", "a1", seed, 0.5) for seed in range(3)] + [record("y", "a1", seed, 0.4) for seed in (1, 7)]
    cell = scores_of(rows).cells[0]
    assert cell.seeds == (0, 1, 2, 7)
    assert_allclose(cell.scores, [[0.5, 0.5, 0.5, NAN], [NAN, 0.6, NAN, 0.6]])
    assert_allclose(cell.means(), [0.5, 0.6])


def test_a_seed_scores_the_mean_of_its_settings(tmp_path: Path) -> None:
    every = {"selection": "convergence", "task_hash": "1", "submission_hash": "1"}
    trials = {0: 1.0, 1: 0.4, 2: 0.1}
    runs = [
        record("a", "t", seed, 1 - score - 0.01 * seed) | every | {"trial": trial}
        for seed in range(3)
        for trial, score in trials.items()
    ]
    runs[5] |= {"converged": False, "status": "budget", "measures": {}}  # trial 2 of seed 1
    other = [record("b", "t", seed, 0.5) | every for seed in range(3)]
    log = tmp_path / "log.jsonl"

    def scores(records: list[dict[str, Any]]) -> Scores:
        log.write_text("".join(json.dumps(seal({"schema": SCHEMA} | run), sort_keys=True) + "\n" for run in records))
        return tabulate(add_scores(load([log]).frame()))

    (cell,) = scores([*runs, *other]).cells
    assert cell.scores[0] == pytest.approx([0.5, (1.01 + 0.41) / 3, 0.52])
    assert cell.measured[0] == pytest.approx([0.5, math.nan, 0.48], nan_ok=True)
    assert cell.complete.tolist() == [False, True]
    assert cell.scores[1].tolist() == [0.5] * 3
    # A seed that lacks a setting which the others have is no seed.
    (cell,) = scores([*runs[:-1], *other]).cells
    assert cell.scores[0] == pytest.approx([0.5, (1.01 + 0.41) / 3, math.nan], nan_ok=True)
    # Elsewhere a repeated run counts once: the last.
    (cell,) = scores([run | {"selection": "gradient_evaluations"} for run in [*runs, *other]]).cells
    assert cell.scores[0] == pytest.approx([0.1, 0.0, 0.12])
