"""Mini-batches on the diagonal network: the effective initialization, by a simulation of ours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from suite.models import DiagonalNetwork
from suite.task import Solution
from suite.tasks import find_task
from tests.suite.tasks.helpers import oracle_of, trained


def _solution(u: np.ndarray, v: np.ndarray) -> Solution:
    model = DiagonalNetwork(100, 0.1)
    with torch.no_grad():
        model.u.copy_(torch.from_numpy(u))
        model.v.copy_(torch.from_numpy(v))
    problem = find_task("stochastic_sparse").problem(0)
    return Solution(model, {}, problem, oracle_of("stochastic_sparse", 0), 0)


def test_the_effective_alphas_are_those_of_the_steps() -> None:
    """Stochastic gradient descent in numpy: the product of every step's factors, their formula, their minimizer."""
    task = find_task("stochastic_sparse")
    problem = task.problem(0)
    x, y = problem.train.x.numpy(), problem.train.y.numpy()
    rng, step = np.random.default_rng(0), 0.1 / problem.lipschitz
    u, v, log_alpha, integral = np.full(100, 0.1), np.full(100, 0.1), np.full(100, math.log(0.1)), 0.0
    for _ in range(5_000):
        i = rng.integers(40)
        residual = x[i] @ (u**2 - v**2) - y[i]
        change = step * residual * x[i]
        u, v, log_alpha = u * (1 - change), v * (1 + change), log_alpha + np.log1p(-(change**2)) / 2
        integral += step * residual**2 / 4
    measures = task.measure(_solution(u, v))
    assert measures["alpha_ratio"] == pytest.approx(math.exp(log_alpha.mean()) / 0.1)
    # Pesme et al.'s formula, with the loss of the samples as they were drawn for its mean.
    formula = math.exp(-2 * step * integral * (x**2).mean())
    assert 1 - measures["alpha_ratio"] == pytest.approx(1 - formula, rel=0.05)
    assert measures["alpha_ratio"] < 0.95
    # The claim: far nearer to the potential of the alphas than to gradient flow's.
    assert measures["effective_distance"] < 0.2 * measures["flow_distance"]
    assert measures["recovery_error"] < measures["flow_recovery_error"]


def test_gradient_flow_has_its_own_alpha_and_the_formula_no_error() -> None:
    """Weights with u² - v² = w of gradient flow and u v = alpha²; and alphas shrunk by the formula itself."""
    flow = oracle_of("stochastic_sparse", 0).solutions["flow"].numpy()
    root = np.sqrt(flow**2 + 4 * 0.1**4)
    u, v = np.sqrt((root + flow) / 2), np.sqrt((root - flow) / 2)
    measures = find_task("stochastic_sparse").measure(_solution(u, v))
    assert measures["alpha_ratio"] == pytest.approx(1)
    assert measures["effective_distance"] < 1e-6
    diagonal = (find_task("stochastic_sparse").problem(0).train.x.numpy() ** 2).mean(0)
    shrunk = find_task("stochastic_sparse").measure(_solution(u * np.exp(-diagonal), v * np.exp(-diagonal)))
    assert shrunk["shrinkage_error"] < 1e-9
    assert math.isnan(find_task("stochastic_sparse").measure(_solution(-u, v))["effective_distance"])


@pytest.mark.slow
def test_batches_shrink_alpha_and_the_whole_data_hardly() -> None:
    one = trained(find_task("stochastic_sparse"), "sgd", 0.05, seeds=1)[0]
    whole = trained(find_task("stochastic_sparse[batch=40]"), "sgd", 0.05, seeds=1)[0]
    assert one["alpha_ratio"] < 0.95 < whole["alpha_ratio"]
    assert one["effective_distance"] < 0.1 * one["flow_distance"]
