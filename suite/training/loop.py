"""The training loop: any optimizer, all lanes, until the stopping rule.

Every lane trains until the training loss meets the task's stop within the task's budget of gradient evaluations
(`suite.training.stopping` has the rules); the schedule is the same for all (constant, then cosine to zero).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suite.seeding import seed_of
from suite.signature import MakeOptimizer, Settings
from suite.task import Problem, Task, Weights
from suite.training.closures import ClosureBarrier
from suite.training.equivalence import (
    EquivalenceCheck,
    NotEquivalent,
    supports_vmap,
    treats_lanes_independently,
    vmap_is_faster,
)
from suite.training.lanes import SingleModel, StackedModels
from suite.training.minibatches import BatchSampler, DeviceDataset
from suite.training.optimizer_factory import Parameters
from suite.training.step_protocol import OwnLoss, Schedule, StepProtocol, TrainingSetup, training_setup
from suite.training.stepping import Build, Group, make_group
from suite.training.stopping import StoppingRule

CLOSURE_CHECK = 20
"""Steps between two checks where the loss at the weights does not come for free (closures, schedule-free methods)."""


STREAMS = ("order", "label noise", "optimizer")
"""What a lane draws: the order of its batches, the noise of its labels, and what its optimizer draws."""


@dataclass(frozen=True)
class TrainingRun:
    """One lane to train: its data, its seed, and which trial it belongs to.

    streams: the seeds of its random streams where `seed` must not tell which data it has (see `suite.sandbox`).
    """

    problem: Problem
    seed: int
    trial: int
    settings: Mapping[str, Any]
    streams: Mapping[str, int] | None = None

    def stream_seeds(self, task: str) -> Mapping[str, int]:
        """The seeds of the lane's streams, by what they are for."""
        return self.streams or {purpose: seed_of(task, self.seed, purpose) for purpose in STREAMS}


@dataclass(frozen=True)
class TrainingResult:
    """Where a lane ended, and how."""

    status: str
    weights: Weights
    initial: Weights
    train_loss: float
    gradient_evaluations: int
    steps: int
    seconds: float
    stepping: str
    target_evaluations: int | None = None
    """Gradient evaluations at the check from which on the stop was met; fewer than all where a task trains on."""
    history: tuple[tuple[int, float], ...] = ()
    """(gradient evaluations, training loss): the training curve, thinned evenly on a log scale."""

    @property
    def converged(self) -> bool:
        return self.status == "converged"


def train(
    task: Task,
    lanes: Sequence[TrainingRun],
    make: MakeOptimizer,
    device: torch.device | str = "cpu",
    batched: bool | None = None,
    race: bool = False,
    schedule: Schedule | None = None,
    loss: OwnLoss | None = None,
) -> list[TrainingResult]:
    """Train every lane of `lanes` (those of one trial consecutive) with its own optimizer ``make(params, **settings)``.

    batched: all lanes as one program, or one by one; None takes what vmap_is_faster for the task on the device. Optimizers that
    need a lane's own model or the graph of its gradients get their lanes one by one in any case, and so do networks
    that cannot be batched.
    race: end trials that cannot be selected any more, where selection is by fewest gradient evaluations: exact, it
    never changes which trial is selected.
    schedule, loss: the submission's own, in place of the common schedule and of the task's loss. The stop is judged by
    the task's loss in any case.

    Raises:
        Exception: what the submission raised.
    """
    method = training_setup(task, lanes[0].problem, lanes[0].seed, lanes[0].settings, make, device, schedule, loss)
    together = len(lanes) > 1 and batched is not False and not method.requires_single
    if together and supports_vmap(task, lanes[0].problem, lanes[0].seed, device):
        together = batched or vmap_is_faster(task, [(lane.problem, lane.seed) for lane in lanes], device)
    else:
        together = False
    if not together:
        return [_Run(task, [lane], method, device).run()[0] for lane in lanes]
    try:
        return _Run(task, lanes, method, device, race).run()
    except NotEquivalent:
        return _Run(task, lanes, method, device, race, stacked=False).run()


