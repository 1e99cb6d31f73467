"""The part of the command that runs a plan: options, engine, progress, and an orderly end whatever happens.

The suite (and torch with it, two seconds) is imported inside the functions that need it.
"""

from __future__ import annotations

import functools
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

from leaderboard.analysis.baselines import shipped_logs
from leaderboard.commands.console import duration, seconds, size
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.engine.costs import Costs
    from suite.engine.driver import Progress as Step
    from suite.engine.executors import Engine
    from suite.engine.plan import Plan
    from suite.sandbox.limits import Limits


TIMED_OUT = 124
"""Exit status of a run that its time limit ended, as that of timeout(1)."""


@dataclass(frozen=True)
class Resources:
    """Where a plan runs and how much it may take: seconds for the whole and per trial, bytes per worker process."""

    engine: str
    time_limit: float | None
    trial_time_limit: float | None
    memory_limit: int | None


OPTIONS = (
    click.option(
        "--engine",
        default="local",
        show_default=True,
        metavar="local[:N] | dask[:SCHEDULER]",
        help="N processes (one per core; 0: none but this), or a Dask cluster by address or scheduler file.",
    ),
    click.option("--time-limit", type=seconds, metavar="8h", help="End the run after this long; a second run goes on."),
    click.option("--trial-time-limit", type=seconds, metavar="30m", help="A trial that takes longer has failed."),
    click.option("--memory-limit", type=size, metavar="4GB", help="What a worker process may allocate (Linux)."),
)


def resource_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options above; it gets them as one argument `resources`."""

    @functools.wraps(command)
    def collected(
        *args: Any,
        engine: str,
        time_limit: float | None,
        trial_time_limit: float | None,
        memory_limit: int | None,
        **kwargs: Any,
    ) -> None:
        command(*args, resources=Resources(engine, time_limit, trial_time_limit, memory_limit), **kwargs)

    for option in reversed(OPTIONS):
        option(collected)
    return collected


def isolation_limits(resources: Resources) -> Limits:
    """What isolated submissions may use; says on standard error how well this machine can isolate.

    Raises:
        InputError: it cannot at all.
    """
    from suite.sandbox import process as jail
    from suite.sandbox.limits import Limits

    if sys.platform != "linux":
        raise InputError("--isolate needs Linux.")
    if jail.kind() != jail.BUBBLEWRAP:
        click.echo(
            "Not isolated: bubblewrap is not installed, so submissions run with limits, but they can read your files, "
            "write where you can, and use the network.",
            err=True,
        )
    default = Limits()
    return Limits(resources.trial_time_limit or default.seconds, resources.memory_limit or default.memory)


def execute(make_plan: Callable[[], Plan], path: Path, device: str, resources: Resources) -> None:
    """Run the plan that `make_plan` gives, with the log `path`.

    Exits with 128 + the signal's number on SIGINT and SIGTERM, and with 124 when the time limit has passed.

    Raises:
        InputError: the plan, the engine, the device or the log cannot be had.
    """
    from suite.engine.executors import connect

    console = Console(stderr=True)
    deadline = None if resources.time_limit is None else time.monotonic() + resources.time_limit
    # Workers start first: they import torch while this process does.
    with connect(resources.engine, resources.memory_limit) as engine:
        with console.status("Loading torch"):
            if resources.engine.startswith("local"):  # a cluster's devices are not this machine's
                _check_device(device)
            plan = make_plan()
        from suite.engine.driver import OutOfTime

        goes_on = f"What is done lies in {path}; the same command goes on from there."
        try:
            _run(plan, path, engine, resources.trial_time_limit, deadline, console)
        except _Stopped as stopped:
            console.print(f"\nStopped. {goes_on}", soft_wrap=True)
            sys.exit(stopped.status)
        except OutOfTime:
            console.print(f"\nThe time limit has passed. {goes_on}", soft_wrap=True)
            sys.exit(TIMED_OUT)


class _Stopped(BaseException):
    """SIGINT or SIGTERM has come."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number


def _stop(number: int, _: object) -> None:
    # A second one must not disturb the clearing up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped(number)


def _run(
    plan: Plan, path: Path, engine: Engine, trial_limit: float | None, deadline: float | None, console: Console
) -> None:
    from suite.engine.driver import Driver
    from suite.engine.lock import locked
    from suite.storage.log import Log

    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    with locked(path.parent):
        log = Log(path)
        run = Driver(plan, log, engine, _costs(), trial_limit)
        for note in log.notes:
            console.print(note, style="yellow", highlight=False, soft_wrap=True)
        if run.seconds_left():
            console.print(f"About {duration(run.seconds_left())}, from recorded costs.", highlight=False)
        _follow(run.steps(deadline), console)


def _costs() -> Costs:
    """What the shipped results say of how long tasks take."""
    from suite.engine.costs import Costs
    from suite.storage.log import read

    return Costs(record for path in shipped_logs() for record in read(path).records)


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {device!r} cannot be used ({str(error).splitlines()[0]}).") from None


def _follow(steps: Iterator[Step], console: Console) -> None:
    """A progress bar with an estimate on a terminal, else a plain line per finished unit."""
    if not console.is_terminal:
        for step in steps:
            if step.records:
                click.echo(_line(step), err=True)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]} left"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        handle = bar.add_task("starting", total=1.0, left="?")
        for step in steps:
            doing = f"{step.unit.task} {step.unit.phase}"
            bar.update(handle, completed=step.done, description=doing, left=duration(step.left))
            if any(record["status"] in ("failed", "unavailable") for record in step.records):
                bar.console.print(_line(step), style="yellow", highlight=False)


def _line(step: Step) -> str:
    met = sum(record["converged"] for record in step.records)
    first = step.records[0]
    text = (
        f"{step.done:4.0%}, {duration(step.left)} left  {first['submission']} on {first['task']}, {step.unit.phase}: "
        f"{met} of {len(step.records)} lanes met the stop"
    )
    reasons = {record["reason"] for record in step.records if record["reason"]}
    return f"{text} ({'; '.join(sorted(reasons))})" if reasons else text
