"""`lowlands namesakes`: optimizers of one name, compared with each other and with their papers.

The suite (and torch with it, two seconds) is imported inside the command.
"""

from __future__ import annotations

import sys

import click

from leaderboard.commands.console import print_table


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--format", "style", type=click.Choice(("markdown", "json")), help="A page, or numbers.")
def namesakes(names: tuple[str, ...], style: str | None) -> None:
    """Compare the installed optimizers of one NAME (adam, muon, …) with each other and with the paper's formula.

    They are stepped on the same gradients with the same settings. A table says which of them agree, by how much the
    others differ in the first step and after 30, and why where that is known. Collections that are not installed are
    named; pip install 'lowlands[zoo]' brings them.

    \b
    Example: lowlands namesakes muon adan
    """
    from leaderboard.tables import namesakes as tables
    from leaderboard.tables.formats import document
    from suite.namesakes.algorithms import algorithm, algorithms
    from suite.namesakes.comparison import as_data, compare

    chosen = [algorithm(name) for name in names] or list(algorithms().values())
    shown, found = sys.stderr.isatty(), []
    for one in chosen:
        if shown:
            click.echo(f"{one.title} …", err=True)
        found.append(as_data(compare(one)))
        if style is None:
            print_table(tables.table(found[-1]))
    if style == "markdown":
        click.echo(tables.page(found))
    elif style == "json":
        click.echo(document([tables.table(data) for data in found], "json"))
