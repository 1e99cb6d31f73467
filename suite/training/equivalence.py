"""One program for all lanes, or one lane after the other: what is possible, and what is faster on the device.

On a CPU the rule is fixed, because a choice by the clock could fall otherwise in the next run and change the last bits
of every result. It is each task's `batched`, and was measured: small networks gain from sharing one program; wide ones
do not (784-256-256-10 with 8 lanes: 0.7 times), and convolutions lose (0.4 times). On other devices, which were
not measured, one gradient is timed both ways on the run's own lanes. The record says which way was taken (`stepping`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from suite.seeding import torch_stream
from suite.signature import Settings
from suite.task import Problem, Split, Task
from suite.training.lanes import SingleModel, StackedModels
from suite.training.stepping import Build, Group

REPEATS = 5


GRADIENT_TOLERANCE = 1e-2
"""Relative difference of gradients that are the same but for rounding, generously."""


def supports_vmap(task: Task, problem: Problem, seed: int, device: torch.device | str) -> bool:
    """Whether `vmap` runs the task's network with the right gradients, changes no buffers and draws no random numbers.

    A module that does not compute with the weights that are put in place, but with others that it keeps, would be
    trained in part.

    Batch norm changes its statistics in place: under `vmap` they would be lost where only some lanes go on. Dropout
    draws for all lanes from one generator: what a lane gets would depend on its neighbours.
    """
    with torch.random.fork_rng(devices=[]):
        stack, batch = _stacked(task, [(problem, seed)] * 2, device)
        before = {name: buffer.clone() for name, buffer in stack.buffers.items()}
        state = torch.get_rng_state()
        try:
            stack.evaluate(batch.x, batch.y)
        except Exception:  # a network that is broken as such says so when its lane is trained by itself
            return False
        if not torch.equal(state, torch.get_rng_state()):
            return False
        single = SingleModel(
            task.model(problem, seed).to(device), task.loss, torch.ones((), dtype=task.dtype, device=device)
        )
        single.evaluate(batch.x[:1], batch.y[:1])
    return _same_gradients(stack, single) and all(
        torch.equal(before[name], buffer) for name, buffer in stack.buffers.items()
    )


def _same_gradients(stack: StackedModels, single: SingleModel) -> bool:
    """Whether the first lane's gradients are those of the module by itself, but for rounding."""
    pairs = [(stack.gradient(name, 0), single.gradient(name, 0)) for name in stack.parameters]
    if any((found is None) != (expected is None) for found, expected in pairs):
        return False
    norm = torch.linalg.vector_norm
    whole = sum(float(norm(expected)) ** 2 for _, expected in pairs if expected is not None) ** 0.5
    for found, expected in pairs:
        if found is None or expected is None:
            continue
        # What cancels within a tensor leaves rounding errors of what did not.
        slack = 10 * torch.finfo(expected.dtype).eps * (1 + whole)
        if not float(norm(found - expected)) <= GRADIENT_TOLERANCE * float(norm(expected)) + slack:
            return False
    return True


def vmap_is_faster(task: Task, lanes: Sequence[tuple[Problem, int]], device: torch.device | str) -> bool:
    """Whether the lanes, given by data and seed, are trained faster as one program."""
    if torch.device(device).type == "cpu":
        return task.batched
    return median_seconds(batched_gradients(task, lanes, device), device) < median_seconds(
        sequential_gradients(task, lanes, device), device
    )


def batched_gradients(
    task: Task, lanes: Sequence[tuple[Problem, int]], device: torch.device | str
) -> Callable[[], Tensor]:
    """One gradient of every lane on its first batch, as one program: returns the losses [lanes]."""
    stack, batch = _stacked(task, lanes, device)
    return lambda: stack.evaluate(batch.x, batch.y)


def sequential_gradients(
    task: Task, lanes: Sequence[tuple[Problem, int]], device: torch.device | str
) -> Callable[[], Tensor]:
    """The same gradients, one lane after the other."""
    scale = torch.ones((), dtype=task.dtype, device=device)
    singles = [SingleModel(task.model(problem, seed).to(device), task.loss, scale) for problem, seed in lanes]
    batches = [_first(task, problem, device) for problem, _ in lanes]
    return lambda: torch.cat([s.evaluate(b.x[None], b.y[None]) for s, b in zip(singles, batches, strict=True)])


def _first(task: Task, problem: Problem, device: torch.device | str) -> Split:
    """The first batch of a lane."""
    train, rows = problem.train, slice(task.batch_size)
    return Split(train.x[rows], train.y[rows]).to(device)


def _stacked(
    task: Task, lanes: Sequence[tuple[Problem, int]], device: torch.device | str
) -> tuple[StackedModels, Split]:
    """The lanes as one program, and their first batches."""
    models = [task.model(problem, seed).to(device) for problem, seed in lanes]
    stack = StackedModels(models, task.loss, torch.ones(len(lanes), dtype=task.dtype, device=device))
    batches = [_first(task, problem, device) for problem, _ in lanes]
    return stack, Split(torch.stack([batch.x for batch in batches]), torch.stack([batch.y for batch in batches]))


def median_seconds(work: Callable[[], object], device: torch.device | str) -> float:
    """Median time of `work`, after one call that warms up."""
    times = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        work()
        if torch.device(device).type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


PROBE_STEPS = 12


PROBE_TOLERANCE = 1e-7
"""Relative to how far a lane's tensor moved: optimizers that find their step size begin with steps of 1e-6."""


PROBE_ROUNDING = 1e-13
"""Relative to a tensor's largest entry: what double precision may differ by in any case."""


