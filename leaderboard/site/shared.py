"""What the pages of a site share."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leaderboard.analysis.advice import advice
from leaderboard.analysis.full_score import FullScores, predict_full_scores
from leaderboard.analysis.measure_values import measure_values
from leaderboard.analysis.ranking import boards
from leaderboard.analysis.results import Results
from leaderboard.analysis.robustness import trials
from leaderboard.analysis.runtime import History
from leaderboard.figures import Chart, Line
from leaderboard.site.links import Links
from leaderboard.site.texts import measure_text
from leaderboard.study import Study
from leaderboard.tables import views
from leaderboard.tables.table import Table
from suite.storage.record import Record

if TYPE_CHECKING:
    from leaderboard.ledger.entries import Entry


MOST_COMPARED = 60
"""So many submissions of a kind can be compared, the first ones of the table: pairs grow with the square."""


@dataclass(frozen=True)
class Page:
    """One file of the site, at `path` from its root: `content` goes into the template of that name.

    `section` is the path of the page in the navigation that it belongs to.
    """

    path: str
    template: str
    section: str
    content: dict[str, Any]


class SiteContext:
    """Everything that pages are made from, computed once: the arguments of `publish`, and what follows from them.

    Attributes:
        others: the other tracks of the site, which `publish` fills in.
        folder: where the track's pages lie, from the site's root, with a slash; empty for the track of the front page.
        boards: the leaderboard of each kind.
        measure_values: kind -> the values of every measure, task by task.
        trials: the tuning trials.
        runs_of_submission, runs_of_task: name -> its scored runs.
        links: which names have pages.
    """

    def __init__(
        self,
        results: Results,
        others: Sequence[SiteContext],
        history: Sequence[History],
        asv: str,
        study: Study | None,
        ledger: Sequence[Entry] = (),
        folder: str = "",
    ) -> None:
        self.results, self.others, self.history, self.asv, self.study = results, others, history, asv, study
        self.folder = folder
        self.ledger = ledger
        self.boards = boards(results)
        self.measure_values = {board.kind: measure_values(results, board, every=True) for board in self.boards}
        self.trials = trials(results)
        self.runs_of_submission: dict[str, list[Record]] = defaultdict(list)
        self.runs_of_task: dict[str, list[Record]] = defaultdict(list)
        for record in results.scored():
            self.runs_of_submission[record["submission"]].append(record)
            self.runs_of_task[record["task"]].append(record)
        self.links = Links(
            submissions=self.runs_of_submission, tasks=self.runs_of_task, measures=self.names_of_measures()
        )

    def names_of_measures(self) -> list[str]:
        """Measures with a page of their own: those that are scored or reported, and those that any network has."""
        rows = itertools.chain.from_iterable(self.measure_values.values())
        return sorted({row.measure for row in rows if row.reported or measure_text(row.measure).paragraphs})

    @functools.cached_property
    def advice(self) -> dict[str, dict[str, str]]:
        """Kind -> submission -> when to use it, in a sentence."""
        return {board.kind: advice(board) for board in self.boards}

    @functools.cached_property
    def why(self) -> dict[str, Table]:
        """Kind -> the table that explains each rank."""
        return {board.kind: views.why(board, self.results) for board in self.boards}

    @functools.cached_property
    def predictions(self) -> dict[str, Table]:
        """Kind -> the table of what theory predicts and whether it holds."""
        return {board.kind: views.predictions(board, self.results) for board in self.boards}

    @functools.cached_property
    def full_scores(self) -> dict[str, FullScores]:
        """Kind -> the predicted scores on the full track, where the site shows quick and there is what they need."""
        if self.results.track != "quick":
            return {}
        found = {
            board.kind: predict_full_scores(board, [other.results for other in self.others]) for board in self.boards
        }
        return {kind: scores for kind, scores in found.items() if scores is not None}

    def navigation(self) -> list[tuple[str, str]]:
        """(page, label) of the links at the top."""
        up = "../" * self.folder.count("/")  # what is of no track lies at the site's root
        pages = [("index.html", "Leaderboard"), ("tasks.html", "Tasks"), ("measures.html", "Measures")]
        pages += [("compare.html", "Compare")] if self.comparable else []
        pages += [("history.html", "History")]
        pages += [(f"{up}findings.html", "Findings")] if self.study else []
        pages += [(f"{up}claims.html", "Claims")] if self.ledger else []
        pages += [("trust.html", "Trust")]
        return pages + ([(f"{up}runtime.html", "Runtime")] if self.history else [])

    @functools.cached_property
    def comparable(self) -> dict[str, list[str]]:
        """Kind -> the submissions of which any two can be compared, in the order of the table; at least two of them."""
        scored = {
            board.kind: [name for name in board.names if name in board.scores.names][:MOST_COMPARED]
            for board in self.boards
        }
        return {kind: names for kind, names in scored.items() if len(names) > 1}

    @functools.cached_property
    def paths(self) -> frozenset[str]:
        """The pages that there are of the track, from its folder."""
        always = {"index.html", "tasks.html", "measures.html", "history.html", "trust.html", "about.html"}
        return frozenset(always | ({"compare.html"} if self.comparable else set()) | {*self.links.pages.values()})

    def tracks(self, path: str) -> list[tuple[str, str, bool]]:
        """(name, page from the site's root, whether it is this one) of every track, for the page at `path`.

        A page leads to the same page of the other track, or to its front page where that has none.
        """
        known = sorted([self, *self.others], key=lambda one: one.folder)
        return [
            (one.results.track or "all", one.folder + (path if path in one.paths else "index.html"), one is self)
            for one in known
        ]


def chart(title: str, curves: Sequence[tuple[str, Mapping[str, Any]]]) -> Chart:
    """A panel of one curve of records: (name, curve) of each line; `curve` as a record stores it."""
    first = curves[0][1]
    lines = [Line(name, curve["x"], curve["y"]) for name, curve in curves]
    oracle = None if first["oracle"] is None else Line("oracle", first["x"], first["oracle"])
    return Chart(
        title, lines, first["x_label"], first["y_label"], first["x_log"], first["y_log"], first["points"], oracle
    )
