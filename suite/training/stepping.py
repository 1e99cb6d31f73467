"""Stepping any optimizer on stacked lanes so that every lane gets what ordinary sequential training gives it.

Three ways, from fast to general; `make_groups` takes the first that is exact:

- *stacked*: one optimizer instance per trial on tensors ``[lanes, *shape]``. Only for optimizers that a probe on the
  network's own shapes proves to treat lanes independently (entrywise ones: SGD, Adam, …), and that the run's own first
  steps do not refute (`suite.training.equivalence`).
- *per lane*: one ordinary instance per lane on views of the stack (Muon, Adafactor, anything with a norm).
- *rendezvous*: per lane, with a closure (SAM, LBFGS). The lanes' closures meet for one batched gradient.

A lane that is trained by itself is stepped *alone*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from suite.signature import Settings
from suite.training.lanes import StackedModels
from suite.training.optimizer_factory import Parameters

Build = Callable[[Parameters, Settings], Any]


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
    stack: StackedModels
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
    stack: StackedModels, lanes: range, build: Build, settings: Settings, keep_axis: bool, seed: int | None = None
) -> Group:
    """An optimizer for `lanes` of `stack`; `seed` starts the stream of one that draws random numbers."""
    where = slice(lanes.start, lanes.stop) if keep_axis else lanes.start
    parameters = {name: stack.leaf(name, where) for name in stack.parameters}
    if seed is not None:
        torch.manual_seed(seed)
    optimizer = build(parameters, settings)
    random = None if seed is None else torch.get_rng_state()
    return Group(lanes, optimizer, stack, parameters, where, random)
