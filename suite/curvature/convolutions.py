"""Convolutions and max pooling whose second derivatives cost what their first derivatives cost.

torch differentiates the weight gradient of a convolution by another convolution, whose kernel is as large as the image,
and the gradient of pooling by a gather that gives up the layout of its input, so that everything after it mixes two
layouts: a Hessian product of the CIFAR network took 2.7 gradients. A convolution is bilinear, ``c(x, w)``; with its
transposes in x and in w it is a family that is closed under differentiation, as pooling is with its transpose. So
derivatives of every order run on the three kernels that training runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Gradients = tuple[Tensor | None, ...]
Size = int | list[int] | tuple[int, ...]


def _laid(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` in the memory layout of `like`: kernels that are given two layouts are up to forty times slower."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@dataclass(frozen=True)
class _Geometry:
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    def transposed(self, slope: Tensor, x: Tensor, weight: Tensor, *, in_x: bool) -> Tensor:
        """The gradient of ``(c(x, weight) * slope).sum()`` in x or in the weight."""
        found = torch.ops.aten.convolution_backward(
            _laid(slope, x), x, weight, None, self.stride, self.padding, self.dilation,
            False, [0, 0], self.groups, [in_x, not in_x, False],
        )  # fmt: skip
        gradient: Tensor = found[0] if in_x else found[1]
        return gradient


class _Convolution(Function):
    """``c(x, w)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return torch.conv2d(x, weight, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _InputGradient.apply(slope, x, weight, ctx.geometry) if wanted[0] else None,
            _WeightGradient.apply(slope, x, weight, ctx.geometry) if wanted[1] else None,
            None,
        )


class _InputGradient(Function):
    """The transpose of ``c`` in x, linear in the slope and in the weight; of x it takes shape and layout alone."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(slope, x, weight)
        ctx.geometry = geometry
        return geometry.transposed(slope, x, weight, in_x=True)

    @staticmethod
    def backward(ctx: Any, upper: Tensor) -> Gradients:
        slope, x, weight = ctx.saved_tensors
        upper, wanted = _laid(upper, x), ctx.needs_input_grad
        return (
            _Convolution.apply(upper, weight, ctx.geometry) if wanted[0] else None,
            None,
            _WeightGradient.apply(slope, upper, weight, ctx.geometry) if wanted[2] else None,
            None,
        )


class _WeightGradient(Function):
    """The transpose of ``c`` in w, linear in the slope and in x; of the weight it takes the shape alone."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(slope, x, weight)
        ctx.geometry = geometry
        return geometry.transposed(slope, x, weight, in_x=False)

    @staticmethod
    def backward(ctx: Any, upper: Tensor) -> Gradients:
        slope, x, _ = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _Convolution.apply(x, upper, ctx.geometry) if wanted[0] else None,
            _InputGradient.apply(slope, x, upper, ctx.geometry) if wanted[1] else None,
            None,
            None,
        )


class _Picked(Function):
    """The entries of maps x [n, c, h, w] at `places` [n, c, h', w'], numbered within each map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, window: Sequence[Any]) -> Tensor:
        ctx.save_for_backward(x, places)
        ctx.window = window
        # Channels last: positions and channels of both are then views, whatever the shape.
        rows = _laid(x, places).permute(0, 2, 3, 1).flatten(1, 2)
        picked = rows.gather(1, places.permute(0, 2, 3, 1).flatten(1, 2))
        return picked.view(*places.shape[:1], *places.shape[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        x, places = ctx.saved_tensors
        return _PutBack.apply(slope, x, places, ctx.window), None, None


class _PutBack(Function):
    """The transpose of `_Picked`: zeros but at the places, where the slopes are added."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, places: Tensor, window: Sequence[Any]) -> Tensor:
        ctx.save_for_backward(x, places)
        ctx.window = window
        put: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(_laid(slope, x), x, *window, places)
        return put

    @staticmethod
    def backward(ctx: Any, upper: Tensor) -> Gradients:
        x, places = ctx.saved_tensors
        return _Picked.apply(_laid(upper, x), places, ctx.window), None, None, None


def _pair(value: Size) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    if input.dim() != 4 or isinstance(padding, str):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    geometry = _Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    maps: Tensor = _Convolution.apply(input, weight, geometry)
    return maps if bias is None else maps + bias[:, None, None]


def _max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if input.dim() != 4 or return_indices:
        options: Any = {"ceil_mode": ceil_mode, "return_indices": return_indices}
        pooled: Tensor = functional.max_pool2d(input, kernel_size, stride, padding, dilation, **options)
        return pooled
    steps = _pair(stride) if stride else _pair(kernel_size)
    window = (_pair(kernel_size), steps, _pair(padding), _pair(dilation), ceil_mode)
    _, places = torch.ops.aten.max_pool2d_with_indices(input.detach(), *window)
    picked: Tensor = _Picked.apply(input, places, window)
    return picked


_REPLACED: dict[object, Callable[..., Tensor]] = {
    torch.conv2d: _conv2d,
    functional.max_pool2d: _max_pool2d,
    torch.max_pool2d: _max_pool2d,
}


class ClosedConvolutions(TorchFunctionMode):
    """While it is entered, two-dimensional convolutions and max pooling are those of this file, in any module."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        chosen: Callable[..., Any] = _REPLACED.get(func, func)
        return chosen(*args, **(kwargs or {}))
