"""Optimizers on stacked lanes, so that every lane gets what ordinary sequential training gives it.

Three ways, from fast to general; `suite.training.steppers.make_groups` takes the first that is exact:

- *stacked*: one optimizer per trial on tensors ``[lanes, *shape]``. Only for optimizers that a probe on the network's
  own shapes proves to treat lanes independently (entrywise ones: SGD, Adam, …), and that the run's own first steps do
  not refute (`suite.training.equivalence`).
- *per lane*: one ordinary optimizer per lane on views of the stack (Muon, Adafactor, anything with a norm).
- *rendezvous*: per lane, with closures (SAM, LBFGS) that share one batched gradient (`suite.training.closures`).

A lane that is trained by itself is stepped *alone*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from suite.signature import Settings
from suite.training.lanes import StackedModels
from suite.training.optimizer_factory import BuildOptimizer


class ScheduledRate:
    """A parameter group's step size without the schedule, and what the schedule last made of it."""

    def __init__(self, base: Any) -> None:
        self._base, self._factor, self._written = base, 1.0, None

    def set(self, options: dict[str, Any], factor: float) -> None:
        """Scale the step size in `options` by `factor`. One that the optimizer has changed itself is the new base."""
        if self._written is not None and options["lr"] != self._written:
            self._base = options["lr"] / self._factor if self._factor else options["lr"]
        options["lr"] = self._written = self._base * factor
        self._factor = factor


class Group:
    """One optimizer and the consecutive lanes that it steps.

    Attributes:
        index: `lanes` as an index into the stack: a slice (stacked), or one number.
        parameters: name -> what the optimizer steps, views of the stack.
    """

    def __init__(
        self,
        stack: StackedModels,
        lanes: range,
        build: BuildOptimizer,
        settings: Settings,
        stacked: bool,
        seed: int | None = None,
    ) -> None:
        """Build an optimizer for `lanes`; `seed` starts a random stream of its own for one that draws."""
        self.stack, self.lanes = stack, lanes
        self.index = slice(lanes.start, lanes.stop) if stacked else lanes.start
        self.parameters = {name: stack.leaf(name, self.index) for name in stack.parameters}
        if seed is not None:
            torch.manual_seed(seed)
        self.optimizer = build(self.parameters, settings)
        # The state of torch's global generator between two steps: what a lane draws must not depend on its neighbours.
        self._rng_state = None if seed is None else torch.get_rng_state()
        # An optimizer that finds its step size itself may hold None for it.
        rates = [options.get("lr") for options in self.optimizer.param_groups]
        self._rates = [None if rate is None else ScheduledRate(rate) for rate in rates]

    def attach_gradients(self) -> None:
        """Give every parameter the lanes' newest gradient (optimizers may have cleared theirs)."""
        for name, parameter in self.parameters.items():
            parameter.grad = self.stack.gradient(name, self.index)

    def set_rate(self, factor: float) -> None:
        """Scale every parameter group's step size by the schedule's `factor`."""
        for options, rate in zip(self.optimizer.param_groups, self._rates, strict=False):
            if rate is not None:
                rate.set(options, factor)

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """One optimizer step; if it replaced a parameter's storage, the value is copied back into the stack."""
        if self._rng_state is not None:
            torch.set_rng_state(self._rng_state)
        if closure is None:
            self.attach_gradients()
            self.optimizer.step()
        else:
            self.optimizer.step(closure)
        if self._rng_state is not None:
            self._rng_state = torch.get_rng_state()
        for name, parameter in self.parameters.items():
            self.stack.write_back(name, self.index, parameter)