def treats_lanes_independently(build: Build, settings: Settings, shapes: Sequence[torch.Size]) -> bool:
    """Prove or refute that stepping ``[3, *shape]`` tensors equals stepping three separate sets of parameters.

    Three lanes in float64 whose gradients differ by factors of 1000, with a direction of their own that persists under
    noise (so that estimates of a distance grow), twelve steps with a changing step size. StackedModels must agree to 1e-7 of
    the way that they went. Anything that raises is not proved.
    """

    stream = torch_stream("stepping probe")
    start, directions = (
        [torch.randn((3, *shape), generator=stream, dtype=torch.float64) for shape in shapes] for _ in range(2)
    )
    steps = [
        [d + 0.3 * torch.randn(d.shape, generator=stream, dtype=torch.float64) for d in directions]
        for _ in range(PROBE_STEPS)
    ]
    scale = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)

    def final(groups: Sequence[slice | int]) -> list[Tensor]:
        ends = [torch.empty_like(tensor) for tensor in start]
        for group in groups:
            parameters = [nn.Parameter(tensor[group].clone()) for tensor in start]
            torch.manual_seed(0)
            optimizer = build({str(number): p for number, p in enumerate(parameters)}, settings)
            if callable(getattr(optimizer, "train", None)):
                optimizer.train()
            for number, gradients in enumerate(steps):
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    lanes_first = scale.reshape(3, *([1] * (gradient.dim() - 1)))
                    parameter.grad = (gradient * lanes_first)[group].clone()
                for options in optimizer.param_groups:
                    if options.get("lr") is not None:
                        options["lr"] = options["lr"] * (1 - 0.04 * number)
                optimizer.step()
            for end, parameter in zip(ends, parameters, strict=True):
                end[group] = parameter.detach()
        return ends

    try:
        with torch.random.fork_rng(devices=[]):
            batched_gradients, sequential_gradients = final([slice(0, 3)]), final([0, 1, 2])
    except Exception:
        return False
    return all(map(_agree, batched_gradients, sequential_gradients, start))


def _agree(stacked: Tensor, alone: Tensor, start: Tensor) -> bool:
    """Whether the lanes of ``[3, *shape]`` tensors came to the same place, measured by the way they went."""
    error, way, size = (tensor.abs().reshape(3, -1).amax(1) for tensor in (stacked - alone, alone - start, alone))
    return bool((error <= PROBE_TOLERANCE * way + PROBE_ROUNDING * size).all())


SHADOWED = 3


PROVEN_STEPS = 20


TOLERANCE = {torch.float64: (1e-6, 1e-13), torch.float32: (1e-3, 1e-5)}
"""Of how far the lane's tensor moved, and of its largest entry: single precision leaves room for kernels that add in
another order."""


class NotEquivalent(Exception):
    """A stacked lane did not get what ordinary training gives it."""


class ReferenceReplica:
    """One lane of a stacked group, and an ordinary optimizer beside it."""

    def __init__(self, group: Group, lane: int, build: Build, settings: Settings) -> None:
        self.group, self.lane = group, lane
        self.parameters = {
            name: nn.Parameter(group.stack.leaf(name, lane).detach().clone()) for name in group.parameters
        }
        self.start = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.optimizer = build(self.parameters, settings)
        if callable(getattr(self.optimizer, "train", None)):
            self.optimizer.train()

    def step(self) -> None:
        """Take the lane's gradients and step sizes as they are before the group's step, and step."""
        for name, parameter in self.parameters.items():
            gradient = self.group.stack.gradient(name, self.lane)
            parameter.grad = None if gradient is None else gradient.clone()
        for own, stacked in zip(self.optimizer.param_groups, self.group.optimizer.param_groups, strict=True):
            if "lr" in stacked:
                own["lr"] = stacked["lr"]
        self.optimizer.step()

    def agrees(self) -> bool:
        """Whether the lane in the stack is where this one is; to be asked after the group's step."""
        for name, parameter in self.parameters.items():
            value, expected = self.group.stack.leaf(name, self.lane).detach(), parameter.detach()
            of_way, of_size = TOLERANCE.get(value.dtype, (1e-1, 1e-2))
            way, size = (expected - self.start[name]).abs().max(), expected.abs().max()
            if bool(((value - expected).abs() > of_way * way + of_size * size).any()):
                return False
        return True


class EquivalenceCheck:
    """The shadows of some stacked lanes, for the first steps of a run."""

    def __init__(self, groups: Sequence[Group], build: Build, settings: Sequence[Settings]) -> None:
        """`settings` of each group, in order. Three lanes, spread over the groups."""
        lanes = [(group, lane, own) for group, own in zip(groups, settings, strict=True) for lane in group.lanes]
        chosen = sorted({0, len(lanes) // 2, len(lanes) - 1})[:SHADOWED]
        self.shadows = [
            ReferenceReplica(group, lane, build, own) for group, lane, own in (lanes[number] for number in chosen)
        ]
        self.steps = 0

    def before_step(self, active: Sequence[int]) -> None:
        """Step the shadows of the lanes that are `active`; others are dropped."""
        self.shadows = [shadow for shadow in self.shadows if shadow.lane in active and self.steps < PROVEN_STEPS]
        for shadow in self.shadows:
            shadow.step()

    def after_step(self) -> None:
        """Compare.

        Raises:
            NotEquivalent: a lane is not where its shadow is.
        """
        self.steps += 1
        if not all(shadow.agrees() for shadow in self.shadows):
            raise NotEquivalent
