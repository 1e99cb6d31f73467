"""Three numerical proofs that training many lanes as one program changes nothing, and whether it is faster.

1. `supports_vmap`: `vmap` gives the gradients that a single model has.
2. `treats_lanes_independently`: the optimizer steps stacked lanes as it steps separate ones, on made-up gradients.
3. `EquivalenceCheck`: replicas of three lanes, stepped by ordinary optimizers, check the first 20 true steps.

What fails the first is trained run by run; what fails the second or the third is stepped lane by lane.

Whether one program is faster follows a fixed rule on a CPU, because a choice by the clock could differ in the next run
and change the last bits of every result. The rule is each task's `batched`, and was measured: small networks gain from
sharing one program; wide ones do not (784-256-256-10 with 8 lanes: 0.7 times), and convolutions lose (0.4 times). On
other devices, which were not measured, one gradient is timed both ways on the very runs. The record says which way was
taken (`stepping`).
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from suite.seeding import torch_stream
from suite.signature import Settings
from suite.task import Split, Task
from suite.training.groups import Group
from suite.training.lanes import SingleModel, StackedModels
from suite.training.optimizer_factory import BuildOptimizer
from suite.training.run import Device, TrainingRun
from suite.training.step_protocol import PROBE_STEPS, call_mode

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


def _same_gradients(stack: StackedModels, single: SingleModel) -> bool:
    """Whether the first lane's gradients are those of the module by itself, but for rounding."""
    pairs = [(stack.gradient(name, 0), single.gradient(name, 0)) for name in stack.parameters]
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


PROBE_TOLERANCE = 1e-7
"""Relative to how far a lane's tensor moved: optimizers that find their step size begin with steps of 1e-6."""

PROBE_ROUNDING = 1e-13
"""Relative to a tensor's largest entry: what double precision may differ by in any case."""


def treats_lanes_independently(build: BuildOptimizer, settings: Settings, shapes: Sequence[torch.Size]) -> bool:
    """Whether stepping ``[3, *shape]`` tensors equals stepping three separate sets of parameters.

    Three lanes in float64 whose gradients differ by factors of 1000, with a direction of their own that persists under
    noise (so that estimates of a distance grow), twelve steps with a changing step size. Anything that raises is not
    proved.
    """
    stream = torch_stream("stepping probe")
    normal = functools.partial(torch.randn, generator=stream, dtype=torch.float64)
    start, directions = ([normal((3, *shape)) for shape in shapes] for _ in range(2))
    scales = [torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64).reshape(3, *(1 for _ in shape)) for shape in shapes]
    gradients = [
        [(d + 0.3 * normal(d.shape)) * scale for d, scale in zip(directions, scales, strict=True)]
        for _ in range(PROBE_STEPS)
    ]

    def final(indices: Sequence[slice | int]) -> list[Tensor]:
        """Where the lanes end when each of `indices` is stepped by an optimizer of its own."""
        ends = list(map(torch.empty_like, start))
        for index in indices:
            parameters = [nn.Parameter(tensor[index].clone()) for tensor in start]
            torch.manual_seed(0)
            optimizer = build({str(number): p for number, p in enumerate(parameters)}, settings)
            call_mode(optimizer, "train")
            for step in range(PROBE_STEPS):
                for parameter, gradient in zip(parameters, gradients[step], strict=True):
                    parameter.grad = gradient[index].clone()
                for options in optimizer.param_groups:
                    if options.get("lr") is not None:
                        options["lr"] = options["lr"] * (1 - 0.04 * step)
                optimizer.step()
            for end, parameter in zip(ends, parameters, strict=True):
                end[index] = parameter.detach()
        return ends

    try:
        with torch.random.fork_rng(devices=[]):
            stacked, separate = final([slice(0, 3)]), final([0, 1, 2])
    except Exception:
        return False
    return all(map(_lanes_agree, stacked, separate, start))


def _lanes_agree(stacked: Tensor, separate: Tensor, start: Tensor) -> bool:
    """Whether every lane of ``[3, *shape]`` tensors ended at the same place, relative to the distance that it moved."""
    error, distance, size = (
        tensor.abs().reshape(3, -1).amax(1) for tensor in (stacked - separate, separate - start, separate)
    )
    return bool((error <= PROBE_TOLERANCE * distance + PROBE_ROUNDING * size).all())


CHECKED_STEPS = 20

REPLICA_TOLERANCES = {torch.float64: (1e-6, 1e-13), torch.float32: (1e-3, 1e-5)}
"""Relative to how far the lane's tensor moved, and to its largest entry: single precision has a margin for kernels that
add in another order."""


class NotEquivalent(Exception):
    """A stacked lane did not get what ordinary training gives it."""


class ReferenceReplica:
    """A copy of one lane of a stacked group, stepped by an ordinary optimizer."""

    def __init__(self, group: Group, lane: int, build: BuildOptimizer, settings: Settings) -> None:
        self.lane, self._stack, self._group = lane, group.stack, group
        self._start = {name: group.stack.leaf(name, lane).detach().clone() for name in group.parameters}
        self._parameters = {name: nn.Parameter(tensor.clone()) for name, tensor in self._start.items()}
        self._optimizer = build(self._parameters, settings)
        call_mode(self._optimizer, "train")

    def step(self) -> None:
        """Take the lane's gradients and step sizes as they are before the group's step, and step."""
        for name, parameter in self._parameters.items():
            gradient = self._stack.gradient(name, self.lane)
            parameter.grad = None if gradient is None else gradient.clone()
        for options, stacked in zip(self._optimizer.param_groups, self._group.optimizer.param_groups, strict=True):
            if "lr" in stacked:
                options["lr"] = stacked["lr"]
        self._optimizer.step()

    def agrees(self) -> bool:
        """Whether the lane in the stack has the replica's weights; to be asked after the group's step."""
        for name, parameter in self._parameters.items():
            value, expected = self._stack.leaf(name, self.lane).detach(), parameter.detach()
            of_distance, of_size = REPLICA_TOLERANCES.get(value.dtype, (1e-1, 1e-2))
            distance, size = (expected - self._start[name]).abs().max(), expected.abs().max()
            if bool(((value - expected).abs() > of_distance * distance + of_size * size).any()):
                return False
        return True


class EquivalenceCheck:
    """The replicas of three stacked lanes, spread over `groups` (with the `settings` of each), for the first steps."""

    def __init__(self, groups: Sequence[Group], build: BuildOptimizer, settings: Sequence[Settings]) -> None:
        lanes = [(group, lane, build, s) for group, s in zip(groups, settings, strict=True) for lane in group.lanes]
        chosen = sorted({0, len(lanes) // 2, len(lanes) - 1})
        self._replicas = [ReferenceReplica(*lanes[number]) for number in chosen]
        self._steps = 0

    def before_step(self, active: Sequence[int]) -> None:
        """Step the replicas of the lanes that are `active`; drop the others, and all after `CHECKED_STEPS`."""
        self._replicas = [r for r in self._replicas if r.lane in active and self._steps < CHECKED_STEPS]
        for replica in self._replicas:
            replica.step()

    def after_step(self) -> None:
        """Raise `NotEquivalent` if a lane does not have its replica's weights."""
        self._steps += 1
        if not all(replica.agrees() for replica in self._replicas):
            raise NotEquivalent
