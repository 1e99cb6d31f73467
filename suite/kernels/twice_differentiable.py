"""Functions of torch whose second derivatives are wrong or missing in torch 2.14.1, though its first ones are right."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from suite.kernels.override import FunctionOverride


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``g v / |v|``, by operations whose derivatives of every order are right (Salimans and Kingma 2016)."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x + 3, 0), 6) / 6``: torch has no derivative of its derivative (that of hardswish it has)."""
    values = functional.relu6(input + 3) / 6
    return input.copy_(values) if inplace else values


class TwiceDifferentiable(FunctionOverride):
    """While it is entered, `torch.nn.utils.parametrizations.weight_norm` and `torch.nn.Hardsigmoid`, of which
    MobileNetV3 is made, can be differentiated twice."""

    functions: ClassVar = {torch._weight_norm: _weight_norm, functional.hardsigmoid: _hardsigmoid}
