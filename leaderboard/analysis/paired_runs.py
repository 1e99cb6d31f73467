"""Runs of two sets of results, paired: what each pair measured, what it cost, and which met the target loss.

    a pair       the same submission, task, search, trial and seed, in BASE and in NEW
    a sample     differences NEW - BASE of a quantity, one for every seed (mean over the seed's trials)
    measures     on their own scale, log or linear, in shares of the distance from score_0 to score_1; nothing is
                 clipped, so that they tell runs apart where scores are 0 or at their ceiling; positive: better
    costs        logarithms of gradient evaluations: of all, and of those to the target loss where training goes on
                 after it; negative: better

A measure is known of pairs in which both runs reached the target loss. How many did is a quantity by itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leaderboard.analysis.results import Results
from leaderboard.analysis.statistics import Array
from suite.storage.record import Record, search_of

COST, REACHED = "gradient evaluations", "evaluations to the target loss"
COSTS = (COST, REACHED)

COMPARED = ("converged", "status", "measures", "gradient_evaluations", "target_evaluations", "solution_hash")
"""Fields that are equal in identical records."""


@dataclass(frozen=True)
class Sample:
    """Differences of one quantity on one task, NEW minus BASE.

    Attributes:
        name: the measure, or one of `COSTS`.
        base, new: the mean over pairs: geometric on a log scale.
        differences: [seeds].
        seeds: which.
    """

    name: str
    base: float
    new: float
    differences: Array
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class TaskPairs:
    """All pairs of one submission on one task."""

    submission: str
    task: str
    pairs: tuple[tuple[Record, Record], ...] = field(repr=False)

    @property
    def seeds(self) -> int:
        """On how many seeds there are pairs."""
        return len({base["seed"] for base, _ in self.pairs})

    @property
    def identical(self) -> bool:
        """Whether all pairs say the same."""
        return all(base.get(name) == new.get(name) for base, new in self.pairs for name in COMPARED)

    @property
    def share_data(self) -> bool:
        """Whether the runs of every pair had the same data, so that each can be told by name."""
        return all(None is not base["data_fingerprint"] == new["data_fingerprint"] for base, new in self.pairs)

    @property
    def blind(self) -> bool:
        """Whether fewer than two seeds of BASE reached the target loss, so that no measure can become worse."""
        return len({base["seed"] for base, _ in self.pairs if base["converged"]}) < 2

    def changed(self, before: bool) -> list[Record]:
        """BASE's runs that reached the target loss where NEW's did not; or, `before` False, the other way round."""
        return [base for base, new in self.pairs if (base["converged"], new["converged"]) == (before, not before)]

    def balance(self) -> tuple[int, int]:
        """The number of seeds that lost runs at the target loss on balance, and of those that gained some.

        Trials of a seed share their data, so that a seed counts once.
        """
        net: defaultdict[int, int] = defaultdict(int)
        for base, new in self.pairs:
            net[base["seed"]] += int(new["converged"]) - int(base["converged"])
        return sum(count < 0 for count in net.values()), sum(count > 0 for count in net.values())

    def samples(self) -> Iterator[Sample]:
        """The measures of the axes, and the cost; those of which no seed has both."""
        both = [(base, new) for base, new in self.pairs if base["converged"] and new["converged"]]
        for axis in both[0][0]["axes"].values() if both else ():
            values = [(run[0]["seed"], *(_value(one, axis) for one in run)) for run in both]
            distance = _scaled(axis["score_0"], axis) - _scaled(axis["score_1"], axis)
            if distance and math.isfinite(distance):
                yield from _sample(axis["measure"], values, -1 / distance, axis["scale"] == "log")
        for name in COSTS:
            costs = [(run[0]["seed"], *(_cost(one, name) for one in run)) for run in both]
            yield from _sample(name, costs, 1.0, log=True)


def _cost(run: Mapping[str, Any], name: str) -> float:
    """The logarithm of gradient evaluations; NaN for those to the target loss if the run ended with it."""
    reached, every = run.get("target_evaluations"), run["gradient_evaluations"]
    if name == COST:
        return math.log(max(1.0, every))
    return math.nan if reached in (None, every) else math.log(max(1.0, float(reached)))


def _scaled(value: float | None, axis: Mapping[str, Any]) -> float:
    """A value of the axis' measure on its scale; NaN for what is not there or has no logarithm."""
    if value is None:
        return math.nan
    if axis["scale"] != "log":
        return float(value)
    value = max(float(value), axis["floor"] or 0.0)
    return math.log(value) if value > 0 else math.nan


def _value(run: Mapping[str, Any], axis: Mapping[str, Any]) -> float:
    return _scaled(run["measures"].get(axis["measure"]), axis)


def _sample(name: str, values: Iterable[tuple[int, float, float]], factor: float, log: bool) -> Iterator[Sample]:
    """The sample of (seed, BASE, NEW), its differences times `factor`; none where nothing is finite."""
    known = [value for value in values if all(map(math.isfinite, value))]
    if not known:
        return
    by_seed: defaultdict[int, list[float]] = defaultdict(list)
    for seed, base, new in known:
        by_seed[seed].append(factor * (new - base))
    means = [float(np.mean(side)) for side in list(zip(*known, strict=True))[1:]]
    base, new = map(math.exp, means) if log else means
    yield Sample(name, base, new, np.array([np.mean(part) for part in by_seed.values()]), tuple(by_seed))


def paired(base: Results, new: Results) -> list[TaskPairs]:
    """The pairs of every submission and task that both have, sorted."""
    sides = [{_key(run): run for run in results.scored()} for results in (base, new)]
    groups: defaultdict[tuple[str, str, str], list[tuple[Record, Record]]] = defaultdict(list)
    for key in sides[0].keys() & sides[1].keys():
        groups[key[:3]].append((sides[0][key], sides[1][key]))
    found = []
    for (_, submission, task), runs in sorted(groups.items()):
        runs.sort(key=lambda pair: _key(pair[0]))
        found.append(TaskPairs(submission, task, tuple(runs)))
    return found


def _key(run: Mapping[str, Any]) -> tuple[str, str, str, int, int, int]:
    return run["kind"], run["submission"], run["task"], search_of(run), run["trial"], run["seed"]


def usual_scatter(results: Results) -> dict[tuple[str, str], float]:
    """(task, name of a sample) -> how runs of one submission scatter over seeds: the median over submissions.

    In the units of samples: shares of a measure's distance, logarithms of costs.
    """
    groups: defaultdict[tuple[str, str], defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in results.scored():
        if not run["converged"]:
            continue
        for name in COSTS:
            if math.isfinite(cost := _cost(run, name)):
                groups[run["task"], name][run["submission"]].append(cost)
        for axis in run["axes"].values():
            distance = _scaled(axis["score_0"], axis) - _scaled(axis["score_1"], axis)
            value = _value(run, axis)
            if distance and math.isfinite(distance) and math.isfinite(value):
                groups[run["task"], axis["measure"]][run["submission"]].append(value / distance)
    scatter = {}
    for key, submissions in groups.items():
        deviations = [float(np.std(values, ddof=1)) for values in submissions.values() if len(values) > 2]
        if positive := [deviation for deviation in deviations if deviation > 0]:
            scatter[key] = float(np.median(positive))
    return scatter
