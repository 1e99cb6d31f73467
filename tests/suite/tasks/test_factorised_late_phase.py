"""Late phases: the kernel solution early, the sparse one late, and nothing without decay."""

from __future__ import annotations

from dataclasses import replace

from suite.tasks import find_task
from tests.suite.tasks.helpers import trained


def test_sparse_solution_comes_long_after_the_fit() -> None:
    task = find_task("late_phase_sparse")
    early = trained(replace(task, target=replace(task.target, budget=60)), "sgd", 1.0, seeds=1)[0]
    late = trained(task, "sgd", 1.0, seeds=1)[0]
    assert early["l2_distance"] < 0.2
    assert early["recovery_error"] > 0.5
    assert late["recovery_error"] < 0.1 < late["l2_distance"]


def test_without_decay_the_kernel_solution_stays() -> None:
    measures = trained(find_task("late_phase_sparse[decay=0]"), "sgd", 1.0, seeds=1)[0]
    assert measures["l2_distance"] < 0.05
