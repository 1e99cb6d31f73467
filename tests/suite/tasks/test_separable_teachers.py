"""Teachers with a geometry: the errors that scores lie between, and who is right where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.oracles.margins import (
    max_margin_l1,
    max_margin_linf,
    max_margin_nuclear,
    max_margin_spectral,
)
from suite.task import Solution
from suite.tasks import find_task
from suite.tasks.separable_teachers import TRUTHS
from tests.suite.tasks.helpers import oracle_of, trained

SOLVERS = {
    "max": max_margin_linf,
    "l1": max_margin_l1,
    "spectral": lambda z: max_margin_spectral(z, (8, 8)),
    "nuclear": lambda z: max_margin_nuclear(z, (8, 8)),
}
OWN_AND_DUAL = {
    "signs": ("max", "l1"),
    "sparse": ("l1", "max"),
    "orthogonal": ("spectral", "nuclear"),
    "rank_one": ("nuclear", "spectral"),
}


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS)
def test_the_references_are_the_mean_errors_of_separators(truth: str) -> None:
    task = find_task(f"teacher_geometry[truth={truth}]")
    errors = []
    for seed in range(50):
        problem = task.problem(seed)
        z = (problem.train.y[:, None] * problem.train.x.flatten(1)).numpy()
        teacher = problem.ground_truth["teacher"].numpy().ravel()
        separators = [SOLVERS[norm](z) for norm in OWN_AND_DUAL[truth]]
        cosines = [w @ teacher / np.linalg.norm(w) / np.linalg.norm(teacher) for w in separators]
        errors.append(np.arccos(cosines) / np.pi)
    own, dual = np.mean(errors, axis=0)
    assert all(a < b for a, b in errors)
    assert TRUTHS[truth][1:] == pytest.approx((dual, own), abs=1e-3)


def test_the_error_is_that_on_new_samples() -> None:
    task = find_task("teacher_geometry[truth=rank_one]")
    problem, oracle = task.problem(0), oracle_of("teacher_geometry[truth=rank_one]", 0)
    model = task.model(problem, 0)
    with torch.no_grad():
        model.get_parameter("weight").copy_(oracle.solutions["nuclear"])
        x = torch.randn(200_000, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        wrong = (torch.sign(model(x)) != torch.sign((x * problem.ground_truth["teacher"]).sum((1, 2)))).double().mean()
    measures = task.measure(Solution(model, {}, problem, oracle, 0))
    assert measures["test_error"] == pytest.approx(float(wrong), abs=0.003)
    assert measures["nuclear_margin_ratio"] == pytest.approx(1)


def test_each_truth_suits_another_method() -> None:
    rates = {"momentum": 0.1, "sign": 0.006, "muon": 0.02}
    best = {}
    for truth in TRUTHS:
        task = find_task(f"teacher_geometry[truth={truth}]")
        errors = {name: np.mean([m["test_error"] for m in trained(task, name, lr)]) for name, lr in rates.items()}
        best[truth] = min(errors, key=errors.__getitem__)
    assert best == {"signs": "sign", "sparse": "momentum", "orthogonal": "muon", "rank_one": "momentum"}
