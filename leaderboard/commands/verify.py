"""`lowlands verify`: are recorded results what they claim to be?

The suite (and torch with it, two seconds) is imported inside the functions that need it.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leaderboard.commands.console import FiniteRange
from leaderboard.commands.run import SOLUTIONS, data_option, isolation_limits, use_data
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.commands.verification import Report


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("submissions", nargs=-1, metavar="[SUBMISSION]...")
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    help="Scored runs to repeat, and as many tuning runs [default: 10, or 0 beside --share and --runs-per-task].",
)
@click.option("--share", type=FiniteRange(min=0, max=1), default=0.0, help="Repeat this share of both, such as 0.02.")
@click.option(
    "--runs-per-task", type=click.IntRange(min=0), default=0, help="Repeat so many scored runs of every task at least."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Determines which runs are drawn.")
@click.option("--fresh", type=click.IntRange(min=0), default=0, help="Also run this many seeds that nobody could know.")
@click.option("--nonce", help="Nonce that determines the fresh seeds (printed; pass it to repeat a verification).")
@click.option("--tolerance", type=FiniteRange(min=0), help="Relative [default: by the machines: 1e-6 or 0.05].")
@click.option("--task", "tasks", multiple=True, metavar="FILE.py:NAME", help="A task of your own (repeatable).")
@data_option
@click.option(
    "--report",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.json",
    help="Write what was found to this file, and as markdown beside it.",
)
@click.option("--isolate", is_flag=True, help="Run the submissions' code in sandboxed processes (Linux).")
def verify(
    results: Path,
    submissions: tuple[str, ...],
    sample: int | None,
    share: float,
    runs_per_task: int,
    seed: int,
    fresh: int,
    nonce: str | None,
    tolerance: float | None,
    tasks: tuple[str, ...],
    data: Path | None,
    file: Path | None,
    isolate: bool,
) -> None:
    """Check recorded results: checksums, sources, choices, stored solutions, and a sample of runs repeated.

    RESULTS is a log or a directory of logs; name the SUBMISSIONs and tasks that are not built in, as for `lowlands
    run`: no code is run because a log names it. Runs that another version of the suite recorded, such as the shipped
    ones, are repeated on this version and their numbers compared. Exits with 1 if anything disagrees or differs, or if
    nothing could be checked.

    \b
    Example: lowlands verify results my_optimizer.py --sample 20 --fresh 5
    """
    from leaderboard.analysis.fresh_seeds import score_gaps
    from leaderboard.tables import reports
    from leaderboard.tables.formats import render
    from suite.commands.verification import Request
    from suite.commands.verification import verify as check
    from suite.engine.executors import connect
    from suite.entries.loading import builtin_files
    from suite.storage.log import read
    from suite.tasks import open_task

    use_data(data)
    if file is not None and (file.suffix != ".json" or not file.parent.is_dir()):
        raise InputError(f"The report must be FILE.json in a directory that exists, not {file}.")
    for task in tasks:
        open_task(task)
    logs = sorted(results.glob("*.jsonl")) if results.is_dir() else [results]
    if not logs or not all(log.is_file() for log in logs):
        raise InputError(f"There are no results at {results}.")
    records = [record for log in logs for record in read(log).records]
    builtin = {record["submission"] for record in records if record["submission"].partition("[")[0] in builtin_files()}
    request = Request(
        submissions=[*sorted(builtin), *submissions],
        sample=sample if sample is not None else 0 if share or runs_per_task else 10,
        share=share,
        per_task=runs_per_task,
        seed=seed,
        fresh=fresh,
        nonce=nonce or secrets.token_hex(8),
        solutions=logs[0].parent / SOLUTIONS,
        tolerance=tolerance,
        limits=isolation_limits() if isolate else None,
    )
    with connect("local:1") as engine:
        report = check(logs, request, engine)
    repeated = f"{report.rerun} runs repeated, and {report.retuned} tuning runs"
    click.echo(f"{report.lines} lines read, {report.measured} solutions measured again, {repeated}.")
    for text in report.unchecked:
        click.echo(f"Not checked: {text}.")
    for disagreement in report.disagreements:
        click.echo(f"DISAGREES {disagreement}")
    for line in _repetitions(report):
        click.echo(line)
    gaps = score_gaps(report.checkable, report.fresh)
    if gaps:
        click.echo(f"\nScores on the published seeds, and on {fresh} fresh ones (nonce {request.nonce}):\n")
        click.echo(render(reports.score_gaps(gaps), "markdown"))
    checked = report.measured or report.rerun or report.fresh
    differ = any(repetition.differences for repetition in report.repetitions)
    passed = bool(checked) and not (report.disagreements or differ or any(gap.suspicious for gap in gaps))
    if file is not None:
        from suite.trials import environment

        summary = reports.verification(logs, request, report, gaps, environment("cpu"), passed)
        file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        file.with_suffix(".md").write_text(reports.verification_text(summary), encoding="utf-8")
    if not passed:
        sys.exit(1)


def _repetitions(report: Report) -> Iterator[str]:
    """What came of repeating the runs of another version of the suite, and each difference."""
    if not report.repetitions:
        return
    differing = [repetition for repetition in report.repetitions if repetition.differences]
    total = len(report.repetitions)
    within = [sum(each.largest <= bound for each in report.repetitions) for bound in (0.0, 1e-6)]
    yield (
        f"Recorded by another source ({report.recorded}), repeated by today's: {total - len(differing)} of {total} "
        f"runs are equal within the relative tolerance {report.tolerance:g} ({within[0]} to the last digit, "
        f"{within[1]} within 1e-06), {len(differing)} differ. A difference may come from the suite or the machine."
    )
    for repetition in differing:
        yield f"DIFFERS {repetition.where}: {'; '.join(repetition.differences)}"
