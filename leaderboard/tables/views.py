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
    estimate,
    measure_name,
    number,
    text,
)

SCORES = "Scores: higher is better; 0 and 1 are a task's references (score_0 and score_1);"


SCORES_WITH_INTERVALS = f"{SCORES} 95 % intervals over seeds in brackets."


SCORES_WITHOUT_INTERVALS = f"{SCORES} as many digits as the interval justifies."


EXPLICIT = f"{DAGGER} regularises on purpose."


BEST = "Bold: the best, and all down to the last that does not differ from it by a paired test at 5 %."


DIRECTIONS = f"{ARROWS[True]} higher is better, {ARROWS[False]} lower is better, unmarked: reported, not scored."


UNSCORED = "No task here has references that scores could be taken from: what solutions measure is reported."


COST = "Gradient evaluations (gradients) and training time are per run, time relative to {}."


NO_SOLUTIONS = "No run reached the target loss on {}: there are no solutions to measure."


MISSING_TASKS_NAMED = 2
"""More missing tasks than these are counted (`missing` of the formats for programs has them all)."""


SUBMISSION = Column("submission", "submission", words=True)


TASK = Column("task", "task", words=True)


AXIS = Column("axis", "axis", words=True)


MEASURE = Column("measure", "measure", words=True)


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
            *(
                estimate(standing.axes.get(axis), best=marks.get(axis, {}).get(standing.submission, False))
                for axis in axes
            ),
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
    notes = (
        (SCORES_WITH_INTERVALS, " ".join([*explicit, *ties, BEST, cost])) if board.scores.cells else (UNSCORED, cost)
    )
    track = f", {board.track} track" if board.track else ""
    return Table(f"Lowlands: {board.kind}s{track}", columns, rows, stub=2, notes=notes)


def axes(board: Board, results: Results) -> Table:
    """Every axis by itself, best first."""
    ranked, rows = board.ranked, []
    for axis in board.scores.axes:
        means = ranked.axis_means.get(axis)
        bests = best(ranked.differences(axis), means) if means is not None and len(means) else []
        marks = dict(zip(ranked.names, bests, strict=True))
        standings = [standing for standing in board.standings if axis in standing.axes]
        rows += [
            (text(axis), _name(standing), estimate(standing.axes[axis], marks.get(standing.submission, False)))
            for standing in sorted(standings, key=lambda standing: -standing.axes[axis].value)
        ]
    columns = (AXIS, SUBMISSION, Column("score", "score"))
    return Table("The axes", columns, tuple(rows), stub=2, notes=(SCORES_WITH_INTERVALS, BEST))


def tasks(board: Board, results: Results) -> Table:
    """Scores task by task and axis by axis, a column for every submission."""
    rows = []
    cells = (*board.scores.cells, *board.extra_scores.cells)
    for cell in sorted(cells, key=lambda cell: (cell.task, AXES.index(cell.axis))):
        marks = best(cell.differences(), cell.means())
        by_name = dict(zip(board.scores.names, zip(cell.estimates(), marks, strict=True), strict=True))
        scores = [estimate(*by_name[name], bounds=False) for name in board.names]
        rows.append((text(cell.task), text(cell.axis), text(cell.measure), *scores))
    columns = _by_submission(board, (TASK, AXIS, MEASURE))
    return Table("Scores of every task", columns, tuple(rows), stub=2, notes=(SCORES_WITHOUT_INTERVALS, BEST))


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
        _by_submission(board, (TASK, MEASURE, AXIS, *references)),
        rows,
        stub=2,
        notes=(DIRECTIONS, BEST, *([NO_SOLUTIONS.format(", ".join(unsolved))] if unsolved else [])),
    )


def improvement(board: Board, results: Results) -> Table:
    """The probability that the submission of the row beats that of the column."""
    ranked = board.ranked
    chances = probabilities_of_improvement(ranked)
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
            text(name),
            text(other),
            text(part.task),
            text(part.axis),
            number(part.score, "z.2f"),
            number(part.other_score, "z.2f"),
            number(part.points, "+z.3f"),
        )
        for name, other in neighbours(board).items()
        for part in contributions(ranked, name, other)
    )
    columns = (
        SUBMISSION,
        Column("against", "against", words=True),
        TASK,
        AXIS,
        Column("score", "score"),
        Column("other", "its neighbour's"),
        Column("points", "points"),
    )
    note = "Points add up to the difference of the two overall scores (log-mean Divisia index)."
    return Table("Why this rank: against the neighbour above (the first: below)", columns, rows, stub=2, notes=(note,))


def robustness(board: Board, results: Results) -> Table:
    """The ranks that result when one task is left out."""
    ranked = board.ranked
    names = [name for name in board.names if name in ranked.names]
    all_tasks = dict(zip(ranked.names, ranks(ranked.overall, ranked.differences()), strict=True))
    rows = tuple(
        (text(task), *(number(rank[name], "d") for name in names))
        for task, rank in {"none": all_tasks, **leave_one_task_out(ranked)}.items()
    )
    columns = (Column("task", "left out", words=True), *(Column(name, name) for name in names))
    return Table("Ranks with one task left out", columns, rows)


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
    columns = (
        SUBMISSION,
        Column("next", "next", words=True),
        Column("difference", "difference"),
        Column("p", "adjusted p"),
        Column("seeds", "seeds now"),
        Column("needed", "seeds needed"),
    )
    note = "Seeds per task with which the ranking's test detects the difference of the two with a power of 80 %."
    return Table("What would separate neighbours", columns, rows, stub=2, notes=(note,))


def tuning(board: Board, results: Results) -> Table:
    """What a smaller tuning budget would have given."""
    rows = tuple(
        (text(curve.task), text(curve.submission), number(k, "d"), number(criterion), number(chance, ".2f"))
        for curve in tuning_curves(trial for trial in trials(results) if trial.submission in board.names)
        for k, (criterion, chance) in enumerate(zip(curve.best, curve.chance, strict=True), start=1)
    )
    columns = (
        TASK,
        SUBMISSION,
        Column("trials", "trials"),
        Column("best", "best validation loss"),
        Column("chance", "chance of the target"),
    )
    note = "Expected best of k trials given that one reaches the target loss, and the chance that one does."
    return Table("Best of k tuning trials", columns, rows, stub=2, notes=(note,))
