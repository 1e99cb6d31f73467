"""Factorised models: what theory says their solutions are."""

from __future__ import annotations

from suite.tasks import find_task
from tests.suite.tasks.helpers import trained


def test_sparse_regression_follows_the_potential() -> None:
    task = find_task("sparse_regression")
    for measures in trained(task, "sgd", 0.3):
        assert measures["potential_distance"] < 0.02
        assert 1 < measures["l1_ratio"] < 1.6
    assert all(m["l1_ratio"] > 2 for m in trained(task, "adam", 0.01))


def test_smaller_initialisation_is_sparser() -> None:
    errors = [
        trained(find_task(f"sparse_regression[alpha={alpha}]"), "sgd", 1.0, seeds=1)[0]["recovery_error"]
        for alpha in (1.0, 0.1, 0.01)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.15
