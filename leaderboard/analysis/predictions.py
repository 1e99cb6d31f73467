"""Records -> does a method do what theory says of it? A pure function, by a rule that is stated before the runs.

    gap       left minus right of a prediction's relation, seed by seed: both sides of one seed have the same data
    interval  mean of the gaps with Student's 95 % interval over seeds; of several settings of a seed the mean counts
    admitted  = : |gap| <= tolerance * |right|      ≤ : gap <= 0      ≥ : gap >= 0
    verdict   holds: the interval lies in what is admitted; fails: it lies outside; undecided: anything else

Equality is thus tested as equivalence is: not to be distinguished from the prediction is not enough to hold, and more
seeds decide. Runs that missed the target loss found no solution, and a prediction says nothing of them; one seed says
nothing of the spread, and leaves every prediction undecided. Each verdict is at 5 % by itself.

Merit is another question: a method may do what theory says and score badly, and the other way round.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leaderboard.analysis.results import Results
from leaderboard.analysis.statistics import Interval, mean_interval
from leaderboard.analysis.verdicts import Gap, Verdict
from suite.predictions import PREDICTIONS, Measured, Method, Prediction, Relation, method_of
from suite.predictions.methods import SUBMISSIONS
from suite.storage.record import Record


@dataclass(frozen=True)
class Judgement:
    """A prediction, held against the runs of one submission.

    Attributes:
        measured: the mean of the predicted measure over the solutions of all seeds.
        expected: the predicted value; the mean where it is measured itself.
        gap: measured minus expected, over the seeds that both have.
        runs: how many runs the submission has on the task, with those that missed the target loss.
    """

    prediction: Prediction
    submission: str
    method: Method
    measured: Interval
    expected: float
    gap: Gap
    runs: int

    @property
    def verdict(self) -> Verdict:
        """The verdict at 5 %."""
        return self.gap.verdict()


Runs = Mapping[tuple[str, Method], Mapping[str, list[Record]]]
"""The scored runs on a task by a method, submission by submission."""


def judge(results: Results, predictions: Iterable[Prediction] = PREDICTIONS) -> list[Judgement]:
    """Hold `predictions` against the scored runs of optimizers, in the order of predictions, then of submissions."""
    runs = _runs_of_methods(results)
    return [
        judged
        for prediction in predictions
        for method in prediction.methods
        for submission, records in runs.get((prediction.task, method), {}).items()
        if (judged := _judged(prediction, method, submission, records, runs)) is not None
    ]


def _runs_of_methods(results: Results) -> Runs:
    runs: defaultdict[tuple[str, Method], defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in results.scored():
        method = method_of(record)
        if record["kind"] == "optimizer" and method is not None:
            runs[record["task"], method][record["submission"]].append(record)
    return runs


@dataclass(frozen=True)
class Outcome:
    """What an optimizer did on a task of which something is predicted for some method, not necessarily for this one.

    Attributes:
        measured: the measures that predictions on the task name, as means over the solutions of all seeds; None where
            no solution shows one.
        judgements: on what is predicted of it; none where nothing is.
        untested: predictions of it that its solutions do not show.
        solutions: seeds with a solution.
        runs: scored runs, with those that missed the target loss.
    """

    task: str
    submission: str
    measured: Mapping[str, Interval | None]
    judgements: tuple[Judgement, ...]
    untested: tuple[Prediction, ...]
    solutions: int
    runs: int


def outcomes(results: Results, predictions: Sequence[Prediction] = PREDICTIONS) -> list[Outcome]:
    """What every optimizer did on each task that `predictions` are about: in the order of predictions, then of runs."""
    of_task: defaultdict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        of_task[prediction.task].append(prediction)
    runs: defaultdict[str, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in results.scored():
        if record["kind"] == "optimizer":
            runs[record["task"]][record["submission"]].append(record)
    judged: defaultdict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for judgement in judge(results, predictions):
        judged[judgement.prediction.task, judgement.submission].append(judgement)
    found = []
    for task, stated in of_task.items():
        for submission, records in runs[task].items():
            tested = [judgement.prediction for judgement in judged[task, submission]]
            methods = {method_of(record) for record in records}
            own = [each for each in stated if not methods.isdisjoint(each.methods)]
            by_measure = {measure: _by_seed(records, measure) for measure in dict.fromkeys(p.measure for p in stated)}
            found.append(
                Outcome(
                    task,
                    submission,
                    {name: mean_interval(list(of.values())) if of else None for name, of in by_measure.items()},
                    tuple(judged[task, submission]),
                    tuple(each for each in own if each not in tested),
                    len({record["seed"] for record in records if record["converged"]}),
                    len(records),
                )
            )
    return found


def _judged(
    prediction: Prediction,
    method: Method,
    submission: str,
    records: Sequence[Record],
    runs: Runs,
) -> Judgement | None:
    """One prediction for one submission; None where what it is compared with was not run or not measured."""
    left = _by_seed(records, prediction.measure)
    if isinstance(prediction.value, Measured):
        others, value = records, prediction.value
        if value.method is not None or value.task is not None:
            group = runs.get((value.task or prediction.task, value.method or method), {})
            # Of several submissions of the method the same, or the built-in one without settings of its own.
            names = sorted(group, key=lambda name: (name != submission, name not in SUBMISSIONS, len(name), name))
            others = group[names[0]] if names else []
        right = _by_seed(others, prediction.value.measure)
    else:
        right = dict.fromkeys(left, prediction.value)
    seeds = sorted(left.keys() & right.keys())
    if not seeds:
        return None
    expected = float(np.mean([right[seed] for seed in seeds]))
    gaps = [left[seed] - right[seed] for seed in seeds]
    low, high = admitted(prediction.relation, prediction.tolerance * abs(expected))
    return Judgement(
        prediction,
        submission,
        method,
        mean_interval(list(left.values())),
        expected,
        Gap.of(gaps, low, high),
        len(records),
    )


def _by_seed(records: Iterable[Record], measure: str) -> dict[int, float]:
    """The measure of each seed's solutions, as a mean over the settings that were scored."""
    values: defaultdict[int, list[float]] = defaultdict(list)
    for record in records:
        value = record["measures"].get(measure)
        if record["converged"] and value is not None:
            values[record["seed"]].append(float(value))
    return {seed: float(np.mean(found)) for seed, found in values.items()}


def admitted(relation: Relation, tolerance: float) -> tuple[float, float]:
    """The least and the largest gap (left minus right) that a relation admits; `tolerance` is in the measure's unit."""
    low = -math.inf if relation is Relation.AT_MOST else -tolerance
    high = math.inf if relation is Relation.AT_LEAST else tolerance
    return low, high
