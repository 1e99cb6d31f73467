"""Teachers with a geometry: the errors that scores lie between, and who is right where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.errors import InputError
from suite.oracles.margins import (
    max_margin_l1,
    max_margin_linf,
    max_margin_nuclear,
    max_margin_spectral,
)
from suite.task import Solution
from suite.tasks import find_task
from suite.tasks.separable_teachers import TRUTHS, signed_matrices
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import measured, oracle_of, trained

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


def test_spectral_descent_with_decay_ends_at_the_minimizer_in_the_ball() -> None:
    """With exact orthogonal factors of the gradient, averaged over steps that oscillate about the ball's edge."""
    task = find_task("spectral_ball")
    problem, oracle = task.problem(0), oracle_of("spectral_ball", 0)
    w = torch.zeros(8, 8, dtype=torch.float64, requires_grad=True)
    z = signed_matrices(problem)
    for step in range(3_000):
        (gradient,) = torch.autograd.grad(task.loss(z @ w.flatten(), torch.ones(len(z), dtype=w.dtype)), w)
        left, _, right = torch.linalg.svd(gradient)
        rate = 0.02 * 0.998**step
        with torch.no_grad():
            w.mul_(1 - rate * 0.5).sub_(rate * left @ right)
    model = task.model(problem, 0)
    model.load_state_dict({"weight": w.detach()})
    measures = task.measure(Solution(model, {}, problem, oracle, 0))
    assert measures["ball_distance"] < 0.03
    assert measures["spectral_times_decay"] == pytest.approx(1, abs=0.01)
    assert measures["box_distance"] > 0.3


def test_decay_of_muon_is_a_ball_and_that_of_adamw_a_box() -> None:
    task = find_task("spectral_ball")
    for optimizer, own, other, norm in (
        (torch.optim.Muon, "ball", "box", "spectral"),
        (torch.optim.AdamW, "box", "ball", "linf"),
    ):
        run = TrainingRun(task.problem(0), 0, 0, {"lr": 0.05, "weight_decay": 0.5})
        measures = measured(task, run, train(task, [run], optimizer)[0])
        assert measures[f"{own}_distance"] < measures[f"{other}_distance"]
        assert measures[f"{norm}_times_decay"] < 1.2


@pytest.mark.parametrize("variant", ["decay=2", "rank=0", "rank=9"])
def test_a_ball_has_a_radius_and_a_teacher_a_rank(variant: str) -> None:
    with pytest.raises(InputError, match="must be between"):
        find_task(f"spectral_ball[{variant}]")
