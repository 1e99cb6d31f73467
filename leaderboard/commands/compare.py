"""`lowlands compare` and `lowlands bench`: did NEW become worse than BASE, in its results, its updates, or its cost?"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

import leaderboard
from leaderboard.analysis.baselines import BASELINES, find_log
from leaderboard.commands.console import SECONDS, FiniteRange, print_table
from leaderboard.commands.show import load_log
from suite.errors import InputError
from suite.tracks import TRACKS

if TYPE_CHECKING:
    from leaderboard.analysis.comparison import Comparison
    from leaderboard.analysis.results import Results
    from leaderboard.tables.reports import Report

ROOT = Path(leaderboard.__file__).resolve().parents[1]
"""Where this package is found by the processes that it starts."""

BLIND = 3
"""Exit status of a comparison that could not have failed."""


@click.command()
@click.argument("base")
@click.argument("new")
@click.option("--updates", is_flag=True, help="Compare code: the updates that the same gradients lead to. Seconds.")
@click.option(
    "--submission",
    "submissions",
    multiple=True,
    metavar="SUBMISSION",
    help="With --updates or --seeds: BASE and NEW are folders or git revisions, and this is compared (repeatable).",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="With --updates: keep NEW's updates, as BASE of another environment.",
)
@click.option(
    "--seeds",
    type=click.Choice(("auto",)),
    help="Run both versions, with more seeds until every task is decided: a regression, or no loss of --smallest.",
)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="With --seeds: only this task (repeatable).")
@click.option(
    "--smallest",
    type=FiniteRange(min=0, min_open=True),
    default=0.1,
    show_default=True,
    help="With --seeds: the smallest difference that matters, as a share of a measure's distance from score 0 to 1.",
)
@click.option("--budget", type=SECONDS, default="10m", show_default=True, help="With --seeds: no further look after.")
@click.option("--most-seeds", type=click.IntRange(min=4), default=32, show_default=True, help="With --seeds: at most.")
@click.option(
    "--track",
    default="quick",
    show_default=True,
    metavar="NAME",
    help=f"The log of this track, where BASE or NEW is a directory: {', '.join(TRACKS)}.",
)
@click.option(
    "--tolerance", type=FiniteRange(min=0), default=0.02, show_default=True, help="A score may fall by this much."
)
@click.option(
    "--cost-tolerance",
    type=FiniteRange(min=0),
    default=0.1,
    show_default=True,
    help="Gradient evaluations to the target loss may rise by this share.",
)
@click.option(
    "--any-change", is_flag=True, help="What became better, or changed within the tolerance, fails too: for rewrites."
)
@click.option("--allow-blind", is_flag=True, help="Accept a comparison that cannot fail.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a summary for a pull request.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def compare(
    base: str,
    new: str,
    updates: bool,
    submissions: tuple[str, ...],
    save: Path | None,
    seeds: str | None,
    tasks: tuple[str, ...],
    smallest: float,
    budget: float,
    most_seeds: int,
    track: str,
    tolerance: float,
    cost_tolerance: float,
    any_change: bool,
    allow_blind: bool,
    markdown: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Compare BASE with NEW and exit with status 1 if NEW is worse.

    Two results: a regression is a difference whose interval excludes 0 and which exceeds the tolerance, or a run that
    reached the target loss in BASE and not in NEW. Only what both hold is compared: submission by submission, task by
    task, seed by seed. Status 3: a submission cannot fail, since on no task two seeds of BASE reached the target loss.
    With --any-change, every difference whose interval excludes 0 fails, in either direction and of any size.

    NEW may be the name of a submission in BASE: its newest source is compared with the one before.

    With --seeds auto, two versions of the code, which are run on the track: after 4, 8, 16, … seeds all is compared, at
    levels that add up to 5 %, and tasks that are decided get no more of them.

    With --updates, two versions of the code, which get the same gradients: two submissions, or with --submission two
    folders or git revisions; BASE may be a file that --save wrote. What differs by more than rounding is a regression.

    \b
    Example: lowlands compare --updates main . --submission my_library:AdamW
    """
    from leaderboard.tables import reports

    if updates and seeds:
        raise InputError("--updates needs no seeds.")
    if updates:
        report = _updates(base, new, submissions, save)
    elif seeds:
        if not submissions:
            raise InputError("--seeds auto runs both versions: name what with --submission.")
        options = ["--track", track, *(word for task in tasks for word in ("--task", task))]
        found = _adding_seeds(
            (base, new), submissions, options, tolerance, cost_tolerance, smallest, budget, most_seeds
        )
        report = reports.report(found, any_change)
    else:
        if submissions or save or tasks:
            raise InputError("--submission, --save and --task are for --updates or --seeds.")
        report = reports.report(_results(Path(base), new, track, tolerance, cost_tolerance), any_change)
    deliver(report, markdown, junit, as_json)
    if report.failed:
        sys.exit(1)
    if report.blind and not allow_blind:
        sys.exit(BLIND)


def deliver(report: Report, markdown: Path | None, junit: Path | None, as_json: bool) -> None:
    """Print `report`, and write its files; an InputError if one cannot be written."""
    from leaderboard.tables import reports

    for path, write in ((markdown, reports.markdown), (junit, reports.junit)):
        if path is not None:
            try:
                path.write_text(write(report), encoding="utf-8")
            except OSError as error:
                raise InputError(f"The file {path} cannot be written ({error.strerror}).") from error
    if as_json:
        click.echo(reports.as_json(report))
    else:
        click.echo(report.headline)
        if report.table.rows:
            print_table(report.table)


