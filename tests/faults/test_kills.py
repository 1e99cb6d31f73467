"""SIGKILL at random moments: of the driver, of its workers, of a Dask cluster's workers."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.engine.driver import Driver
from suite.engine.executors import Engine, connect
from suite.engine.lock import locked
from suite.storage.log import Log, read
from tests.faults.conftest import PLAN
from tests.logs import runs_of

KILLS = 50
Report = Callable[[str, str], None]
Victims = Callable[[], list[int]]


def _drive(log: Path, told: int) -> None:
    """The driver of a run in this process; writes a byte to `told` for each record that it says is recorded."""
    with locked(log.parent), connect("local:0") as engine:
        for step in Driver(PLAN, Log(log), engine).steps():
            os.write(told, b"." * len(step.records))
    os._exit(0)


def _killed_after(log: Path, seconds: float) -> tuple[bool, int]:
    """Start a driver and kill it after `seconds`; whether it had finished, and how many records it had told of.

    The driver is forked, so that every moment is one of work and none of importing torch.
    """
    heard, told = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(heard)
        _drive(log, told)
    os.close(told)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    with os.fdopen(heard, "rb") as records:
        return os.WIFEXITED(status), len(records.read())


def test_the_driver(tmp_path: Path, undisturbed: Path, report: Report) -> None:
    rng = random.Random(0)
    whole = runs_of(undisturbed)
    begin = time.monotonic()
    assert _killed_after(tmp_path / "timing" / "log.jsonl", 0.0) == (False, 0)
    with connect("local:0") as engine:
        list(Driver(PLAN, Log(tmp_path / "timing2" / "log.jsonl"), engine).steps())
    takes = time.monotonic() - begin
    kills = runs = repairs = 0
    while kills < KILLS:
        runs += 1
        log = tmp_path / str(runs) / "log.jsonl"
        recorded = 0
        finished = False
        while not finished:
            finished, told = _killed_after(log, rng.uniform(0, takes) if kills < KILLS else 10 * takes)
            kills += not finished
            recorded += told
            repairs += bool(log.exists() and log.read_bytes() and not log.read_bytes().endswith(b"\n"))
            # Everything that was told is there, whole and right.
            held = runs_of(log) if log.exists() else {}
            assert len(held) >= recorded
            recorded = len(held)
            assert all(whole[run] == record for run, record in held.items())
        assert runs_of(log) == whole
        assert not read(log).damaged
    report(
        f"SIGKILL of the driver, {kills} times at random moments in {runs} runs",
        f"0 records lost, 0 wrong; all {runs} resumed runs equal the undisturbed one; {repairs} torn lines met",
    )


def _disturbed(engine: Engine, log: Path, seconds: float, victims: Victims) -> None:
    """Run the plan and kill one of `victims` after `seconds`."""

    def strike() -> None:
        alive = victims()
        if alive:
            victim = random.choice(alive)
            os.kill(victim, signal.SIGKILL)
            # Dying takes a while: the next run might still give it a unit, and lose that twice by its own kill.
            while victim in victims():
                time.sleep(0.01)

    timer = threading.Timer(seconds, strike)
    timer.start()
    list(Driver(PLAN, Log(log), engine).steps())
    timer.join()


def _children() -> list[int]:
    return [process.pid for process in multiprocessing.active_children() if process.pid]


def _campaign(engine: Engine, directory: Path, whole: Any, rng: random.Random, victims: Victims, kills: int) -> None:
    """`kills` runs with one of `victims` killed at a random moment of each: the records must be `whole`."""
    _disturbed(engine, directory / "first.jsonl", 0.0, lambda: [])
    begin = time.monotonic()
    _disturbed(engine, directory / "timing.jsonl", 0.0, lambda: [])
    takes = time.monotonic() - begin
    for number in range(kills):
        log = directory / f"{number}.jsonl"
        _disturbed(engine, log, rng.uniform(0, takes), victims)
        assert runs_of(log) == whole


def test_workers(tmp_path: Path, undisturbed: Path, report: Report) -> None:
    with connect("local:2") as engine:
        _campaign(engine, tmp_path, runs_of(undisturbed), random.Random(1), _children, KILLS)
    report(
        f"SIGKILL of a worker process, {KILLS} runs with one at a random moment each",
        f"0 records lost, 0 wrong; all {KILLS} runs equal the undisturbed one",
    )


def test_dask_workers(tmp_path: Path, undisturbed: Path, report: Report) -> None:
    distributed = pytest.importorskip("distributed")
    kills = 5
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        connect(f"dask:{cluster.scheduler_address}") as engine,
    ):

        def workers() -> list[int]:
            return [worker.pid for worker in cluster.workers.values() if worker.pid]

        _campaign(engine, tmp_path, runs_of(undisturbed), random.Random(2), workers, kills)
    report(
        f"SIGKILL of a Dask worker, {kills} runs with one at a random moment each",
        f"0 records lost, 0 wrong; all {kills} runs equal the undisturbed one",
    )
