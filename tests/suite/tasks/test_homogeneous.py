"""Homogeneous networks: the margin's bound, its invariance, and its growth."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from suite.models import TwoLayerReLU
from suite.task import Oracle, Problem, Solution, Split
from suite.tasks import find_task
from suite.tasks.homogeneous import kkt_residuals, margin_measures, tangent_features
from tests.suite.tasks.helpers import oracle_of, trained


def test_data_are_as_described() -> None:
    for seed in range(3):
        problem = find_task("homogeneous_margin").problem(seed)
        x, y = problem.train.x, problem.train.y
        radius = torch.linalg.vector_norm(x, dim=1)
        assert radius.min() >= 0.7
        assert radius.max() <= 1.3
        angles = torch.atan2(x[:, 1], x[:, 0])
        order = angles.argsort()
        gaps = torch.diff(angles[order], append=angles[order[:1]] + 2 * torch.pi)
        changes = y[order] != y[order].roll(-1)
        assert gaps[changes].min() >= 0.08
        # Opposite quadrants have one colour: in doubled angles a half circle is of one label.
        turned = torch.stack([(2 * angles).cos(), (2 * angles).sin()], dim=1)
        assert torch.linalg.lstsq(turned, y[:, None]).solution.norm() > 0.5
        assert 0.05 <= oracle_of("homogeneous_margin", seed).values["margin"] <= 0.1
        hidden, output = problem.ground_truth["hidden"], problem.ground_truth["output"]
        torch.testing.assert_close(output.abs(), torch.linalg.vector_norm(hidden, dim=1))


def test_the_oracles_network_scores_1_and_random_features_score_0() -> None:
    task, oracle = find_task("homogeneous_margin"), oracle_of("homogeneous_margin", 0)
    problem = task.problem(0)
    best = TwoLayerReLU(oracle.solutions["hidden"], oracle.solutions["output"])
    measures = task.measure(Solution(best, {}, problem, oracle, 0))
    assert measures["path_margin_ratio"] == pytest.approx(1, abs=1e-4)
    # Gradient descent on the output layer alone converges to the l2 max margin of its features.
    hidden, y = problem.ground_truth["hidden"], problem.train.y
    features = y[:, None] * torch.relu(problem.train.x @ hidden.T)
    output = torch.zeros(len(hidden), dtype=torch.float64)
    for step in range(40_000):
        gradient = -features.T @ torch.softmax(-features @ output, dim=0)
        output -= 500 / (1 + step) ** 0.5 * gradient / gradient.norm()
    lazy = task.measure(Solution(TwoLayerReLU(hidden, output), {}, problem, oracle, 0))
    assert lazy["path_margin_ratio"] == pytest.approx(oracle.values["random_features_ratio"], abs=0.02)


def test_rescaling_neurons_moves_the_normalised_margin_alone() -> None:
    problem = find_task("homogeneous_growth").problem(0)
    generator = torch.Generator().manual_seed(0)
    hidden, output = torch.randn(9, 20, generator=generator).double(), torch.randn(9, generator=generator).double()
    factor = torch.rand(9, generator=generator).double() + 0.5
    plain, rescaled = (
        margin_measures(Solution(TwoLayerReLU(w, a), {}, problem, oracle_of("homogeneous_growth", 0), 0))
        for w, a in ((hidden, output), (hidden * factor[:, None], output / factor))
    )
    assert rescaled["path_margin"] == pytest.approx(plain["path_margin"])
    assert rescaled["normalised_margin"] != pytest.approx(plain["normalised_margin"], rel=1e-3)


def test_margins_come_near_the_bound_and_never_above_it() -> None:
    task = find_task("homogeneous_margin")
    momentum, sign = trained(task, "momentum", 0.1), trained(task, "sign", 0.003)
    for measures in (*momentum, *sign):
        assert measures["normalised_margin_ratio"] <= measures["path_margin_ratio"] + 1e-12 <= 1 + 1e-6
    assert all(measures["path_margin_ratio"] > 0.95 for measures in momentum)


def test_margin_grows_after_separation() -> None:
    task = "homogeneous_growth[log_loss={}]"
    early, late, later = (trained(find_task(task.format(at)), "momentum", 0.01)[0] for at in (-4.6, -14, -40))
    for name in ("path_margin", "normalised_margin"):
        assert early[name] < late[name] < later[name]
    assert late["path_margin"] > 1.15 * early["path_margin"]


def _random_separating_network(problem: Problem) -> TwoLayerReLU:
    """Random features with the output weights that fit the labels."""
    stream = torch.Generator().manual_seed(1)
    hidden = torch.randn(100, 2, generator=stream, dtype=torch.float64)
    output = torch.linalg.lstsq(torch.relu(problem.train.x @ hidden.T), problem.train.y[:, None]).solution[:, 0]
    return TwoLayerReLU(hidden, output)


def test_tangent_features_are_the_gradients() -> None:
    problem = find_task("homogeneous_margin").problem(0)
    model = _random_separating_network(problem)
    features = tangent_features(Solution(model, {}, problem, Oracle(), 0))
    for x, y, row in zip(problem.train.x, problem.train.y, features, strict=True):
        gradients = torch.autograd.grad(y * model(x[None]).squeeze(), [model.hidden, model.output])
        torch.testing.assert_close(row, torch.cat([gradient.flatten() for gradient in gradients]))


def test_kkt_residuals_against_the_conditions_themselves() -> None:
    """Multipliers of least dual norm by SCS: the residual is one less the share of it that complementarity allows."""
    problem = find_task("homogeneous_margin").problem(0)
    model = _random_separating_network(problem)
    solution = Solution(model, {}, problem, Oracle(), 0)
    hidden, output = model.hidden.detach().numpy(), model.output.detach().numpy()
    features = tangent_features(solution).numpy()
    margin = (problem.train.y * model(problem.train.x).detach()).min().item()
    theta = np.append(hidden.ravel(), output)
    lengths = {
        "l2": np.linalg.norm(theta),
        "linf": abs(theta).max(),
        "spectral": max(np.linalg.norm(hidden, 2), np.linalg.norm(output)),
    }
    multipliers = cp.Variable(len(features), nonneg=True)
    gradient = multipliers @ features
    inner = cp.reshape(gradient[:200], (100, 2), order="C")
    dual_norms = {
        "l2": cp.norm(gradient),
        "linf": cp.norm1(gradient),
        "spectral": cp.normNuc(inner) + cp.norm(gradient[200:]),
    }
    residuals = kkt_residuals(solution)
    for name, dual_norm in dual_norms.items():
        least = cp.Problem(cp.Minimize(dual_norm), [cp.sum(multipliers) == 1])
        least.solve(solver=cp.SCS, eps=1e-7)
        assert residuals[f"{name}_kkt_residual"] == pytest.approx(
            1 - 2 * margin / lengths[name] / least.value, abs=1e-3
        )


def test_kkt_residuals_in_closed_form() -> None:
    """One neuron per point, along it, with weights of one size: a KKT point in the l2 and the l_inf norm."""
    x = torch.eye(2, dtype=torch.float64)
    problem = Problem(Split(x, torch.tensor([1.0, -1.0], dtype=torch.float64)))
    hidden, output = 0.7 * x, 0.7 * torch.tensor([1.0, -1.0], dtype=torch.float64)
    residuals = kkt_residuals(Solution(TwoLayerReLU(hidden, output), {}, problem, Oracle(), 0))
    # The layers' norms are 0.7 and 0.7 sqrt(2); with both at 1 the gradients, of 0.7 in both, are separated best.
    assert residuals == pytest.approx(
        {"l2_kkt_residual": 0, "linf_kkt_residual": 0, "spectral_kkt_residual": 1 - 2 / (1 + 2**0.5)}, abs=1e-6
    )
    rescaled = kkt_residuals(Solution(TwoLayerReLU(2 * hidden, output / 2), {}, problem, Oracle(), 0))
    assert rescaled["l2_kkt_residual"] == pytest.approx(1 - 2 * 2 * (1 / 2) / (2**2 + (1 / 2) ** 2))


def test_each_method_is_nearest_to_the_kkt_points_of_its_own_norm() -> None:
    """As proved for small steps; Muon steps the output weights by AdamW and is near none."""
    task = find_task("homogeneous_margin")
    methods = {"l2": trained(task, "momentum", 0.1), "linf": trained(task, "sign", 0.003)}
    for seed in range(2):
        for norm, measures in methods.items():
            name = f"{norm}_kkt_residual"
            assert measures[seed][name] == min(all_of[seed][name] for all_of in methods.values())
            assert measures[seed][name] < 0.06
            assert measures[seed]["linf_margin_ratio"] < 1
            assert measures[seed]["spectral_margin_ratio"] < 1
