"""Load: a log of 100,000 records, and 1,000 trials on a Dask cluster. ``python -m benchmarks.load [log] [dask]``.

Prints the tables that docs/scale.md shows.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.scale import shipped
from leaderboard.ranking import board
from leaderboard.results import load
from suite.engine import plan as planning
from suite.engine import run as running
from suite.engine.engines import connect
from suite.engine.plan import Plan
from suite.engine.run import Run
from suite.record import Log, Record, read, seal
from suite.tasks import find_task
from suite.track import Track
from suite.trial import Unit, run_unit

SIZES = (25_000, 50_000, 100_000)
LANES_PER_UNIT = 10
TRIALS = 1_000


def many(count: int) -> Iterator[Record]:
    """`count` records of different lanes, made of the shipped ones: their submissions under many names."""
    first = [record for record in shipped() if record["track"] == "quick"]
    for number, record in zip(range(count), itertools.cycle(first), strict=False):
        name = f"{record['submission']}-{number // len(first)}"
        yield seal({key: value for key, value in record.items() if key != "checksum"} | {"submission": name})


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that `call` takes, and its result."""
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def _append(log: Log, records: list[Record]) -> None:
    for start in range(0, len(records), LANES_PER_UNIT):
        log.append(*records[start : start + LANES_PER_UNIT])


def _resume(path: Path) -> None:
    """Everything that a run does with the log before its first unit starts."""
    with connect("local:0") as engine:
        Run(Plan(("sgd",), ("min_norm_regression",), Track("quick", (), 1, 1, 1, "")), Log(path), engine)


def measure_log() -> None:
    """Append, resume and table, at three sizes."""
    print("| records | MB | append | resume scan | table |\n| --- | --- | --- | --- | --- |")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as directory:
            log = Log(Path(directory) / "quick.jsonl")
            appending, _ = timed(lambda log=log, size=size: _append(log, list(many(size))))
            making, _ = timed(lambda size=size: list(many(size)))
            scanning, _ = timed(lambda log=log: _resume(log.path))
            table, _ = timed(lambda log=log: board(load([log.path])))
            megabytes = log.path.stat().st_size / 1e6
        times = (appending - making, scanning, table)
        cells = " | ".join(f"{seconds:.1f} s ({seconds / size * 1e6:.0f} µs each)" for seconds in times)
        print(f"| {size:,} | {megabytes:.0f} | {cells} |", flush=True)


def _timed_unit(unit: Unit) -> list[Record]:
    """`run_unit`, with all that it took as the records' `measure_seconds`."""
    seconds, records = timed(lambda: run_unit(unit))
    return [seal(record | {"measure_seconds": seconds / len(records)}) for record in records]


def measure_dask() -> None:
    """1,000 trials of one lane each on a cluster of two workers on this machine; what each takes beyond itself."""
    from distributed import LocalCluster

    # Lanes of this task are batched; here each is to be a trial of its own.
    planning.find_task = lambda name: dataclasses.replace(find_task(name), batched=False)
    running.run_unit = _timed_unit
    with (
        tempfile.TemporaryDirectory() as directory,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        connect(f"dask:{cluster.scheduler_address}") as engine,
    ):

        def carry_out(name: str, seeds: int) -> tuple[float, float]:
            path = Path(directory) / name
            plan = Plan(("sgd",), ("adaptive_trap",), Track("load", (), seeds, 1, 1, ""))
            seconds, steps = timed(lambda: list(Run(plan, Log(path), engine).steps()))
            assert len(steps) >= seeds
            return seconds, sum(record["measure_seconds"] for record in read(path).records)

        carry_out("warm", 8)  # both workers have imported torch
        wall, trials = carry_out("log", TRIALS)
    print(f"{TRIALS:,} trials of {trials / TRIALS * 1e3:.1f} ms on two workers: {wall:.1f} s;")
    print(f"beyond the trial itself, per trial: {(2 * wall - trials) / TRIALS * 1e3:.1f} ms of a worker.")


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["log", "dask"]
    if "log" in chosen:
        measure_log()
    if "dask" in chosen:
        measure_dask()
