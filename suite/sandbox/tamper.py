"""Whether a submission patched the suite or torch: compares the functions that training rests on before and after.

This finds the ordinary trick, not every possible one: code that runs in a process can in the end do anything there.
So nothing that decides a score is believed because this check passed; see `suite.sandbox.host`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import FunctionType, ModuleType
from typing import Any

import torch

import suite.kernels
import suite.training

WATCHED = (
    [
        module.name
        for package in (suite.kernels, suite.training)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]
    + ["suite.seeding", "suite.task", "suite.tasks.losses", "suite.sandbox.guest", "suite.sandbox.tamper"]
    + ["torch.autograd", "torch.func", "torch.nn.functional"]
)
"""The modules whose functions are compared. `torch` itself is not among them: its own parts replace each other when
they are first used."""

Identities = dict[str, tuple[int, ...]]


def identities() -> Identities:
    """The identity of every watched function, by its full name."""
    functions: dict[str, Any] = {f"torch.{function.__name__}": function for function in (torch.vmap, torch.no_grad)}
    functions |= {f"torch.Tensor.{name}": value for name, value in vars(torch.Tensor).items()}
    for path in WATCHED:
        module = importlib.import_module(path)
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == module.__name__:
                functions |= {f"{path}.{name}.{key}": item for key, item in vars(value).items() if callable(item)}
            elif callable(value) and not isinstance(value, ModuleType):
                functions[f"{path}.{name}"] = value
    return {name: _identity(function) for name, function in functions.items()}


def _identity(value: Any) -> tuple[int, ...]:
    function = inspect.unwrap(value) if isinstance(value, FunctionType) else value
    return id(value), id(getattr(function, "__code__", None)), id(getattr(function, "__defaults__", None))


def patched(before: Identities) -> str | None:
    """The name of a watched function that differs from `before`, or None. New names do not count."""
    after = identities()
    return next((name for name, identity in before.items() if after.get(name) != identity), None)
