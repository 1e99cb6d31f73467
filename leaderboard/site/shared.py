"""What the pages of a site share, worked out once."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leaderboard.analysis.measure_values import measure_values
from leaderboard.analysis.ranking import Board, boards
from leaderboard.analysis.results import Results
from leaderboard.analysis.robustness import trials
from leaderboard.analysis.runtime import History
from leaderboard.site.links import Links
from leaderboard.site.texts import measure_text
from leaderboard.study.study_log import Study
from leaderboard.tables import views
from leaderboard.tables.table import Table
from suite.storage.record import Record


@dataclass(frozen=True)
class Page:
    """One file of the site: its template and what the template is given. `section` is the link that it belongs to."""

    path: str
    template: str
    section: str
    content: dict[str, Any]


class SiteContext:
    """Results, boards and measures of one track, what is shown beside it, and the names that have pages."""

    def __init__(
        self,
        results: Results,
        others: Sequence[Results] = (),
        history: Sequence[History] = (),
        asv: str = "",
        study: Study | None = None,
    ) -> None:
        self.results, self.others, self.history, self.asv, self.study = results, others, history, asv, study
        self.boards = boards(results)
        self.measured = {board.kind: measure_values(results, board, every=True) for board in self.boards}
        self.trials = trials(results)
        self.lanes: dict[str, list[Record]] = defaultdict(list)
        self.of_task: dict[str, list[Record]] = defaultdict(list)
        for record in results.scored():
            self.lanes[record["submission"]].append(record)
            self.of_task[record["task"]].append(record)
        self.links = Links(submissions=self.lanes, tasks=self.of_task, measures=self.shown_measures())

    def shown_measures(self) -> list[str]:
        """Measures with a page of their own: those that are scored or shown, and those that any network has."""
        return sorted(
            {
                row.measure
                for rows in self.measured.values()
                for row in rows
                if row.reported or measure_text(row.measure).paragraphs
            }
        )

    def board(self, kind: str) -> Board:
        """The board of `kind`."""
        return next(board for board in self.boards if board.kind == kind)

    @functools.cached_property
    def why(self) -> dict[str, Table]:
        """Kind -> the table of what makes each rank."""
        return {board.kind: views.why(board, self.results) for board in self.boards}

    def navigation(self) -> list[tuple[str, str]]:
        """(page, label) of the links at the top."""
        found = [("index.html", "Leaderboard"), ("tasks.html", "Tasks"), ("measures.html", "Measures")]
        found += [("findings.html", "Findings")] if self.study else []
        found += [("trust.html", "Trust")]
        return found + ([("runtime.html", "Runtime")] if self.history else [])
