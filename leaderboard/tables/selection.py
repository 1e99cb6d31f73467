"""Results -> the tables of a view, a table for each kind of submission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results
from leaderboard.tables import VIEWS, views
from leaderboard.tables.table import Column, Table, text
from suite.errors import InputError, unknown

AGAINST = ("why", "separation")
"""The views that compare each submission with another one."""


def naming_shipped(table: Table, shipped: Sequence[str]) -> Table:
    """The table with a note that names the submissions whose results are shipped, if there are any."""
    note = f"From the shipped results, not run here: {', '.join(shipped)}."
    return replace(table, notes=(*table.notes, note)) if shipped else table


def stating_board(table: Table, version: str) -> Table:
    """The table with the board in its title, and in a column for programs."""
    column = Column("board_version", "board", words=True, data=True)
    rows = tuple((*row, text(version)) for row in table.rows)
    return replace(table, title=f"{table.title}, board {version}", columns=(*table.columns, column), rows=rows)


def tables_of(
    results: Results,
    view: str,
    kind: str | None = None,
    *,
    own: Results | None = None,
    against: str | None = None,
    implicit_only: bool = False,
    filters: Sequence[str] = (),
    sort: str | None = None,
    columns: Sequence[str] = (),
) -> dict[str, Table]:
    """The table `view` of each kind of submission in `results`.

    Args:
        results: what the tables show.
        view: one of `leaderboard.tables.VIEWS`.
        kind: ``optimizer`` or ``architecture``; None: both, as far as there are any.
        own: those of `results` that are the user's: a note then names the other submissions as shipped.
        against: in ``why`` and ``separation`` the submission that every other one is compared with, in place of its
            neighbour.
        implicit_only: leaves out submissions that regularize on purpose.
        filters, sort, columns: see `Table.filter`, `Table.sort` and `Table.choose`.

    Raises:
        InputError: there are no records, or none of `kind`; no such view or column; or a filter has another form.
    """
    if view not in VIEWS:
        raise unknown("view", view, VIEWS)
    if against is not None and view not in AGAINST:
        raise InputError(f"The view {view!r} compares with nobody: --against is for {' and '.join(AGAINST)}.")
    if not results.records:
        raise InputError("The results hold no records.")
    kinds = [name for name in results.kinds() if kind in (None, name, name + "s")]
    if not kinds:
        raise InputError(f"The results hold no {kind!r}: there are {', '.join(results.kinds()) or 'no submissions'}.")
    tables = {}
    for name in kinds:
        found = board(results, name, implicit_only=implicit_only)
        options = {} if against is None else {"against": against}
        table: Table = getattr(views, view)(found, results, **options)
        if own is not None:
            table = naming_shipped(table, [each for each in found.names if each not in own.submissions(name)])
        for condition in filters:
            table = table.filter(condition)
        if sort:
            table = table.sort(sort)
        table = stating_board(table, results.board_version)
        tables[name] = table.choose(columns) if columns else table
    return tables
