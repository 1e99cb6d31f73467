"""What `run` and `study` share: options, the engine, progress, and an orderly end whatever happens.

The suite (and torch with it, two seconds) is imported inside the functions that need it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

import leaderboard
import suite
from leaderboard.analysis.baselines import BASELINES, shipped_logs
from leaderboard.commands.console import BYTES, SECONDS, duration, file_stem, print_table
from suite.errors import InputError
from suite.storage.record import Status

if TYPE_CHECKING:
    from suite.engine.costs import Costs
    from suite.engine.driver import Driver
    from suite.engine.driver import Progress as Step
    from suite.engine.executors import Engine
    from suite.engine.plan import Plan
    from suite.storage.log import Log

COSTS = BASELINES / "costs.json"
"""What the default run costs in seconds of CPU, by ``python -m benchmarks.costs``; the shipped records of optimizers
state seconds of the clock, on machines that did other work."""

TIMED_OUT = 124
"""Exit status of a run that its time limit ended, as that of timeout(1)."""


@dataclass(frozen=True)
class Resources:
    """Where a plan runs and how much it may take; a limit that is None does not apply.

    `deadline` is on the clock of `time.monotonic`; `memory` is in bytes that a worker process may allocate; a `dry_run`
    says what would be done, and does nothing.
    """

    engine: str
    deadline: float | None
    trial_seconds: float | None
    memory: int | None
    dry_run: bool = False


def resource_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options of a run; it gets them as one argument `resources`."""

    @click.option(
        "--engine",
        default="local",
        show_default=True,
        metavar="local[:N] | dask[:SCHEDULER]",
        help="N processes (one per core; 0: none but this), or a Dask cluster by address or scheduler file.",
    )
    @click.option("--time-limit", type=SECONDS, metavar="8h", help="End after this long; runs are resumable.")
    @click.option("--trial-time-limit", type=SECONDS, metavar="30m", help="A trial that takes longer has failed.")
    @click.option("--memory-limit", type=BYTES, metavar="4GB", help="What a worker process may allocate (Linux).")
    @click.option("--dry-run", is_flag=True, help="Say what is done, and what is left with its time and memory.")
    @functools.wraps(command)
    def with_resources(
        engine: str,
        time_limit: float | None,
        trial_time_limit: float | None,
        memory_limit: int | None,
        dry_run: bool,
        **others: Any,
    ) -> None:
        deadline = None if time_limit is None else time.monotonic() + time_limit
        command(resources=Resources(engine, deadline, trial_time_limit, memory_limit, dry_run), **others)

    return with_resources


@contextlib.contextmanager
def start_engine(resources: Resources, device: str) -> Iterator[Engine]:
    """The engine that `resources` names, closed at the end; torch is loaded within.

    An InputError says that the engine cannot be reached, or that this machine cannot use the device.
    """
    from suite.engine.executors import connect

    # Workers start first: they import torch while this process does.
    with connect(resources.engine, resources.memory) as engine:
        with Console(stderr=True).status("Loading torch"):
            import torch
        if resources.engine.startswith("local"):  # a cluster's devices are not this machine's
            try:
                torch.empty(1, device=device)
            except (RuntimeError, AssertionError) as error:
                raise InputError(f"The device {device!r} cannot be used ({str(error).splitlines()[0]}).") from None
        yield engine


@contextlib.contextmanager
def opened(path: Path, dry_run: bool = False) -> Iterator[Log]:
    """The log at `path`, which no other run writes to until the end of the block; its late notes are printed then.

    It is opened before any submission's code runs, which could write to it. What a command that cannot run makes here
    is removed; a dry run makes nothing.

    An InputError says that the log cannot be read or written.
    """
    from suite.engine.lock import LOCK, locked
    from suite.storage.log import Log

    if dry_run:
        yield Log(path, writable=False)
        return
    new = not os.path.exists(path.parent)  # so it is also for what is no path; `locked` says why
    with locked(path.parent):
        log = Log(path)
        try:
            tell(log.notes)
            yield log
            new = False
        except BaseException as error:
            new = new and isinstance(error, InputError)
            raise
        finally:
            log.drop_foreign_lines()
            tell(log.notes)
            if new and not path.stat().st_size:
                with contextlib.suppress(OSError):
                    path.unlink()
                    (path.parent / LOCK).unlink()
                    path.parent.rmdir()


def tell(notes: list[str]) -> None:
    """Print what the user should know on standard error, and empty the list."""
    console = Console(stderr=True, markup=False)
    while notes:
        console.print(notes.pop(0), style="yellow", highlight=False, soft_wrap=True)


def recorded_costs() -> Costs:
    """What training runs are expected to take, by the shipped records and by `COSTS`, at the speed of this machine."""
    from suite.engine.costs import Costs
    from suite.engine.speed import reference_seconds
    from suite.storage.log import read

    costs = Costs(record for shipped in shipped_logs() for record in read(shipped).records)
    measured = json.loads(COSTS.read_text())
    costs.add_measured(measured["costs"], reference_seconds() / measured["reference_seconds"])
    return costs


