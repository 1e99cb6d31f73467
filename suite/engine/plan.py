"""What to run, and the units of work that it consists of.

For every submission and task: tuning units, then the protocol's selection, then scoring units with other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from suite.engine.costs import Costs
from suite.entries.checks import check_interfaces, check_names, check_settings
from suite.entries.entry import accepts, bind
from suite.entries.loading import LoadedSubmission, load
from suite.sandbox.host import describe
from suite.sandbox.limits import Limits
from suite.storage.record import Record
from suite.task import Task
from suite.tasks import find_task
from suite.tracks import TUNING_SEEDS_FROM, Track
from suite.trials.resolved import ResolvedUnit
from suite.trials.selection import select
from suite.trials.unit import Isolation, Trial, Unit


@dataclass(frozen=True)
class Plan:
    """What to run: submissions on tasks, with a track's seeds and tuning budget. `make_plan` builds and checks one.

    Attributes:
        submissions, tasks: a submission runs on those tasks that accept it.
        track: seeds and tuning budget. Its own list of tasks is not read here.
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
    """The plan for the names of tasks, and for submissions as built-in names, files or import paths.

    Raises:
        InputError: there is no such submission or task, two submissions have one name, a submission cannot be built,
            its settings cannot be recorded, or an architecture fits none of the tasks.
    """
    opened_tasks = tuple(map(find_task, tasks))
    loaded = tuple(open_submission(text, track.trials, limits) for text in submissions)
    check_names([each.submission for each in loaded])
    for each in loaded:
        check_interfaces(each.submission, opened_tasks)
    return Plan(loaded, opened_tasks, track, device, limits, solutions)


def open_submission(text: str, trials: int, limits: Limits | None) -> LoadedSubmission:
    """The submission that `text` names, checked (`InputError`); with `limits` its code runs in the sandbox alone."""
    if limits is not None:
        return describe(text, limits, trials)
    loaded = load(text)
    check_settings(loaded.submission, trials)
    return loaded


class PlannedEntry:
    """One submission on one task: its units in two stages, tuning and scoring."""

    def __init__(self, plan: Plan, loaded: LoadedSubmission, task: Task, costs: Costs) -> None:
        self.plan, self.loaded, self.task = plan, loaded, task
        self.entry = bind(loaded.submission, task)
        self.trials = [Trial(*item) for item in enumerate(self.entry.settings(plan.track.trials))]
        self.records: list[Record] = []
        self.units_left = 0
        name, kind = loaded.submission.name, loaded.submission.kind
        self._run_seconds = {phase: costs.run_seconds(task, phase, name, kind) for phase in ("tune", "score")}

    def _unit(self, phase: str, trials: Sequence[Trial], seeds: Sequence[int]) -> Unit:
        plan = self.plan
        return Unit(
            submission=self.loaded.text,
            task=self.task.name,
            track=plan.track.name,
            phase=phase,
            trials=tuple(trials),
            seeds=tuple(seeds),
            device=plan.device,
            isolation=None if plan.limits is None else Isolation(plan.limits, self.loaded),
            solutions=plan.solutions,
        )

    def resolved(self, unit: Unit) -> ResolvedUnit:
        """One of its units with the objects that it stands for."""
        return ResolvedUnit(unit, self.loaded, self.entry)

    def tuning(self) -> list[Unit]:
        """One program with all trials where runs are batched, else a unit per trial; none if there is no choice."""
        if len(self.trials) == 1:
            return []
        seeds = range(TUNING_SEEDS_FROM, TUNING_SEEDS_FROM + self.plan.track.tuning_seeds)
        together = self._unit("tune", self.trials, seeds)
        return [together] if self.task.batched else together.by_trial()

    def scoring(self) -> list[Unit]:
        """The selected trial on the scoring seeds; all tuning records must be there."""
        tuned = [record for record in self.records if record["phase"] == "tune"]
        trial = self.trials[select(self.task.selection, tuned) if tuned else 0]
        seeds = range(self.plan.track.seeds)
        if self.task.batched:
            return [self._unit("score", [trial], seeds)]
        return [self._unit("score", [trial], [seed]) for seed in seeds]

    def cost(self, unit: Unit) -> float:
        """Expected seconds of `unit`."""
        return unit.size * self._run_seconds[unit.phase]

    def scoring_cost(self) -> float:
        """Expected seconds of all scoring units."""
        return self.plan.track.seeds * self._run_seconds["score"]

    def critical_path(self, unit: Unit) -> float:
        """Expected seconds from the start of `unit` to the last record, if there were a worker for every unit."""
        if unit.phase == "score":
            return self.cost(unit)
        return self.cost(unit) + (self.scoring_cost() if self.task.batched else self._run_seconds["score"])


def planned_entries(plan: Plan, costs: Costs) -> list[PlannedEntry]:
    """Every submission of `plan` on every task that accepts it."""
    return [
        PlannedEntry(plan, loaded, task, costs)
        for loaded in plan.submissions
        for task in plan.tasks
        if accepts(task, loaded.submission)
    ]
