"""Board -> tables: the ranking, and what it is made of. `leaderboard.tables.VIEWS` lists the views."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from leaderboard.analysis.advice import RULE
from leaderboard.analysis.advice import advice as advise
from leaderboard.analysis.aggregates import OFFICIAL, THRESHOLDS, Sensitivity, aggregates, performance_profile
from leaderboard.analysis.aggregates import sensitivity as sensitivity_of
from leaderboard.analysis.full_score import FullScores
from leaderboard.analysis.implementations import implementations, in_words
from leaderboard.analysis.measure_values import MeasureValues, measure_values
from leaderboard.analysis.ranking import PRINTED_DECIMALS, ROUGH, TIME_REFERENCES, Board, Standing, best_of_cell, places
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
from leaderboard.analysis.rotations import rotation_probes
from leaderboard.analysis.scoring import AXES
from leaderboard.analysis.search_width import unsearched
from leaderboard.analysis.statistics import Interval
from leaderboard.analysis.step_sizes import step_sizes
from leaderboard.tables.prediction_views import outcomes as outcomes
from leaderboard.tables.prediction_views import predictions as predictions
from leaderboard.tables.prediction_views import verdicts as verdicts
from leaderboard.tables.table import (
    ARROWS,
    DASH,
    EITHER,
    EXPLICIT,
    Column,
    Table,
    TableCell,
    columns,
    estimate,
    measure_name,
    number,
    text,
)
from suite.behavior import Invariance, regularizes
from suite.storage.record import Record, Status
from suite.tracks import TRACKS

SCORES = "Scores: higher is better; 0 and 1 are a task's references (score_0 and score_1);"
SCORES_WITH_INTERVALS = f"{SCORES} 95 % intervals over seeds {EITHER}."
ONE_SEED = f"{SCORES} one seed has no interval (--seeds 5 gives one)."
SCORES_WITHOUT_INTERVALS = f"{SCORES} as many digits as the interval justifies."
RANKS = "Ranks are the order of the overall scores; in brackets the ranks that the seeds leave open, all together 95 %."
ROUGHLY = f"{ROUGH} such a range may be too narrow: fewer than five seeds, or an axis whose score is 0."
TASKS = "± tasks: half of the 95 % interval that holds over other tasks of such families too (dash: not known)."
SEARCHES = "± search: half of that over seeds and the draw of the tuning search."
ONE_SEARCH = "One search: the tuning draw is not in these intervals."
ANY_SETTING = "any setting: the score of a setting drawn from the space, without selection; 0 where it does not train."
BEST = (
    "Bold: the best, and all down to the last that does not differ from it by a paired test at 5 %; nothing without "
    "some of its runs, and no score of 0."
)
BEST_OVERALL = f"{BEST} Overall: all that the seeds leave the first rank open to."
NOT_DEFINED = "{} on {}: {} is not defined and scores 0. {}."
INCOMPLETE = "(n/m): only n of m seeds reached the target loss; their mean is never bold."
DIRECTIONS = f"{ARROWS[True]} higher is better, {ARROWS[False]} lower is better, unmarked: reported, not scored."
PROVISIONAL = "Provisional scores, until their references are made anew:"
SEVERAL_ALGORITHMS = "Weights that several algorithms step, with their mean shares over tasks:"
SINGLE_PRECISION = (
    "float32: it refuses weights in double precision, and was trained on copies of these tasks in single precision; "
    "solutions are measured in double precision."
)
UNSCORED = "No task here has references that scores could be taken from: what solutions measure is reported."
COST = "Gradient evaluations (gradients) and training time are per run, time relative to {}."
NO_SOLUTIONS = "No run reached the target loss on {}: there are no solutions to measure."
ROTATIONS = (
    "A path of 16 steps, followed again from the rotated start on the rotated gradients: how far it ends from its "
    "rotated place, relative to its length (probes that rounding or random numbers decide are left out)."
)
NO_ROTATIONS = "No record says how its optimizer steps in rotated coordinates."

WAYS = {
    OFFICIAL: "geometric mean of axes",
    "arithmetic": "arithmetic mean",
    "tasks": "equal tasks",
    "iqm": "interquartile mean",
    "worst": "worst axis",
}
"""Names of `aggregates.aggregates` in tables."""

TASKS_NAMED = 8
"""Of more tasks than these only the number is said."""

MISSING_TASKS_NAMED = 2
"""More missing tasks than these are counted (`missing` of the formats for programs has them all)."""


def _copied(runs: Iterable[Record]) -> Counter[str]:
    """By submission, the number of tasks that it was trained on in single precision, in place of their own."""
    return Counter(name for name, _ in {(r["submission"], r["task"]) for r in runs if r.get("precision")})


def _name(standing: Standing, copied: int = 0) -> TableCell:
    """The submission, whether it is explicit, on how many tasks it met a copy, and what it lacks."""
    missing = standing.missing
    tasks = ", ".join(missing) if len(missing) <= MISSING_TASKS_NAMED else f"{len(missing)} tasks"
    single = [f"(float32 on {copied} {'task' if copied == 1 else 'tasks'})"] * bool(copied)
    detail = " ".join(single + [f"(lacks {tasks})"] * bool(missing) + ["(no solutions)"] * (not standing.converged))
    return TableCell(standing.submission, standing.submission, detail=detail, explicit=standing.explicit)


def _explicit_in_words(board: Board) -> list[str]:
    """What the dagger means, and what those that have it were seen to do."""
    explicit = [standing for standing in board.standings if standing.explicit]
    words = {s.submission: [seen for seen in s.behaviors or () if regularizes([seen])] for s in explicit}
    reasons = [f"{name} {' and '.join(seen)}" for name, seen in words.items() if seen]
    return [EXPLICIT, *([f"Measured: {'; '.join(reasons)}."] if reasons else [])] if explicit else []


def _unsearched_in_words(board: Board, results: Results) -> list[str]:
    """Who searched nothing, or next to nothing: where the settings come from is not known then."""
    found = unsearched(record for record in results.records if record["kind"] == board.kind)
    names = [f"{name} ({found[name]})" for name in board.names if name in found]
    return [f"Tuned elsewhere, if at all: {', '.join(names)}."] if 0 < len(names) < len(board.names) else []


ENDINGS = {Status.DIVERGED: "Diverged", Status.STALLED: "Stalled", Status.FAILED: "Failed"}


def _endings_in_words(board: Board, results: Results) -> list[str]:
    """How many scored runs of whom diverged, stalled or failed."""
    counts = Counter(
        (record["submission"], record["status"]) for record in results.scored() if record["kind"] == board.kind
    )
    words = {
        word: ", ".join(f"{name} {counts[name, status]}" for name in board.names if counts[name, status])
        for status, word in ENDINGS.items()
    }
    return [f"{word} runs: {names}." for word, names in words.items() if names]


def provisional(runs: Iterable[Record]) -> list[str]:
    """A note that names the axes of tasks whose references are provisional, and why; none if there are none."""
    reasons: defaultdict[str, set[str]] = defaultdict(set)
    for run in runs:
        for axis, stated in run["axes"].items():
            if stated.get("provisional"):
                reasons[stated["provisional"]].add(f"{run['task']} ({axis})")
    named = [f"{', '.join(sorted(axes))}, as {why}" for why, axes in sorted(reasons.items())]
    return [f"{PROVISIONAL} {'; '.join(named)}."] if named else []


def _part_of_track(name: str, tasks: Collection[str]) -> list[str]:
    """Which tasks of the track `name` the scores are over, where that is not all of them."""
    track = TRACKS.get(name)
    run = [task for task in track.tasks if task in tasks] if track else []
    if track is None or len(run) in (0, len(track.tasks)):  # 0: tasks of one's own alone
        return []
    named = f": {', '.join(run)}" if len(run) <= TASKS_NAMED else ""
    return [f"Not the whole track: {len(run)} of the {len(track.tasks)} tasks of {name}{named}."]


def _undefined(board: Board, results: Results) -> list[str]:
    """Who scores 0 somewhere because a measure is not defined of the solution, and why not."""
    return sorted(
        {
            NOT_DEFINED.format(record["submission"], record["task"], name, reason)
            for record in results.scored()
            if record["kind"] == board.kind
            for name, reason in record.get("undefined", {}).items()
        }
    )


def _by_submission(board: Board, stub: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns `stub`, then one for each submission."""
    return (*stub, *(Column(standing.submission, _name(standing).text) for standing in board.standings))


