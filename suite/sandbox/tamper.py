"""Whether the suite or torch was patched: the functions that the training loop rests on, before and after.

This finds the ordinary trick, not every possible one: code that runs in a process can in the end do anything there.
So nothing that decides a score is believed from inside; see `suite.sandbox.host`.
"""

from __future__ import annotations

import importlib
import inspect
from types import FunctionType, ModuleType
from typing import Any

WATCHED = (
    *(f"suite.{name}" for name in ("batches", "building", "endings", "lanes", "losses", "manner", "method")),
    *(f"suite.{name}" for name in ("rendezvous", "samples", "seeding", "shadows", "stepping", "task", "training")),
    *("suite.sandbox.guest", "suite.sandbox.tamper"),
    *("torch.autograd", "torch.func", "torch.nn.functional"),
)
"""Not torch itself: its own parts replace each other as they are first used."""


State = dict[str, tuple[int, ...]]


def state() -> State:
    """The identity of every watched function, by its full name."""
    found: State = {}
    for name in WATCHED:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == module.__name__:
                found |= {f"{name}.{key}.{own}": _identity(item) for own, item in vars(value).items() if callable(item)}
            elif callable(value) and not isinstance(value, ModuleType):
                found[f"{name}.{key}"] = _identity(value)
    import torch

    found |= {f"torch.{function.__name__}": _identity(function) for function in (torch.vmap, torch.no_grad)}
    return found | {f"torch.Tensor.{key}": _identity(value) for key, value in vars(torch.Tensor).items()}


def _identity(value: Any) -> tuple[int, ...]:
    function = inspect.unwrap(value) if isinstance(value, FunctionType) else value
    return id(value), id(getattr(function, "__code__", None)), id(getattr(function, "__defaults__", None))


def patched(before: State) -> str | None:
    """The name of a watched function that is another one than `before`, or None. New names are nobody's concern."""
    after = state()
    return next((name for name, identity in before.items() if after.get(name) != identity), None)
