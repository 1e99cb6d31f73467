"""`lowlands compare`: did NEW become worse than BASE? Of two results, or of the updates of two versions of the code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leaderboard.analysis.baselines import find_log
from leaderboard.commands.console import print_table
from leaderboard.commands.show import load_log
from suite.errors import InputError
from suite.tracks import TRACKS

if TYPE_CHECKING:
    from leaderboard.tables.reports import Report


@click.command()
@click.argument("base")
@click.argument("new")
@click.option("--updates", is_flag=True, help="Compare code: the updates that the same gradients lead to. Seconds.")
@click.option(
    "--submission",
    "submissions",
    multiple=True,
    metavar="SUBMISSION",
    help="With --updates: BASE and NEW are folders or git revisions, and this is what is compared (repeatable).",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="With --updates: keep NEW's updates, as BASE of another environment.",
)
@click.option(
    "--track",
    default="quick",
    show_default=True,
    metavar="NAME",
    help=f"The log of this track, where BASE or NEW is a directory: {', '.join(TRACKS)}.",
)
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.02, show_default=True, help="A score may fall by this much."
)
@click.option(
    "--cost-tolerance",
    type=click.FloatRange(min=0),
    default=0.1,
    show_default=True,
    help="Gradient evaluations to the target loss may rise by this share.",
)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a summary for a pull request.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def compare(
    base: str,
    new: str,
    updates: bool,
    submissions: tuple[str, ...],
    save: Path | None,
    track: str,
    tolerance: float,
    cost_tolerance: float,
    markdown: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Compare BASE with NEW and exit with status 1 if NEW is worse.

    Two results: a regression is a difference whose interval excludes 0 and which exceeds the tolerance. Only what both
    hold is compared: submission by submission, task by task, seed by seed.

    With --updates, two versions of the code, which get the same gradients: two submissions, or with --submission two
    folders or git revisions; BASE may be a file that --save wrote. What differs by more than rounding is a regression.

    \b
    Example: lowlands compare --updates main . --submission my_library:AdamW
    """
    if updates:
        report = _updates(base, new, submissions, save)
    else:
        if submissions or save:
            raise InputError("--submission and --save are for --updates.")
        report = _results(Path(base), Path(new), track, tolerance, cost_tolerance)
    deliver(report, markdown, junit, as_json)
    if report.failed:
        sys.exit(1)


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
        print_table(report.table)


def _results(base: Path, new: Path, track: str, tolerance: float, cost_tolerance: float) -> Report:
    from leaderboard.analysis.comparison import compare as compare_results
    from leaderboard.tables import reports

    for path in (base, new):
        if not path.exists():
            raise InputError(f"There are no results at {path}.")
    before, after = (load_log(find_log(path, track)) for path in (base, new))
    return reports.report(compare_results(before, after, tolerance, cost_tolerance))


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