def ranking(board: Board, results: Results) -> Table:
    """The leaderboard: rank, axis scores, cost, and the overall score."""
    axes = board.scores.axes
    bests = {axis: board.best_of_axis(axis) for axis in axes}
    probed = _known(board, "behaviors")
    runs = [record for record in results.scored() if record["kind"] == board.kind]
    copied = _copied(runs)
    stepped = implementations(runs) if board.kind == "optimizer" else {}
    header = (
        Column("rank", "rank", short="#"),
        *columns("submission", words=True),
        *(Column(axis, axis, short={"generalization": "gener."}.get(axis, axis)) for axis in axes),
        Column("gradients", "gradients", short="grads"),
        *columns("time"),
        Column("target", "at target", short="target"),
        Column("expected", "any setting", data=not _known(board, "expected")),
        Column("half_over_tasks", "± tasks"),
        Column("half_over_searches", "± search", data=not _known(board, "half_over_searches")),
        *columns("overall"),
        *(Column(f"family_{family}", family, data=True) for family in board.scores.family_means),
        Column("rank_over_searches", "rank over searches", data=True),
        Column("rank_over_tasks", "rank over tasks", data=True),
        Column("explicit", "explicit", data=True),
        *([Column("behaviors", "measured behavior", words=True, data=True)] if probed else []),
        *([Column("implementation", "implementation", words=True, data=True)] if stepped else []),
        Column("runs", "runs", data=True),
        Column("missing", "missing", words=True, data=True),
    )
    rows = tuple(
        (
            replace(_rank(standing, standing.rank_interval), label=standing.rank_text),
            _name(standing, copied.get(standing.submission, 0)),
            *(estimate(standing.axes.get(axis), best=standing.submission in bests[axis]) for axis in axes),
            number(standing.gradient_evaluations, ".0f"),
            number(standing.relative_seconds, ".1f", "x"),
            TableCell(standing.converged, f"{standing.converged}/{standing.runs}"),
            number(standing.expected, ".2f"),
            number(standing.half_over_tasks, ".2f"),
            number(standing.half_over_searches, ".2f"),
            estimate(standing.overall, best=_may_be_first(standing), decimals=PRINTED_DECIMALS),
            *(number(standing.families.get(family), ".2f") for family in board.scores.family_means),
            _rank(standing, standing.rank_over_searches),
            _rank(standing, standing.rank_over_tasks),
            TableCell(standing.explicit, "yes" if standing.explicit else "no"),
            *([text("not probed" if standing.behaviors is None else ", ".join(standing.behaviors))] if probed else []),
            *([text(in_words(stepped.get(standing.submission, ())))] if stepped else []),
            TableCell(standing.runs, str(standing.runs)),
            text(" ".join(standing.missing)),
        )
        for standing in board.standings
    )
    explicit = _explicit_in_words(board)
    rough = [ROUGHLY] if any(standing.rough for standing in board.standings) else []
    cost = COST.format(TIME_REFERENCES[board.kind])
    search = SEARCHES if _known(board, "half_over_searches") else ONE_SEARCH
    spaces = [ANY_SETTING] if _known(board, "expected") else []
    known = any(not math.isnan(standing.overall.low) for standing in board.standings)
    scored = (
        SCORES_WITH_INTERVALS if known else ONE_SEED,
        " ".join([RANKS, *rough]),
        " ".join([TASKS, search, *spaces]),
        *([_aggregates_in_words(sensitivity_of(board.ranked))] if len(board.ranked_names) > 2 else []),
        " ".join([*explicit, BEST_OVERALL, cost]),
    )
    shared = [f"{name} ({in_words(stepped[name])})" for name in board.names if len(stepped.get(name, ())) > 1]
    notes = (
        *_part_of_track(board.track, {record["task"] for record in runs}),
        *(scored if board.scores.cells else (UNSCORED, cost)),
        *([f"{SEVERAL_ALGORITHMS} {'; '.join(shared)}."] if shared else []),
        *([SINGLE_PRECISION] if copied else []),
        *provisional(runs),
        *_unsearched_in_words(board, results),
        *_endings_in_words(board, results),
    )
    track = f", {board.track} track" if board.track else ""
    return Table(f"Lowlands: {board.kind}s{track}", header, rows, stub=2, notes=notes)


