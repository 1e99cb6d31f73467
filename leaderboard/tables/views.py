"""Board -> tables: the ranking, and what it is made of. `leaderboard.tables.VIEWS` lists the views."""

from __future__ import annotations

import numpy as np

from leaderboard.analysis.measure_values import measure_values
from leaderboard.analysis.ranking import TIME_REFERENCES, Board, Standing, best, ranks
from leaderboard.analysis.results import Results
from leaderboard.analysis.robustness import (
    contributions,
    leave_one_task_out,
    neighbours,
    probabilities_of_improvement,
    separations,
    trials,
    tuning_curves,
)
from leaderboard.analysis.scoring import AXES
from leaderboard.tables.table import (
    ARROWS,
    DAGGER,
    Column,
    Table,
    TableCell,
    columns,
    estimate,
    measure_name,
    number,
    text,
)

SCORES = "Scores: higher is better; 0 and 1 are a task's references (score_0 and score_1);"
SCORES_WITH_INTERVALS = f"{SCORES} 95 % intervals over seeds in brackets (or after ±)."
SCORES_WITHOUT_INTERVALS = f"{SCORES} as many digits as the interval justifies."
EXPLICIT = f"{DAGGER} regularizes on purpose."
BEST = "Bold: the best, and all down to the last that does not differ from it by a paired test at 5 %."
DIRECTIONS = f"{ARROWS[True]} higher is better, {ARROWS[False]} lower is better, unmarked: reported, not scored."
UNSCORED = "No task here has references that scores could be taken from: what solutions measure is reported."
COST = "Gradient evaluations (gradients) and training time are per run, time relative to {}."
NO_SOLUTIONS = "No run reached the target loss on {}: there are no solutions to measure."

MISSING_TASKS_NAMED = 2
"""More missing tasks than these are counted (`missing` of the formats for programs has them all)."""


def _name(standing: Standing) -> TableCell:
    """The submission, whether it is explicit, and the tasks that it lacks."""
    missing = standing.missing
    tasks = ", ".join(missing) if len(missing) <= MISSING_TASKS_NAMED else f"{len(missing)} tasks"
    detail = f"(lacks {tasks})" if missing else ""
    return TableCell(standing.submission, standing.submission, detail=detail, explicit=standing.explicit)


