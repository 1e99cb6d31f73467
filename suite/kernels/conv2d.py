"""Convolutions whose second derivatives cost what their first derivatives cost.

torch differentiates the weight gradient of a convolution by another convolution, whose kernel is as large as the image:
a Hessian product of the CIFAR network took 2.7 gradients. A convolution is bilinear, ``c(x, w)``; with its transposes
in x and in w it is a family that is closed under differentiation. So derivatives of every order run on the three
kernels that training runs on.
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
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    def transposed(self, slope: Tensor, x: Tensor, weight: Tensor, *, in_x: bool) -> Tensor:
        """The gradient of ``(c(x, weight) * slope).sum()`` in x or in the weight."""
        found = torch.ops.aten.convolution_backward(
            match_memory_format(slope, x), x, weight, None, self.stride, self.padding, self.dilation,
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
        upper, wanted = match_memory_format(upper, x), ctx.needs_input_grad
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
    maps: Tensor = _Convolution.apply(input, weight, geometry)
    return maps if bias is None else maps + bias[:, None, None]


class DoubleBackwardConv2d(FunctionOverride):
    """Two-dimensional convolutions are those of this file."""

    functions: ClassVar = {torch.conv2d: _conv2d}
