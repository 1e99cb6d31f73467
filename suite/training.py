"""The training loop: any optimizer, all lanes, until the stopping rule.

The protocol in one file: every lane trains until the training loss meets the task's stop within the task's budget of
gradient evaluations; the schedule is the same for all (constant, then cosine to zero); a lane is frozen at the moment
it meets the stop; lanes that cannot meet it any more end early by rules fixed here, in advance and equal for all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suite import batching
from suite.building import MakeOptimizer, Parameters, Settings
from suite.lanes import Lanes, SingleLane, Weights
from suite.method import Method, OwnLoss, Schedule, find_method
from suite.rendezvous import Rendezvous
from suite.samples import Samples
from suite.seeding import seed_of
from suite.shadows import Refuted, Shadows
from suite.stepping import Group, make_groups
from suite.task import Problem, Task

DIVERGED = 1e3
"""A lane has diverged when its loss is not finite, or above the initial one by this multiple of the way to the stop."""

STALLED = ((0.5, 0.5), (0.75, 0.8))
"""(share of the budget, share of the way from the initial loss to the stop that must lie behind a lane by then).

At half of the budget the step size begins to fall, at three quarters 91 % of all the travel it allows is spent. A lane
that is behind these marks by then does not reach the stop; most of a tuning sweep's time would go to such lanes.
"""

HISTORY_STEP = 1.1
"""The training curve keeps a point each time the gradient evaluations have grown by this factor: some 80 of 4,000."""

CLOSURE_CHECK = 20
"""Steps between two checks where the loss at the weights does not come for free (closures, schedule-free methods)."""

STREAMS = ("order", "label noise", "optimizer")
"""What a lane draws: the order of its batches, the noise of its labels, and what its optimizer draws."""


@dataclass(frozen=True)
class Lane:
    """One lane to train: its data, its seed, and which trial it belongs to.

    streams: the seeds of its random streams where `seed` must not tell which data it has (see `suite.isolation`).
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
class Trained:
    """Where a lane ended, and how."""

    status: str
    weights: Weights
    initial: Weights
    train_loss: float
    gradient_evaluations: int
    steps: int
    seconds: float
    stepping: str
    stop_evaluations: int | None = None
    """Gradient evaluations at the check from which on the stop was met; fewer than all where a task trains on."""
    history: tuple[tuple[int, float], ...] = ()
    """(gradient evaluations, training loss): the training curve, thinned evenly on a log scale."""

    @property
    def converged(self) -> bool:
        return self.status == "converged"


def train(
    task: Task,
    lanes: Sequence[Lane],
    make: MakeOptimizer,
    device: torch.device | str = "cpu",
    batched: bool | None = None,
    race: bool = False,
    schedule: Schedule | None = None,
    loss: OwnLoss | None = None,
) -> list[Trained]:
    """Train every lane of `lanes` (those of one trial consecutive) with its own optimizer ``make(params, **settings)``.

    batched: all lanes as one program, or one by one; None takes what pays for the task on the device. Optimizers that
    need a lane's own model or the graph of its gradients get their lanes one by one in any case, and so do networks
    that cannot be batched.
    race: end trials that cannot be selected any more, where selection is by fewest gradient evaluations: exact, it
    never changes which trial is selected.
    schedule, loss: the submission's own, in place of the common schedule and of the task's loss. The stop is judged by
    the task's loss in any case.

    Raises:
        Exception: what the submission raised.
    """
    method = find_method(task, lanes[0].problem, lanes[0].seed, lanes[0].settings, make, device, schedule, loss)
    together = len(lanes) > 1 and batched is not False and not method.alone
    if together and batching.possible(task, lanes[0].problem, lanes[0].seed, device):
        together = batched or batching.pays(task, [(lane.problem, lane.seed) for lane in lanes], device)
    else:
        together = False
    if not together:
        return [_Run(task, [lane], method, device).run()[0] for lane in lanes]
    try:
        return _Run(task, lanes, method, device, race).run()
    except Refuted:
        return _Run(task, lanes, method, device, race, stacked=False).run()


