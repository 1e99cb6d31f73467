"""Costs of steps and tables: what is computed from them, and that they are taken at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from asv_bench import steps
from benchmarks import growth
from suite.signature import MakeOptimizer
from suite.task import Task
from suite.training import TrainingRun, train


def test_the_power_is_that_of_the_last_sizes() -> None:
    sizes = (1, 10, 100, 1_000)
    grown = growth.Growth("a step", "lanes", sizes, tuple(5e-9 * max(size, 10) ** 2 for size in sizes))
    assert grown.power == pytest.approx(2)
    assert grown.row() == "| lanes | a step | 1: 0.0005 ms, 10: 0.0005 ms, 100: 0.05 ms, 1,000: 5 ms | 2.00 |"
    assert "a step: power 2.00" in growth.picture([grown])
    assert "a step grows with lanes to the power 2.00." in growth.picture([grown])


def test_a_step_costs_what_further_evaluations_take(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0

    def train_slowly(task: Task, runs: list[TrainingRun], make: MakeOptimizer) -> None:
        nonlocal seconds
        assert {result.gradient_evaluations for result in train(task, runs, make)} == {task.target.budget}
        seconds += 0.5 + 0.001 * task.target.budget

    monkeypatch.setattr(steps, "EVALUATIONS", (20, 120))
    monkeypatch.setattr(steps, "train", train_slowly)
    monkeypatch.setattr(steps, "time", SimpleNamespace(process_time=lambda: seconds))
    assert steps.seconds_per_evaluation(growth.regression(10, 10), "sgd", 2) == pytest.approx(0.001)


def test_the_comparison_is_of_geometric_means_and_of_medians() -> None:
    def costs(first: float, other: float) -> steps.Costs:
        return {case: first if case[0] == steps.TASKS[0] else other for case in steps.cases()}

    table = steps.comparison([costs(1e-3, 1e-3)] * 3, [costs(1e-3 / 2**10, 1e-3), costs(9, 9), costs(1e-9, 1e-9)])
    assert table.splitlines()[2] == "| sgd | 3 | 1000 µs | 500 µs | 0.50 | 0.00 to 1.00 |"
    assert len(table.splitlines()) == 2 + len(steps.SUBMISSIONS) * len(steps.LANES)
