"""`lowlands references`: the values that score 0 and 1 on tasks of the user's own, and the suite's frozen ones.

The suite (and torch with it, two seconds) is imported inside the functions that need it.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import TimeoutError as FuturesTimeoutError
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leaderboard.commands.console import duration, file_stem
from leaderboard.commands.execution import (
    TIMED_OUT,
    Resources,
    execute,
    opened,
    recorded_costs,
    resource_options,
    start_engine,
)
from leaderboard.commands.run import data_option, device_option, results_option, use_data
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.commands.frozen_references import Progress, ReferenceRun
    from suite.engine.executors import Engine

LONGEST = 30 * 24 * 3600.0
"""Seconds that reference runs may take where no limit is given."""


@click.command()
@click.argument("task", required=False)
@click.option("--all", "frozen", is_flag=True, help="Make the frozen references of the suite's own tasks.")
@click.option("--only", multiple=True, metavar="TASK", help="With --all: of this task alone (repeatable).")
@click.option(
    "--file", type=click.Path(path_type=Path), help="With --all: where they are written [default: the suite]."
)
@click.option("--axes-of", type=click.Path(path_type=Path), metavar="LOG", help="Give records the axes of today.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each optimizer.")
@results_option
@data_option
@device_option
@resource_options
def references(
    task: str | None,
    frozen: bool,
    only: tuple[str, ...],
    file: Path | None,
    axes_of: Path | None,
    seeds: int,
    results: Path,
    data: Path | None,
    device: str,
    resources: Resources,
) -> None:
    """Make the references of a TASK of your own: then it is scored.

    TASK is my_task.py:NAME, whose axes leave their references open as NaN, or image:NAME. Seven well-known optimizers
    are tuned and run on seeds of their own. The best mean of each measure scores 1, the worst scores 0. The file lies
    beside the task or its data; remake it when they change. Runs are resumable.

    With --all those of the suite's image tasks and tiny_lm, for a new board (--dry-run says what they cost); --axes-of
    LOG then gives image records that were made before the new references.

    \b
    Example: lowlands references my_task.py:line
    """
    use_data(data)
    if sum((task is not None, frozen, axes_of is not None)) != 1:
        raise InputError("Name a TASK of your own, or give --all, or --axes-of LOG.")
    if (only or file) and not frozen:
        raise InputError("--only and --file belong to --all.")
    if axes_of is not None:
        from suite.commands.frozen_references import give_axes

        if not axes_of.is_file():
            raise InputError(f"There is no log {axes_of}.")
        click.echo(f"{give_axes(axes_of)} records have new axes.")
    elif frozen and device != "cpu":
        raise InputError("Frozen references are made on the CPU.")
    elif frozen:
        _make_frozen(only, file, seeds, results / "references" / "frozen.jsonl", resources)
    else:
        assert task is not None
        _make_own(task, seeds, results, device, resources)


def _make_own(task: str, seeds: int, results: Path, device: str, resources: Resources) -> None:
    """Make the references of a task of the user's own."""
    with start_engine(resources, device) as engine:
        from suite.commands.own_references import SUBMISSIONS, references_of, track_of_references
        from suite.engine.plan import make_plan
        from suite.storage.log import read
        from suite.storage.record import of_newest_source
        from suite.tasks import open_task, place_of_references
        from suite.tasks.own_references import write

        own = open_task(task)
        path, name = place_of_references(own)
        if not own.open_axes:
            raise InputError(f"{task} leaves no references open: give its axes score_0=math.nan, score_1=math.nan.")
        track = track_of_references(task, seeds)
        place = results / "references" / f"{file_stem(task)}.jsonl"
        with opened(place, resources.dry_run) as log:
            execute(engine, make_plan(SUBMISSIONS, track.tasks, track, device, engine=engine), log, resources)
        records = [record for record in of_newest_source(read(place).records) if record["phase"] == "score"]
        pairs = references_of(records, own.open_axes)
    write(path, name, pairs)
    for measure, pair in pairs.items():
        worst, best = f"{pair.score_0:.4g} scores 0 ({pair.score_0_run})", f"{pair.score_1:.4g} scores 1"
        click.echo(f"{measure}: {worst}, {best} ({pair.score_1_run})")
    click.echo(f"Wrote {path}")


def _make_frozen(only: tuple[str, ...], file: Path | None, seeds: int, kept: Path, resources: Resources) -> None:
    """Make the frozen references of the suite's tasks; what is finished is kept in the file `kept`."""
    with start_engine(resources, "cpu") as engine:
        from suite.commands.frozen_references import Progress, finished_entries, reference_runs, write_references
        from suite.tasks.images import REFERENCES_FILE

        runs = reference_runs(only)
        progress = Progress(kept, seeds)
        if progress.outdated:
            click.echo(
                f"{progress.outdated} runs of another source or other seeds lie in {kept}: made again.", err=True
            )
        left = [run for run in runs if not progress.has(run)]
        expected = _expected_seconds(left, seeds)
        click.echo(f"{len(left)} of {len(runs)} reference runs are left: {duration(sum(expected))} of one core.")
        if resources.dry_run:
            for run, seconds in zip(left, expected, strict=True):
                click.echo(f"{run.task}, {run.label}: {duration(seconds)}")
            return
        _run_all(engine, left, seeds, progress, resources)
        path = file or REFERENCES_FILE
        write_references(path, finished_entries(runs, progress, seeds))
    click.echo(f"Wrote {path}")


def _expected_seconds(runs: list[ReferenceRun], seeds: int) -> list[float]:
    """Seconds of one core of each of the runs, from recorded costs of scored runs, at the speed of this machine."""
    from suite.commands.frozen_references import training_share
    from suite.tasks import find_task

    costs = recorded_costs()
    return [
        seeds * training_share(run) * costs.run_seconds(find_task(run.task), "score", run.submission, "optimizer")
        for run in runs
    ]


def _run_all(engine: Engine, runs: list[ReferenceRun], seeds: int, progress: Progress, resources: Resources) -> None:
    """Carry the runs out, telling and keeping each; exits with 124 when the deadline has passed.

    Raises:
        InputError: data are missing, or a run raised.
    """
    from suite.commands.frozen_references import run_references
    from suite.engine.worker import Failure

    limit = resources.trial_seconds
    futures = {engine.submit(run_references, (run, seeds), limit, owner=run.submission): run for run in runs}
    left = LONGEST if resources.deadline is None else resources.deadline - time.monotonic()
    try:
        for number, future in enumerate(as_completed(futures, timeout=max(0.0, left)), start=1):
            run, answer = futures[future], future.result()
            if isinstance(answer, InputError):
                raise answer
            if isinstance(answer, Failure):
                raise InputError(f"{run.task}, {run.label}: {answer.reason}.")
            progress.add(run, answer)
            means = "missed the target loss" if answer is None else ", ".join(f"{k} {v:.4g}" for k, v in answer.items())
            click.echo(f"{number}/{len(runs)} {run.task}, {run.label}: {means}", err=True)
    except FuturesTimeoutError:
        click.echo("The time limit has passed; the same command goes on from what is done.", err=True)
        sys.exit(TIMED_OUT)
    finally:
        for future in futures:
            future.cancel()
