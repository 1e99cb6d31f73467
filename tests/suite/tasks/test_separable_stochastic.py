"""Small batches: the order of the samples, and which margin each method has at which batch size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from suite.task import Target, Task
from suite.tasks import find_task
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import measured, oracle_of


class Signum(Optimizer):
    """``w <- w - lr * sign(m)`` with the running mean m of gradients (Bernstein et al. 2018)."""

    def __init__(self, params: Iterable[Tensor], lr: float, beta: float) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 1 - group["beta"])
                parameter.sub_(group["lr"] * mean.sign())


def measures_of(task: Task, optimizer: type[Optimizer], **settings: object) -> dict[str, float]:
    run = TrainingRun(task.problem(0), 0, 0, settings)
    return measured(task, run, train(task, [run], optimizer)[0])


@pytest.mark.parametrize("batch", [1, 8, 12])
def test_batches_take_the_samples_in_the_order_of_the_data(batch: int) -> None:
    """Gradient descent against a loop in numpy; the last batch of an epoch is shorter."""
    task = replace(find_task(f"stochastic_margin[batch={batch}]"), target=Target(0.69, budget=1_000, check_every=45))
    problem = task.problem(0)
    (result,) = train(task, [TrainingRun(problem, 0, 0, {"lr": 0.1})], SGD)
    x, y, w = problem.train.x.numpy(), problem.train.y.numpy(), np.zeros(20)
    epoch = [range(first, min(first + batch, 40)) for first in range(0, 40, batch)]
    for step in range(result.steps):
        rows = list(epoch[step % len(epoch)])
        slopes = -y[rows] / (1 + np.exp(y[rows] * (x[rows] @ w)))
        w -= 0.1 / problem.lipschitz * (slopes @ x[rows]) / len(rows)
    assert result.steps == 45
    np.testing.assert_allclose(result.weights["weight"], w, rtol=1e-9)


def test_data_whose_entries_have_one_size_have_the_l2_margin_as_fixed_point() -> None:
    oracle = oracle_of("stochastic_margin[data=rademacher]", 0)
    l2, fixed = oracle.solutions["l2"], oracle.solutions["fixed_point"]
    torch.testing.assert_close(fixed / torch.linalg.vector_norm(fixed), l2, atol=1e-6, rtol=0)
    gaussian = oracle_of("stochastic_margin", 0)
    assert gaussian.solutions["l2"] @ gaussian.solutions["linf"] < 0.95 * torch.linalg.vector_norm(
        gaussian.solutions["linf"]
    )


def test_adam_leaves_the_largest_entry_s_margin_on_single_samples_and_signum_does_not() -> None:
    one, whole = find_task("stochastic_margin"), find_task("max_margin[objective=logistic]")
    stochastic, full = measures_of(one, Adam, lr=0.01), measures_of(whole, Adam, lr=0.003)
    assert stochastic["linf_margin_ratio"] < full["linf_margin_ratio"] - 0.05
    assert stochastic["fixed_point_cosine"] > 0.98
    assert stochastic["fixed_point_margin_ratio"] > stochastic["linf_margin_ratio"] + 0.1
    signum = measures_of(one, Signum, lr=0.003, beta=0.99)
    assert signum["linf_margin_ratio"] > full["linf_margin_ratio"]
    assert signum["linf_margin_ratio"] > signum["l2_margin_ratio"]