def _rank(standing: Standing, bounds: tuple[int, int] | None) -> TableCell:
    """The rank with the range that is left open."""
    if standing.rank is None or bounds is None:
        return TableCell(None, DASH)
    return TableCell(Interval(standing.rank, *bounds), f"[{bounds[0]}-{bounds[1]}]")


def _known(board: Board, attribute: str) -> bool:
    """Whether it is known of any submission."""
    return any(getattr(standing, attribute) is not None for standing in board.standings)


def _may_be_first(standing: Standing) -> bool:
    """Whether the seeds leave the first rank open, and the score is not 0."""
    return standing.rank_interval is not None and standing.rank_interval[0] == 1 and standing.overall.value > 0


def _aggregates_in_words(found: Mapping[str, Sensitivity]) -> str:
    """How far ranks move when scores are made one number in other ways."""
    parts = [f"{WAYS[name]} {way.largest_move} (tau {way.tau:.2f})" for name, way in found.items() if name != OFFICIAL]
    return f"By other aggregates ranks move by up to: {', '.join(parts)} places (--view sensitivity)."


def profile(board: Board, results: Results) -> Table:
    """The three axes and the families of tasks, side by side: what kind of solution a submission prefers."""
    axes, families = board.scores.axes, list(board.scores.family_means)
    rows = tuple(
        (
            _name(standing),
            *(number(standing.axes[axis].value if axis in standing.axes else None, ".2f") for axis in axes),
            *(number(standing.families.get(family), ".2f") for family in families),
        )
        for standing in board.standings
    )
    note = f"{SCORES} the axes, then the families of tasks, each as the mean over its tasks and their axes."
    header = (*columns("submission", words=True), *columns(*axes), *columns(*families))
    return Table("Profile: axes, and families of tasks", header, rows, notes=(note,))


