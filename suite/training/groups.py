"""Optimizers on stacked lanes, so that every lane gets what ordinary sequential training gives it.

Three ways, from fast to general; `suite.training.steppers.make_groups` takes the first that is exact:

- *stacked*: one optimizer per trial on tensors ``[lanes, *shape]``. Only for classes of torch that are known to treat
  every entry by itself (`ENTRYWISE`): what another class does later cannot be seen in its first steps.
- *per lane*: one ordinary optimizer per lane on views of the stack; or, where that gives the same to the last bit, one
  per trial whose code runs under `vmap`, once for all lanes (`suite.training.vmapped`).
- *rendezvous*: per lane, with closures (SAM, LBFGS) that share one batched gradient (`suite.training.closures`).

A lane that is trained by itself is stepped *alone*.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from suite.signature import Settings
from suite.training.direct_steps import DirectSteps, unwrapped
from suite.training.global_state import generator_states, seed_generators, set_generator_states
from suite.training.lanes import StackedModels, is_hooked
from suite.training.optimizer_factory import BuildOptimizer
from suite.training.run import Device

ENTRYWISE = frozenset(
    {
        torch.optim.ASGD,
        torch.optim.Adadelta,
        torch.optim.Adagrad,
        torch.optim.Adam,
        torch.optim.AdamW,
        torch.optim.Adamax,
        torch.optim.NAdam,
        torch.optim.RAdam,
        torch.optim.RMSprop,
        torch.optim.Rprop,
        torch.optim.SGD,
    }
)
"""Classes of torch whose step of an entry depends on this entry and the number of steps alone (read, and tested)."""


def is_entrywise(optimizer: Any) -> bool:
    """Whether `optimizer` is of a class in `ENTRYWISE`, with torch's own code and nothing added to it."""
    if type(optimizer) not in ENTRYWISE or "step" in vars(optimizer):
        return False
    function = type(optimizer).step
    while function is not None and function.__code__.co_filename.startswith(TORCH):
        function = getattr(function, "__wrapped__", None)
    return function is None and not _has_hooks(optimizer)


def _has_hooks(optimizer: Any) -> bool:
    """Whether torch calls anything before or after a step of `optimizer`."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )


TORCH = os.path.dirname(torch.__file__)
"""The folder of torch's own code."""


class _ScheduledRate:
    """A parameter group's step size without the schedule, and what the schedule last made of it."""

    def __init__(self, base: Any) -> None:
        self._base, self._factor, self._written = _value(base), 1.0, None

    def is_set(self, options: dict[str, Any], factor: float) -> bool:
        """Whether the step size in `options` is what `set` would make of it: so it is at most steps, of most lanes."""
        return factor == self._factor and options["lr"] is self._written

    @torch.no_grad()
    def set(self, options: dict[str, Any], factor: float) -> None:
        """Scale the step size in `options` by `factor`. One that the optimizer has changed itself is the new base.

        One that is a tensor stays the same tensor, which the optimizer and its scheduler may refer to.
        """
        rate = options["lr"]
        if self._written is not None and rate != self._written:
            self._base = _value(rate) / self._factor if self._factor else _value(rate)
        if isinstance(rate, Tensor):
            rate.copy_(self._base * factor)
        else:
            options["lr"] = self._base * factor
        self._written, self._factor = _value(options["lr"]), factor


def _value(rate: Any) -> Any:
    """A step size as it is now."""
    return rate.detach().clone() if isinstance(rate, Tensor) else rate


class ScheduledRates:
    """The step sizes of all parameter groups of an optimizer, without the schedule."""

    def __init__(self, optimizer: Any) -> None:
        # An optimizer that finds its step size itself may hold None for it; parameter groups may share a tensor.
        self._optimizer = optimizer
        self._rates: list[_ScheduledRate | None] = []
        """One for each group; None where it has no step size, or a tensor that an earlier group has too."""
        self._shared: set[int] = set()
        self._take_new_groups()

    def _take_new_groups(self) -> None:
        """Take the step sizes of groups that the optimizer has added, which are without the schedule too."""
        for options in self._optimizer.param_groups[len(self._rates) :]:
            rate = options.get("lr")
            is_known = rate is None or id(rate) in self._shared
            if isinstance(rate, Tensor):
                self._shared.add(id(rate))
            self._rates.append(None if is_known else _ScheduledRate(rate))

    def set(self, factor: float) -> None:
        """Scale every step size by the schedule's `factor`, one that groups share once."""
        groups = self._optimizer.param_groups
        if len(groups) > len(self._rates):
            self._take_new_groups()
        for options, rate in zip(groups, self._rates, strict=False):
            if rate is not None and not rate.is_set(options, factor):
                rate.set(options, factor)