def _by_submission(board: Board, stub: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns `stub`, then one for each submission."""
    return (*stub, *(Column(standing.submission, _name(standing).text) for standing in board.standings))


def ranking(board: Board, results: Results) -> Table:
    """The leaderboard: rank, overall and axis scores, cost."""
    axes = board.scores.axes
    bests = {axis: board.best_of_axis(axis) for axis in axes}
    header = (
        Column("rank", "rank", short="#"),
        *columns("submission", words=True),
        *columns("overall"),
        *(Column(axis, axis, short={"generalization": "gener."}.get(axis, axis)) for axis in axes),
        Column("gradients", "gradients", short="grads"),
        *columns("time"),
        Column("target", "at target", short="target"),
        Column("explicit", "explicit", data=True),
        Column("runs", "runs", data=True),
        Column("missing", "missing", words=True, data=True),
    )
    rows = tuple(
        (
            TableCell(standing.rank, standing.rank_text),
            _name(standing),
            estimate(standing.overall, best=standing.rank == 1),
            *(estimate(standing.axes.get(axis), best=standing.submission in bests[axis]) for axis in axes),
            number(standing.gradient_evaluations, ".0f"),
            number(standing.relative_seconds, ".1f", "x"),
            TableCell(standing.converged, f"{standing.converged}/{standing.runs}"),
            TableCell(standing.explicit, "yes" if standing.explicit else "no"),
            TableCell(standing.runs, str(standing.runs)),
            text(" ".join(standing.missing)),
        )
        for standing in board.standings
    )
    explicit = [EXPLICIT] if any(standing.explicit for standing in board.standings) else []
    ties = ["Equal ranks (=) do not differ by the test."] if any(standing.tied for standing in board.standings) else []
    cost = COST.format(TIME_REFERENCES[board.kind])
    scored = SCORES_WITH_INTERVALS, " ".join([*explicit, *ties, BEST, cost])
    notes = scored if board.scores.cells else (UNSCORED, cost)
    track = f", {board.track} track" if board.track else ""
    return Table(f"Lowlands: {board.kind}s{track}", header, rows, stub=2, notes=notes)


def axes(board: Board, results: Results) -> Table:
    """Every axis by itself, best first."""
    rows = []
    for axis in board.scores.axes:
        bests = board.best_of_axis(axis)
        standings = [standing for standing in board.standings if axis in standing.axes]
        rows += [
            (text(axis), _name(standing), estimate(standing.axes[axis], standing.submission in bests))
            for standing in sorted(standings, key=lambda standing: -standing.axes[axis].value)
        ]
    header = (*columns("axis", "submission", words=True), *columns("score"))
    return Table("The axes", header, tuple(rows), stub=2, notes=(SCORES_WITH_INTERVALS, BEST))


def tasks(board: Board, results: Results) -> Table:
    """Scores task by task and axis by axis, a column for every submission."""
    rows = []
    cells = (*board.scores.cells, *board.extra_scores.cells)
    for cell in sorted(cells, key=lambda cell: (cell.task, AXES.index(cell.axis))):
        marks = best(cell.differences(), cell.means())
        by_name = dict(zip(board.scores.names, zip(cell.estimates(), marks, strict=True), strict=True))
        scores = [estimate(*by_name[name], bounds=False) for name in board.names]
        rows.append((text(cell.task), text(cell.axis), text(cell.measure), *scores))
    header = _by_submission(board, columns("task", "axis", "measure", words=True))
    return Table("Scores of every task", header, tuple(rows), stub=2, notes=(SCORES_WITHOUT_INTERVALS, BEST))


def measures(board: Board, results: Results) -> Table:
    """What solutions measure: means over the runs that reached the target loss, and the references."""
    measured = measure_values(results, board)
    rows = tuple(
        (
            text(row.task),
            measure_name(row.measure, row.higher),
            text(row.axis or "reported"),
            number(row.score_0),
            number(row.score_1),
            *(estimate(*pair, bounds=False) for pair in zip(row.estimates(), row.best, strict=True)),
        )
        for row in measured
    )
    attempted = {record["task"] for record in results.scored() if record["kind"] == board.kind}
    unsolved = sorted(attempted - {row.task for row in measured if np.isfinite(row.values).any()})
    references = (Column("score_0", "scores 0 at", data=True), Column("score_1", "scores 1 at", data=True))
    return Table(
        "What each solution measures: means over the runs that reached the target loss",
        _by_submission(board, (*columns("task", "measure", "axis", words=True), *references)),
        rows,
        stub=2,
        notes=(DIRECTIONS, BEST, *([NO_SOLUTIONS.format(", ".join(unsolved))] if unsolved else [])),
    )


def improvement(board: Board, results: Results) -> Table:
    """The probability that the submission of the row beats that of the column."""
    names = board.ranked_names
    places = [board.ranked.names.index(name) for name in names]
    chances = probabilities_of_improvement(board.ranked)[np.ix_(places, places)]
    rows = tuple(
        (text(name), *(TableCell(None, "") if a == b else number(float(row[b]), ".2f") for b in range(len(names))))
        for a, (name, row) in enumerate(zip(names, chances, strict=True))
    )
    return Table(
        "Probability that the row's submission beats the column's on a random seed of a random axis of a random task",
        (*columns("submission", words=True), *columns(*names)),
        rows,
    )


def why(board: Board, results: Results) -> Table:
    """The difference of each overall score from its neighbour's, split over tasks and axes."""
    rows = tuple(
        (
            *map(text, (name, other, part.task, part.axis)),
            number(part.score, "z.2f"),
            number(part.other_score, "z.2f"),
            number(part.points, "+z.3f"),
        )
        for name, other in neighbours(board).items()
        for part in contributions(board.ranked, name, other)
    )
    words = columns("submission", "against", "task", "axis", words=True)
    header = (*words, *columns("score"), Column("other", "its neighbour's"), *columns("points"))
    note = "Points add up to the difference of the two overall scores (log-mean Divisia index)."
    return Table("Why this rank: against the neighbour above (the first: below)", header, rows, stub=2, notes=(note,))


def robustness(board: Board, results: Results) -> Table:
    """The ranks that result when one task is left out."""
    ranked, names = board.ranked, board.ranked_names
    all_tasks = dict(zip(ranked.names, ranks(ranked.overall, ranked.differences()), strict=True))
    rows = tuple(
        (text(task), *(number(rank[name], "d") for name in names))
        for task, rank in {"none": all_tasks, **leave_one_task_out(ranked)}.items()
    )
    return Table("Ranks with one task left out", (Column("task", "left out", words=True), *columns(*names)), rows)


def separation(board: Board, results: Results) -> Table:
    """How many seeds per task would separate neighbours."""
    rows = tuple(
        (
            text(pair.upper),
            text(pair.lower),
            number(pair.difference, "+z.3f"),
            number(pair.p_value, ".2g"),
            number(pair.seeds, "d"),
            text("within the noise") if pair.needed is None else number(pair.needed, "d"),
        )
        for pair in separations(board)
    )
    header = (
        *columns("submission", "next", words=True),
        *columns("difference"),
        Column("p", "adjusted p"),
        Column("seeds", "seeds now"),
        Column("needed", "seeds needed"),
    )
    note = "Seeds per task with which the ranking's test detects the difference of the two with a power of 80 %."
    return Table("What would separate neighbours", header, rows, stub=2, notes=(note,))


def tuning(board: Board, results: Results) -> Table:
    """What a smaller tuning budget would have given."""
    rows = tuple(
        (text(curve.task), text(curve.submission), number(k, "d"), number(criterion), number(chance, ".2f"))
        for curve in tuning_curves(trial for trial in trials(results) if trial.submission in board.names)
        for k, (criterion, chance) in enumerate(zip(curve.best, curve.chance, strict=True), start=1)
    )
    header = (
        *columns("task", "submission", words=True),
        *columns("trials"),
        Column("best", "best validation loss"),
        Column("chance", "chance of the target"),
    )
    note = "Expected best of k trials given that one reaches the target loss, and the chance that one does."
    return Table("Best of k tuning trials", header, rows, stub=2, notes=(note,))