def advice(board: Board, results: Results) -> Table:
    """When to use each submission, in a sentence."""
    rows = tuple(
        (_name(standing), text(sentence))
        for standing, sentence in zip(board.standings, advise(board).values(), strict=True)
    )
    return Table("When to use it", columns("submission", "advice", words=True), rows, notes=(RULE,))


def uncertainty(board: Board, results: Results) -> Table:
    """The overall scores and ranks with their three uncertainties."""
    rows = tuple(
        (
            _name(standing),
            estimate(standing.overall, decimals=PRINTED_DECIMALS),
            replace(_rank(standing, standing.rank_interval), label=standing.rank_text),
            number(standing.half_over_searches, ".3f"),
            _rank(standing, standing.rank_over_searches),
            number(standing.half_over_tasks, ".3f"),
            _rank(standing, standing.rank_over_tasks),
        )
        for standing in board.standings
    )
    header = (
        *columns("submission", words=True),
        *columns("overall", "rank"),
        Column("half_over_searches", "± search"),
        Column("rank_over_searches", "ranks over searches"),
        Column("half_over_tasks", "± tasks"),
        Column("rank_over_tasks", "ranks over tasks"),
    )
    search = SEARCHES if _known(board, "half_over_searches") else ONE_SEARCH
    notes = (f"In brackets: over seeds. {search} {TASKS}", RANKS)
    return Table("Three uncertainties: seeds; seeds and the tuning draw; tasks", header, rows, notes=notes)


def sensitivity(board: Board, results: Results) -> Table:
    """The ranks that other aggregates would give."""
    ranked = board.ranked
    found = sensitivity_of(ranked) if ranked.names else {}
    row_of = {name: row for row, name in enumerate(ranked.names)}
    rows = tuple(
        (text(name), *(number(way.ranks[row_of[name]], "d") for way in found.values())) for name in board.ranked_names
    )
    notes = (_aggregates_in_words(found),) if rows else ()
    header = (*columns("submission", words=True), *(Column(name, WAYS[name]) for name in found))
    return Table("Ranks under other aggregates", header, rows, notes=notes)


