"""Steps of optimizers without the marks that torch sets for profilers: two of them take as long as a step of SGD."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.autograd import profiler


class _NoMark(profiler.record_function):
    """A mark that nobody reads."""

    def __init__(self, name: str, args: str | None = None) -> None:
        pass

    def __enter__(self) -> profiler.record_function:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@contextlib.contextmanager
def unmarked() -> Iterator[None]:
    """While it lasts, torch marks no steps, unless a profiler is on."""
    mark = profiler.record_function
    if not torch.autograd._profiler_enabled():  # type: ignore[attr-defined]
        profiler.record_function = _NoMark  # type: ignore[misc]
    try:
        yield
    finally:
        profiler.record_function = mark  # type: ignore[misc]
