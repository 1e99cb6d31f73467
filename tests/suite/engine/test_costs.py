"""Costs: the nearest thing that is recorded."""

from __future__ import annotations

from dataclasses import replace

from suite.engine.costs import BATCHED_SECONDS, SINGLE_SECONDS, Costs
from suite.tasks import find_task


def record(submission: str, task: str, seconds: float, **more: object) -> dict[str, object]:
    return {
        "submission": submission, "kind": "optimizer", "task": task, "phase": "tune", "status": "converged",
        "seconds": seconds, "measure_seconds": 0.5,
    } | more  # fmt: skip


def test_a_submission_is_known_by_its_own_records_first() -> None:
    task = find_task("max_margin")
    costs = Costs(
        [
            record("sgd", "max_margin", 1.0),
            record("sgd", "max_margin", 2.0),
            record("sam", "max_margin", 6.0, status="stalled"),
            record("sam", "max_margin", 100.0, status="failed"),
            record("sam", "max_margin", 100.0, status="unavailable"),
        ]
    )
    assert costs.run_seconds(task, "tune", "sgd", "optimizer") == 2.0
    assert costs.run_seconds(task, "tune", "sam", "optimizer") == 6.5
    assert costs.run_seconds(task, "tune", "unheard_of", "optimizer") == 3.5
    assert costs.run_seconds(task, "tune", "sgd", "architecture") == 2.0
    assert costs.run_seconds(task, "tune", "unheard_of", "architecture") == BATCHED_SECONDS
    assert costs.run_seconds(task, "score", "sgd", "optimizer") == 2.0  # no scored run is recorded, but tuning runs are
    assert costs.run_seconds(task, "score", "sgd", "architecture") == 2.0
    # Of the whole unit, where the record has it: the run's own time leaves out data, oracles and checks.
    shared = Costs([record("sgd", "max_margin", 1.0, unit_seconds=4.0), record("sgd", "max_margin", 1.5)])
    assert shared.run_seconds(task, "tune", "sgd", "optimizer") == 3.0
    # Of the processor, where it has them: the machine was busy with other work.
    busy = Costs([record("sgd", "max_margin", 1.0, unit_seconds=4.0, cpu_seconds=1.25)])
    assert busy.run_seconds(task, "tune", "sgd", "optimizer") == 1.25
    images = find_task("mnist5k_mlp")
    assert costs.run_seconds(images, "tune", "sgd", "optimizer") == images.seconds
    assert costs.run_seconds(replace(images, seconds=None), "tune", "sgd", "optimizer") == SINGLE_SECONDS
