"""Whether training many lanes as one program gives each what it would get alone, and whether it is faster.

1. `supports_vmap`: before training, `vmap` gives the gradients that a single model has.
2. `EquivalenceCheck`: during training, to the last step, lanes are compared with an ordinary loop.
3. `affordable_lane`: after training, a whole run is repeated alone where that costs little.

What fails any of them is trained run by run.

Whether one program is faster follows a fixed rule on a CPU, because a choice by the clock could differ in the next run
and change the last bits of every result. The rule is each task's `batched`, and was measured. A program of small
networks is played from a tape (`suite.training.tape`): from two lanes on it takes less time than one by one. Wide
networks do not gain (784-256-256-10 with 8 lanes:
0.7 times), and convolutions lose (0.4 times). On other devices one gradient is timed both ways on the very runs. The
record says which way was taken (`stepping`).
"""

from __future__ import annotations

import copy
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from suite.signature import Settings
from suite.storage.record import Status
from suite.task import Split, Task
from suite.training.global_state import GeneratorStates, generator_states, generators_preserved, same_generators
from suite.training.gradient_count import GRADIENTS
from suite.training.groups import Group
from suite.training.lanes import SingleModel, StackedModels
from suite.training.optimizer_factory import Parameters
from suite.training.run import Device, TrainingResult, TrainingRun
from suite.training.step_protocol import TrainingSetup, call_mode
from suite.training.tape import NotEquivalent

GRADIENT_TOLERANCE = 1e-2
"""Gradients that differ by less than this (relative) count as equal; rounding alone stays far below."""


def supports_vmap(task: Task, run: TrainingRun, device: Device) -> bool:
    """Whether `vmap` runs the task's network with the right gradients, changes no buffers and draws no random numbers.

    A module that computes with other weights than those put in place would be trained in part. Batch norm changes its
    statistics in place: under `vmap` they would be lost where only some lanes go on. Dropout draws for all lanes from
    one generator: what a lane gets would depend on its neighbours.
    """
    with torch.random.fork_rng(devices=[]):
        stack, batch = _stacked(task, [run] * 2, device)
        buffers = {name: buffer.clone() for name, buffer in stack.buffers.items()}
        state = torch.get_rng_state()
        try:
            stack.evaluate(batch.x, batch.y)
        except Exception:  # a network that is broken as such says so when it is trained by itself
            return False
        if not torch.equal(state, torch.get_rng_state()):
            return False
        single = _single(task, run, device)
        single.evaluate(batch.x[:1], batch.y[:1])
    unchanged = all(torch.equal(buffers[name], buffer) for name, buffer in stack.buffers.items())
    return unchanged and _same_gradients(stack, single)


def _stacked(task: Task, runs: Sequence[TrainingRun], device: Device) -> tuple[StackedModels, Split]:
    """The runs as one program, and their first batches ``[lanes, b, ...]``."""
    scales = torch.ones(len(runs), dtype=task.dtype, device=device)
    batches = [run.first_batch(task, device) for run in runs]
    batch = Split(torch.stack([batch.x for batch in batches]), torch.stack([batch.y for batch in batches]))
    return StackedModels([run.model(task, device) for run in runs], task.loss, scales), batch


def _single(task: Task, run: TrainingRun, device: Device) -> SingleModel:
    return SingleModel(run.model(task, device), task.loss, torch.ones((), dtype=task.dtype, device=device))


def _same_gradients(stack: StackedModels, single: SingleModel, lane: int = 0) -> bool:
    """Whether the gradients of a lane are those of the module by itself, but for rounding."""
    pairs = [(stack.gradient(name, lane), single.gradient(name, 0)) for name in stack.parameters]
    both = [(gradient, expected) for gradient, expected in pairs if gradient is not None and expected is not None]
    norm = torch.linalg.vector_norm
    total = sum(float(norm(expected)) ** 2 for _, expected in both) ** 0.5
    # Where large terms cancel in one tensor, the rounding errors are as large as in the others.
    rounding = [10 * torch.finfo(expected.dtype).eps * (1 + total) for _, expected in both]
    return all((gradient is None) == (expected is None) for gradient, expected in pairs) and all(
        float(norm(gradient - expected)) <= GRADIENT_TOLERANCE * float(norm(expected)) + error
        for (gradient, expected), error in zip(both, rounding, strict=True)
    )


