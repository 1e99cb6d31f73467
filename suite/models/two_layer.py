"""Two-layer networks without biases, from given weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoLayerReLU(nn.Module):
    """``sum_j a_j relu(w_j·x)`` from given weights: hidden [m, d] and output [m]. x [n, d] -> [n]."""

    def __init__(self, hidden: Tensor, output: Tensor) -> None:
        super().__init__()
        self.hidden, self.output = nn.Parameter(hidden.clone()), nn.Parameter(output.clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.hidden.T) @ self.output


class TwoLayerQuadratic(nn.Module):
    """``sum_j a_j (w_j·x)²`` from given weights: hidden [m, d] and output [k, m]. x [n, d] -> [n, k]."""

    def __init__(self, hidden: Tensor, output: Tensor) -> None:
        super().__init__()
        self.hidden, self.output = nn.Parameter(hidden.clone()), nn.Parameter(output.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.hidden.T).square() @ self.output.T
