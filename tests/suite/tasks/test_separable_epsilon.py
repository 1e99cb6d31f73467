"""Adam's epsilon: what the network keeps of its path, and what is measured of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam

from suite.models import RecordedPredictor
from suite.task import Solution, Target
from suite.tasks import find_task
from suite.tasks.separable_epsilon import MARKS
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import measured, oracle_of


def test_the_path_is_that_of_gradient_descent_in_numpy() -> None:
    task = replace(find_task("adam_epsilon"), target=Target(0.01, budget=400, at_end=True))
    problem = task.problem(0)
    (result,) = train(task, [TrainingRun(problem, 0, 0, {"lr": 0.5})], SGD)
    z, w = (problem.train.y[:, None] * problem.train.x).numpy(), np.zeros(20)
    for step in range(1, 200):  # the step size is constant for half of the budget
        if step in MARKS:
            np.testing.assert_allclose(result.weights["path"][MARKS.index(step)], w, atol=1e-9)
        w += 0.5 / problem.lipschitz * np.exp(-z @ w) @ z / 40
    assert result.weights["path"].isnan().any(1).tolist() == [mark > int(result.weights["calls"]) for mark in MARKS]


def test_the_crossing_is_where_the_gradient_falls_below_epsilon() -> None:
    """A path along the l2 separator until the gradient by autograd is below 1e-4, and then along the l_inf one."""
    task, oracle = find_task("adam_epsilon"), oracle_of("adam_epsilon", 0)
    problem = task.problem(0)
    model = task.model(problem, 0)
    assert isinstance(model, RecordedPredictor)
    path, crossing = torch.zeros(len(MARKS), 20, dtype=torch.float64), None
    for place in range(len(MARKS)):
        leaf = (path[place - 1] if place else path[0]).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(task.loss(problem.train.x @ leaf, problem.train.y), leaf)
        below = bool(gradient.abs().max() / problem.lipschitz <= 1e-4)
        crossing = place - 1 if below and crossing is None else crossing
        path[place] = leaf.detach() + oracle.solutions["linf" if below else "l2"]
    with torch.no_grad():
        model.path.copy_(path)
        model.weight.copy_(path[-1])
    assert crossing is not None
    measures = task.measure(Solution(model, {}, problem, oracle, 0))
    assert measures["crossing"] == MARKS[crossing] / 40_000
    assert measures["l2_at_crossing"] == pytest.approx(1)
    assert measures["linf_growth"] == pytest.approx(1)
    assert measures["l2_growth"] < 0.99
    assert task.curves is not None
    curve = task.curves(Solution(model, {}, problem, oracle, 0))["l2_margin"]
    assert list(curve.x) == [mark for mark in MARKS if mark >= 100]
    assert curve.y[-1] == pytest.approx(measures["l2_margin_ratio"])
    never = task.measure(Solution(task.model(problem, 0), {}, problem, oracle, 0))
    assert math.isnan(never["crossing"])
    assert math.isnan(never["l2_growth"])


@pytest.mark.slow
def test_the_largest_entry_s_margin_grows_before_the_crossing_and_falls_after_it() -> None:
    """On seed 0, whose two separators are far apart."""
    task = find_task("adam_epsilon[epsilon=0.001]")
    run = TrainingRun(task.problem(0), 0, 0, {"lr": 0.01, "eps": 1e-3})
    measures = measured(task, run, train(task, [run], Adam)[0])
    assert measures["linf_margin_ratio"] < measures["linf_at_crossing"]
    assert measures["l2_margin_ratio"] > measures["l2_at_crossing"]
    assert measures["l2_growth"] > measures["linf_growth"]