TIMING_REPEATS = 5


def vmap_is_faster(task: Task, runs: Sequence[TrainingRun], device: Device) -> bool:
    """Whether `runs` are trained faster as one program."""
    if torch.device(device).type == "cpu":
        return task.batched
    batched, sequential = batched_gradients(task, runs, device), sequential_gradients(task, runs, device)
    return median_seconds(batched, device) < median_seconds(sequential, device)


def batched_gradients(task: Task, runs: Sequence[TrainingRun], device: Device) -> Callable[[], Tensor]:
    """A function that computes one gradient of every run on its first batch as one program, and returns the losses."""
    stack, batch = _stacked(task, runs, device)
    return lambda: stack.evaluate(batch.x, batch.y)


def sequential_gradients(task: Task, runs: Sequence[TrainingRun], device: Device) -> Callable[[], Tensor]:
    """The same gradients, one run after the other."""
    singles = [_single(task, run, device) for run in runs]
    batches = [run.first_batch(task, device) for run in runs]
    return lambda: torch.cat([s.evaluate(b.x[None], b.y[None]) for s, b in zip(singles, batches, strict=True)])


def median_seconds(work: Callable[[], object], device: Device) -> float:
    """Median time of `work`, after one call that warms up."""
    times = []
    for _ in range(TIMING_REPEATS + 1):
        begin = time.perf_counter()
        work()
        if torch.device(device).type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


CHECKED_STEPS = 20

GROWTH = 2.0
"""After the first steps a lane is checked each time their number has grown by this factor, to the end of the run."""

TOLERANCES = {torch.float64: (1e-6, 1e-13), torch.float32: (1e-3, 1e-5)}
"""Relative to how far a tensor moved, and to its largest entry: single precision has a margin for kernels that add in
another order."""


CurrentBatch = Callable[[list[int], int], tuple[Tensor, Tensor, Tensor | None]]
"""The present batches of lanes, and the strengths of their decay after so many more gradient evaluations."""


