"""Optimizers that need more than gradients at their weights: a line search, and averages that are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from suite.entries.loading import load
from suite.task import Decay, Task
from suite.tasks import find_task
from suite.training import TrainingResult, TrainingRun, train
from tests.suite.toys import regression, toy

TASK = "min_norm_regression"  # of the smoke track
SEEDS = (0, 1)


def _trained(name: str, **changed: Any) -> tuple[Task, list[TrainingRun], list[TrainingResult]]:
    task, submission = find_task(TASK), load(name).submission
    settings = submission.settings(1)[0] | changed
    runs = [TrainingRun(task.problem(seed), seed, 0, settings) for seed in SEEDS]
    assert submission.optimizer is not None
    return task, runs, train(task, runs, submission.optimizer, schedule=submission.schedule)


def test_a_line_search_finds_the_minimum_norm() -> None:
    """Its directions are sums of gradients, so that from zero it stays in the row space, which no other point has."""
    _, runs, results = _trained("lbfgs")
    for run, result in zip(runs, results, strict=True):
        assert result.converged
        assert result.gradient_evaluations > result.steps
        (weights,) = result.weights.values()
        expected = np.linalg.pinv(run.problem.train.x.numpy()) @ run.problem.train.y.numpy()
        np.testing.assert_allclose(weights.flatten().numpy(), expected, atol=1e-4)


def test_averages_are_what_is_judged_and_measured() -> None:
    """Algorithm 1 of Defazio et al. (2024), arXiv:2405.15682, by hand: gradients at y, x is the solution."""
    rate, beta = 1.5, 0.9
    task, runs, results = _trained("schedulefree_sgd", lr=rate)
    for run, result in zip(runs, results, strict=True):
        assert result.converged
        inputs, targets = run.problem.train.x, run.problem.train.y
        x = z = torch.zeros(inputs.shape[1], dtype=torch.float64)
        for t in range(1, result.gradient_evaluations + 1):
            y = (1 - beta) * z + beta * x
            gradient = 2 / len(inputs) * inputs.T @ (inputs @ y - targets) / run.problem.lipschitz
            z = z - rate * gradient
            x = (1 - 1 / t) * x + z / t
        (weights,) = result.weights.values()
        torch.testing.assert_close(weights.flatten(), x, rtol=1e-8, atol=1e-11)
        assert result.train_loss == pytest.approx(float((inputs @ x - targets).square().mean()), rel=1e-5)
        assert float((inputs @ z - targets).square().mean()) > task.target.loss  # where the last gradient step went


class Comparing(torch.optim.SGD):
    """Notes by how much the closure's value changes along a short step, and what its gradient foretells."""

    seen: list[tuple[float, float]]

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        parameters = self.param_groups[0]["params"]
        values, slopes = [], []
        for _ in range(2):
            with torch.enable_grad():
                values.append(float(closure()))
            slopes.append(sum(float(p.grad.square().sum()) for p in parameters))
            for parameter in parameters:
                parameter.sub_(1e-6 * parameter.grad)
        type(self).seen.append((values[0] - values[1], 1e-6 * slopes[0]))
        return torch.tensor(values[0])


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "alone"])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_a_closure_returns_what_its_gradients_belong_to(batch_size: int | None, batched: bool) -> None:
    task = replace(toy(batch_size, budget=20), decay=Decay(0.3, until=1.0))
    runs = [TrainingRun(regression(seed), seed, 0, {"lr": 1.0}) for seed in SEEDS]
    make = type("Fresh", (Comparing,), {"seen": []})
    train(task, runs, make, batched=batched)
    assert runs[0].problem.lipschitz != 1
    for difference, foretold in make.seen:
        assert difference == pytest.approx(foretold, rel=1e-4)
