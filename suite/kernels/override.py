"""Replacing functions of torch, in any module, while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Gradients = tuple[Tensor | None, ...]
Size = int | list[int] | tuple[int, ...]


class FunctionOverride(TorchFunctionMode):
    """While it is entered, calls of some functions of torch go to others (but not under `vmap`)."""

    functions: ClassVar[Mapping[object, Callable[..., Tensor]]]
    """torch's function -> its replacement, which a subclass lists."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        function: Callable[..., Any] = self.functions.get(func, func)
        return function(*args, **(kwargs or {}))


def pair(value: Size) -> list[int]:
    """An option of a two-dimensional operation as two numbers, for height and width."""
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


def match_memory_format(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` in the memory layout of `like`: kernels that get two layouts are up to forty times slower."""
    return tensor.contiguous(memory_format=torch.channels_last if is_channels_last(like) else torch.contiguous_format)


def is_channels_last(maps: Tensor) -> bool:
    """Whether maps [n, c, h, w] have their channels last in memory, and are not contiguous as well."""
    return maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
