"""optax's gradient transforms as torch optimizers, on the CPU: ``suite.namesakes.transforms:adam``.

Every name of `TRANSFORMS` is a class of this module, made when it is asked for. Its arguments are the transform's own,
where `learning_rate` is called `lr`; `betas` may stand for `b1`, `b2` and `b3`. JAX is switched to double precision, so
that float64 weights have float64 state; float32 weights keep float32.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from suite.optimizers import evaluated

TRANSFORMS = (
    "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan", "amsgrad", "fromage",
    "lamb", "lars", "lion", "nadam", "nadamw", "novograd", "optimistic_adam_v2", "optimistic_gradient_descent", "radam",
    "rmsprop", "rprop", "sgd", "sign_sgd", "signum", "sm3", "yogi",
    "acprop", "ademamix", "adopt", "cocob", "dadapt_adamw", "dog", "dowg", "madgrad", "muon", "prodigy",
    "schedule_free_adamw", "schedule_free_sgd", "simplified_ademamix",
)  # fmt: skip
"""The optimizers of optax and of optax.contrib that need gradients and weights alone."""


EAGER_STEPS = 40
"""Steps that are not compiled: compiling takes as long as about so many."""


class TransformOptimizer(Optimizer):
    """A gradient transform that steps torch parameters: every parameter group has a state of its own.

    Args:
        params: parameters on the CPU, or groups of them.
        lr: the step size; it may be changed between steps. By default the transform's own, where that is a number.
        settings: further arguments of the transform.

    Raises:
        TypeError: a step size is missing.
    """

    make: Callable[..., Any]
    """The transform, given `learning_rate` and its other settings."""

    def __init__(self, params: Iterable[Any], lr: float | None = None, **settings: Any) -> None:
        betas = settings.pop("betas", ())
        names = inspect.signature(type(self).make).parameters
        lr = _default_rate(type(self).make) if lr is None else lr
        if lr is None:
            raise TypeError(f"{type(self).__name__}() missing 1 required positional argument: 'lr'")
        self._settings = settings if "betas" in names else settings | {f"b{n}": beta for n, beta in enumerate(betas, 1)}
        if "betas" in names and betas:
            self._settings["betas"] = tuple(betas)
        super().__init__(params, {"lr": lr})
        jax = importlib.import_module("jax")
        jax.config.update("jax_enable_x64", True)
        self._compiled, self._steps = jax.jit(self._transformed), 0
        self._states: dict[int, Any] = {}

    def _transformed(self, gradients: Any, state: Any, weights: Any, lr: Any) -> Any:
        return type(self).make(learning_rate=lr, **self._settings).update(gradients, state, weights)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; a closure, if given, is evaluated first and its loss returned."""
        loss = evaluated(closure)
        self._steps += 1
        update = self._transformed if self._steps <= EAGER_STEPS else self._compiled
        for number, group in enumerate(self.param_groups):
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            weights, lr = [_array(p) for p in parameters], float(group["lr"])
            if number not in self._states:
                self._states[number] = type(self).make(learning_rate=lr, **self._settings).init(weights)
            updates, self._states[number] = update(
                [_array(p.grad) for p in parameters], self._states[number], weights, lr
            )
            for parameter, change in zip(parameters, updates, strict=True):
                parameter.add_(torch.from_numpy(np.array(change)).to(parameter.dtype))
        return loss


def _default_rate(make: Callable[..., Any]) -> float | None:
    """A transform's own step size. None in its place means none at all, which a torch optimizer is not without."""
    default = inspect.signature(make).parameters["learning_rate"].default
    return None if default is inspect.Parameter.empty else default


def _array(tensor: Tensor) -> Any:
    """A copy of `tensor`: JAX may keep what it is given, and torch changes it in place."""
    return importlib.import_module("jax.numpy").array(tensor.detach().numpy())


@functools.cache
def _class(name: str) -> type[TransformOptimizer]:
    modules = [importlib.import_module(module) for module in ("optax", "optax.contrib")]
    make = next(getattr(module, name) for module in modules if hasattr(module, name))
    made = type(
        name, (TransformOptimizer,), {"make": staticmethod(make), "__module__": __name__, "__doc__": make.__doc__}
    )
    rate, default = "learning_rate", _default_rate(make)
    own = [
        p.replace(name="lr", default=p.empty if default is None else default) if p.name == rate else p
        for p in inspect.signature(make).parameters.values()
    ]
    first = inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    made.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    return made


def __getattr__(name: str) -> type[TransformOptimizer]:
    """The class of a name of `TRANSFORMS`."""
    if name not in TRANSFORMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _class(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *TRANSFORMS})
