"""Separable data: the margins that theory says."""

from __future__ import annotations

import pytest
from torch.optim import AdamW

from suite.entries import load
from suite.entries.entry import bind
from suite.tasks import find_task
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import measured, trained


def test_max_margin() -> None:
    task = find_task("max_margin")
    gradient, sign = trained(task, "sgd", 0.7), trained(task, "sign", 0.01)
    for g, s in zip(gradient, sign, strict=True):
        assert g["l2_margin_ratio"] > 0.95 > s["l2_margin_ratio"]
        assert s["linf_margin_ratio"] > g["linf_margin_ratio"]
        for measures in (g, s):
            assert all(measures[f"{p}_margin_ratio"] <= 1 + 1e-9 for p in ("l2", "linf", "l1"))


@pytest.mark.parametrize(("beta2", "distance"), [(0.9, 0.02), (0.999, 0.5)])
def test_adamw_ends_at_the_minimum_on_the_box(beta2: float, distance: float) -> None:
    """Exactly with beta2 = beta1, as the theorem needs; only nearby with the usual 0.999."""
    task = find_task("linf_box")
    settings = {"lr": 0.02, "betas": (0.9, beta2), "weight_decay": 0.5}
    runs = [TrainingRun(task.problem(seed), seed, 0, settings) for seed in range(2)]
    rows = [measured(task, run, result) for run, result in zip(runs, train(task, runs, AdamW), strict=True)]
    assert all(m["box_distance"] < distance for m in rows)
    assert all((m["linf_times_decay"] == pytest.approx(1, abs=0.01)) == (beta2 == 0.9) for m in rows)


def test_the_box_task_sets_the_decay_of_those_who_take_one() -> None:
    task = find_task("linf_box[decay=0.25]")
    for name, decays in (("adamw", True), ("lion", True), ("sign", False)):
        for settings in bind(load(name).submission, task).settings(2):
            assert settings.get("weight_decay") == (0.25 if decays else None)
    assert all(m["linf_times_decay"] > 2 for m in trained(find_task("linf_box"), "sign", 0.006))