def _results(base: Path, new: str, track: str, tolerance: float, cost_tolerance: float) -> Comparison:
    from leaderboard.analysis.comparison import compare as compare_results
    from leaderboard.analysis.results import two_sources

    if not base.exists():
        raise InputError(f"There are no results at {base}.")
    if Path(new).exists() or new.endswith(".jsonl") or "/" in new:
        if not Path(new).exists():
            raise InputError(f"There are no results at {new}.")
        before, after = (load_log(find_log(path, track)) for path in (base, Path(new)))
    else:
        before, after = two_sources(find_log(base, track), new)
    return compare_results(before, after, tolerance, cost_tolerance, shipped=_shipped(before.track))


def _shipped(track: str) -> Results | None:
    """The shipped records of a track, if there are any."""
    from leaderboard.analysis.results import load

    log = BASELINES / f"{track}.jsonl"
    return load([log]) if log.is_file() else None


def _adding_seeds(
    texts: Sequence[str],
    submissions: Sequence[str],
    options: Sequence[str],
    tolerance: float,
    cost_tolerance: float,
    smallest: float,
    budget: float,
    most_seeds: int,
) -> Comparison:
    """Run both versions with more and more seeds until every task is decided or the budget is spent."""
    from leaderboard.analysis.comparison import compare as compare_results
    from leaderboard.analysis.results import load
    from leaderboard.analysis.sequential import looks, sequential
    from suite.entries.versions import version

    end = time.monotonic() + budget
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lowlands-")))
        versions = [stack.enter_context(version(text)) for text in texts]

        def look(count: int, level: float, tasks: Sequence[str] | None) -> Comparison:
            chosen = [*options] if tasks is None else [*options[:2], *(w for task in tasks for w in ("--task", task))]
            logs = []
            for side, one in zip(("base", "new"), versions, strict=True):
                command = [sys.executable, "-m", "leaderboard", "run", *submissions, *chosen, "--seeds", str(count)]
                place = os.pathsep.join([*map(str, one.paths), str(ROOT), os.environ.get("PYTHONPATH", "")])
                ended = subprocess.run(
                    [*command, "--results", str(folder / side)],
                    env={**os.environ, "PYTHONPATH": place},
                    cwd=one.folder,
                    stdout=subprocess.DEVNULL,
                )
                if ended.returncode:
                    raise InputError(f"The runs of {side.upper()} ended with status {ended.returncode}.")
                (log,) = (folder / side).glob("*.jsonl")
                logs.append(load([log]))
            before, after = logs
            shipped = _shipped(before.track)
            return compare_results(before, after, tolerance, cost_tolerance, shipped=shipped, level=level)

        found = sequential(look, looks(most_seeds), smallest, lambda: time.monotonic() > end)
    open_ = [f"Undecided at {smallest:g}: {name} on {', '.join(tasks)}." for name, tasks in found.undecided.items()]
    said = [f"{found.seeds} seeds on the tasks that needed most.", *open_]
    return replace(found.comparison, notes=[*said, *found.comparison.notes])


def _updates(base: str, new: str, submissions: Sequence[str], kept: Path | None) -> Report:
    from leaderboard.tables import reports
    from suite.commands.updates import Side
    from suite.commands.updates import updates as compare_updates
    from suite.entries.versions import Version, version

    file = Path(base) if Path(base).is_file() and not base.endswith(".py") else None
    if len(submissions) > 1 and (file is not None or kept is not None):
        raise InputError("A file holds the updates of one submission: give one --submission.")
    with contextlib.ExitStack() as stack:
        before = Version() if file is not None or not submissions else stack.enter_context(version(base))
        after = stack.enter_context(version(new)) if submissions else Version()
        found, notes = {}, []
        for name in submissions or (new,):
            found[name], said = compare_updates(
                Side(name if submissions else base, before, file), Side(name, after), kept
            )
            notes += [f"{name}: {sentence}" for sentence in said]
    return reports.updates(found, notes)


@click.command()
@click.argument("submissions", nargs=-1, required=True, metavar="SUBMISSION...")
@click.option("--base", required=True, metavar="REF", help="A git revision, a folder, or another submission.")
@click.option(
    "--new", default=".", show_default=True, metavar="REF", help="Where --base is a revision or a folder: NEW."
)
@click.option(
    "--shapes", multiple=True, metavar="4096x512,512", help="Tensors to step beside the suite's (repeatable)."
)
@click.option("--rounds", type=click.IntRange(min=8), default=30, show_default=True, help="Paired blocks of steps.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a summary for a pull request.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def bench(
    submissions: tuple[str, ...],
    base: str,
    new: str,
    shapes: tuple[str, ...],
    rounds: int,
    markdown: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Measure a step of each SUBMISSION, in time and memory, and exit with status 1 if it costs more than in REF.

    Both versions step the same tensors in one process, in turn. Slower means that the interval of the median ratio lies
    above 1.1, larger that the state takes a tenth more bytes.

    \b
    Example: lowlands bench my_library:AdamW --base main
    """
    from leaderboard.tables import reports
    from suite.commands import bench as steps
    from suite.entries.loading import builtin_files
    from suite.entries.versions import Version, version

    tensors = steps.networks() | {text: steps.parse_shapes(text) for text in shapes}
    other = not Path(base).is_dir() and (
        ":" in base or base.endswith(".py") or base.partition("[")[0] in builtin_files()
    )
    with contextlib.ExitStack() as stack:
        versions = [Version() if other else stack.enter_context(version(text)) for text in (base, new)]
        found = [
            cost
            for name in submissions
            for cost in steps.bench(
                steps.Code(base if other else name, versions[0]), steps.Code(name, versions[1]), tensors, rounds
            )
        ]
    report = reports.steps(found)
    deliver(report, markdown, junit, as_json)
    if report.failed:
        sys.exit(1)
