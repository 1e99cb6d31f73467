"""Board -> tables: the ranking, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from leaderboard.analysis.measure_values import measure_values
from leaderboard.analysis.ranking import YARDSTICKS, Board, Standing, best, ranks
from leaderboard.analysis.results import Results
from leaderboard.analysis.robustness import (
    contributions,
    improvements,
    leave_one_task_out,
    neighbours,
    separations,
    trials,
    tuning_curves,
)
from leaderboard.analysis.scoring import AXES
from leaderboard.tables.table import Column, Table, TableCell, estimate, number, text

DAGGER = "†"


SCALE = "Scores: 0 is the null reference, 1 the ideal; 95 % intervals over seeds in brackets."


EXPLICIT = f"{DAGGER} regularises on purpose."


BEST = "Bold: the best score, and all down to the last that a paired test at 5 % cannot tell from it."


UNSCORED = "No task here has references that scores could be taken from: what solutions measure is shown."


COST = "Gradients and time are per lane, time relative to {}."


NONE_AT_THE_STOP = "No lane met the stop on {}: there are no solutions to measure."


NAMED = 2
"""Missing tasks that are named; more are counted (`missing` of the formats for programs has them all)."""


SUBMISSION = Column("submission", "submission", words=True)


TASK = Column("task", "task", words=True)


AXIS = Column("axis", "axis", words=True)


MEASURE = Column("measure", "measure", words=True)


def _label(standing: Standing) -> str:
    label = standing.submission + (f" {DAGGER}" if standing.explicit else "")
    lacks = ", ".join(standing.missing) if len(standing.missing) <= NAMED else f"{len(standing.missing)} tasks"
    return f"{label} (lacks {lacks})" if standing.missing else label


def _name(standing: Standing) -> TableCell:
    return TableCell(standing.submission, _label(standing))


def ranking(board: Board, results: Results) -> Table:
    """The leaderboard: rank, overall and axis scores, cost."""
    axes = board.scores.axes
    ranked = board.ranked
    marks = {
        axis: dict(zip(ranked.names, best(ranked.differences(axis), ranked.axis_means[axis]), strict=True))
        for axis in (ranked.axes if ranked.names else ())
    }
    columns = (
        Column("rank", "rank", short="#"),
        SUBMISSION,
        Column("overall", "overall"),
        *(Column(axis, axis, short={"generalization": "gener."}.get(axis, axis)) for axis in axes),
        Column("gradients", "gradients", short="grads"),
        Column("time", "time"),
        Column("stop", "at stop", short="stop"),
        Column("explicit", "explicit", data=True),
        Column("lanes", "lanes", data=True),
        Column("missing", "missing", words=True, data=True),
    )
    rows = tuple(
        (
            TableCell(standing.rank, standing.rank_text),
            _name(standing),
            estimate(standing.overall, best=standing.rank == 1),
            *(
                estimate(standing.axes.get(axis), best=marks.get(axis, {}).get(standing.submission, False))
                for axis in axes
            ),
            number(standing.gradient_evaluations, ".0f"),
            number(standing.relative_seconds, ".1f", "x"),
            TableCell(standing.converged, f"{standing.converged}/{standing.lanes}"),
            TableCell(standing.explicit, "yes" if standing.explicit else "no"),
            TableCell(standing.lanes, str(standing.lanes)),
            text(" ".join(standing.missing)),
        )
        for standing in board.standings
    )
    explicit = [EXPLICIT] if any(standing.explicit for standing in board.standings) else []
    ties = ["Equal ranks (=) cannot be told apart."] if any(standing.tied for standing in board.standings) else []
    cost = COST.format(YARDSTICKS[board.kind])
    track = f", {board.track} track" if board.track else ""
    return Table(
        f"Lowlands: {board.kind}s{track}",
        columns,
        rows,
        stub=2,
        notes=(SCALE, " ".join([*explicit, *ties, BEST, cost])) if board.scores.cells else (UNSCORED, cost),
    )


def axes(board: Board, results: Results) -> Table:
    """Every axis by itself, best first."""
    ranked, rows = board.ranked, []
    for axis in board.scores.axes:
        means = ranked.axis_means.get(axis)
        marks = best(ranked.differences(axis), means) if means is not None and len(means) else []
        among = dict(zip(ranked.names, marks, strict=True))
        held = [standing for standing in board.standings if axis in standing.axes]
        rows += [
            (text(axis), _name(standing), estimate(standing.axes[axis], among.get(standing.submission, False)))
            for standing in sorted(held, key=lambda standing: -standing.axes[axis].value)
        ]
    return Table("The axes", (AXIS, SUBMISSION, Column("score", "score")), tuple(rows), stub=2, notes=(SCALE, BEST))


def _by_submission(board: Board, stub: tuple[Column, ...]) -> tuple[Column, ...]:
    return (*stub, *(Column(standing.submission, _label(standing)) for standing in board.standings))


def tasks(board: Board, results: Results) -> Table:
    """Scores task by task and axis by axis, a column for every submission."""
    rows = []
    for cell in sorted((*board.scores.cells, *board.beside.cells), key=lambda cell: (cell.task, AXES.index(cell.axis))):
        marks = best(cell.differences(), cell.means())
        by_name = dict(zip(board.scores.names, zip(cell.estimates(), marks, strict=True), strict=True))
        entries = [estimate(*by_name[name], bounds=False) for name in board.names]
        rows.append((text(cell.task), text(cell.axis), text(cell.measure), *entries))
    return Table(
        "Scores of every task",
        _by_submission(board, (TASK, AXIS, MEASURE)),
        tuple(rows),
        stub=2,
        notes=("Scores: 0 is the null reference, 1 the ideal, as many digits as the interval bears.", BEST),
    )


def measures(board: Board, results: Results) -> Table:
    """What solutions measure, means over the lanes at the stop, a column for every submission; the references."""
    taken = measure_values(results, board)
    rows = tuple(
        (
            text(row.task),
            text(row.measure),
            text(row.axis or "reported"),
            number(row.score_0),
            number(row.score_1),
            *(estimate(*pair, bounds=False) for pair in zip(row.estimates(), row.best, strict=True)),
        )
        for row in taken
    )
    run = {record["task"] for record in results.scored() if record["kind"] == board.kind}
    unknown = sorted(run - {row.task for row in taken if np.isfinite(row.values).any()})
    references = (Column("score_0", "score_0", data=True), Column("score_1", "score_1", data=True))
    return Table(
        "What each solution measures: means over the lanes at the stop",
        _by_submission(board, (TASK, MEASURE, AXIS, *references)),
        rows,
        stub=2,
        notes=(BEST, NONE_AT_THE_STOP.format(", ".join(unknown))) if unknown else (BEST,),
    )


def improvement(board: Board, results: Results) -> Table:
    """The probability that the submission of the row beats that of the column."""
    ranked = board.ranked
    chances = improvements(ranked)
    places = {name: place for place, name in enumerate(ranked.names)}
    names = [name for name in board.names if name in places]
    rows = tuple(
        (
            text(a),
            *(TableCell(None, "") if a == b else number(float(chances[places[a], places[b]]), ".2f") for b in names),
        )
        for a in names
    )
    return Table(
        "Probability that the row's submission beats the column's on a random seed of a random axis of a random task",
        (SUBMISSION, *(Column(name, name) for name in names)),
        rows,
    )


def why(board: Board, results: Results) -> Table:
    """The difference of each overall score from its neighbour's, split over tasks and axes."""
    ranked = board.ranked
    rows = tuple(
        (
            text(name), text(other), text(part.task), text(part.axis),
            number(part.own, "z.2f"), number(part.other, "z.2f"), number(part.points, "+z.3f"),
        )
        for name, other in neighbours(board).items()
        for part in contributions(ranked, name, other)
    )  # fmt: skip
    columns = (
        SUBMISSION, Column("against", "against", words=True), TASK, AXIS,
        Column("score", "score"), Column("other", "its neighbour's"), Column("points", "points"),
    )  # fmt: skip
    note = "Points add up to the difference of the two overall scores (log-mean Divisia index)."
    return Table("Why this rank: against the neighbour above (the first: below)", columns, rows, stub=2, notes=(note,))


