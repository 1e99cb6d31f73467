"""`lowlands bench`: what a step of an optimizer costs, against a base, in time and in memory of its state.

    both versions step copies of the same tensors, on the same gradients, in one process
    in every round each takes a block of steps, the one that begins in turn; the ratio of the two times is one sample
    ratio  = the median over rounds, with the interval of order statistics (no normality is assumed)
    memory = bytes of all tensors that the optimizer holds, at most after any of the first steps, per weight

Rounds are paired, so that what slows this machine down for a while slows both down. Time is the processor's: what waits
for a core is not slower code. A regression is an interval that lies above 1.1, or a tenth more memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import quantile_test
from torch import Tensor, nn

from suite.commands.updates import Plan, fixed, make_plan
from suite.entries.versions import Version
from suite.errors import InputError, sentence
from suite.models import cnn, mlp
from suite.seeding import torch_stream
from suite.submission import Submission
from suite.training import Budget, make_optimizer
from suite.training.behavior_probe import attach_gradients
from suite.training.global_state import seed_generators
from suite.training.step_protocol import call_mode

ALLOWED = 1.1
"""The ratio of times, and of memory, up to which NEW is no slower and no larger."""

CONFIDENCE = 0.95

ROUNDS = 30
BLOCK_SECONDS = 0.01
"""How long a block of steps takes about: a hundred times as long as reading the clock disturbs."""

MEMORY_STEPS = 5

Shapes = tuple[tuple[int, ...], ...]


def networks() -> dict[str, Shapes]:
    """The shapes of the tensors of three of the suite's networks, of 551 to 118,282 weights."""
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
        made = {"relu_network": mlp([10], 1, [50]), "mlp": mlp((1, 28, 28), 10), "cnn": cnn((1, 28, 28), 10)}
    return {name: tuple(tuple(p.shape) for p in network.parameters()) for name, network in made.items()}


def parse_shapes(text: str) -> Shapes:
    """``4096x512,512`` as two shapes.

    Raises:
        InputError: it does not read like that.
    """
    try:
        shapes = tuple(tuple(int(size) for size in part.split("x")) for part in text.split(","))
    except ValueError:
        shapes = ()
    if not shapes or any(size < 1 for shape in shapes for size in shape):
        raise InputError(f"{text!r} must look like 4096x512,512: sizes of at least 1.")
    return shapes


@dataclass(frozen=True)
class StepCost:
    """What a step costs, NEW against BASE.

    Attributes:
        seconds: of a step of BASE and of NEW, medians over rounds.
        ratio, low, high: NEW / BASE, the median over rounds with its interval.
        bytes: of state per weight, of BASE and of NEW.
    """

    submission: str
    shapes: str
    seconds: tuple[float, float]
    ratio: float
    low: float
    high: float
    bytes: tuple[float, float]

    @property
    def slower(self) -> bool:
        """Whether a step takes longer."""
        return self.low > ALLOWED

    @property
    def larger(self) -> bool:
        """Whether the state takes more memory."""
        return self.bytes[1] > ALLOWED * self.bytes[0]


