"""What it takes to put another kernel in the place of one of torch's, in any module, while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Gradients = tuple[Tensor | None, ...]


Size = int | list[int] | tuple[int, ...]


class FunctionOverride(TorchFunctionMode):
    """While it is entered, torch's functions give way to those that a subclass names (but not under `vmap`)."""

    functions: ClassVar[Mapping[object, Callable[..., Tensor]]]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        chosen: Callable[..., Any] = self.functions.get(func, func)
        return chosen(*args, **(kwargs or {}))


def pair(value: Size) -> list[int]:
    """The two numbers, of height and width, that one or two of an operation's options stand for."""
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


def match_memory_format(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` in the memory layout of `like`: kernels that are given two layouts are up to forty times slower."""
    return tensor.contiguous(memory_format=torch.channels_last if is_channels_last(like) else torch.contiguous_format)


def is_channels_last(maps: Tensor) -> bool:
    """Whether the channels of each place lie together, and those of no other layout do as well."""
    return maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
