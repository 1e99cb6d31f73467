"""What to run, and the units that it comes to.

For every submission and task: tuning units, then the protocol's selection, then scoring units with fresh seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from suite.building import Budget, build
from suite.engine.costs import Costs
from suite.entrant import accepts, enter
from suite.entrant import build as build_network
from suite.errors import InputError
from suite.isolation.limits import Limits
from suite.loading import Loaded, load
from suite.record import clean
from suite.submission import Submission
from suite.task import Task
from suite.tasks import find_task
from suite.track import TUNING_SEEDS_FROM, Track
from suite.trial import Jail, Record, Unit, select, task_hash


@dataclass(frozen=True)
class Plan:
    """What to run: submissions (by the text that finds them) on tasks, with a track's seeds and tuning budget."""

    submissions: tuple[str, ...]
    tasks: tuple[str, ...]
    track: Track
    device: str = "cpu"
    limits: Limits | None = None
    """What a submission may use if its code is to run isolated, in jailed processes only."""
    solutions: str | None = None
    """Directory in which scored solutions are kept, the same path on every machine."""


def open_submission(text: str, trials: int, limits: Limits | None) -> Loaded:
    """The submission that `text` names, checked; with `limits` its code is run in a jail alone.

    Raises:
        InputError: there is none, or none of its settings can be built.
    """
    if limits is not None:
        from suite.isolation.outside import describe

        return describe(text, limits, trials)
    loaded = load(text)
    check(loaded.submission, trials)
    return loaded


def check(submission: Submission, trials: int) -> None:
    """Build the submission once per setting on toy parameters, so that a mistake in it is found before the run.

    Raises:
        InputError: no setting can be built, or one cannot be written into a record.
    """
    _check_settings(submission, trials)
    if submission.optimizer is None:
        return
    failures, toy = [], nn.Linear(3, 2)
    for settings in submission.settings(trials):
        try:
            optimizer = build(submission.optimizer, dict(toy.named_parameters()), settings, Budget(100, 10), toy)
        except (Exception, SystemExit) as error:
            failures.append((settings, f"{type(error).__name__}: {' '.join(str(error).split())}"))
            continue
        if not hasattr(optimizer, "step") or not hasattr(optimizer, "param_groups"):
            raise InputError(f"Submission {submission.name!r} builds a {type(optimizer).__name__}, not an optimizer.")
        return
    settings, why = failures[0]
    raise InputError(f"Submission {submission.name!r}: the optimizer cannot be built with {settings} ({why}).")


def check_slots(submission: Submission, tasks: Sequence[Task]) -> None:
    """See that an architecture has a slot among `tasks` and can be built in one.

    One that only some slots suit runs: its lanes in the others fail by themselves, with the reason in their records.

    Raises:
        InputError: no task has a slot, or the architecture can be built in none.
    """
    if submission.architecture is None:
        return
    failures = []
    for task in tasks:
        if task.slot is None:
            continue
        try:
            build_network(submission.architecture, task, seed=0)
            return
        except InputError as error:
            failures.append(f"Submission {submission.name!r} on {task.name}: {error}")
    raise InputError(
        failures[0] if failures else f"None of the tasks has a slot for architectures, such as {submission.name!r}."
    )


def _check_settings(submission: Submission, trials: int) -> None:
    for settings in submission.settings(trials):
        for name, value in settings.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                raise InputError(
                    f"Submission {submission.name!r}: {name}={value!r} cannot be written into a record; use finite "
                    f"numbers, texts, and tuples of them."
                ) from None


def lane_key(record: Mapping[str, Any]) -> str:
    """What makes a lane that lane: a log that holds it is not given it again."""
    parts = (
        "submission",
        "submission_hash",
        "task",
        "task_hash",
        "phase",
        "trial",
        "seed",
        "hyperparameters",
    )
    on_cpu = record["environment"]["device"] == "cpu"
    return json.dumps([*(record[part] for part in parts), on_cpu], sort_keys=True)


class Pair:
    """One submission on one task: its units in two stages."""

    def __init__(self, loaded: Loaded, task: Task, plan: Plan, costs: Costs) -> None:
        self.loaded, self.task, self.plan = loaded, task, plan
        self.settings = enter(loaded.submission, task).settings(plan.track.trials)
        self.records: list[Record] = []
        self.waiting = 0
        kind = loaded.submission.kind
        self._lane_cost = {phase: costs.lane(task, phase, loaded.submission.name, kind) for phase in ("tune", "score")}

    def _unit(self, phase: str, trials: Sequence[int], seeds: Sequence[int]) -> Unit:
        chosen = tuple((number, tuple(self.settings[number].items())) for number in trials)
        return Unit(
            self.loaded.text,
            self.task.name,
            self.plan.track.name,
            phase,
            chosen,
            tuple(seeds),
            self.plan.device,
            None if self.plan.limits is None else Jail(self.plan.limits, self.loaded),
            self.plan.solutions,
        )

    def tuning(self) -> list[Unit]:
        """One program with all trials where lanes are batched, else a unit per trial; none if there is no choice."""
        if len(self.settings) == 1:
            return []
        seeds = range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + self.plan.track.tuning_seeds)
        numbers = range(len(self.settings))
        if self.task.batched:
            return [self._unit("tune", numbers, seeds)]
        return [self._unit("tune", [number], seeds) for number in numbers]

    def scoring(self) -> list[Unit]:
        """The selected trial on the scoring seeds; known once all tuning records are in."""
        tuned = [r for r in self.records if r["phase"] == "tune"]
        trial = select(self.task.selection, tuned) if tuned else 0
        seeds = range(self.plan.track.seeds)
        if self.task.batched:
            return [self._unit("score", [trial], seeds)]
        return [self._unit("score", [trial], [seed]) for seed in seeds]

    def cost(self, unit: Unit) -> float:
        """Expected seconds of `unit`."""
        return unit.lanes() * self._lane_cost[unit.phase]

    def scoring_cost(self) -> float:
        """Expected seconds of all scoring units."""
        return self.plan.track.seeds * self._lane_cost["score"]

    def chain(self, unit: Unit) -> float:
        """Expected seconds from the start of `unit` to the end of the pair, were there a worker for every unit."""
        if unit.phase == "score":
            return self.cost(unit)
        return self.cost(unit) + (self.scoring_cost() if self.task.batched else self._lane_cost["score"])

    def keys(self, unit: Unit) -> list[str]:
        """The keys of the records that the unit will give, in lane order."""
        return [
            lane_key(
                {
                    "submission": self.loaded.submission.name,
                    "submission_hash": self.loaded.source_hash,
                    "task": self.task.name,
                    "task_hash": task_hash(self.task),
                    "phase": unit.phase,
                    "trial": number,
                    "seed": seed,
                    "hyperparameters": clean(dict(settings)),
                    "environment": {"device": unit.device.partition(":")[0]},
                }
            )
            for number, settings in unit.trials
            for seed in unit.seeds
        ]


def pairs(plan: Plan, costs: Costs) -> list[Pair]:
    """Every submission of `plan` with every task that accepts it."""
    return [
        Pair(loaded, task, plan, costs)
        for loaded in (open_submission(text, plan.track.trials, plan.limits) for text in plan.submissions)
        for task in map(find_task, plan.tasks)
        if accepts(task, loaded.submission)
    ]


def by_trial(unit: Unit) -> Iterable[Unit]:
    """`unit` in parts of one trial each."""
    return (replace(unit, trials=(trial,)) for trial in unit.trials)