class _Run:
    """One batched program."""

    def __init__(
        self,
        task: Task,
        lanes: Sequence[TrainingRun],
        method: TrainingSetup,
        device: torch.device | str,
        race: bool = False,
        stacked: bool = True,
    ) -> None:
        self.task, self.lanes, self.race = task, lanes, race
        self.method, self.manner = method, method.manner
        models = [task.model(lane.problem, lane.seed).to(device) for lane in lanes]
        scales = torch.tensor([lane.problem.lipschitz for lane in lanes], dtype=task.dtype, device=device)
        self.stack = (
            StackedModels(models, method.loss, scales, task.loss)
            if len(lanes) > 1
            else SingleModel(models[0], method.loss, scales, task.loss, self.manner.graph)
        )
        self.initial = [self.stack.snapshot(number) for number in range(len(lanes))]
        self.samples = DeviceDataset([lane.problem.train for lane in lanes], device)
        seeds = [lane.stream_seeds(task.name) for lane in lanes]
        self.batches = BatchSampler(task, self.samples, seeds)

        self.trials: list[range] = []
        for number, lane in enumerate(lanes):
            if number and lane.trial == lanes[number - 1].trial:
                self.trials[-1] = range(self.trials[-1].start, number + 1)
            else:
                self.trials.append(range(number, number + 1))

        def made(parameters: Parameters, settings: Settings) -> Any:
            return method.make_optimizer(parameters, settings, models[0])

        settings = [lanes[trial.start].settings for trial in self.trials]
        draws = [own["optimizer"] for own in seeds]
        torch.manual_seed(draws[0])
        self.groups, self.stepping = make_groups(
            self.stack, made, list(zip(self.trials, settings, strict=True)), self.manner, draws, stacked
        )
        self.shadows = EquivalenceCheck(self.groups, made, settings) if self.stepping == "stacked" else None

        count = len(lanes)
        self.evaluations = [0] * count
        self.steps = [0] * count
        self.final: list[Weights] = [{}] * count
        self.endings = StoppingRule(task.target, self.evaluations)
        self.seconds = [0.0] * count

    def active_groups(self) -> list[Group]:
        return [group for group in self.groups if any(self.endings.status[lane] is None for lane in group.lanes)]

    def _freeze(self, lane: int) -> None:
        self.final[lane] = self.stack.snapshot(lane)
        for gradient in self.stack.gradients.values():
            gradient[lane] = 0  # a stacked optimizer goes on with the lane's neighbours

    def judge(self, lanes: list[int], losses: list[float]) -> None:
        ended = self.endings.judge(lanes, losses)
        if self.race:
            ended += self.endings.race(self.trials)
        for lane in ended:
            self._freeze(lane)

    def _set_rate(self, group: Group) -> None:
        live = next(lane for lane in group.lanes if self.endings.status[lane] is None)
        group.set_rate(self.method.schedule(self.endings.progress(live)))

    def _count(self, lanes: list[int]) -> None:
        for lane in lanes:
            if self.endings.status[lane] is None:
                self.evaluations[lane] += 1
                self.steps[lane] += 1
        self._count_differentiation()

    def _count_differentiation(self) -> None:
        """A Hessian product (a gradient differentiated once more) costs a gradient evaluation."""
        if isinstance(self.stack, SingleModel):
            self.evaluations[0] += self.stack.differentiated
            self.stack.differentiated = 0

    def run(self) -> list[TrainingResult]:
        clean = self.task.batch_size is None and self.task.label_noise is None
        own = self.manner.closure or self.manner.modes or self.method.loss is not self.task.loss
        free = clean and not own
        if not free:
            self.judge_weights()
        if self.manner.modes:
            self.switch("train")
        while lanes := self.endings.active():
            begin = time.perf_counter()
            if free:
                self.step_full_batch(lanes)
            else:
                every = self.task.target.check_every
                steps = max(every, CLOSURE_CHECK) if self.task.batch_size is None else every
                if self.manner.closure:
                    self.step_closures(lanes, steps)
                else:
                    self.step_batches(lanes, steps)
                self.check()
            share = (time.perf_counter() - begin) / len(lanes)
            for lane in lanes:
                self.seconds[lane] += share
        return [
            TrainingResult(
                status=self.endings.status[lane] or "budget",
                weights=self.final[lane],
                initial=self.initial[lane],
                train_loss=self.endings.loss[lane],
                gradient_evaluations=self.evaluations[lane],
                steps=self.steps[lane],
                seconds=self.seconds[lane],
                stepping=self.stepping,
                target_evaluations=self.endings.target_evaluations[lane],
                history=(*self.endings.history[lane], (self.evaluations[lane], self.endings.loss[lane])),
            )
            for lane in range(len(self.lanes))
        ]

    def _evaluate(self, lanes: list[int]) -> Tensor:
        """Losses of `lanes` on their batches, without the task's decay; sets their gradients, with it."""
        decay, strengths = self.task.decay, None
        if decay is not None:
            on = [self.endings.progress(lane) < decay.until for lane in lanes]
            strengths = torch.tensor(on).to(self.stack.scales) * decay.strength
        return self.stack.evaluate(*self.batches.take(lanes), self.samples.index(lanes), strengths)

    def step_full_batch(self, lanes: list[int]) -> None:
        """One step; the loss at the weights comes free with their gradient, so the stop is checked at every step."""
        losses = self._evaluate(lanes)
        self.judge(lanes, losses.tolist())
        self._step(self.active_groups())
        self._count(lanes)

    def _step(self, groups: list[Group]) -> None:
        """Step every group with the gradients that were just evaluated."""
        for group in groups:
            self._set_rate(group)
        if self.shadows is not None:
            self.shadows.before_step(self.endings.active())
        for group in groups:
            group.step()
        if self.shadows is not None:
            self.shadows.after_step()

    def step_batches(self, lanes: list[int], steps: int) -> None:
        """`steps` steps on mini-batches (or on the whole data, for methods whose evaluation weights differ)."""
        groups = self.active_groups()
        for _ in range(steps):
            for lane in lanes:
                self.batches.advance(lane, self.evaluations[lane])
            self._evaluate(lanes)
            self._step(groups)
            self._count(lanes)
            if all(self.evaluations[lane] >= self.task.target.budget for lane in lanes):
                break

    def step_closures(self, lanes: list[int], steps: int) -> None:
        """`steps` steps of every lane whose optimizer calls a closure, as often as it likes."""
        groups = {group.lanes.start: group for group in self.active_groups()}

        def evaluate(waiting: list[int]) -> Mapping[int, Tensor]:
            losses = self._evaluate(waiting)
            for lane in waiting:
                groups[lane].attach()
                self.evaluations[lane] += 1
            return dict(zip(waiting, losses.clone(), strict=True))

        def work(lane: int, closure: Callable[[], Tensor]) -> Callable[[], None]:
            def body() -> None:
                for _ in range(steps):
                    if self.evaluations[lane] >= self.task.target.budget:
                        break
                    self.batches.advance(lane, self.evaluations[lane])
                    self._set_rate(groups[lane])
                    if self.manner.primed:
                        closure()
                    groups[lane].step(closure)
                    self._count_differentiation()
                    self.steps[lane] += 1

            return body

        if len(lanes) == 1:
            lane = lanes[0]
            work(lane, lambda: evaluate([lane])[lane])()
            return
        meeting = ClosureBarrier(evaluate)

        def closure_of(lane: int) -> Callable[[], Tensor]:
            return lambda: meeting.closure(lane)

        meeting.run({lane: work(lane, closure_of(lane)) for lane in lanes})

    def check(self) -> None:
        """Judge all active lanes by their loss on the whole training data, at the weights meant for evaluation."""
        if self.manner.modes:
            self.switch("eval")
        self.judge_weights()
        if self.manner.modes:
            self.switch("train")

    def judge_weights(self) -> None:
        """Judge all active lanes at the weights as they are."""
        lanes = self.endings.active()
        data, index = self.samples.whole(lanes), self.samples.index(lanes)
        # Until lanes may end by their loss at all, that the stop is not met is all that there is to know.
        ceiling = math.inf if self.endings.may_fall_behind() else self.task.target.loss
        self.judge(lanes, self.stack.losses(*data, index, ceiling).tolist())

    def switch(self, mode: str) -> None:
        """Put optimizers whose weights for training and evaluation differ into `mode`, `train` or `eval`."""
        for group in self.active_groups():
            group.switch(mode)


def make_groups(
    stack: StackedModels,
    build: Build,
    trials: Sequence[tuple[range, Settings]],
    manner: StepProtocol,
    seeds: Sequence[int],
    stacked: bool = True,
) -> tuple[list[Group], str]:
    """Optimizers for all lanes, and the way that they are stepped (as the record states it).

    `trials` gives each trial's consecutive lanes and its hyper-parameters; `seeds` each lane's seed for an optimizer
    that draws. `stacked` false rules the first way out.
    """
    way = "alone" if len(stack) == 1 else "rendezvous" if manner.closure else "per lane"
    if stacked and way == "per lane" and not manner.draws:
        shapes = [tensor.shape[1:] for tensor in stack.parameters.values()]
        if all(treats_lanes_independently(build, settings, shapes) for _, settings in trials):
            return [make_group(stack, lanes, build, settings, True) for lanes, settings in trials], "stacked"
    return [
        make_group(stack, range(lane, lane + 1), build, settings, False, seeds[lane] if manner.draws else None)
        for lanes, settings in trials
        for lane in lanes
    ], way
