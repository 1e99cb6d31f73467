"""Convolutions whose second derivatives cost as much as their first derivatives.

torch differentiates the weight gradient of a convolution by another convolution, whose kernel is as large as the image:
a Hessian product of the CIFAR network took 2.7 gradients (1.8 with this file). A convolution is bilinear, ``c(x, w)``;
with its transposes in x and in w it is a family that is closed under differentiation. So derivatives of every order run
on the three kernels that training uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import Function

from suite.kernels.override import FunctionOverride, Gradients, Size, match_memory_format, pair


@dataclass(frozen=True)
class _Geometry:
    """The options of a convolution, as torch's own kernels take them."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


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
        to_x, to_weight, _ = ctx.needs_input_grad
        return (
            _Transpose.apply(slope, x, weight, ctx.geometry, True) if to_x else None,
            _Transpose.apply(slope, x, weight, ctx.geometry, False) if to_weight else None,
            None,
        )


class _Transpose(Function):
    """The transpose of ``c`` in x or in w, the gradient of ``(c(x, w) * slope).sum()``: linear in the slope and in the
    other factor."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry, in_x: bool) -> Tensor:
        ctx.save_for_backward(slope, x, weight)
        ctx.geometry, ctx.in_x = geometry, in_x
        options = (geometry.stride, geometry.padding, geometry.dilation, False, [0, 0], geometry.groups)
        slope, wanted = match_memory_format(slope, x), [in_x, not in_x, False]
        return torch.ops.aten.convolution_backward(slope, x, weight, None, *options, wanted)[0 if in_x else 1]

    @staticmethod
    def backward(ctx: Any, upper: Tensor) -> Gradients:
        slope, x, weight = ctx.saved_tensors
        to_slope, to_x, to_weight, *_ = ctx.needs_input_grad
        # `upper` is like x, or like the weight: the transpose takes only shape and layout from the one it is in.
        x, weight = (match_memory_format(upper, x), weight) if ctx.in_x else (x, upper)
        in_slope = _Convolution.apply(x, weight, ctx.geometry) if to_slope else None
        to_factor = to_weight if ctx.in_x else to_x
        factor = _Transpose.apply(slope, x, weight, ctx.geometry, not ctx.in_x) if to_factor else None
        return in_slope, None if ctx.in_x else factor, factor if ctx.in_x else None, None, None


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
    geometry = _Geometry(pair(stride), pair(padding), pair(dilation), groups)
    maps = _Convolution.apply(input, weight, geometry)
    return maps if bias is None else maps + bias[:, None, None]


class DoubleBackwardConv2d(FunctionOverride):
    """While it is entered, `torch.conv2d` has second derivatives that cost what its first derivatives cost."""

    functions: ClassVar = {torch.conv2d: _conv2d}
