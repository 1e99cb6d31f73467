"""Linear regression: what theory says its solutions are."""

from __future__ import annotations

import pytest
import torch

from suite.tasks import find_task
from tests.suite.tasks.helpers import trained


def test_min_norm_regression() -> None:
    task = find_task("min_norm_regression")
    assert all(m["excess_norm"] < 1e-3 for m in trained(task, "sgd", 0.7) + trained(task, "momentum", 0.1))
    assert all(m["excess_norm"] > 0.3 for m in trained(task, "adam", 0.01))


def test_init_memory() -> None:
    task = find_task("init_memory")
    for measures in trained(task, "sgd", 0.7) + trained(task, "momentum", 0.1):
        assert measures["memory"] == pytest.approx(1, abs=1e-9)
        assert measures["limit_distance"] < 1e-4
    assert all(m["limit_distance"] > 0.3 for m in trained(task, "adam", 0.01))


def test_adaptive_trap() -> None:
    task = find_task("adaptive_trap")
    assert all(m["test_error"] == 0 for m in trained(task, "sgd", 0.7))
    for name, lr in (("adam", 0.01), ("rmsprop", 0.005), ("sign", 0.001)):
        assert all(m["test_error"] == pytest.approx(0.4, abs=0.02) for m in trained(task, name, lr))


def test_adaptive_trap_is_the_published_construction() -> None:
    problem = find_task("adaptive_trap").problem(0)
    x, y = problem.train.x, problem.train.y
    assert x.shape == (60, 303)
    assert (y > 0).sum() == 36
    assert torch.equal(x[:, 0], y)
    assert (x[:, 1:3] == 1).all()
    features = x[:, 3:].reshape(60, 60, 5)
    for row in range(60):
        expected = torch.tensor([1.0, 0, 0, 0, 0] if y[row] > 0 else [1.0] * 5).double()
        assert torch.equal(features[row, row], expected)
        assert features[row].sum() == expected.sum()
