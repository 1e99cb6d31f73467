"""Weight normalization with right second derivatives: those of torch 2.14.1 are wrong (its first ones are right)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from suite.kernels.override import FunctionOverride


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``g v / |v|``, by operations whose derivatives of every order are right (Salimans and Kingma 2016)."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


class TwiceDifferentiableWeightNorm(FunctionOverride):
    """While it is entered, `torch.nn.utils.parametrizations.weight_norm` can be differentiated twice."""

    functions: ClassVar = {torch._weight_norm: _weight_norm}
