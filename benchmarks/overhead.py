"""What a Dask cluster costs beyond the trials that it runs: ``python -m benchmarks.overhead`` (about two minutes).

1,000 trials of one lane each on two workers of this machine, against the same trials one after another in one process.
The records must be the same; docs/scale.md shows the figures.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import psutil
from distributed import LocalCluster

from suite.engine.engines import Engine, connect
from suite.engine.plan import Plan
from suite.engine.run import Run
from suite.record import Log, Record, identity, read
from suite.tasks import find_task
from suite.track import Track

TRIALS = 1_000
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


def carry_out(engine: Engine, home: Path, name: str, trials: int = TRIALS) -> tuple[float, float, list[Record]]:
    """Seconds of the clock and of CPU for `trials` scored lanes, each a unit of its own, and their records."""
    track = Track("load", (), trials, 1, 1, "")
    # Lanes of this task are batched; here each is to be a trial of its own.
    with mock.patch("suite.engine.plan.find_task", lambda name: replace(find_task(name), batched=False)):
        run = Run(Plan((str(home / "fast.py"),), (TASK,), track), Log(home / name), engine)
    begin, used = time.perf_counter(), cpu()
    assert sum(1 for _ in run.steps()) == trials
    seconds, used = time.perf_counter() - begin, cpu() - used
    return seconds, used, sorted(map(identity, read(home / name).records), key=lambda record: record["seed"])


def main() -> None:
    """Print what a trial takes alone, and what it takes more on the cluster."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "fast.py").write_text(SUBMISSION)
        with connect("local:0") as engine:
            carry_out(engine, home, "warm.jsonl", 8)
            alone, alone_cpu, expected = carry_out(engine, home, "alone.jsonl")
        with (
            LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
            connect(f"dask:{cluster.scheduler_address}") as engine,
        ):
            carry_out(engine, home, "warm_cluster.jsonl", 8)  # both workers have imported torch
            together, together_cpu, found = carry_out(engine, home, "cluster.jsonl")
    print(f"{TRIALS:,} trials on {WORKERS} Dask workers, records equal to those of one process: {found == expected}.")
    print("\n| per trial | one process | cluster | beyond the trial itself |\n| --- | --- | --- | --- |")
    rows = (
        (f"clock, {WORKERS} workers at a time", alone / WORKERS, together),
        ("CPU, all processes", alone_cpu, together_cpu),
    )
    for what, first, second in rows:
        cells = " | ".join(f"{seconds / TRIALS * 1e3:.1f} ms" for seconds in (first, second, second - first))
        print(f"| {what} | {cells} |")


if __name__ == "__main__":
    main()