class Group:
    """One optimizer and the consecutive lanes that it steps.

    Attributes:
        index: `lanes` as an index into the stack: a slice where there may be several, or one number.
        parameters: name -> what the optimizer steps, views of the stack.
        factor: the schedule's, as it was last set.
        is_direct: whether the last step was a call of torch's function that writes into the parameters.
        is_stacked: whether one optimizer steps all `lanes`.
    """

    def __init__(
        self,
        stack: StackedModels,
        lanes: range,
        build: BuildOptimizer,
        settings: Settings,
        stacked: bool,
        seed: int | None = None,
        device: Device = "cpu",
        draws: bool = True,
        ordinary: bool = False,
    ) -> None:
        """Build an optimizer for `lanes`; an `ordinary` one is stepped as in any script.

        `seed` starts random streams of its own. They are torch's on the CPU, or for an optimizer that `draws` those of
        numpy, Python and `device` as well: to switch between them takes as long as a step.
        """
        self.stack, self.lanes, self.is_stacked, self.factor = stack, lanes, stacked, 1.0
        self.index = slice(lanes.start, lanes.stop) if stacked else lanes.start
        with self._inside():
            self.parameters = {name: self._leaf(name) for name in stack.parameters}
            if seed is not None:
                seed_generators(seed)
            self.optimizer = build(self.parameters, settings)
        self._storages = self._find_storages()
        # The global generators between two steps: what a lane draws must not depend on its neighbours.
        self._device, self._draws = device, draws
        self._generators = None if seed is None else generator_states(device, everything=draws)
        self._rates = ScheduledRates(self.optimizer)
        is_plain = not ordinary and is_entrywise(self.optimizer) and not self.optimizer.defaults["differentiable"]
        self._wrapped: Callable[..., Any] | None = type(self.optimizer).step if is_plain else None
        self._direct: DirectSteps | None = None
        self.is_direct = False

    def _inside(self) -> contextlib.AbstractContextManager[object]:
        """Where the optimizer is built."""
        return contextlib.nullcontext()

    def _leaf(self, name: str) -> nn.Parameter:
        """The parameter `name` as the optimizer gets it."""
        return self.stack.leaf(name, self.index)

    def _find_storages(self) -> list[int]:
        """Where the parameters have their values."""
        return [parameter.data_ptr() for parameter in self.parameters.values()]

    def attach_gradients(self) -> None:
        """Give every parameter the lanes' newest gradient (optimizers may have cleared theirs)."""
        for name, parameter in self.parameters.items():
            parameter.grad = self.stack.gradient(name, self.index)

    @property
    def has_streams(self) -> bool:
        """Whether it draws from random streams of its own."""
        return self._generators is not None

    def prove_next_step(self, lane: int) -> None:
        """Compare the next step of `lane` with that of an ordinary optimizer, where this is none."""

    def hooked(self) -> bool:
        """Whether a parameter has hooks, which never run where gradients are set by hand."""
        return any(map(is_hooked, self.parameters.values()))

    def set_rate(self, factor: float) -> None:
        """Scale every parameter group's step size by the schedule's `factor`."""
        self.factor = factor
        self._rates.set(factor)

    def prime(self, closure: Callable[[], Tensor]) -> None:
        """Give every parameter a gradient, before a step that expects one."""
        self._call(closure)

    def _call(self, closure: Callable[[], Tensor]) -> Tensor:
        """What `closure` returns to the optimizer that calls it, with gradients attached."""
        loss = closure()
        self.attach_gradients()
        return loss

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """One optimizer step; `closure` computes the lanes' gradients and returns their losses."""
        if self._generators is not None:
            set_generator_states(self._device, self._generators)
        if closure is None:
            self._step_plainly()
        else:
            self.optimizer.step(functools.partial(self._call, closure))
        if self._generators is not None:
            self._generators = generator_states(self._device, everything=self._draws)

    def _step_plainly(self) -> None:
        """``optimizer.step()``; of torch's own classes without what torch does around their kernels.

        That takes longer than the kernels. An optimizer that is not as `is_entrywise` found it is called as usual.
        """
        optimizer, wrapped, self.is_direct = self.optimizer, self._wrapped, False
        if wrapped is None or type(optimizer).step is not wrapped or "step" in vars(optimizer) or _has_hooks(optimizer):
            self.attach_gradients()
            optimizer.step()
        elif self._direct is None:
            self.attach_gradients()
            self._direct = DirectSteps(optimizer, {id(leaf): name for name, leaf in self.parameters.items()})
        elif self._direct.take(lambda name: self.stack.gradient(name, self.index)):
            self.is_direct = True
        else:
            self.attach_gradients()
            with torch.no_grad():
                unwrapped(wrapped)(optimizer)

    def replaced_storage(self) -> bool:
        """Whether a parameter is no view of the stack any more, so that the stack has not its value."""
        return self._storages != self._find_storages()
