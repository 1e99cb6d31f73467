"""What to run, and the units that it comes to.

For every submission and task: tuning units, then the protocol's selection, then scoring units with fresh seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from suite.engine.costs import Costs
from suite.entries.checks import check, check_slots
from suite.entries.entry import accepts, bind
from suite.entries.loading import LoadedSubmission, load
from suite.errors import InputError
from suite.sandbox.limits import Limits
from suite.storage.record import clean, lane_key
from suite.task import Task
from suite.tasks.registry import find_task
from suite.tracks import TUNING_SEEDS_FROM, Track
from suite.trials.evaluate import Record
from suite.trials.provenance import task_hash
from suite.trials.selection import select
from suite.trials.unit import Isolation, Unit


@dataclass(frozen=True)
class Plan:
    """What to run: submissions on tasks, with a track's seeds and tuning budget. `make_plan` builds and checks one.

    Attributes:
        submissions: the loaded submissions, whose names differ.
        tasks: the tasks; a submission runs on those that accept it.
        track: seeds and tuning budget. Its own list of tasks is not read here.
        device: torch device of the workers.
        limits: what a submission may use if its code is to run in the sandbox only; None: it runs in the workers.
        solutions: directory in which scored solutions are saved, the same path on every machine; None: nowhere.
    """

    submissions: tuple[LoadedSubmission, ...]
    tasks: tuple[Task, ...]
    track: Track
    device: str = "cpu"
    limits: Limits | None = None
    solutions: str | None = None


def make_plan(
    submissions: Sequence[str],
    tasks: Sequence[str],
    track: Track,
    device: str = "cpu",
    limits: Limits | None = None,
    solutions: str | None = None,
) -> Plan:
    """The plan for submissions and tasks given by name; whatever may be wrong with them is found here.

    Args:
        submissions: texts that find submissions: built-in names, files, import paths.
        tasks: names of tasks.
        track, device, limits, solutions: as in `Plan`.

    Raises:
        InputError: there is no such submission or task, two submissions have one name, a submission cannot be built,
            its settings cannot be recorded, or an architecture fits none of the tasks.
    """
    opened_tasks = tuple(map(find_task, tasks))
    loaded = tuple(open_submission(text, track.trials, limits) for text in submissions)
    names = [each.submission.name for each in loaded]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two of the submissions are named {name!r}; give one another name=.")
    for each in loaded:
        check_slots(each.submission, opened_tasks)
    return Plan(loaded, opened_tasks, track, device, limits, solutions)


def open_submission(text: str, trials: int, limits: Limits | None) -> LoadedSubmission:
    """The submission that `text` names, checked; with `limits` its code runs in the sandbox alone.

    Raises:
        InputError: there is none, or none of its settings can be built.
    """
    if limits is not None:
        from suite.sandbox.host import describe

        return describe(text, limits, trials)
    loaded = load(text)
    check(loaded.submission, trials)
    return loaded


class Pair:
    """One submission on one task: its units in two stages."""

    def __init__(self, loaded: LoadedSubmission, task: Task, plan: Plan, costs: Costs) -> None:
        self.loaded, self.task, self.plan = loaded, task, plan
        self.settings = bind(loaded.submission, task).settings(plan.track.trials)
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
            None if self.plan.limits is None else Isolation(self.plan.limits, self.loaded),
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
        for loaded in plan.submissions
        for task in plan.tasks
        if accepts(task, loaded.submission)
    ]
