"""Linear predictors and matrices as products of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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


class MatrixProduct(nn.Module):
    """``W_depth … W_1``, square matrices [d, d]; the input [n, 2] holds the (row, column) of the entries asked for."""

    def __init__(self, size: int, depth: int, scale: float, generator: torch.Generator) -> None:
        """Entries are drawn so that the product's are about ``scale * N(0, 1/d)``."""
        super().__init__()
        spread = scale ** (1 / depth) / size**0.5
        self.factors = nn.ParameterList(
            nn.Parameter(spread * torch.randn(size, size, generator=generator, dtype=torch.float64))
            for _ in range(depth)
        )

    def matrix(self) -> Tensor:
        """The product, [d, d]."""
        first, *others = self.factors  # a slice would copy the parameters, out of reach of functional calls
        product: Tensor = first
        for factor in others:
            product = factor @ product
        return product

    def forward(self, x: Tensor) -> Tensor:
        return self.matrix()[x[:, 0], x[:, 1]]


class InnerProduct(nn.Module):
    """``u · v``: a scalar that a whole manifold of weights represents. The input [n, 1] is ignored."""

    def __init__(self, u: Tensor, v: Tensor) -> None:
        super().__init__()
        self.u, self.v = nn.Parameter(u.clone()), nn.Parameter(v.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (self.u @ self.v).expand(x.shape[0])
