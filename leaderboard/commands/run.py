"""`lowlands run` and `lowlands study`: run a plan, then show what came of it.

The suite (and torch with it, two seconds) is imported inside the functions that need it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leaderboard.commands.console import FiniteRange, output, print_table
from leaderboard.commands.execution import Resources, execute, opened, resource_options, start_engine
from suite.errors import InputError
from suite.storage.record import PATH, Status
from suite.storage.training_paths import file_of
from suite.study_design import PRESETS, find_preset
from suite.tracks import TRACKS, Track, find_track

if TYPE_CHECKING:
    from leaderboard.analysis.results import Results
    from suite.sandbox.limits import Limits

RESULTS = Path("results")
"""The directory of the user's logs, unless an option names another one."""

SOLUTIONS = "solutions"
"""The folder beside a log in which scored solutions are kept."""

DEFAULT = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "sign", "sam")
"""What `lowlands run` runs when nothing is named: every other optimizer is a longer wait for a first table."""

FREE_OF_STEP_SIZE = ("lbfgs", "torch.optim:Adadelta")
"""What it runs then on a track of optimizers without a step size: those of torch."""

TRACK_HELP = ", ".join(f"{track.name} ({track.description})" for track in TRACKS.values())
PRESET_HELP = ", ".join(f"{preset.name} ({preset.description})" for preset in PRESETS.values())

TASK_HELP = (
    "Only this task (repeatable): one of `lowlands tasks`, image:NAME or tabular:NAME on your data NAME.npz in --data, "
    "or my_task.py:function."
)

results_option = click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="The directory of the logs."
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The directory of the data sets, or the text of tiny_lm[data=text] [default: $LOWLANDS_DATA].",
)
device_option = click.option("--device", default="cpu", show_default=True, help="Torch device, e.g. cuda.")


@click.command()
@click.argument("submissions", nargs=-1, metavar="[SUBMISSION]...")
@click.option(
    "--track",
    "track_name",
    default="quick",
    show_default=True,
    metavar="NAME",
    help=f"{TRACK_HELP}; or your own, in a file NAME.toml.",
)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help=TASK_HELP)
@click.option("--seeds", type=click.IntRange(min=1), help="Scored seeds per task [default: the track's].")
@click.option("--trials", type=click.IntRange(min=1), help="Tuning trials per task [default: the track's].")
@click.option(
    "--tuning-seeds", type=click.IntRange(min=1), help="Seeds that a trial is tried on [default: the track's]."
)
@click.option(
    "--searches",
    type=click.IntRange(min=1),
    help="Independent searches per task, each scored on seeds of its own [default: the track's].",
)
@click.option(
    "--measured-searches",
    type=click.IntRange(min=0),
    help="Searches whose every trial is trained to its end and measured, for `any setting` [default: the track's].",
)
@results_option
@data_option
@device_option
@click.option("--implicit-only", is_flag=True, help="Rank without submissions that regularize on purpose (†).")
@click.option("--isolate", is_flag=True, help="Run the submissions' code in sandboxed processes (Linux).")
@click.option("--keep-solutions", is_flag=True, help="Keep scored weights beside the log, for `lowlands verify`.")
@click.option(
    "--trace",
    type=FiniteRange(min=1, min_open=True),
    metavar="EVERY",
    help="Measure scored runs along the way, whenever their steps have grown by this factor, such as 1.5.",
)
@click.option("--trace-all", is_flag=True, help="With --trace: sharpness and distance to oracles too, at more cost.")
@resource_options
def run(
    submissions: tuple[str, ...],
    track_name: str,
    tasks: tuple[str, ...],
    seeds: int | None,
    trials: int | None,
    tuning_seeds: int | None,
    searches: int | None,
    measured_searches: int | None,
    results: Path,
    data: Path | None,
    device: str,
    implicit_only: bool,
    isolate: bool,
    keep_solutions: bool,
    trace: float | None,
    trace_all: bool,
    resources: Resources,
) -> None:
    """Score submissions on a track and print the table.

    A SUBMISSION is a built-in name (see `lowlands submissions`), a path to a file, or module:Class. Without any,
    eight well-known optimizers run. The ranking shows the shipped results of the same runs beside yours. Runs are
    resumable: finished runs are skipped. The log is named after the track.

    \b
    Example: lowlands run adam my_optimizer.py --track quick --task mnist5k_mlp
    """
    track = sized_track(
        track_name,
        seeds,
        trials=trials,
        tuning_seeds=tuning_seeds,
        searches=searches,
        measured_searches=measured_searches,
    )
    if trace_all and trace is None:
        raise InputError("--trace-all needs --trace EVERY.")
    use_data(data)
    path = results / f"{track.name}.jsonl"
    solutions = str((results / SOLUTIONS).resolve()) if keep_solutions else None
    limits = isolation_limits(resources.trial_seconds, resources.memory) if isolate else None
    with start_engine(resources, device) as engine, opened(path, resources.dry_run) as log:
        from suite.engine.plan import make_plan

        plan = make_plan(
            submissions or (FREE_OF_STEP_SIZE if track.free_of_step_size else DEFAULT),
            tasks or track.tasks,
            track,
            device,
            limits,
            solutions,
            engine,
            trace,
            trace_all,
        )
        execute(engine, plan, log, resources)
    results_of_all = _print_results(path, implicit_only)
    names = {loaded.submission.name for loaded in plan.submissions}
    if trace is not None:
        _tell_of_paths(path, results_of_all, names)
    ends = {record["status"] for record in results_of_all.scored() if record["submission"] in names}
    if ends and ends <= {Status.FAILED, Status.UNAVAILABLE}:
        click.echo("Every run has failed.", err=True)
        sys.exit(1)