def execute(engine: Engine, plan: Plan, log: Log, resources: Resources) -> None:
    """Run `plan` on `engine`, with the `log` that is `opened`; finished runs of it are skipped.

    A dry run prints what is done and what is left, writes nothing, and exits with 0.

    Exits with 128 + the signal's number on SIGINT and SIGTERM, and with 124 when the deadline has passed.

    Raises:
        InputError: the log cannot be read or written, or the engine cannot run the plan.
    """
    from suite.engine.driver import Driver, OutOfTime

    tell(plan.notes)
    if resources.dry_run:
        _print_outlook(Driver(plan, log, engine, recorded_costs()), log.path)
        sys.exit(0)
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    console = Console(stderr=True, markup=False)
    try:
        driver = Driver(plan, log, engine, recorded_costs(), resources.trial_seconds)
        tell(log.notes)
        if driver.seconds_left():
            if engine.shared is not None and plan.limits is None:
                console.print(engine.shared, highlight=False, soft_wrap=True)
            console.print(f"About {duration(driver.seconds_left())}, from recorded costs.", highlight=False)
        _follow(driver.steps(resources.deadline), console, Failures(log.path))
    except (_Stopped, OutOfTime) as end:
        reason, status = (
            ("Stopped", end.status) if isinstance(end, _Stopped) else ("The time limit has passed", TIMED_OUT)
        )
        console.print(
            f"\n{reason}. What is done lies in {log.path}; the same command goes on from there.", soft_wrap=True
        )
        sys.exit(status)


def _print_outlook(driver: Driver, path: Path) -> None:
    """What is recorded and what is left on every task, with the time and the memory that it is expected to take."""
    from leaderboard.tables.table import DASH, Column, Table, TableCell

    tasks = driver.outlook()
    columns = (
        Column("task", "task", words=True),
        Column("recorded", "runs recorded"),
        Column("runs", "runs left"),
        Column("units", "programs left"),
        Column("seconds", "time of one core"),
        Column("memory", "memory of a process"),
    )
    rows = tuple(
        (
            TableCell(task.task, task.task),
            *(TableCell(count, f"{count:,}") for count in (task.recorded, task.runs, task.units)),
            TableCell(task.seconds, duration(task.seconds)),
            TableCell(task.memory, DASH if task.memory is None else f"{task.memory / 1e9:.2f} GB"),
        )
        for task in tasks
    )
    left, seconds = sum(task.runs for task in tasks), sum(task.seconds for task in tasks)
    notes = (
        "As recorded elsewhere, at the speed of this machine; which settings are scored is known when they are tuned.",
        f"{left:,} runs are left; about {duration(driver.seconds_left())} here, {duration(seconds)} of one core. "
        f"{path} is as it was.",
    )
    print_table(Table("What is left to run", columns, rows, notes=notes))


class _Stopped(BaseException):
    """SIGINT or SIGTERM has come."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number


def _stop(number: int, _: object) -> None:
    # A second one must not disturb the clearing up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped(number)


class Failures:
    """What submissions raised: each traceback is written once to a file of the submission, in a folder beside a log."""

    def __init__(self, log: Path) -> None:
        self.folder = log.parent / "failures"
        self._seen: dict[str, set[str]] = {}

    def note(self, step: Step) -> list[str]:
        """Lines that say where the runs of a unit failed: the last frames outside of the suite, and the file."""
        if not step.traces:
            return []
        name = step.records[0]["submission"]
        seen = self._seen.setdefault(name, set())
        new = [trace for trace in step.traces if trace not in seen]
        path = self.folder / f"{file_stem(name)}.txt"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("a" if seen else "w", encoding="utf-8") as file:
                file.writelines(f"{line(step)}\n{trace}\n" for trace in new)
        except OSError as error:
            return [f"{path} cannot be written ({error.strerror})."]
        seen |= set(new)
        return [*(text for trace in new for text in own_frames(trace)), f"  The traceback: {path}"] if new else []


FRAME = re.compile(r'^  File "(.+)", line (\d+), in (.+)\n(?:    (.*)\n)?', re.MULTILINE)
"""A frame of a traceback as Python prints it: file, line, function and, where it is known, the line's source."""

MOST_FRAMES = 3


def own_frames(trace: str) -> list[str]:
    """The last frames of a traceback in files of the user's own, a line each; of all files where there are none."""
    frames = FRAME.findall(trace)
    theirs = (str(Path(leaderboard.__file__).parent), str(Path(suite.__file__).parent), sys.prefix, sys.base_prefix)
    own = [frame for frame in frames if not frame[0].startswith((*theirs, "<frozen"))]
    return [
        f"  {file}:{number}, in {function}" + (f": {source}" if source else "")
        for file, number, function, source in (own or frames)[-MOST_FRAMES:]
    ]


def _follow(steps: Iterator[Step], console: Console, failures: Failures) -> None:
    """A progress bar with an estimate on a terminal, else a plain line per finished unit; and where runs failed."""
    if not console.is_terminal:
        for step in steps:
            if step.records:
                click.echo("\n".join([line(step), *failures.note(step)]), err=True)
        return
    description = TextColumn("{task.description}", markup=False)  # names of tasks have brackets
    left = TextColumn("{task.fields[left]} left")
    columns = (description, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), left)
    with Progress(*columns, console=console, transient=True) as bar:
        handle = bar.add_task("starting", total=1.0, left="?")
        for step in steps:
            unit = f"{step.unit.task} {step.unit.phase}"
            bar.update(handle, completed=step.done, description=unit, left=duration(step.left))
            if not all(Status(record["status"]).trained for record in step.records):
                bar.console.print(line(step), style="yellow", highlight=False)
                for text in failures.note(step):
                    bar.console.print(text, highlight=False, soft_wrap=True)


def line(step: Step) -> str:
    """What became of a unit."""
    converged = sum(record["converged"] for record in step.records)
    first = step.records[0]
    text = (
        f"{step.done:4.0%}, {duration(step.left)} left  {first['submission']} on {first['task']}, {step.unit.phase}: "
        f"{converged} of {len(step.records)} runs reached the target loss"
    )
    reasons = {record["reason"] for record in step.records if record["reason"]}
    reasons |= {f"{name} is not defined" for record in step.records for name in record.get("undefined", {})}
    return f"{text} ({'; '.join(sorted(reasons))})" if reasons else text