class Shadow:
    """A lane's run as an ordinary loop trains it: an optimizer on the parameters of a network of its own."""

    def __init__(self, group: Group, lane: int, setup: TrainingSetup, run: TrainingRun) -> None:
        self.group, self.lane = group, lane
        task, device, protocol, self._passes = setup.task, setup.device, setup.protocol, setup.passes
        model = run.model(task, device)
        self._single = setup.source.single(task, setup.loss, run, model, device)
        self._primed = protocol.needs_grad_before_closure
        self._copy_weights()

        def build(parameters: Parameters, settings: Settings) -> Any:
            return setup.make_optimizer(parameters, settings, model)

        seed = run.stream_seeds(task.name)["optimizer"]
        self._own = Group(self._single, range(1), build, run.settings, False, seed, device, ordinary=True)
        call_mode(self._own.optimizer, "train")

    @torch.no_grad()
    def _copy_weights(self) -> None:
        """Begin where the lane is."""
        self._start = {
            name: self.group.stack.leaf(name, self.lane).detach().clone() for name in self._single.parameters
        }
        for name, start in self._start.items():
            self._single.leaf(name, 0).copy_(start)

    def evaluate(self, batch: CurrentBatch, ahead: int = 0) -> Tensor:
        """What is descended on the lane's present batch, by an ordinary backward pass."""
        x, y, decay = batch([self.lane], ahead)
        GRADIENTS.expected += self._passes
        return self._single.descended(self._single.evaluate(x, y, None, decay), None, decay)[0]

    def step(self, batch: CurrentBatch, closure: bool) -> None:
        """Step with gradients of its own."""
        self._own.set_rate(self.group.factor)
        count = itertools.count()
        if not closure or self._primed:
            self.evaluate(batch, next(count))
        self._own.step((lambda: self.evaluate(batch, next(count))) if closure else None)

    def same_gradients(self) -> bool:
        """Whether the lane was given the gradients that an ordinary backward pass gives."""
        return _same_gradients(self.group.stack, self._single, self.lane)

    def step_as_stacked(self) -> None:
        """Step once, with the lane's gradients and its part of the state of the stacked optimizer."""
        own, stacked, row = self._own.optimizer, self.group.optimizer, self.lane - self.group.lanes.start
        for options, others in zip(own.param_groups, stacked.param_groups, strict=True):
            options |= {key: copy.deepcopy(value) for key, value in others.items() if key != "params"}
        for name, parameter in self._own.parameters.items():
            together = self.group.parameters[name]
            state = copy.deepcopy(stacked.state.get(together, {}))  # of all lanes: entries, and counts of steps
            own.state[parameter] = {
                key: value[row].clone() if torch.is_tensor(value) and value.shape == together.shape else value
                for key, value in state.items()
            }
            gradient = self.group.stack.gradient(name, self.lane)
            parameter.grad = None if gradient is None else gradient.clone()
        own.step()

    def require_agreement(self) -> None:
        """Raise `NotEquivalent` if the lane has other weights."""
        for name, start in self._start.items():
            value, expected = self.group.stack.leaf(name, self.lane).detach(), self._single.leaf(name, 0).detach()
            of_distance, of_size = TOLERANCES.get(value.dtype, (1e-1, 1e-2))
            distance, size = (expected - start).abs().max(), expected.abs().max()
            if bool(((value - expected).abs() > of_distance * distance + of_size * size).any()):
                raise NotEquivalent("a lane has other weights than an ordinary loop gives")


