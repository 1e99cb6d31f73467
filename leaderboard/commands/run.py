"""`lowlands run`: score submissions on a track.

The suite (and torch with it, two seconds) is imported inside the functions that need it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leaderboard.commands.console import print_table
from leaderboard.commands.execution import Resources, execute, resource_options, start_engine
from suite.errors import InputError
from suite.tracks import TRACKS, find_track

if TYPE_CHECKING:
    from suite.sandbox.limits import Limits

RESULTS = Path("results")
"""The directory of the user's logs, unless an option names another one."""

SOLUTIONS = "solutions"
"""The folder beside a log in which scored solutions are kept."""

DEFAULT = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "sign", "sam")
"""What `lowlands run` runs when nothing is named: every other optimizer is a longer wait for a first table."""

TRACK_HELP = ", ".join(f"{track.name} ({track.description})" for track in TRACKS.values())


@click.command()
@click.argument("submissions", nargs=-1, metavar="[SUBMISSION]...")
@click.option("--track", "track_name", default="quick", show_default=True, metavar="NAME", help=f"{TRACK_HELP}.")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task (repeatable), e.g. max_margin.")
@click.option("--seeds", type=click.IntRange(min=1), help="Scored seeds per task [default: the track's].")
@click.option("--trials", type=click.IntRange(min=1), help="Tuning trials per task [default: the track's].")
@click.option(
    "--tuning-seeds", type=click.IntRange(min=1), help="Seeds that a trial is tried on [default: the track's]."
)
@click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="The directory of the logs."
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="The directory of the data sets [default: $LOWLANDS_DATA]."
)
@click.option("--device", default="cpu", show_default=True, help="Torch device, e.g. cuda.")
@click.option("--isolate", is_flag=True, help="Run the submissions' code in sandboxed processes (Linux).")
@click.option("--keep-solutions", is_flag=True, help="Keep scored weights beside the log, for `lowlands verify`.")
@resource_options
def run(
    submissions: tuple[str, ...],
    track_name: str,
    tasks: tuple[str, ...],
    seeds: int | None,
    trials: int | None,
    tuning_seeds: int | None,
    results: Path,
    data: Path | None,
    device: str,
    isolate: bool,
    keep_solutions: bool,
    resources: Resources,
) -> None:
    """Score submissions on a track and print the table.

    A SUBMISSION is a built-in name (see `lowlands submissions`), a path to a file, or module:Class. Without any,
    eight well-known optimizers run. The ranking shows the shipped results of the same runs beside yours. Runs are
    resumable: finished runs are skipped.

    \b
    Example: lowlands run adam my_optimizer.py --track quick --task mnist5k_mlp
    """
    track = find_track(track_name)
    track = dataclasses.replace(
        track,
        seeds=seeds or track.seeds,
        trials=trials or track.trials,
        tuning_seeds=tuning_seeds or track.tuning_seeds,
    )
    if data is not None:
        if not data.is_dir():
            raise InputError(f"There is no directory {data} (--data).")
        os.environ["LOWLANDS_DATA"] = str(data.resolve())
    path = results / f"{track.name}.jsonl"
    solutions = str((results / SOLUTIONS).resolve()) if keep_solutions else None
    limits = isolation_limits(resources.trial_seconds, resources.memory) if isolate else None
    with start_engine(resources, device) as engine:
        from suite.engine.plan import make_plan

        plan = make_plan(submissions or DEFAULT, tasks or track.tasks, track, device, limits, solutions)
        execute(engine, plan, path, resources)
    _print_results(path)


def isolation_limits(seconds: float | None = None, memory: int | None = None) -> Limits:
    """What isolated submissions may use; says on standard error how well this machine can isolate.

    Args:
        seconds: the time limit of a trial; None for the default.
        memory: bytes that a process may allocate; None for the default.

    Raises:
        InputError: it cannot isolate at all.
    """
    from suite.sandbox import process
    from suite.sandbox.limits import Limits

    if sys.platform != "linux":
        raise InputError("--isolate needs Linux.")
    if process.isolation() != process.BUBBLEWRAP:
        click.echo(
            "Not isolated: bubblewrap is not installed, so submissions run with limits, but they can read your files, "
            "write where you can, and use the network.",
            err=True,
        )
    default = Limits()
    return Limits(seconds or default.seconds, memory or default.memory)


def _print_results(path: Path) -> None:
    """The measures of the log's runs, and the ranking with the shipped results beside them."""
    from leaderboard.analysis.baselines import with_shipped
    from leaderboard.analysis.ranking import board, boards
    from leaderboard.analysis.results import load
    from leaderboard.tables import views

    results = load([path])
    with_baselines = with_shipped(results)
    for note in with_baselines.notes:
        click.echo(note, err=True)
    for local in boards(results):
        print_table(views.measures(local, results))
        joint = board(with_baselines, local.kind)
        ranking = views.ranking(joint, with_baselines)
        shipped = [name for name in joint.names if name not in local.names]
        if shipped:
            note = f"From the shipped results, not run here: {', '.join(shipped)}."
            ranking = dataclasses.replace(ranking, notes=(*ranking.notes, note))
        print_table(ranking)
    click.echo(f"Records: {path}")
