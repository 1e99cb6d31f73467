"""Costs: the nearest thing that is recorded."""

from __future__ import annotations

from dataclasses import replace

import torch

from suite.engine.costs import BATCHED_SECONDS, SINGLE_SECONDS, Costs
from suite.engine.speed import reference_seconds
from suite.tasks import find_task
from suite.training.global_state import generator_states, same_generators


def record(submission: str, task: str, seconds: float, **more: object) -> dict[str, object]:
    return {
        "submission": submission, "kind": "optimizer", "task": task, "phase": "tune", "status": "converged",
        "seconds": seconds, "measure_seconds": 0.5, "track": "quick", "converged": True,
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


def test_seconds_of_the_clock_are_scaled_to_seconds_of_the_processor_track_by_track() -> None:
    task, other = find_task("max_margin"), find_task("univariate_relu")
    costs = Costs(
        [
            record("sgd", "max_margin", 7.5),  # 8 s with measuring
            record("adam", "max_margin", 3.5),
            record("adam", "univariate_relu", 1.5),
            record("adam", "univariate_relu", 1.5, track="theory"),
            record("muon", "univariate_relu", 5.5, track="theory"),
        ]
    )
    assert costs.run_seconds(task, "tune", "sgd", "optimizer") == 8.0
    assert costs.run_seconds(other, "tune", "muon", "optimizer") == 6.0  # nothing is known of that track's machine
    measured = {"task": "max_margin", "phase": "tune", "submission": "sgd", "kind": "optimizer", "cpu_seconds": 1.0}
    costs.add_measured([measured | {"runs": 10}], speed=2.0)
    assert costs.run_seconds(task, "tune", "sgd", "optimizer") == 2.0  # a machine of half the speed
    assert costs.run_seconds(task, "tune", "adam", "optimizer") == 4.0 / 4
    assert costs.run_seconds(task, "tune", "unheard_of", "optimizer") == 2.0
    costs.add_measured([measured | {"task": "univariate_relu", "submission": "adam", "runs": 4}], speed=2.0)
    assert costs.run_seconds(other, "tune", "muon", "optimizer") == 6.0


def test_what_reaches_the_target_loss_is_known_by_its_own_runs_first() -> None:
    task = find_task("valley_relu")
    costs = Costs(
        [
            record("sgd", "valley_relu", 1.0),
            record("sgd", "valley_relu", 1.0, status="budget", converged=False),
            record("sgd", "valley_relu", 1.0, phase="score", status="budget", converged=False),
            record("sam", "valley_relu", 1.0),
        ]
    )
    assert costs.share_at_target(task, "sgd", "optimizer") == 0.5
    assert costs.share_at_target(task, "unheard_of", "optimizer") == 2 / 3
    assert costs.share_at_target(task, "unheard_of", "architecture") == 1.0


def test_the_reference_leaves_random_numbers_and_threads_as_they_were() -> None:
    states, threads = generator_states("cpu"), torch.get_num_threads()
    assert reference_seconds() > 0
    assert same_generators(states, generator_states("cpu"))
    assert torch.get_num_threads() == threads