class EquivalenceCheck:
    """Looks from the first step to the last whether lanes are trained as an ordinary loop trains them.

    One lane has a `Shadow` for the first steps. Later, at steps whose number grows by `GROWTH`, one lane after the
    other is compared: its gradients, and its step where one optimizer serves several lanes. Then, and at the end,
    nothing may have been drawn from the global generators (but by lanes that have streams of their own), no variable of
    the optimizer's modules may have changed, and no parameter may have got a hook: so one lane reaches another, or
    misses its own.
    """

    def __init__(self, groups: Sequence[Group], setup: TrainingSetup, runs: Sequence[TrainingRun]) -> None:
        self._groups, self._setup, self._runs = groups, setup, runs
        self._of_lane = {lane: group for group in groups for lane in group.lanes}
        self._generators = None if setup.protocol.uses_rng else self._shared_generators()
        self._steps = self._evaluations = self._checks = 0
        self._due = float(CHECKED_STEPS)
        self._first = self._shadow(len(runs) - 1)
        self._stepped: Shadow | None = None

    def _shared_generators(self) -> GeneratorStates:
        """The states of the generators that are not switched between lanes."""
        return generator_states(self._setup.device)[self._groups[0].has_streams :]

    def _shadow(self, lane: int) -> Shadow:
        with generators_preserved(self._setup.device):
            return Shadow(self._of_lane[lane], lane, self._setup, self._runs[lane])

    def before_step(self, active: Sequence[int], batch: CurrentBatch) -> None:
        """To be asked when the gradients of the `active` lanes are there, and no lane has stepped with them."""
        self._steps += 1
        if self._steps <= CHECKED_STEPS:
            if self._first.lane in active:
                self._stepped = self._first
                with generators_preserved(self._setup.device):
                    self._first.step(batch, closure=False)
        elif self._steps > self._due and active:
            shadow = self._compare_gradients(active, batch)
            if shadow.group.is_stacked:
                self._stepped = shadow
                with generators_preserved(self._setup.device):
                    shadow.step_as_stacked()

    def after_step(self) -> None:
        """To be asked when the lanes have stepped."""
        for group in self._groups:
            if not group.is_direct:
                self._require_storage(group)
        if self._stepped is not None:
            self._stepped.require_agreement()
            self._stepped = None

    def in_closures(self, waiting: Sequence[int], batch: CurrentBatch) -> None:
        """To be asked when the gradients that the closures of `waiting` lanes want are there."""
        self._evaluations += 1
        if self._evaluations > self._due:
            self._compare_gradients(waiting, batch)

    def before_closures(self, lanes: Sequence[int], batch: CurrentBatch) -> None:
        """To be asked when the `lanes` of a group have batch and step size, before they step with closures."""
        if self._first.lane in lanes and self._steps < CHECKED_STEPS:
            self._steps += 1
            self._stepped = self._first
            with generators_preserved(self._setup.device):
                self._first.step(batch, closure=True)

    def after_closures(self, lanes: Sequence[int]) -> None:
        """To be asked when the `lanes` of a group have stepped with closures."""
        self._require_storage(self._of_lane[lanes[0]])
        if self._first.lane in lanes and self._stepped is not None:
            self._stepped.require_agreement()
            self._stepped = None

    def _compare_gradients(self, active: Sequence[int], batch: CurrentBatch) -> Shadow:
        """Compare the gradients of the lane whose turn it is, at its present weights, and what lanes share."""
        self._due, self._checks = self._due * GROWTH, self._checks + 1
        self.check_globals()
        shadow = self._shadow(active[self._checks % len(active)])
        shadow.evaluate(batch)
        if not shadow.same_gradients():
            raise NotEquivalent("a gradient is not that of an ordinary backward pass")
        shadow.group.prove_next_step(shadow.lane)
        return shadow

    def _require_storage(self, group: Group) -> None:
        if group.replaced_storage():
            raise NotEquivalent("a parameter is no part of the stack any more")

    def check_globals(self) -> None:
        """Raise `NotEquivalent` if a lane may have reached another by what they share, or has missed its hooks."""
        for group in self._groups:
            self._require_storage(group)
        if self._generators is not None and not same_generators(self._generators, self._shared_generators()):
            raise NotEquivalent("it draws from a generator that its neighbors draw from")
        if self._setup.globals.changed():
            raise NotEquivalent("it changes variables that its neighbors see")
        if any(group.hooked() for group in self._groups):
            raise NotEquivalent("its parameters have hooks")


AFFORDABLE = 0.04
"""The share of a program's time that repeating one of its lanes alone may take."""


def affordable_lane(results: Sequence[TrainingResult]) -> int | None:
    """The longest run that is repeated alone within the share `AFFORDABLE`, judged by numbers of steps; None: there is
    none. A step of one lane by itself takes about as long as one of the program."""
    limit = AFFORDABLE * sum(result.steps for result in results) / len(results)
    ended = (Status.CONVERGED, Status.STALLED, Status.BUDGET)  # not raced by others, and no rounding that has blown up
    steps = {n: r.steps for n, r in enumerate(results) if 0 < r.steps <= limit and r.status in ended}
    return max(steps, key=steps.__getitem__, default=None)


def same_result(one: TrainingResult, other: TrainingResult) -> bool:
    """Whether two trainings of one run ended alike, but for rounding."""
    if (one.status, one.steps, one.gradient_evaluations) != (other.status, other.steps, other.gradient_evaluations):
        return False
    for name, weight in one.weights.items():
        of_distance, of_size = TOLERANCES.get(weight.dtype, (1e-1, 1e-2))
        # Rounding grows on the way: a hundred times what the first steps may differ by.
        distance, size = (weight - one.initial[name]).abs().amax(), weight.abs().amax()
        if bool(((weight - other.weights[name]).abs() > 100 * (of_distance * distance + of_size * size)).any()):
            return False
    return True