def _tell_of_paths(log: Path, results: Results, names: Collection[str]) -> None:
    """Say where the measures along training lie, and how many scored runs of the submissions `names` have none."""
    runs = [run for run in results.scored() if run["submission"] in names and Status(run["status"]).trained]
    missing = sum(PATH not in run for run in runs)
    if missing < len(runs):
        click.echo(f"Measures along training: {file_of(log)} (lowlands export, lowlands figure path:TASK)")
    if missing:
        click.echo(
            f"{missing} of {len(runs)} scored runs were recorded before, without --trace: they have none. Another "
            "folder (--results) begins anew.",
            err=True,
        )


MAX_SIZE = 10_000
"""Of a track's seeds, trials and searches: more is a slip of the hand, and would fill the memory with plans."""


def sized_track(name: str, seeds: int | None = None, **sizes: Any) -> Track:
    """The track `name` with other sizes (fields of `Track`), where they are not None, and with `seeds` on every task.

    Raises:
        InputError: there is no such track, or a size is no whole number from 1 (`measured_searches`: 0) to `MAX_SIZE`.
    """
    for size, value in {"seeds": seeds, **sizes}.items():
        least = 0 if size == "measured_searches" else 1
        if value is not None and not (isinstance(value, int) and least <= value <= MAX_SIZE):
            raise InputError(f"{size} is a whole number from {least} to {MAX_SIZE:,}, not {value!r}.")
    given = {size: value for size, value in sizes.items() if value is not None}
    track = dataclasses.replace(find_track(name), **given)
    return track.with_seeds(seeds) if seeds else track


def use_data(path: Path | None) -> None:
    """Search data sets in the directory `path` first, here and in the processes to come; or take the text in this file.

    Raises:
        InputError: it is neither.
    """
    if path is None:
        return
    if not path.exists():
        raise InputError(f"There is no directory or file {path} (--data).")
    os.environ["LOWLANDS_DATA"] = str(path.resolve())


