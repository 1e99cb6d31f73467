"""What a unit gives when something other than the submission breaks: records that say so, and no exception."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from suite.errors import InputError
from suite.oracles.solvers import OracleError
from suite.storage.record import TRACEBACK, checksum
from suite.task import Task
from suite.tasks import find_task
from suite.trials import resolved, select
from suite.trials.evaluate import failed, run_unit
from suite.trials.resolved import resolve
from suite.trials.unit import Trial, Unit

TASK = "min_norm_regression"


def unit(phase: str = "score", seeds: tuple[int, ...] = (0, 1)) -> Unit:
    return Unit("sgd", TASK, "smoke", phase, (Trial(0, {"lr": 0.5}),), seeds)


def raising(error: Exception) -> Callable[..., Any]:
    def raises(*_: object) -> Any:
        raise error

    return raises


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Give the task other parts for one test; what is kept of its data and oracles is forgotten before and after."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def change(**parts: Any) -> None:
        task: Task = replace(find_task(TASK), **parts)
        monkeypatch.setattr(resolved, "open_task", lambda _: task)
        monkeypatch.setattr(resolved, "_problem", resolved._problem.__wrapped__)
        monkeypatch.setattr(resolved, "_oracle", resolved._oracle.__wrapped__)

    return change


@pytest.mark.parametrize("phase", ["tune", "score"])
def test_data_that_cannot_be_had(changed: Callable[..., None], phase: str) -> None:
    changed(problem=raising(InputError("There is no CIFAR-10 here.")))
    records = run_unit(unit(phase))
    assert [(r["seed"], r["status"], r["reason"]) for r in records] == [
        (seed, "unavailable", "There is no CIFAR-10 here.") for seed in (0, 1)
    ]
    assert all("There is no CIFAR-10 here." in r.pop(TRACEBACK) for r in records)  # beside what is sealed
    assert all(r["data_fingerprint"] is None and not r["converged"] and r["checksum"] == checksum(r) for r in records)


def test_an_oracle_that_does_not_solve(changed: Callable[..., None]) -> None:
    changed(oracle=raising(OracleError("HiGHS did not solve the problem: status 4.")))
    records = run_unit(unit())
    assert {r["status"] for r in records} == {"unavailable"}
    assert {r["reason"] for r in records} == {"HiGHS did not solve the problem: status 4."}
    assert all(set(r["axes"]) == {axis.axis for axis in find_task(TASK).axes} for r in records)
    # Tuning needs no oracle.
    assert all(r["converged"] for r in run_unit(unit("tune")))


def test_a_measure_that_raises_fails_its_run_alone(changed: Callable[..., None]) -> None:
    measure = find_task(TASK).measure

    def measures(solution: Any) -> dict[str, float]:
        if solution.seed == 1:
            raise ArithmeticError("singular")
        return measure(solution)

    changed(measure=measures)
    good, bad = run_unit(unit())
    assert good["converged"]
    assert good["measures"]
    assert (bad["converged"], bad["status"]) == (False, "failed")
    assert bad["reason"] == "Measuring raised ArithmeticError: singular"


def test_a_trial_is_measured_as_a_scored_run_is_and_never_raced() -> None:
    trials = tuple(Trial(number, {"lr": rate}) for number, rate in enumerate((0.3, 1.5)))
    raced, whole = (Unit("sgd", TASK, "smoke", "tune", trials, (0, 1), measured=measured) for measured in (False, True))
    assert [r["status"] for r in run_unit(raced)] == ["raced", "raced", "converged", "converged"]
    records, scored = run_unit(whole), run_unit(replace(whole, phase="score"))
    assert select("gradient_evaluations", records) == select("gradient_evaluations", run_unit(raced)) == [1]
    for trial, run in zip(records, scored, strict=True):
        assert trial["converged"]
        assert trial["measures"] == run["measures"] != {}
        assert trial["axes"] == run["axes"] != {}


@pytest.mark.parametrize("broken", ["oracle", "measure"])
def test_a_trial_that_cannot_be_measured_is_tuned_as_before(changed: Callable[..., None], broken: str) -> None:
    changed(**{broken: raising(OracleError("HiGHS did not solve the problem: status 4."))})
    records = run_unit(replace(unit("tune"), measured=True))
    assert [(r["status"], r["measures"]) for r in records] == [("converged", {})] * 2


def test_records_state_what_their_unit_cost() -> None:
    used, begin = psutil.Process().memory_info().rss, time.perf_counter()
    records = run_unit(unit())
    took = time.perf_counter() - begin
    ((share, memory),) = {(r["unit_seconds"], r["peak_memory"]) for r in records}
    own = sum(r["seconds"] + r["measure_seconds"] for r in records)
    assert 0 < own <= len(records) * share + 1e-3 <= took + 2e-3
    assert memory > 0.99 * used  # the kernel adds up its pages of each thread now and then only
    assert memory < psutil.virtual_memory().total
    assert all(r["checksum"] == checksum(r) for r in records)


def test_records_state_the_processor_time_of_all_processes_of_their_unit() -> None:
    before = psutil.Process().cpu_times()
    records = run_unit(unit())
    after = psutil.Process().cpu_times()
    took = sum(after[:4]) - sum(before[:4])  # user and system, own and of children
    (share,) = {r["cpu_seconds"] for r in records}
    assert 0.5 * took < len(records) * share <= took + 2e-3


def test_all_records_have_the_same_fields() -> None:
    trained = run_unit(unit())
    given_up = failed(resolve(unit()), "the worker process died")
    assert {frozenset(r) for r in trained} == {frozenset(r) for r in given_up}
    same = ("task_hash", "submission_hash", "hyperparameters", "seed", "environment", "phase", "trial", "track")
    assert [[r[f] for f in same] for r in trained] == [[r[f] for f in same] for r in given_up]
