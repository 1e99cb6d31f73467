"""Stepping any optimizer on stacked lanes so that every lane gets what ordinary sequential training gives it.

Three ways, from fast to general; `make_groups` takes the first that is exact:

- *stacked*: one optimizer instance per trial on tensors ``[lanes, *shape]``. Only for optimizers that a probe on the
  network's own shapes proves to treat lanes independently (entrywise ones: SGD, Adam, …), and that the run's own first
  steps do not refute (`suite.shadows`).
- *per lane*: one ordinary instance per lane on views of the stack (Muon, Adafactor, anything with a norm).
- *rendezvous*: per lane, with a closure (SAM, LBFGS). The lanes' closures meet for one batched gradient.

A lane that is trained by itself is stepped *alone*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from suite.building import Parameters, Settings
from suite.lanes import Lanes
from suite.manner import Manner
from suite.seeding import torch_stream

Build = Callable[[Parameters, Settings], Any]

PROBE_STEPS = 12
PROBE_TOLERANCE = 1e-7
"""Relative to how far a lane's tensor moved: optimizers that find their step size begin with steps of 1e-6."""

ROUNDING = 1e-13
"""Relative to a tensor's largest entry: what double precision may differ by in any case."""


@dataclass
class Rate:
    """A parameter group's step size without the schedule, and what the schedule last made of it."""

    base: Any
    factor: float = 1.0
    written: Any = None

    def set(self, group: dict[str, Any], factor: float) -> None:
        """Scale the step size by `factor`. One that the optimizer has changed itself is the new base."""
        if self.written is not None and group["lr"] != self.written:
            self.base = group["lr"] / self.factor if self.factor else group["lr"]
        group["lr"] = self.written = self.base * factor
        self.factor = factor


@dataclass
class Group:
    """One optimizer instance and the consecutive lanes that it steps.

    random: the state of torch's global generator between its steps, for an optimizer that draws: every lane has a
    stream of its own, whoever else is being trained.
    """

    lanes: range
    optimizer: Any
    stack: Lanes
    parameters: dict[str, nn.Parameter]
    where: slice | int
    random: Tensor | None = None
    rates: list[Rate | None] = field(init=False)

    def __post_init__(self) -> None:
        # An optimizer that finds its step size may hold None for it.
        groups = self.optimizer.param_groups
        self.rates = [None if group.get("lr") is None else Rate(group["lr"]) for group in groups]

    def attach(self) -> None:
        """Give every parameter the lanes' newest gradient (optimizers may have cleared theirs)."""
        for name, parameter in self.parameters.items():
            parameter.grad = self.stack.gradient(name, self.where)

    def set_rate(self, factor: float) -> None:
        """Scale every parameter group's step size by the schedule's `factor`."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=False):
            if rate is not None:
                rate.set(group, factor)

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """One optimizer step; a submission that replaced a parameter's storage is copied back into the stack."""
        if self.random is not None:
            torch.set_rng_state(self.random)
        if closure is None:
            self.attach()
            self.optimizer.step()
        else:
            self.optimizer.step(closure)
        if self.random is not None:
            self.random = torch.get_rng_state()
        for name, parameter in self.parameters.items():
            self.stack.keep(name, self.where, parameter)

    def switch(self, mode: str) -> None:
        """Call the optimizer's `train` or `eval`."""
        getattr(self.optimizer, mode)()


def make_group(
    stack: Lanes, lanes: range, build: Build, settings: Settings, keep_axis: bool, seed: int | None = None
) -> Group:
    """An optimizer for `lanes` of `stack`; `seed` starts the stream of one that draws random numbers."""
    where = slice(lanes.start, lanes.stop) if keep_axis else lanes.start
    parameters = {name: stack.leaf(name, where) for name in stack.parameters}
    if seed is not None:
        torch.manual_seed(seed)
    optimizer = build(parameters, settings)
    random = None if seed is None else torch.get_rng_state()
    return Group(lanes, optimizer, stack, parameters, where, random)


def treats_lanes_independently(build: Build, settings: Settings, shapes: Sequence[torch.Size]) -> bool:
    """Prove or refute that stepping ``[3, *shape]`` tensors equals stepping three separate sets of parameters.

    Three lanes in float64 whose gradients differ by factors of 1000, with a direction of their own that persists under
    noise (so that estimates of a distance grow), twelve steps with a changing step size. Lanes must agree to 1e-7 of
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
            together, apart = final([slice(0, 3)]), final([0, 1, 2])
    except Exception:
        return False
    return all(map(_agree, together, apart, start))


def _agree(stacked: Tensor, alone: Tensor, start: Tensor) -> bool:
    """Whether the lanes of ``[3, *shape]`` tensors came to the same place, measured by the way they went."""
    error, way, size = (tensor.abs().reshape(3, -1).amax(1) for tensor in (stacked - alone, alone - start, alone))
    return bool((error <= PROBE_TOLERANCE * way + ROUNDING * size).all())


def make_groups(
    stack: Lanes,
    build: Build,
    trials: Sequence[tuple[range, Settings]],
    manner: Manner,
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
