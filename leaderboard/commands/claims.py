"""`lowlands claims`: what papers claim, and what became of it.

What analyses records (pandas and statistics, two seconds) is imported inside the command.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leaderboard.commands.console import output, print_table
from suite.errors import InputError, unknown

if TYPE_CHECKING:
    from leaderboard.ledger.entries import Entry

VERDICTS = ("holds", "fails", "depends on", "undecided", "not measured")
BASES = ("theorem", "conjecture", "observation")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--results", type=click.Path(path_type=Path), help="A log, or a directory of logs [default: shipped].")
@click.option("--verdict", type=click.Choice(VERDICTS), help="Only claims with this verdict.")
@click.option("--basis", type=click.Choice(BASES), help="Only claims that rest on this.")
@click.option(
    "--format",
    "style",
    type=click.Choice(("markdown", "json", "verdicts")),
    help="A page, all data, or claim and verdict as JSON.",
)
@click.option(
    "--expect", type=click.Path(path_type=Path), help="Exit with status 1 if a verdict is not that of this JSON file."
)
def claims(
    names: Sequence[str],
    results: Path | None,
    verdict: str | None,
    basis: str | None,
    style: str | None,
    expect: Path | None,
) -> None:
    """Print what papers claim, and whether it holds in the shipped records or in yours.

    With NAMEs: what these claims rest on, comparison by comparison, and the commands that repeat it. An --expect file
    is what --format verdicts writes.

    \b
    Example: lowlands claims --verdict fails --basis theorem
    """
    from leaderboard.ledger import pages

    expected = None if expect is None else _expected(expect)
    chosen = [
        entry
        for entry in _chosen(names, results)
        if verdict in (None, str(entry.ruling.verdict)) and basis in (None, str(entry.claim.basis))
    ]
    if style == "markdown":
        click.echo(pages.page(chosen), nl=False)
    elif style == "json":
        click.echo(pages.as_json(chosen))
    elif style == "verdicts":
        click.echo(json.dumps(pages.outcomes(chosen), indent=1))
    elif names:
        console = output()
        for entry in chosen:
            console.print(f"{entry.ruling}: {pages.description(entry)}", highlight=False)
            print_table(pages.evidence(entry), console)
            for command in entry.commands:
                console.print(f"  {command}", highlight=False, soft_wrap=True)
    else:
        print_table(pages.counts(chosen))
        print_table(pages.summary(chosen))
    if expected is not None and (changed := _changed(pages.outcomes(chosen), expected)):
        click.echo("\n".join(changed), err=True)
        raise SystemExit(1)


def _chosen(names: Sequence[str], results: Path | None) -> list[Entry]:
    """The entries of these names, or all, held against the shipped results or those at a path."""
    from leaderboard.ledger.entries import entries, results_at, shipped_results

    logs = shipped_results() if results is None else results_at(results)
    if not logs:
        raise InputError(f"There are no results at {results}.")
    for note in (note for log in logs if results is not None for note in log.notes):
        click.echo(note, err=True)
    found = {entry.claim.name: entry for entry in entries(logs)}
    for name in names:
        if name not in found:
            raise unknown("claim", name, found)
    return [found[name] for name in names or found]


def _expected(path: Path) -> dict[str, object]:
    """Claim to verdict, from a file."""
    from leaderboard.ledger.entries import claims as all_claims

    try:
        expected = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The verdicts expected cannot be read from {path} ({error.strerror}).") from None
    except ValueError as error:
        raise InputError(f"The verdicts expected in {path} are not JSON ({error}).") from None
    if not isinstance(expected, dict):
        raise InputError(f"The verdicts expected in {path} are no object of claims and verdicts.")
    known = {claim.name for claim in all_claims()}
    for name in expected:
        if name not in known:
            raise unknown("claim", name, known, f"{path} expects a verdict of it.")
    return expected


def _changed(outcomes: dict[str, str], expected: dict[str, object]) -> list[str]:
    """A sentence for each claim whose verdict is not the one that is expected."""
    return [
        f"{name}: {outcome}, and {expected.get(name, 'no verdict')} was expected."
        for name, outcome in outcomes.items()
        if outcome != expected.get(name)
    ]
