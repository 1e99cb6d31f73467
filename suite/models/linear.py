"""Linear predictors without hidden layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearPredictor(nn.Module):
    """``x @ w`` without bias: x [n, d] -> [n]."""

    def __init__(self, features: int, start: Tensor | None = None) -> None:
        """From ``w = start`` [features]; None starts at zero."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, dtype=torch.float64) if start is None else start.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class LinearClassifier(nn.Module):
    """``x @ W'`` without bias, from ``W = 0`` [classes, d]: x [n, d] -> [n, classes]."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, features, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T