def performance(board: Board, results: Results) -> Table:
    """The share of runs that score at least so much, and the interquartile mean."""
    ranked = board.ranked
    by_name: dict[str, list[float]] = {}
    if ranked.names:
        numbers = np.column_stack([aggregates(ranked)["iqm"], performance_profile(ranked)])
        by_name = dict(zip(ranked.names, numbers.tolist(), strict=True))
    rows = tuple((text(name), *(number(share, ".2f") for share in by_name[name])) for name in board.ranked_names)
    header = (
        *columns("submission", words=True),
        Column("iqm", "interquartile mean"),
        *(Column(f"at_{mark:g}", f"≥ {mark:g}") for mark in THRESHOLDS),
    )
    note = "The share of runs that score at least so much, and the mean of the middle half of all runs."
    return Table("Performance profile", header, rows, notes=(note,))


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
        marks = best_of_cell(cell)
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
            *measured_cells(row),
        )
        for row in measured
    )
    attempted = {record["task"] for record in results.scored() if record["kind"] == board.kind}
    unsolved = sorted(attempted - {row.task for row in measured if np.isfinite(row.values).any()})
    incomplete = (
        [INCOMPLETE] if any(0 < n < m for row in measured for n, m in zip(row.measured, row.seeds, strict=True)) else []
    )
    references = (Column("score_0", "scores 0 at", data=True), Column("score_1", "scores 1 at", data=True))
    return Table(
        "What each solution measures: means over the runs that reached the target loss",
        _by_submission(board, (*columns("task", "measure", "axis", words=True), *references)),
        rows,
        stub=2,
        notes=(
            DIRECTIONS,
            BEST,
            *incomplete,
            *_undefined(board, results),
            *([NO_SOLUTIONS.format(", ".join(unsolved))] if unsolved else []),
        ),
    )


def measured_cells(row: MeasureValues, bounds: bool = False) -> list[TableCell]:
    """The mean of a measure for each submission, and over how many of its seeds where some missed the target loss."""
    cells = [estimate(*pair, bounds=bounds) for pair in zip(row.estimates(), row.best, strict=True)]
    return [
        replace(cell, detail=f"{cell.detail} ({some}/{every})".strip()) if 0 < some < every else cell
        for cell, some, every in zip(cells, row.measured, row.seeds, strict=True)
    ]


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


def why(board: Board, results: Results, against: str | None = None) -> Table:
    """The difference of each overall score from its neighbour's, or `against` one submission, over tasks and axes."""
    rows = tuple(
        (
            *map(text, (name, other, part.task, part.axis)),
            number(part.score, "z.2f"),
            number(part.other_score, "z.2f"),
            number(part.points, "+z.3f"),
        )
        for name, other in neighbours(board, against).items()
        for part in contributions(board.ranked, name, other)
    )
    words = columns("submission", "against", "task", "axis", words=True)
    other = "its neighbour's" if against is None else f"score of {against}"
    header = (*words, *columns("score"), Column("other", other), *columns("points"))
    note = "Points add up to the difference of the two overall scores (log-mean Divisia index)."
    whom = "the neighbour above (the first: below)" if against is None else against
    notes = (note, *_undefined(board, results))
    return Table(f"Why this rank: against {whom}", header, rows, stub=2, notes=notes)


def robustness(board: Board, results: Results) -> Table:
    """The ranks that result when one task is left out."""
    ranked, names = board.ranked, board.ranked_names
    all_tasks = dict(zip(ranked.names, places(ranked.overall), strict=True))
    rows = tuple(
        (text(task), *(number(rank[name], "d") for name in names))
        for task, rank in {"none": all_tasks, **leave_one_task_out(ranked)}.items()
    )
    return Table("Ranks with one task left out", (Column("task", "left out", words=True), *columns(*names)), rows)


def separation(board: Board, results: Results, against: str | None = None) -> Table:
    """How many seeds per task would tell neighbours apart, or each submission from `against`."""
    rows = tuple(
        (
            text(pair.upper),
            text(pair.lower),
            number(pair.difference, "+z.3f"),
            TableCell(pair.apart, "yes" if pair.apart else "no"),
            number(pair.seeds, "d"),
            text("no number") if pair.needed is None else number(pair.needed, "d"),
        )
        for pair in separations(board, against=against)
    )
    header = (
        *columns("submission", "next", words=True),
        *columns("difference"),
        Column("apart", "told apart"),
        Column("seeds", "seeds now"),
        Column("needed", "seeds needed"),
    )
    note = "Seeds per task with which the ranking's test detects the difference of the two with a power of 80 %."
    whom = "neighbours" if against is None else f"each from {against}"
    return Table(f"What would separate {whom}", header, rows, stub=2, notes=(note,))


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


