"""Multiclass separable data: each method in its own matrix norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from suite.tasks import find_task
from suite.tasks.losses import log_pairwise_exponential
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import measured, trained

NORMS = ("frobenius", "spectral", "max")


class SpectralDescent(Optimizer):
    """Steps of equal length along the gradient's exact polar factor (Carlson et al. 2015)."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                u, s, v = torch.linalg.svd(parameter.grad, full_matrices=False)
                parameter.sub_(group["lr"] * (u * (s > 1e-12 * s.max())) @ v)


def test_each_method_has_the_largest_margin_in_its_own_norm() -> None:
    task = find_task("spectral_margin")
    runs = [TrainingRun(task.problem(seed), seed, 0, {"lr": 0.07}) for seed in range(2)]
    spectral = [measured(task, *pair) for pair in zip(runs, train(task, runs, SpectralDescent), strict=True)]
    measures_by_norm = {
        "frobenius": trained(task, "normalized", 0.2),
        "spectral": spectral,
        "max": trained(task, "sign", 0.006),
    }
    for norm_of_method, rows in measures_by_norm.items():
        for seed, measures in enumerate(rows):
            ratios = {norm: measures[f"{norm}_margin_ratio"] for norm in NORMS}
            assert max(ratios.values()) <= 1 + 1e-9
            assert ratios[norm_of_method] == max(ratios.values()) > 0.95
            assert all(
                other[seed][f"{norm_of_method}_margin_ratio"] < ratios[norm_of_method]
                for name, other in measures_by_norm.items()
                if name != norm_of_method
            )


def test_the_scored_geometry_predicts_best() -> None:
    task = find_task("spectral_margin")
    errors = dict.fromkeys(NORMS, 0.0)
    for seed in range(8):
        problem = task.problem(seed)
        assert problem.test is not None
        for norm in NORMS:
            w = task.oracle(problem, seed).solutions[norm]  # type: ignore[misc]
            errors[norm] += float(((problem.test.x @ w.T).argmax(1) != problem.test.y).double().mean())
    assert errors["frobenius"] <= errors["spectral"] < errors["max"]


def test_the_objective_against_cross_entropy_with_two_classes() -> None:
    """With two classes mean exp(-m) and the cross-entropy mean log(1 + exp(-m)) agree where margins are large."""
    logits: Tensor = 20 + torch.tensor([[9.0, 0.0], [-1.0, 8.0], [10.0, 2.5]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 0])
    assert torch.isclose(
        log_pairwise_exponential(logits, labels).exp(), cross_entropy(logits, labels), rtol=1e-3, atol=0.0
    )
    assert torch.isfinite(log_pairwise_exponential(1e4 * logits, labels))
