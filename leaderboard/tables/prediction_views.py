"""Board -> tables of what theory predicts: prediction by prediction, submission by submission, method by method."""

from __future__ import annotations

from collections.abc import Iterable

from leaderboard.analysis.predictions import Judgement, Outcome, judge
from leaderboard.analysis.predictions import outcomes as outcomes_of
from leaderboard.analysis.ranking import Board
from leaderboard.analysis.results import Results
from leaderboard.tables.table import (
    DASH,
    RETROSPECTIVE,
    Column,
    Table,
    TableCell,
    columns,
    digits,
    estimate,
    marked,
    number,
    text,
)
from suite.predictions import NORMS, PREDICTIONS, Basis, Prediction

VERDICTS = (
    "Verdicts: holds if the 95 % interval over seeds of what was measured minus what is predicted lies within the "
    "tolerance, fails if it lies outside, else undecided. They say nothing of merit."
)
UNPROVED = "*"
NO_PREDICTIONS = "Theory predicts nothing of these submissions on these tasks, or the records do not show it."
NOTHING_PREDICTED = "nothing predicted"
UNPROVED_NOTE = f"{UNPROVED} No theorem for this method: a conjecture, or what others observed."


def predictions(board: Board, results: Results) -> Table:
    """What theory predicts of each method, what was measured, and whether the prediction holds."""
    judgements = _judgements(results, board)
    rows = tuple(
        (
            text(judged.prediction.task),
            text(judged.submission),
            text(judged.method),
            text(NORMS[judged.method]),
            text(marked(judged.prediction.formula, judged.prediction.retrospective)),
            number(judged.expected),
            estimate(judged.measured),
            estimate(judged.gap.interval()),
            TableCell(judged.gap.seeds, f"{judged.gap.seeds}/{judged.runs}"),
            text(judged.verdict),
            text(judged.prediction.claim.basis),
            text(judged.prediction.unmet or DASH),
            text(judged.prediction.claim.statement),
            text(judged.prediction.claim.source),
        )
        for judged in judgements
    )
    header = (
        *columns("task", "submission", words=True),
        Column("method", "method", words=True, data=True),
        Column("norm", "norm of its steps", words=True, data=True),
        *columns("prediction", words=True),
        Column("expected", "expected", data=True),
        *columns("measured"),
        Column("gap", "measured - expected", data=True),
        Column("seeds", "solutions/runs"),
        Column("verdict", "does what theory says", words=True, short="verdict"),
        Column("basis", "rests on", words=True),
        Column("unmet", "conditions not met", words=True, data=True),
        Column("statement", "statement", words=True, data=True),
        *columns("source", words=True),
    )
    notes = (VERDICTS, *_marks(judgements)) if rows else (NO_PREDICTIONS,)
    return Table("Predictions: does each method do what theory says of it?", header, rows, stub=2, notes=notes)


def _marks(judgements: Iterable[Judgement]) -> tuple[str, ...]:
    """The note on predictions that are marked, if there are any."""
    return (RETROSPECTIVE,) if any(judged.prediction.retrospective for judged in judgements) else ()


def verdicts(board: Board, results: Results) -> Table:
    """The verdicts on all predictions, a column for every submission."""
    judgements = _judgements(results, board)
    names = [name for name in board.names if any(judged.submission == name for judged in judgements)]
    by_row: dict[tuple[str, str], dict[str, TableCell]] = {}
    for judged in judgements:
        prediction = judged.prediction
        row = by_row.setdefault((prediction.task, marked(prediction.formula, prediction.retrospective)), {})
        value, *_ = digits([judged.measured.value, judged.measured.low, judged.measured.high])
        row[judged.submission] = TableCell(judged.verdict, f"{value} {judged.verdict}{_unproved(prediction)}")
    rows = tuple(
        (text(task), text(formula), *(cells.get(name, text("")) for name in names))
        for (task, formula), cells in by_row.items()
    )
    header = (*columns("task", "prediction", words=True), *(Column(name, name, words=True) for name in names))
    notes = (VERDICTS, UNPROVED_NOTE, *_marks(judgements))
    return Table("Verdicts on what theory predicts", header, rows, stub=2, notes=notes if rows else (NO_PREDICTIONS,))


def outcomes(board: Board, results: Results) -> Table:
    """What was measured of every submission on the tasks that theory speaks of, and what it predicts of that one."""
    order = {name: place for place, name in enumerate(board.names)}
    found = outcomes_of(results) if board.kind == "optimizer" else []
    tasks = list(dict.fromkeys(outcome.task for outcome in found))
    found = [outcome for outcome in found if outcome.submission in order]
    found.sort(key=lambda outcome: (tasks.index(outcome.task), order[outcome.submission]))
    measures = list(dict.fromkeys(name for outcome in found for name in outcome.measured))
    rows = tuple(
        (
            text(outcome.task),
            text(outcome.submission),
            *(estimate(outcome.measured.get(name)) for name in measures),
            TableCell(outcome.solutions, f"{outcome.solutions}/{outcome.runs}"),
            text(_predicted(outcome)),
            text("; ".join(dict.fromkeys(each.unmet for each in _of(outcome) if each.unmet)) or DASH),
        )
        for outcome in found
    )
    header = (
        *columns("task", "submission", words=True),
        *(Column(name, name) for name in measures),
        Column("seeds", "solutions/runs"),
        Column("predicted", "what is predicted: does it hold?", words=True),
        Column("unmet", "conditions not met", words=True),
    )
    judgements = [judged for outcome in found for judged in outcome.judgements]
    notes = (VERDICTS, UNPROVED_NOTE, *_marks(judgements)) if rows else (NO_PREDICTIONS,)
    return Table("What was measured where theory predicts something", header, rows, stub=2, notes=notes)


def _of(outcome: Outcome) -> list[Prediction]:
    """All that is predicted of it."""
    return [*(judged.prediction for judged in outcome.judgements), *outcome.untested]


def _predicted(outcome: Outcome) -> str:
    """Each prediction with its verdict."""
    verdicts = [(judged.prediction, str(judged.verdict)) for judged in outcome.judgements]
    verdicts += [(prediction, "not measured") for prediction in outcome.untested]
    return (
        "; ".join(
            f"{marked(prediction.formula, prediction.retrospective)}: {verdict}{_unproved(prediction)}"
            for prediction, verdict in verdicts
        )
        or NOTHING_PREDICTED
    )


def _unproved(prediction: Prediction) -> str:
    """The mark of what is no theorem."""
    return "" if prediction.claim.basis is Basis.THEOREM else UNPROVED


def _judgements(results: Results, board: Board) -> list[Judgement]:
    """The judgements on the board's submissions, prediction by prediction in the order of both."""
    place = {prediction: number for number, prediction in enumerate(PREDICTIONS)}
    order = {name: number for number, name in enumerate(board.names)}
    judgements = judge(results) if board.kind == "optimizer" else []
    known = [judged for judged in judgements if judged.submission in order]
    return sorted(known, key=lambda judged: (place[judged.prediction], order[judged.submission]))
