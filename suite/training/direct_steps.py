"""Steps of torch's own optimizers, without what leads to their kernels.

In every step ``optimizer.step()`` collects parameters, gradients and state anew, chooses a function for them, and asks
whether it is compiled: on a small task that takes longer than the kernels. But the function, and what it gets, stay the
same, except for gradients and step size:

    optimizer.step()                               # once, and what it calls `_single_tensor_adam` with is noted
    _single_tensor_adam(the same, new gradients)   # from then on, as long as groups and state are as they were
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suite.training.tape import same_bits

unwrapped = functools.cache(inspect.unwrap)


@dataclass(frozen=True)
class _Call:
    """What steps a parameter group: its `options` as they were when it was `noted`, and the arguments of `function`."""

    options: dict[str, Any]
    noted: dict[str, Any]
    function: Callable[..., object]
    names: list[str]
    params: list[Tensor]
    state: Sequence[Any]


class DirectSteps:
    """The steps of an optimizer of one of torch's classes, whose own `step` nobody has changed."""

    def __init__(self, optimizer: Any, names: Mapping[int, str]) -> None:
        """Take the first step as usual, with the gradients that the parameters have, and note what it calls.

        `names` of the parameters, by their ``id``.
        """
        self._optimizer = optimizer
        step: Any = unwrapped(type(optimizer).step)
        variables = step.__globals__
        name = f"_single_tensor_{variables['__name__'].rpartition('.')[2]}"
        # The name is not public: where torch has another, nothing is noted, and the optimizer is stepped as usual.
        function: Any = variables.get(name)
        called: list[tuple[Sequence[Any], dict[str, Any]]] = []

        def noted(*args: Any, **kwargs: Any) -> None:
            called.append((args, kwargs))
            function(*args, **kwargs)

        if function is not None:
            variables[name] = noted
        try:
            with torch.no_grad():
                step(optimizer)
        finally:
            if function is not None:
                variables[name] = function
        pairs = [*zip(optimizer.param_groups, called, strict=False)]
        self._is_known = len(pairs) == len(optimizer.param_groups) and all(
            _is_plain(options, names, *call) for options, call in pairs
        )
        self._calls = [
            _Call(
                options,
                {**options, "params": [*options["params"]]},
                functools.partial(function, **kwargs),
                [names[id(p)] for p in params],
                params,
                state,
            )
            for options, ((params, _, *state), kwargs) in pairs
            if self._is_known
        ]
        self._state = self._find_state()
        self._is_proved = False

    def _find_state(self) -> list[int]:
        """Which objects the state consists of."""
        return [id(value) for values in self._optimizer.state.values() for value in values.values()]

    def _is_as_noted(self) -> bool:
        """Whether groups and state are what they were, but for step sizes."""
        groups = self._optimizer.param_groups
        if len(self._calls) != len(groups):
            return False
        for call, options in zip(self._calls, groups, strict=True):
            call.noted["lr"] = options.get("lr")
            if options is not call.options or options != call.noted:
                return False
        return self._state == self._find_state()

    def take(self, gradient: Callable[[str], Tensor | None]) -> bool:
        """Step with the `gradient` of every parameter; False, and no step, where it would not be the optimizer's own.

        The first time it is compared with the step of a copy of the optimizer, which is taken over where they differ.
        """
        if not self._is_known or not self._is_as_noted():
            return False
        gradients = [[*map(gradient, call.names)] for call in self._calls]
        if any(each is None for part in gradients for each in part):
            return False
        expected = None if self._is_proved else self._ordinary_step(gradients)
        with torch.no_grad():
            for call, part in zip(self._calls, gradients, strict=True):
                call.function(call.params, part, *call.state, lr=call.options["lr"])
            if expected is not None:
                self._prove(expected)
        return True

    def _ordinary_step(self, gradients: Sequence[Sequence[Tensor | None]]) -> list[Tensor]:
        """The parameters and the state of a copy of the optimizer that has stepped with `gradients`."""
        twin = copy.deepcopy(self._optimizer)
        for options, part in zip(twin.param_groups, gradients, strict=True):
            for parameter, gradient in zip(options["params"], part, strict=True):
                parameter.grad = gradient
        twin.step()
        return [*_tensors(twin)]

    def _prove(self, expected: Sequence[Tensor]) -> None:
        self._is_proved = True
        tensors = [*_tensors(self._optimizer)]
        if not all(map(same_bits, tensors, expected)):
            self._is_known = False
            for tensor, value in zip(tensors, expected, strict=True):
                tensor.copy_(value)


def _tensors(optimizer: Any) -> Iterator[Tensor]:
    """The parameters of an optimizer, and the tensors of its state."""
    for options in optimizer.param_groups:
        for parameter in options["params"]:
            yield parameter
            yield from (value for value in optimizer.state.get(parameter, {}).values() if isinstance(value, Tensor))


def _is_plain(options: dict[str, Any], names: Mapping[int, str], args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a call had all parameters of a group, which have `names`, their gradients, and the group's step size."""
    params, gradients, *_ = args
    return (
        [*map(id, params)] == [*map(id, options["params"])]
        and all(id(p) in names and p.grad is g and not p.is_complex() for p, g in zip(params, gradients, strict=True))
        and kwargs.get("lr") is options["lr"]
    )
