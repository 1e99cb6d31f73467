"""The `lowlands` command: the only file that knows both halves.

The suite (and torch with it, two seconds) is imported inside the commands that need it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import suite
from leaderboard.commands.console import clear_errors, output, print_table
from leaderboard.commands.run import Resources, execute, isolation_limits, resource_options
from leaderboard.commands.show import agreement, compare, publish, table
from leaderboard.commands.verify import SOLUTIONS, verify
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.engine.plan import Plan
    from suite.sandbox.limits import Limits
    from suite.tracks import Track


RESULTS = Path("results")


DEFAULT = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "sign", "sam")
"""What `lowlands run` runs when nothing is named: every other optimizer is a longer wait for a first table."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(suite.__version__, prog_name="lowlands")
def main() -> None:
    """Which of the infinitely many solutions does your optimizer find? Score it.

    \b
    lowlands run                     the shipped optimizers on the quick track: a table in minutes
    lowlands run my_optimizer.py     yours, from a five-line file
    lowlands run torch.optim:RAdam   any optimizer, without a file
    """


@main.command()
@click.argument("submissions", nargs=-1, metavar="[SUBMISSION]...")
@click.option("--track", "track_name", default="quick", show_default=True, help="smoke, quick or full.")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task (repeatable), e.g. max_margin.")
@click.option("--seeds", type=click.IntRange(min=1), help="Scored seeds per task [default: the track's].")
@click.option("--trials", type=click.IntRange(min=1), help="Tuning trials per task [default: the track's].")
@click.option(
    "--tuning-seeds", type=click.IntRange(min=1), help="Seeds that a trial is tried on [default: the track's]."
)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="Where logs lie.")
@click.option("--data", type=click.Path(path_type=Path), help="Where data sets lie [default: $LOWLANDS_DATA].")
@click.option("--device", default="cpu", show_default=True, help="Torch device, e.g. cuda.")
@click.option("--isolate", is_flag=True, help="Run code of strangers: every unit in a jailed process of its own.")
@click.option("--keep-solutions", is_flag=True, help="Keep scored weights beside the log, for `lowlands verify`.")
@resource_options
@clear_errors
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
    eight well-known optimizers run. The ranking shows the shipped results of the same runs beside yours. A second
    run goes on where the first ended.

    \b
    Example: lowlands run adam my_optimizer.py --track quick --task mnist5k_mlp
    """
    from suite.tracks import find_track

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
    limits = isolation_limits(resources) if isolate else None

    def plan() -> Plan:
        made = _plan(submissions, tasks, track, device, limits)
        return dataclasses.replace(made, solutions=str((results / SOLUTIONS).resolve()) if keep_solutions else None)

    execute(plan, path, device, resources)
    _print_run(path)


def _plan(texts: Sequence[str], tasks: Sequence[str], track: Track, device: str, limits: Limits | None = None) -> Plan:
    """What to run; everything that the user may have got wrong is found here, before anything runs."""
    from suite.engine.plan import Plan, open_submission
    from suite.entries.checks import check_slots
    from suite.tasks.registry import find_task

    found = [find_task(name) for name in tasks or track.tasks]
    texts = texts or DEFAULT
    opened = [open_submission(text, track.trials, limits).submission for text in texts]
    _check_names([submission.name for submission in opened])
    for submission in opened:
        check_slots(submission, found)
    return Plan(tuple(texts), tuple(task.name for task in found), track, device, limits)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two of the submissions are named {name!r}; give one another name=.")


def _print_run(path: Path) -> None:
    from leaderboard.analysis.baselines import with_shipped
    from leaderboard.analysis.ranking import board, boards
    from leaderboard.analysis.results import load
    from leaderboard.tables import views

    results = load([path])
    everyone = with_shipped(results)
    for line in everyone.notes:
        click.echo(line, err=True)
    for own in boards(results):
        print_table(views.measures(own, results))
        whole = board(everyone, own.kind)
        ranking = views.ranking(whole, everyone)
        added = [name for name in whole.names if name not in own.names]
        if added:
            note = f"From the shipped results, not run here: {', '.join(added)}."
            ranking = dataclasses.replace(ranking, notes=(*ranking.notes, note))
        print_table(ranking)
    click.echo(f"Records: {path}")


@main.command()
@click.option("--preset", "preset_name", default="small", show_default=True, help="smoke, small or full.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="Where logs lie.")
@click.option("--records", type=click.Path(path_type=Path), help="Run nothing: analyse the records of this log.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Where findings.md and its figures go [default: --results]."
)
@click.option("--device", default="cpu", show_default=True, help="Torch device, e.g. cuda.")
@resource_options
@clear_errors
def study(
    preset_name: str, results: Path, records: Path | None, report: Path | None, device: str, resources: Resources
) -> None:
    """Run the factorial study and write its findings.

    Every combination of optimizer, step size, depth, width, normalisation, loss, batch size, initial scale and data is
    an ordinary record; a second run goes on where the first ended. Then the analysis: which factor decides which
    property, how universally, which measure foretells generalization, and what becomes of the field's claims.

    \b
    Example: lowlands study --preset small
    """
    from suite.tracks import find_preset

    preset = find_preset(preset_name)
    command = f"lowlands study --preset {preset.name}" if records is None else f"lowlands study --records {records}"
    if records is None:
        records = results / f"{preset.track().name}.jsonl"
        execute(lambda: _plan(preset.submissions(), (), preset.track(), device), records, device, resources)
    _report_study(records, report or results, command)


def _report_study(records: Path, directory: Path, command: str) -> None:
    from leaderboard.analysis.results import load
    from leaderboard.study.findings import analyse
    from leaderboard.study.frame import study_frame
    from leaderboard.study.report import write

    if not records.is_file():
        raise InputError(f"There are no results at {records}.")
    found = analyse(study_frame(load([records]).records))
    page = write(found, directory, records.name, command)
    out = output()
    for verdict in found.verdicts:
        out.print(f"{verdict.outcome}: {verdict.claim.statement}", highlight=False)
    out.print(f"Findings: {page}", highlight=False)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--verbose", "-v", is_flag=True, help="The claim, the oracle, the references and the papers of each.")
@click.option("--format", "style", type=click.Choice(("markdown", "html")), help="The catalogue as a page.")
@clear_errors
def tasks(names: tuple[str, ...], verbose: bool, style: str | None) -> None:
    """List the tasks, or explain those named.

    \b
    Example: lowlands tasks 'sparse_regression[alpha=0.01]'
    """
    from leaderboard.tables import catalogue as pages
    from suite.commands.task_list import task_list

    entries = task_list(names)
    if style is not None:
        click.echo(pages.render(entries, style))
    elif verbose or names:
        click.echo("\n\n".join(map(pages.text, entries)))
    else:
        for entry in entries:
            click.echo(f"{entry['name']:24}{entry['family']:14}{entry['description'].splitlines()[0]}")


@main.command()
@clear_errors
def submissions() -> None:
    """List the built-in submissions.

    \b
    Example: lowlands submissions
    """
    from suite.entries.loading import builtin_files, load

    for name in builtin_files():
        submission = load(name).submission
        first = submission.description.splitlines()[0] if submission.description else ""
        click.echo(f"{name:22}{submission.kind:14}{first}")


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@clear_errors
def measures(names: tuple[str, ...]) -> None:
    """List the measures, or explain those named.

    \b
    Example: lowlands measures adaptive_sharpness
    """
    from suite.measures.registry import explain, listing

    click.echo(explain(names) if names else listing())


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="CHECKPOINT.safetensors")
@click.option("--data", required=True, help="A task's name, or an .npz file with x and y (or x_train, y_train, …).")
@click.option("--architecture", help="A built-in one, a file, or module:function [default: the task's network].")
@click.option("--measure", "names", multiple=True, metavar="NAME", help="Only this measure (repeatable).")
@click.option("--initial", type=click.Path(path_type=Path), help="The weights before training, as safetensors.")
@click.option("--matched-loss", type=float, default=0.01, show_default=True, help="Training loss to compare at.")
@click.option("--seed", default=0, show_default=True, help="Which of the task's data sets.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@clear_errors
def measure(
    checkpoint: Path,
    data: str,
    architecture: str | None,
    names: tuple[str, ...],
    initial: Path | None,
    matched_loss: float,
    seed: int,
    as_json: bool,
) -> None:
    """Measure a network that is given as a file of weights.

    \b
    Example: lowlands measure net.safetensors --architecture net.py:build --data digits.npz --measure lambda_max
    """
    from suite.commands.checkpoint import measure_checkpoint

    report = measure_checkpoint(
        checkpoint, architecture, data, names, seed=seed, initial=initial, matched_loss=matched_loss
    )
    click.echo(report.json() if as_json else report.text())


@main.command()
@click.argument("kind", type=click.Choice(("optimizer", "architecture")))
@click.argument("name")
@click.option("--directory", type=click.Path(path_type=Path), default=Path(), help="Where to write it [default: here].")
@clear_errors
def new(kind: str, name: str, directory: Path) -> None:
    """Write the file of a new submission, which runs as it is.

    \b
    Example: lowlands new optimizer my_momentum
    """
    from suite.entries.templates import write

    path = write(kind, name, directory)
    click.echo(f"Wrote {path}. Try it: lowlands run {path} --track smoke")


for command in (table, compare, publish, agreement, verify):
    main.add_command(command)