class _Run:
    """One batched program."""

    def __init__(
        self,
        task: Task,
        lanes: Sequence[Lane],
        method: Method,
        device: torch.device | str,
        race: bool = False,
        stacked: bool = True,
    ) -> None:
        self.task, self.lanes, self.race = task, lanes, race
        self.method, self.manner = method, method.manner
        models = [task.model(lane.problem, lane.seed).to(device) for lane in lanes]
        scales = torch.tensor([lane.problem.smoothness for lane in lanes], dtype=task.dtype, device=device)
        self.stack = (
            Lanes(models, method.loss, scales, task.loss)
            if len(lanes) > 1
            else SingleLane(models[0], method.loss, scales, task.loss, self.manner.graph)
        )
        self.initial = [self.stack.snapshot(number) for number in range(len(lanes))]
        self.samples = Samples([lane.problem.train for lane in lanes], device)
        seeds = [lane.stream_seeds(task.name) for lane in lanes]
        self.orders = [torch.Generator().manual_seed(own["order"]) for own in seeds]
        self.noise = [torch.Generator().manual_seed(own["label noise"]) for own in seeds]
        self.shifts: list[Tensor | None] = [None] * len(lanes)
        self.epochs: list[Tensor] = [torch.empty(0, dtype=torch.long) for _ in lanes]

        self.trials: list[range] = []
        for number, lane in enumerate(lanes):
            if number and lane.trial == lanes[number - 1].trial:
                self.trials[-1] = range(self.trials[-1].start, number + 1)
            else:
                self.trials.append(range(number, number + 1))

        def made(parameters: Parameters, settings: Settings) -> Any:
            return method.build(parameters, settings, models[0])

        settings = [lanes[trial.start].settings for trial in self.trials]
        draws = [own["optimizer"] for own in seeds]
        torch.manual_seed(draws[0])
        self.groups, self.stepping = make_groups(
            self.stack, made, list(zip(self.trials, settings, strict=True)), self.manner, draws, stacked
        )
        self.shadows = Shadows(self.groups, made, settings) if self.stepping == "stacked" else None

        count = len(lanes)
        self.evaluations = [0] * count
        self.steps = [0] * count
        self.status: list[str | None] = [None] * count
        self.final: list[Weights] = [{}] * count
        self.loss = [math.nan] * count
        self.stop_evaluations: list[int | None] = [None] * count
        self.first_loss = [math.nan] * count
        self.history: list[list[tuple[int, float]]] = [[] for _ in lanes]
        self.seconds = [0.0] * count

    # -- which lanes go on ------------------------------------------------------------------------------------

    def active(self) -> list[int]:
        return [number for number, status in enumerate(self.status) if status is None]

    def active_groups(self) -> list[Group]:
        return [group for group in self.groups if any(self.status[lane] is None for lane in group.lanes)]

    def _end(self, lane: int, status: str) -> None:
        self.status[lane] = status
        self.final[lane] = self.stack.snapshot(lane)
        for gradient in self.stack.gradients.values():
            gradient[lane] = 0  # a stacked optimizer goes on with the lane's neighbours

    def judge(self, lanes: list[int], losses: list[float]) -> None:
        """Freeze the lanes that met the stop and end those that cannot meet it any more."""
        stop = self.task.stop
        for lane, loss in zip(lanes, losses, strict=True):
            self.loss[lane] = loss
            if math.isnan(self.first_loss[lane]):
                self.first_loss[lane] = loss
            if not self.history[lane] or self.evaluations[lane] >= HISTORY_STEP * self.history[lane][-1][0]:
                self.history[lane].append((self.evaluations[lane], loss))
            way = self.first_loss[lane] - stop.loss
            progress = self.evaluations[lane] / stop.budget
            met = loss <= stop.loss
            if not met:
                self.stop_evaluations[lane] = None
            elif self.stop_evaluations[lane] is None:
                self.stop_evaluations[lane] = self.evaluations[lane]
            if met and (progress >= 1 or not stop.at_end):
                self._end(lane, "converged")
            elif not math.isfinite(loss) or loss - self.first_loss[lane] > DIVERGED * abs(way):
                self._end(lane, "diverged")
            elif progress >= 1:
                self._end(lane, "budget")
            elif self._stalled(lane, loss):
                self._end(lane, "stalled")
        if self.race:
            self._race()

    def _stalled(self, lane: int, loss: float) -> bool:
        stop = self.task.stop
        progress = self.evaluations[lane] / stop.budget
        way, behind = self.first_loss[lane] - stop.loss, self.first_loss[lane] - loss
        return not stop.at_end and any(progress >= share and behind < least * way for share, least in STALLED)

    def _race(self) -> None:
        def spent(trial: range) -> int:
            return sum(self.evaluations[lane] for lane in trial)

        complete = [spent(t) for t in self.trials if all(self.status[lane] == "converged" for lane in t)]
        for trial in self.trials if complete else ():
            missed = any(self.status[lane] not in (None, "converged") for lane in trial)
            for lane in trial:
                if self.status[lane] is None and (missed or spent(trial) >= min(complete)):
                    self._end(lane, "raced")

    # -- data -------------------------------------------------------------------------------------------------

    def _batch(self, lanes: list[int]) -> tuple[Tensor, Tensor]:
        size = self.task.batch_size
        if size is None:
            x, y = self.samples.whole(lanes)
        else:
            x, y = self.samples.batch(lanes, [self.epochs[lane][:size] for lane in lanes])
        return x, self._noisy(y, lanes)

    def _noisy(self, y: Tensor, lanes: list[int]) -> Tensor:
        """Targets ``y [A, b, ...]`` of `lanes` with the label noise of their steps."""
        shifts = [self.shifts[lane] for lane in lanes]
        if all(shift is None for shift in shifts):
            return y
        still = torch.zeros(y.shape[1:], dtype=y.dtype)
        return y + torch.stack([still if shift is None else shift for shift in shifts]).to(y.device)

    def _draw_noise(self, lane: int) -> None:
        """The label noise of a lane's next step, from the lane's own stream; every gradient of the step sees it."""
        noise, self.shifts[lane] = self.task.label_noise, None
        if noise is not None and self.evaluations[lane] < noise.until * self.task.stop.budget:
            size = self.task.batch_size
            rows = len(self.samples) if size is None else len(self.epochs[lane][:size])
            target = self.samples.target
            signs = torch.randint(0, 2, (rows, *target.shape), generator=self.noise[lane], dtype=target.dtype) * 2 - 1
            self.shifts[lane] = noise.scale * signs

    def _next_batch(self, lane: int) -> None:
        """Advance a lane's batch: consecutive pieces of a permutation, a new one each epoch, the last piece shorter.

        The label noise of the step, if the task has any, is drawn with it.
        """
        size = self.task.batch_size
        if size is not None:
            self.epochs[lane] = self.epochs[lane][size:]
            if not len(self.epochs[lane]):
                self.epochs[lane] = torch.randperm(len(self.samples), generator=self.orders[lane])
        self._draw_noise(lane)

    def _set_rate(self, group: Group) -> None:
        live = next(lane for lane in group.lanes if self.status[lane] is None)
        group.set_rate(self.method.schedule(self.evaluations[live] / self.task.stop.budget))

    def _count(self, lanes: list[int]) -> None:
        for lane in lanes:
            if self.status[lane] is None:
                self.evaluations[lane] += 1
                self.steps[lane] += 1
        self._count_differentiation()

    def _count_differentiation(self) -> None:
        """A Hessian product (a gradient differentiated once more) costs a gradient evaluation."""
        if isinstance(self.stack, SingleLane):
            self.evaluations[0] += self.stack.differentiated
            self.stack.differentiated = 0

    # -- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> list[Trained]:
        clean = self.task.batch_size is None and self.task.label_noise is None
        own = self.manner.closure or self.manner.modes or self.method.loss is not self.task.loss
        free = clean and not own
        if not free:
            self.judge_weights()
        if self.manner.modes:
            self.switch("train")
        while lanes := self.active():
            begin = time.perf_counter()
            if free:
                self.step_full_batch(lanes)
            else:
                every = self.task.stop.check_every
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
            Trained(
                status=self.status[lane] or "budget",
                weights=self.final[lane],
                initial=self.initial[lane],
                train_loss=self.loss[lane],
                gradient_evaluations=self.evaluations[lane],
                steps=self.steps[lane],
                seconds=self.seconds[lane],
                stepping=self.stepping,
                stop_evaluations=self.stop_evaluations[lane],
                history=(*self.history[lane], (self.evaluations[lane], self.loss[lane])),
            )
            for lane in range(len(self.lanes))
        ]

    def _evaluate(self, lanes: list[int]) -> Tensor:
        """Losses of `lanes` on their batches, without the task's decay; sets their gradients, with it."""
        decay, strengths = self.task.decay, None
        if decay is not None:
            on = [self.evaluations[lane] < decay.until * self.task.stop.budget for lane in lanes]
            strengths = torch.tensor(on).to(self.stack.scales) * decay.strength
        return self.stack.evaluate(*self._batch(lanes), self.samples.index(lanes), strengths)

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
            self.shadows.before_step(self.active())
        for group in groups:
            group.step()
        if self.shadows is not None:
            self.shadows.after_step()

    def step_batches(self, lanes: list[int], steps: int) -> None:
        """`steps` steps on mini-batches (or on the whole data, for methods whose evaluation weights differ)."""
        groups = self.active_groups()
        for _ in range(steps):
            for lane in lanes:
                self._next_batch(lane)
            self._evaluate(lanes)
            self._step(groups)
            self._count(lanes)
            if all(self.evaluations[lane] >= self.task.stop.budget for lane in lanes):
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
                    if self.evaluations[lane] >= self.task.stop.budget:
                        break
                    self._next_batch(lane)
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
        meeting = Rendezvous(evaluate)

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
        lanes = self.active()
        data, index = self.samples.whole(lanes), self.samples.index(lanes)
        # Until lanes may end by their loss at all, that the stop is not met is all that there is to know.
        early = all(0 < self.evaluations[lane] < STALLED[0][0] * self.task.stop.budget for lane in lanes)
        ceiling = self.task.stop.loss if early else math.inf
        self.judge(lanes, self.stack.losses(*data, index, ceiling).tolist())

    def switch(self, mode: str) -> None:
        """Put optimizers whose weights for training and evaluation differ into `mode`, `train` or `eval`."""
        for group in self.active_groups():
            group.switch(mode)