class Stepper:
    """An optimizer on tensors of its own, with gradients that stay the same."""

    def __init__(self, submission: Submission, version: Version, plan: Plan, shapes: Shapes) -> None:
        self._version, self._plan = version, plan
        stream = torch_stream("tensors to step")
        self._parameters = [nn.Parameter(torch.randn(shape, generator=stream)) for shape in shapes]
        self._gradients = [1e-2 * torch.randn(shape, generator=stream) for shape in shapes]
        module = nn.ParameterDict({f"p{number}": p for number, p in enumerate(self._parameters)})
        settings = dict(plan.tuned) | fixed(submission)
        with version.active():
            seed_generators(0)
            self._optimizer = make_optimizer(
                submission.factory, dict(module.named_parameters()), settings, Budget(10**6, 100), module
            )
            call_mode(self._optimizer, "train")
        self._start = [parameter.detach().clone() for parameter in self._parameters]
        self._attach()

    def _attach(self) -> Tensor:
        """Give every tensor its gradient; with its graph where the optimizer differentiates it."""
        if self._plan.protocol.needs_graph:
            return attach_gradients(self._parameters, self._gradients, self._start, 1.0, needs_graph=True)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient.clone()  # many write into the gradient that they are given, or drop it
        return torch.zeros(())

    def _step(self) -> float:
        """One step; returns its seconds of the processor, without those for gradients that it does not ask for."""
        protocol = self._plan.protocol
        if not protocol.needs_closure or protocol.needs_grad_before_closure:
            self._attach()
        begin = time.process_time()
        _ = self._optimizer.step(self._attach) if protocol.needs_closure else self._optimizer.step()
        return time.process_time() - begin

    def seconds(self, steps: int) -> float:
        """Seconds of the processor for so many steps."""
        with self._version.active():
            return sum(self._step() for _ in range(steps))

    def state_bytes(self) -> float:
        """Bytes of state per weight, at most after one of the next steps."""
        most = 0
        for _ in range(MEMORY_STEPS):
            self.seconds(1)
            gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
            given = {tensor.untyped_storage().data_ptr() for tensor in (*self._parameters, *gradients)}
            held = [tensor.untyped_storage() for tensor in _tensors(self._optimizer, set())]
            sizes = {storage.data_ptr(): storage.nbytes() for storage in held}
            most = max(most, sum(size for place, size in sizes.items() if place not in given))
        return most / sum(parameter.numel() for parameter in self._parameters)


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """All tensors that an optimizer holds: in its state, its options, its attributes, and in optimizers within it."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item, seen)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _tensors(item, seen)
    elif hasattr(value, "param_groups"):
        yield from _tensors(vars(value), seen)


@dataclass(frozen=True)
class Code:
    """A submission in a version of its library."""

    text: str
    version: Version


def bench(base: Code, new: Code, shapes: Mapping[str, Shapes], rounds: int = ROUNDS) -> list[StepCost]:
    """What a step of NEW costs against one of BASE, for every entry of `shapes`.

    Args:
        base, new: what is compared; hyper-parameters are those of `suite.commands.updates`.
        shapes: by name, the tensors that are stepped, in float32.
        rounds: paired samples, at least 6: with fewer no interval of the median is known.

    Raises:
        InputError: a version cannot be loaded, takes no step, or raises on the tensors.
    """
    submissions = [code.version.load(code.text) for code in (base, new)]
    with base.version.active():
        plan = make_plan(submissions[0])
    costs = []
    for name, tensors in shapes.items():
        try:
            steppers = [
                Stepper(submission, code.version, plan, tensors)
                for submission, code in zip(submissions, (base, new), strict=True)
            ]
            times = _times(steppers, rounds)
            memory = [stepper.state_bytes() for stepper in steppers]
        except Exception as error:
            raise InputError(f"{new.text!r} cannot be stepped on the tensors {name!r} ({sentence(error)}).") from error
        costs.append(_cost(new.text, name, times, memory, CONFIDENCE + (1 - CONFIDENCE) * (1 - 1 / len(shapes))))
    return costs


def _times(steppers: Sequence[Stepper], rounds: int) -> list[tuple[float, float]]:
    """Seconds of a step of BASE and of NEW, round by round."""
    steps = 1
    # What the first steps do (state, compilation) is done when a block is long enough.
    while max(stepper.seconds(steps) for stepper in steppers) < BLOCK_SECONDS:
        steps *= 2
    times = []
    for number in range(rounds):
        turn = steppers if number % 2 else steppers[::-1]
        taken = [stepper.seconds(steps) / steps for stepper in turn]
        base, new = taken if number % 2 else taken[::-1]
        times.append((base, new))
    return times


def _cost(
    submission: str, shapes: str, times: Sequence[tuple[float, float]], memory: Sequence[float], confidence: float
) -> StepCost:
    """The median of the paired ratios, with the interval of its order statistics."""
    ratios = np.array([new / base for base, new in times])
    interval = quantile_test(ratios, p=0.5).confidence_interval(confidence)
    base, new = np.median(times, axis=0)
    low, high = (
        float(bound) if np.isfinite(bound) else edge for bound, edge in zip(interval, (0, np.inf), strict=True)
    )
    return StepCost(
        submission, shapes, (float(base), float(new)), float(np.median(ratios)), low, high, (memory[0], memory[1])
    )
