"""What a Dask cluster costs beyond the trials that it runs: ``python -m benchmarks.overhead`` (about two minutes).

1,000 trials of one run each on two workers of this machine, and what of their time was not spent in the trial. Records
must equal those of one process; docs/scale.md shows the figures.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import psutil
from distributed import LocalCluster

from suite.engine.driver import Driver
from suite.engine.executors import Engine, connect
from suite.engine.plan import make_plan
from suite.storage.log import Log, read
from suite.storage.record import Record, identity, seal
from suite.tracks import Track
from suite.trials.evaluate import run_unit
from suite.trials.unit import Unit

TRIALS = 1_000
COMPARED = 50
WORKERS = 2
TASK = "adaptive_trap"
SUBMISSION = """'''Gradient descent with a step that needs fifteen of them, so that trials are short.'''
from suite import Submission
from torch.optim import SGD

submission = Submission(name="fast", optimizer=SGD, space={"lr": 1.0})
"""


def cpu() -> float:
    """Seconds of CPU that this process and all below it have used; Dask's scheduler is a thread of this one."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


def timed_unit(unit: Unit) -> list[Record]:
    """`run_unit`, whose record says what all of it took: seconds of CPU, and by the clock as `measure_seconds`."""
    begin, used = time.perf_counter(), time.process_time()
    (record,) = run_unit(unit)
    took = {"seconds": time.process_time() - used, "measure_seconds": time.perf_counter() - begin}
    return [seal(record | took)]


def carry_out(engine: Engine, home: Path, name: str, trials: int) -> tuple[float, float, list[Record]]:
    """Seconds of the clock and of CPU for `trials` scored runs, each a unit of its own, and their records by seed."""
    from benchmarks import overhead  # under its name a worker finds it; as a command this module has none

    track = Track("load", (), trials, 1, 1, "")
    plan = make_plan([str(home / "fast.py")], [TASK], track)
    # Runs of this task are batched; here each is to be a unit of its own.
    plan = replace(plan, tasks=tuple(replace(task, batched=False) for task in plan.tasks))
    with mock.patch("suite.engine.driver.run_unit", overhead.timed_unit):
        run = Driver(plan, Log(home / name), engine)
        begin, used = time.perf_counter(), cpu()
        assert sum(1 for _ in run.steps()) == trials
        seconds, used = time.perf_counter() - begin, cpu() - used
    return seconds, used, sorted(read(home / name).records, key=lambda record: record["seed"])


def main() -> None:
    """Print what a trial takes on the cluster beyond itself, by the clock and of CPU."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "fast.py").write_text(SUBMISSION)
        with connect("local:0") as engine:
            *_, alone = carry_out(engine, home, "alone.jsonl", COMPARED)
        with (
            LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
            connect(f"dask:{cluster.scheduler_address}") as engine,
        ):
            carry_out(engine, home, "warm.jsonl", 8)  # both workers have imported torch
            clock, used, records = carry_out(engine, home, "cluster.jsonl", TRIALS)
    equal = [identity(record) for record in records[:COMPARED]] == [identity(record) for record in alone]
    print(f"{TRIALS:,} trials on {WORKERS} Dask workers; the first {COMPARED} equal those of one process: {equal}.")
    print("\n| per trial | in all | the trial itself | beyond it |\n| --- | --- | --- | --- |")
    own = [sum(record[name] for record in records) for name in ("measure_seconds", "seconds")]
    for what, whole, trials in (("clock of a worker", WORKERS * clock, own[0]), ("CPU, all processes", used, own[1])):
        cells = " | ".join(f"{seconds / TRIALS * 1e3:.1f} ms" for seconds in (whole, trials, whole - trials))
        print(f"| {what} | {cells} |")


if __name__ == "__main__":
    main()
