"""Recorded runs, yours or shipped ones, as tables, frames and figures."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from leaderboard.analysis import baselines, frames
from leaderboard.analysis.results import Results as Records
from leaderboard.analysis.results import load as load_logs
from leaderboard.tables.formats import document, legend, terminal
from leaderboard.tables.selection import tables_of
from leaderboard.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

WIDTH = 150
"""Characters in a line of a table that is printed as text."""


@dataclass(frozen=True, repr=False)
class Tables:
    """A view of results: a table for each kind of submission. Notebooks show it; `print` writes it as text.

    Attributes:
        tables: by kind (``optimizer``, ``architecture``).
    """

    tables: dict[str, Table]

    def render(self, style: str) -> str:
        """The tables as ``markdown``, ``latex``, ``csv``, ``html`` or ``json``.

        Raises:
            InputError: there is no such format, or it is CSV and there are two tables.
        """
        return document(list(self.tables.values()), style)

    def __repr__(self) -> str:
        console = Console(file=io.StringIO(), width=WIDTH, markup=False)
        for table in self.tables.values():
            for part in terminal(table, WIDTH):
                console.print(part)
            for note in legend(table, WIDTH):
                console.print(note, highlight=False)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().rstrip()

    def _repr_html_(self) -> str:
        return "\n".join(map(_html, self.tables.values()))


def _html(table: Table) -> str:
    """One table with its title and its notes."""
    notes = "<br>".join(map(html.escape, table.notes))
    title, body = html.escape(table.title), document([table], "html")
    return f"<p><strong>{title}</strong></p>\n{body}\n<p><small>{notes}</small></p>"


@dataclass(frozen=True, repr=False)
class Results:
    """Recorded training runs. `load` and `run` give them; shown by itself, it is its ranking.

    Attributes:
        records: one dict for each training run of tuning and scoring, as the log has it.
        notes: what is to be known of them: damaged lines, runs of an older source.
    """

    _records: Records
    _own: Records | None = None
    """Where shipped results are among them: those that are not shipped."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """One dict for each training run of tuning and scoring, as the log has it."""
        return self._records.records

    @property
    def notes(self) -> list[str]:
        """What is to be known of the records: damaged lines, runs of an older source."""
        return self._records.notes

    @property
    def track(self) -> str:
        """The track that they are of; empty where the records name several."""
        return self._records.track

    @property
    def submissions(self) -> list[str]:
        """The names of the submissions, in the order of the records."""
        return list(dict.fromkeys(record["submission"] for record in self.records))

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks, in the order of the records."""
        return list(dict.fromkeys(record["task"] for record in self.records))

    def with_shipped(self) -> Results:
        """These, and the shipped results of the same track, tasks and seeds for the submissions that these lack."""
        return Results(baselines.with_shipped(self._records), self._own or self._records)

    def of_tasks(self, *names: str) -> Results:
        """The records of the tasks `names` alone; an `InputError` if there are none of one of them."""
        return Results(self._records.of_tasks(names), self._own)

    def frame(self, name: str = "scores") -> pd.DataFrame:
        """The results as a frame of pandas.

        Args:
            name: ``scores`` (a row for every scored run and axis: value, references, score), ``measures`` (for every
                scored run and measure, with its error), ``runs`` (for every run of tuning and scoring), ``settings``
                (for every run and hyper-parameter), ``curves`` (for every point of a curve) or ``path`` (for every
                measured step of runs that were traced).

        Raises:
            InputError: there is no such frame.
        """
        return frames.frame(self._records, name)

    def table(
        self,
        view: str = "ranking",
        *,
        kind: str | None = None,
        against: str | None = None,
        implicit_only: bool = False,
        filters: Sequence[str] = (),
        sort: str | None = None,
        columns: Sequence[str] = (),
    ) -> Tables:
        """A table for each kind of submission.

        Args:
            view: ``ranking``, ``tasks``, ``measures``, ``why``, … as ``lowlands table --help`` lists them.
            kind: ``optimizer`` or ``architecture`` alone.
            against: in ``why`` and ``separation`` the submission that every other one is compared with.
            implicit_only: without submissions that regularize on purpose.
            filters: rows must meet these conditions: ``submission=ada*``, ``overall>=0.5``.
            sort: the column that orders the rows; with a minus in front from the highest.
            columns: these columns alone, in this order.

        Raises:
            InputError: there are no such records, view or column, or a filter has another form.
        """
        return Tables(
            tables_of(
                self._records,
                view,
                kind,
                own=self._own,
                against=against,
                implicit_only=implicit_only,
                filters=filters,
                sort=sort,
                columns=columns,
            )
        )

    def figure(self, name: str = "scores", *, kind: str | None = None) -> Figure:
        """A figure of matplotlib; ``lowlands figure`` lists them.

        Args:
            name: such as ``scores``, ``tradeoff``, ``runs:TASK``, ``curves:TASK``, ``tuning:SUBMISSION``.
            kind: ``optimizer`` or ``architecture``; by default optimizers, if there are any.

        Raises:
            InputError: there is no such figure, or nothing to draw in it.
        """
        from leaderboard.site.figure_list import figure

        return figure(self._records, name, kind, self._own).figure

    def __repr__(self) -> str:
        return repr(self.table()) if self.records else "No records."

    def _repr_html_(self) -> str:
        return self.table()._repr_html_() if self.records else "<p>No records.</p>"


def load(path: str | Path | None = None, track: str | None = None, board: str | None = None) -> Results:
    """The results of a log.

    Args:
        path: a log, or a folder of logs; None: the shipped results.
        track: which log of a folder: a track's name, or its file; None: its only one, and ``quick`` of the shipped.
        board: the version of the board whose records count; None: the newest that the log has.

    Raises:
        InputError: there are no such results, there are several logs to choose from, or they cannot be read.
    """
    return Results(load_logs([baselines.find_log(None if path is None else Path(path), track)], board=board))