def full_scores(found: FullScores, board: Board) -> Table:
    """The overall scores on the full track: predicted from the board of the quick track, and recorded."""
    header = (
        *columns("submission", words=True),
        Column("quick", "overall on quick"),
        Column("predicted", "predicted on full"),
        Column("recorded", "recorded on full"),
    )
    standings = [standing for standing in board.standings if standing.submission in found.predicted]
    standings.sort(key=lambda standing: -found.predicted[standing.submission].value)
    rows = tuple(
        (
            _name(standing),
            number(standing.overall.value, ".3f"),
            estimate(found.predicted[standing.submission]),
            number(found.recorded.get(standing.submission), ".3f"),
        )
        for standing in standings
    )
    notes = (
        f"Ridge regression on the scores of {len(board.ranked.tasks)} tasks of quick, over the {len(found.recorded)} "
        f"submissions that have {found.tasks} scored tasks of full too; of these, from the others.",
        f"Root mean square error, each left out in turn: {found.error:.2f}; of the mean: {found.error_of_mean:.2f}.",
        "In brackets: 95 % for one submission.",
    )
    return Table(f"Predicted scores on full: {board.kind}s", header, rows, notes=notes)


def steps(board: Board, results: Results) -> Table:
    """Scores as functions of the step size, where more than one setting was measured."""
    rows = tuple(
        (
            text(point.task),
            text(point.axis),
            text(point.submission),
            text(point.name),
            number(point.value),
            number(point.edge),
            number(point.score, ".3f"),
            number(point.converged, "d", f"/{point.runs}"),
        )
        for point in step_sizes(results, board.kind)
        if point.submission in board.names
    )
    header = (
        *columns("task", "axis", "submission", "parameter", words=True),
        Column("value", "step size"),
        Column("edge", "of the largest that trains"),
        *columns("score"),
        Column("target", "at target"),
    )
    note = "Runs that missed the target loss score 0. Above 1: beyond the largest step with which all runs reached it."
    return Table("Scores by step size", header, rows, stub=3, notes=(note,))


def rotation(board: Board, results: Results) -> Table:
    """Whether each optimizer takes the same steps in rotated coordinates, and how far its path moves if not."""
    found = {name: probes for name, probes in rotation_probes(results, board.kind).items() if name in board.names}
    rows = tuple(
        (
            text(name),
            text(", ".join(sorted({probe.invariance for probe in found[name]}))),
            number(float(np.median([probe.rotated for probe in found[name]])), ".2g"),
            number(max(probe.rotated for probe in found[name]), ".2g"),
            number(max((probe.turned for probe in found[name] if probe.turned is not None), default=None), ".2g"),
            number(len(found[name]), "d"),
        )
        for name in board.names
        if name in found
    )
    header = (
        *columns("submission", words=True),
        Column("invariant", "rotation invariant", words=True),
        Column("moved", "moved by (median)"),
        Column("most", "at most"),
        Column("turned", "inputs and outputs turned"),
        *columns("tasks"),
    )
    notes = (ROTATIONS,) if rows else (NO_ROTATIONS,)
    return Table("The same gradients in rotated coordinates", header, rows, notes=notes)


def rotations(board: Board, results: Results) -> Table:
    """Whether each optimizer takes the same steps in rotated coordinates on each task, and by how much if not."""
    found = {name: probes for name, probes in rotation_probes(results, board.kind).items() if name in board.names}
    names = [name for name in board.names if name in found]
    by_task: dict[str, dict[str, TableCell]] = {}
    for name in names:
        for probe in found[name]:
            moved = "" if probe.invariance is Invariance.ANY else f" ({probe.rotated:.2g})"
            by_task.setdefault(probe.task, {})[name] = TableCell(probe.rotated, f"{probe.invariance}{moved}")
    rows = tuple(
        (text(task), *(cells.get(name, text("")) for name in names)) for task, cells in sorted(by_task.items())
    )
    header = (*columns("task", words=True), *(Column(name, name, words=True) for name in names))
    notes = (ROTATIONS,) if rows else (NO_ROTATIONS,)
    return Table("Rotation invariant, task by task (moved by)", header, rows, notes=notes)