def isolation_limits(seconds: float | None = None, memory: int | None = None) -> Limits:
    """What an isolated submission may use: `seconds` for a trial, `memory` in bytes; None stands for the default.

    Says on standard error what is not isolated on this machine; an InputError if it is not Linux.
    """
    from suite.sandbox.confinement import gaps
    from suite.sandbox.limits import Limits

    if sys.platform != "linux":
        raise InputError("--isolate needs Linux.")
    for sentence in gaps():
        click.echo(sentence, err=True)
    default = Limits()
    return Limits(seconds or default.seconds, memory or default.memory)


COLUMNS = 8
"""Submissions in the table of measures: those that were run, and the first of the shipped ones where there is room."""


def _print_results(path: Path, implicit_only: bool) -> Results:
    """Print the log's runs beside the shipped: the profile, measures, then the ranking; returns the runs."""
    from leaderboard.analysis.baselines import with_shipped
    from leaderboard.analysis.ranking import board, boards
    from leaderboard.analysis.results import load
    from leaderboard.tables import views
    from leaderboard.tables.selection import naming_shipped

    results = load([path])
    with_baselines = with_shipped(results)
    for note in with_baselines.notes:
        click.echo(note, err=True)
    for local in boards(results):
        joint = board(with_baselines, local.kind, implicit_only=implicit_only)
        print_table(views.profile(joint, with_baselines))
        shipped = [name for name in joint.names if name not in local.names]
        beside = shipped[: max(0, COLUMNS - len(local.names))]
        everyone = board(with_baselines, local.kind) if implicit_only else joint
        measured = views.measures(everyone, with_baselines)
        print_table(naming_shipped(measured.choose(["task", "measure", "axis", *local.names, *beside]), beside))
        print_table(naming_shipped(views.ranking(joint, with_baselines), shipped))
    click.echo(f"Records: {path}")
    if len(with_baselines.records) > len(results.records):
        click.echo(f"Other tables of both: lowlands table --results {path} --with shipped --view tasks")
    return results


@click.command()
@click.option("--preset", "preset_name", default="small", show_default=True, metavar="NAME", help=f"{PRESET_HELP}.")
@results_option
@click.option("--records", type=click.Path(path_type=Path), help="Run nothing: analyse the records of this log.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Where findings.md and its figures go [default: --results]."
)
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds per combination [default: all of the preset].")
@data_option
@device_option
@resource_options
def study(
    preset_name: str,
    results: Path,
    records: Path | None,
    report: Path | None,
    seeds: int | None,
    device: str,
    data: Path | None,
    resources: Resources,
) -> None:
    """Run the factorial study and write its findings.

    Every combination of optimizer, step size, depth, width, normalisation, loss, batch size, initial scale and data is
    an ordinary record. Runs are resumable: finished runs are skipped. Then the analysis: which factor decides which
    property, how universally, which measure predicts generalization, and what becomes of the field's claims. Presets of
    the second edition also cross kinds of networks; docs/study_plan.md is their plan.

    \b
    Example: lowlands study --preset small
    """
    preset = find_preset(preset_name)
    use_data(data)
    command = f"lowlands study --preset {preset.name}" if records is None else f"lowlands study --records {records}"
    if records is None:
        records = results / f"{preset.track().name}.jsonl"
        with start_engine(resources, device) as engine, opened(records, resources.dry_run) as log:
            from suite.engine.plan import make_plan

            plan = make_plan(preset.submissions(), preset.tasks, preset.track(seeds), device, engine=engine)
            execute(engine, plan, log, resources)

    from leaderboard.analysis.results import load
    from leaderboard.study.findings import analyse
    from leaderboard.study.frame import study_frame
    from leaderboard.study.report import write

    if not records.is_file():
        raise InputError(f"There are no results at {records}.")
    if preset.edition == 2:
        click.echo(f"Records: {records}")
        return
    findings = analyse(study_frame(load([records]).records))
    page = write(findings, report or results, records.name, command)
    console = output()
    for outcome in findings.outcomes:
        console.print(f"{outcome.in_words}: {outcome.contrast.claim.statement}", highlight=False)
    console.print(f"Findings: {page}", highlight=False)
