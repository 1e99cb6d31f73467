"""Next tokens: each method in its own norm, and which words are learned first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from suite.tasks import find_task
from suite.tasks.losses import excess_cross_entropy, relative_excess_cross_entropy, relative_excess_square
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import trained


def test_each_method_is_nearest_to_the_margin_of_its_own_norm() -> None:
    """Gradient descent as proved; Muon and Adam as conjectured."""
    task = find_task("next_token_margin")
    rows = {
        "frobenius": trained(task, "momentum", 1.0),
        "spectral": trained(task, "muon", 0.02),
        "max": trained(task, "adam", 0.01),
    }
    for seed in range(2):
        for norm, ratios in rows.items():
            best = max(rows, key=lambda name: rows[name][seed][f"{norm}_margin_ratio"])
            assert best == norm
            assert all(ratios[seed][f"{name}_margin_ratio"] < 1 + 1e-9 for name in rows)
    assert all(m["finite_distance"] < 0.01 and m["frobenius_cosine"] > 0.95 for m in rows["frobenius"])


def test_gradient_descent_leaves_the_rare_words_and_sign_descent_learns_all_alike() -> None:
    for loss, sign_rate in (("squared", 0.001), ("cross_entropy", 0.005)):
        task = find_task(f"zipf_bigram[loss={loss}]")
        for m in trained(task, "sgd", 0.4, seeds=1):
            assert m["rare_excess"] == pytest.approx(m["flow_rare_excess"], rel=0.02)
            assert m["frequent_excess"] < 0.02
        for m in trained(task, "sign", sign_rate, seeds=1):
            assert m["rare_excess"] == pytest.approx(0.1, abs=0.01)
            assert m["frequent_excess"] == pytest.approx(0.1, abs=0.01)


def test_gradient_descent_on_bigrams_in_closed_form() -> None:
    """After k steps of length h each column of W is (1 - (1 - h f)^k) times its goal, f the frequency in units of L."""
    task = find_task("zipf_bigram")
    problem = task.problem(0)
    (result,) = train(task, [TrainingRun(problem, 0, 0, {"lr": 0.5})], SGD)
    weight, frequency = result.weights["weight"], problem.train.y.sum(1)
    goal = problem.train.y / frequency[:, None]
    ratio = (weight.T * goal).sum(1) / goal.square().sum(1)
    # Where the fit is complete to rounding the logarithm says nothing.
    inner = ratio < 1 - 1e-6
    steps = torch.log1p(-ratio[inner]) / torch.log1p(-0.5 * frequency[inner] / frequency.max())
    assert torch.allclose(steps, steps.new_tensor(float(result.steps)), rtol=1e-6)
    assert inner.sum() > 50


def test_losses_against_torch_and_numpy() -> None:
    stream = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 5, generator=stream, dtype=torch.float64)
    joint = torch.rand(6, 5, generator=stream, dtype=torch.float64)
    joint[0, 2] = 0
    mass = joint.sum(1, keepdim=True)
    p = joint / mass
    entropy = -(p * p.clamp_min(1e-300).log()).sum(1)
    assert excess_cross_entropy(outputs, p) == pytest.approx(float(cross_entropy(outputs, p) - entropy.mean()))
    theirs = np.average(cross_entropy(outputs, p, reduction="none") - entropy, weights=mass[:, 0])
    alike = np.average(np.log(5) - entropy, weights=mass[:, 0])
    assert relative_excess_cross_entropy(outputs, joint) == pytest.approx(theirs / alike)
    assert relative_excess_cross_entropy(torch.zeros_like(outputs), joint) == pytest.approx(1)
    square = np.average((outputs - p).square().sum(1), weights=mass[:, 0])
    assert relative_excess_square(outputs, joint) == pytest.approx(
        square / np.average(p.square().sum(1), weights=mass[:, 0])
    )