def robustness(board: Board, results: Results) -> Table:
    """The ranks that are left when one task is left out."""
    ranked = board.ranked
    names = [name for name in board.names if name in ranked.names]
    whole = dict(zip(ranked.names, ranks(ranked.overall, ranked.differences()), strict=True))
    rows = tuple(
        (text(task), *(number(left[name], "d") for name in names))
        for task, left in {"none": whole, **leave_one_task_out(ranked)}.items()
    )
    columns = (Column("task", "left out", words=True), *(Column(name, name) for name in names))
    return Table("Ranks with one task left out", columns, rows)


def separation(board: Board, results: Results) -> Table:
    """How many seeds per task would separate neighbours."""
    rows = tuple(
        (
            text(pair.upper), text(pair.lower), number(pair.difference, "+z.3f"), number(pair.p_value, ".2g"),
            number(pair.seeds, "d"),
            text("within the noise") if pair.needed is None else number(pair.needed, "d"),
        )
        for pair in separations(board)
    )  # fmt: skip
    columns = (
        SUBMISSION, Column("next", "next", words=True), Column("difference", "difference"),
        Column("p", "adjusted p"), Column("seeds", "seeds now"), Column("needed", "seeds needed"),
    )  # fmt: skip
    note = (
        "Seeds per task with which the ranking's test tells the two apart with a power of 80 %, if they differ so much."
    )
    return Table("What would separate neighbours", columns, rows, stub=2, notes=(note,))


def tuning(board: Board, results: Results) -> Table:
    """What a smaller tuning budget would have found."""
    rows = tuple(
        (text(curve.task), text(curve.submission), number(k, "d"), number(best), number(chance, ".2f"))
        for curve in tuning_curves(trial for trial in trials(results) if trial.submission in board.names)
        for k, (best, chance) in enumerate(zip(curve.best, curve.chance, strict=True), start=1)
    )
    columns = (
        TASK, SUBMISSION, Column("trials", "trials"), Column("best", "best validation loss"),
        Column("chance", "chance of a stop"),
    )  # fmt: skip
    note = "Expected best of k trials given that one meets the stop, and the chance that one does."
    return Table("Best of k tuning trials", columns, rows, stub=2, notes=(note,))


VIEWS: dict[str, Callable[[Board, Results], Table]] = {
    "ranking": ranking, "axes": axes, "tasks": tasks, "measures": measures, "improvement": improvement, "why": why,
    "robustness": robustness, "separation": separation, "tuning": tuning,
}  # fmt: skip
