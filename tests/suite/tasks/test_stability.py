"""Gradient descent trains at the edge of stability."""

from __future__ import annotations

import pytest
import torch

from suite.curvature import Hessian, Network, lanczos
from suite.curvature.operators import dense
from suite.entries import load
from suite.seeding import torch_stream
from suite.tasks import find_task
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import trained


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.05, 0.1])
def test_gradient_descent_ends_at_the_limit(step: float) -> None:
    for measures in trained(find_task("edge_of_stability"), "sgd", step):
        assert measures["step_size"] == step
        assert measures["stability_ratio"] == pytest.approx(1, abs=0.06)


def test_small_steps_stay_below_the_limit_and_miss_the_target_loss() -> None:
    task = find_task("edge_of_stability")
    sgd = load("sgd").submission.optimizer
    assert sgd is not None
    run = TrainingRun(task.problem(0), 0, 0, {"lr": 1e-3})
    assert train(task, [run], sgd)[0].status == "stalled"


def test_the_measured_curvature_is_the_dense_hessians() -> None:
    task = find_task("edge_of_stability")
    problem = task.problem(0)
    model = task.model(problem, 0)
    hessian = Hessian(Network(model), problem.train, task.loss)
    exact = torch.linalg.eigvalsh(dense(hessian))[-1].item()
    assert lanczos(hessian, 1, torch_stream("test")).values[0] == pytest.approx(exact, rel=1e-3)
