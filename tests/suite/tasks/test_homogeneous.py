"""Homogeneous networks: the margin's bound, its invariance, and its growth."""

from __future__ import annotations

import pytest
import torch

from suite.models import TwoLayerReLU
from suite.task import Solution
from suite.tasks import find_task
from suite.tasks.homogeneous import margin_measures
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
