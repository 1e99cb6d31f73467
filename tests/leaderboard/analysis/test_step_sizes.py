"""Scores by step size."""

from __future__ import annotations

from typing import Any

import pytest

from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results
from leaderboard.analysis.step_sizes import step_size_of, step_sizes
from leaderboard.tables.views import steps
from tests.leaderboard.helpers import record


def runs(phase: str, seed: int, scores: dict[float, float | None]) -> list[dict[str, Any]]:
    """A run for every step size; one without a score missed the target loss."""
    return [
        record("x", "a1", seed, 0.0 if score is None else 1 - score)
        | {"phase": phase, "trial": trial, "hyperparameters": {"momentum": 0.9, "lr": lr}}
        | ({"converged": False, "status": "diverged", "measures": {}} if score is None else {})
        for trial, (lr, score) in enumerate(scores.items())
    ]


def test_scores_are_a_curve_over_the_fraction_of_the_largest_step_that_trains() -> None:
    records = runs("tune", 10_000, {0.1: 0.2, 0.4: 0.4, 2.0: None}) + runs("score", 0, {0.1: 0.4, 0.4: 0.6})
    records += [record("alone", "a1", seed, 0.5, hyperparameters={"lr": 0.1}) for seed in range(2)]
    raced = runs("tune", 10_001, {0.2: 0.9})
    results = Results([*records, *(run | {"status": "raced", "converged": False} for run in raced)])
    found = step_sizes(results, "optimizer")
    assert [point.value for point in found] == [0.1, 0.4, 2.0]
    assert [point.edge for point in found] == pytest.approx([0.25, 1.0, 5.0])
    assert [point.score for point in found] == pytest.approx([0.3, 0.5, 0.0])
    assert [(point.converged, point.runs) for point in found] == [(2, 2), (2, 2), (0, 1)]
    assert {(point.submission, point.name, point.axis) for point in found} == {("x", "lr", "norm")}
    table = steps(board(results), results)
    assert len(table.rows) == 3


def test_the_step_size_is_lr_or_the_first_number_that_differs() -> None:
    assert step_size_of([{"rho": 0.1, "lr": 0.1}, {"rho": 0.2, "lr": 0.3}]) == "lr"
    assert step_size_of([{"name": "a", "lr": 1.0, "d_coef": 0.5}, {"name": "b", "lr": 1.0, "d_coef": 2.0}]) == "d_coef"
    assert step_size_of([{"lr": 0.1}]) is step_size_of([]) is None
