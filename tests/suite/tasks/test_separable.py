"""Separable data: the margins that theory says."""

from __future__ import annotations

from suite.tasks import find_task
from tests.suite.tasks.helpers import trained


def test_max_margin() -> None:
    task = find_task("max_margin")
    gradient, sign = trained(task, "sgd", 0.7), trained(task, "sign", 0.01)
    for g, s in zip(gradient, sign, strict=True):
        assert g["l2_margin_ratio"] > 0.95 > s["l2_margin_ratio"]
        assert s["linf_margin_ratio"] > g["linf_margin_ratio"]
        for measures in (g, s):
            assert all(measures[f"{p}_margin_ratio"] <= 1 + 1e-9 for p in ("l2", "linf", "l1"))
