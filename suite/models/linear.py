"""Linear predictors without hidden layers."""

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
