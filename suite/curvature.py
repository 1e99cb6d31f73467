"""Curvature of a loss at a solution: Hessian products, top eigenvalues, trace.

The adaptive variants look at ``D H D`` with ``D = diag |theta|``: the Hessian in relative coordinates, which no
rescaling between the layers or neurons of a ReLU network can change (Dinh et al. 2017, arXiv:1703.04933; Kwon et al.
2021, arXiv:2102.11600).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


class Hessian:
    """Products with the Hessian of `loss` in the parameters of `model`, as vectors [P], from one kept graph.

    A double backward pass on a graph that is kept costs as much as one gradient; building it afresh twice that.
    """

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module], Tensor], adaptive: bool = False) -> None:
        """`loss(model)` is the scalar loss; `adaptive` takes ``D H D`` in place of ``H``."""
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        with torch.enable_grad():
            self._gradients = torch.autograd.grad(loss(model), self.parameters, create_graph=True)
        flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self._scale = flat.abs() if adaptive else None
        self.size, self.dtype, self.device = len(flat), flat.dtype, flat.device

    def __matmul__(self, vector: Tensor) -> Tensor:
        """The product with `vector` [P]."""
        scaled = vector if self._scale is None else self._scale * vector
        pieces = torch.split(scaled, [p.numel() for p in self.parameters])
        shaped = [piece.view_as(p) for piece, p in zip(pieces, self.parameters, strict=True)]
        products = torch.autograd.grad(
            self._gradients, self.parameters, grad_outputs=shaped, retain_graph=True, materialize_grads=True
        )
        product = torch.cat([p.reshape(-1) for p in products]).detach()
        return product if self._scale is None else self._scale * product


def lanczos(
    hessian: Hessian, k: int, generator: torch.Generator, tolerance: float = 1e-3, max_products: int = 100
) -> list[float]:
    """The `k` largest eigenvalues, descending, by Lanczos with full reorthogonalisation.

    Without reorthogonalisation converged eigenvalues come back as ghosts (Paige 1976). A small residual says that a
    Ritz value is close to *an* eigenvalue, not to the largest: the stop asks in addition for at least k + 8 products
    and that the values moved by less than `tolerance` (relative) in the last two steps. At most `max_products`.
    """
    start = torch.randn(hessian.size, generator=generator, dtype=torch.float64)
    basis = [(start / start.norm()).to(hessian.device, hessian.dtype)]
    diagonal: list[float] = []
    off: list[float] = []
    previous = np.full((2, k), np.inf)
    values = np.zeros(k)
    for number in range(min(max_products, hessian.size)):
        w = hessian @ basis[-1]
        diagonal.append(float(w @ basis[-1]))
        stacked = torch.stack(basis)
        for _ in range(2):  # twice is enough (Giraud et al. 2005)
            w = w - stacked.T @ (stacked @ w)
        ritz, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
        top = np.argsort(ritz)[::-1][:k]
        values = ritz[top]
        beta = float(w.norm())
        scale = max(abs(ritz[0]), abs(ritz[-1]), 1e-30)
        if beta <= 1e-7 * scale:  # an invariant subspace: nothing is left to find
            break
        residual = beta * np.abs(vectors[-1, top])
        if number + 1 >= k + 8 and len(values) == k:
            moved = np.abs(previous - values).max()
            if residual.max() <= tolerance * scale and moved <= tolerance * scale:
                break
        previous = np.vstack([previous[1], np.pad(values, (0, k - len(values)), constant_values=np.inf)])
        off.append(beta)
        basis.append(w / beta)
    return [float(value) for value in values]


@dataclass(frozen=True)
class Estimate:
    """A stochastic estimate with its standard error."""

    value: float
    standard_error: float


def hutchinson_trace(hessian: Hessian, samples: int, generator: torch.Generator) -> Estimate:
    """The trace as the mean of ``z'Hz`` over `samples` Rademacher vectors z (Hutchinson 1990)."""
    draws = []
    for _ in range(samples):
        signs = torch.randint(0, 2, (hessian.size,), generator=generator) * 2 - 1
        z = signs.to(hessian.device, hessian.dtype)
        draws.append(float(z @ (hessian @ z)))
    error = float(np.std(draws, ddof=1) / len(draws) ** 0.5) if len(draws) > 1 else float("inf")
    return Estimate(float(np.mean(draws)), error)


def dense(hessian: Hessian) -> Tensor:
    """The whole matrix [P, P], column by column: for small models and tests."""
    identity = torch.eye(hessian.size, dtype=hessian.dtype, device=hessian.device)
    return torch.stack([hessian @ column for column in identity], dim=1)
