"""The small reference models of the synthetic tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearPredictor(nn.Module):
    """``x @ w`` without bias, from ``w = 0``: x [n, d] -> [n]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class DiagonalNetwork(nn.Module):
    """``x @ (u² - v²)`` from ``u = v = alpha``: the linear predictor as a network of depth 2. x [n, d] -> [n]."""

    def __init__(self, features: int, alpha: float) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.full((features,), alpha, dtype=torch.float64))
        self.v = nn.Parameter(torch.full((features,), alpha, dtype=torch.float64))

    def predictor(self) -> Tensor:
        """The end-to-end linear predictor, [d]."""
        return self.u.square() - self.v.square()

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.predictor()
