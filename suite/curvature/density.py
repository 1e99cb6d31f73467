"""The spectral density by stochastic Lanczos quadrature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from suite.curvature.lanczos import Krylov
from suite.curvature.operators import Operator
from suite.errors import InputError


@dataclass(frozen=True)
class Spectrum:
    """A spectrum as weighted points, an average over random starts; the weights sum to 1."""

    nodes: NDArray[np.float64]  # [m], on the axis of eigenvalues
    weights: NDArray[np.float64]  # [m], shares of the spectrum

    def density(self, grid: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        """The density at the eigenvalues `grid` [g], every node widened to a normal of standard deviation `width`."""
        distances = (np.asarray(grid)[:, None] - self.nodes) / width
        kernel = np.exp(-(distances**2) / 2) / (width * np.sqrt(2 * np.pi))
        return kernel @ self.weights

    def moment(self, power: int) -> float:
        """The mean of ``eigenvalue ** power``: ``size * moment(1)`` estimates the trace."""
        return float(self.weights @ self.nodes**power)


def spectral_density(
    operator: Operator, generator: torch.Generator, *, probes: int = 4, steps: int = 40
) -> list[Spectrum]:
    """The spectrum of every lane, by stochastic Lanczos quadrature with `steps` products for each of `probes` starts.

    Gauss quadrature by the Ritz values, weighted by the squared first components of their vectors (Golub and Meurant
    2010; for networks Ghorbani et al. 2019, arXiv:1901.10159). Moments up to ``2 steps - 1`` are exact for each start.

    A single network is one lane. InputError without a probe or a step.

    Example:
        The loss ``mean (x·w)²`` with X = diag(1, 2) has the Hessian diag(1, 4).

        >>> from torch.nn.functional import mse_loss
        >>> from suite.curvature import Hessian, Network
        >>> from suite.task import Split
        >>> data = Split(torch.diag(torch.tensor([1.0, 2.0])), torch.zeros(2, 1))
        >>> hessian = Hessian(Network(torch.nn.Linear(2, 1, bias=False)), data, mse_loss)
        >>> spectrum = spectral_density(hessian, torch.Generator().manual_seed(0), probes=1, steps=2)[0]
        >>> [round(float(node), 4) for node in spectrum.nodes]
        [1.0, 4.0]
        >>> round(float(spectrum.weights.sum()), 4)
        1.0
    """
    if probes < 1 or steps < 1:
        raise InputError(f"A spectral density needs at least one probe and one step, not {probes} and {steps}.")
    nodes: list[list[NDArray[np.float64]]] = [[] for _ in range(operator.lanes or 1)]
    weights: list[list[NDArray[np.float64]]] = [[] for _ in range(operator.lanes or 1)]
    for _ in range(probes):
        krylov = Krylov(operator, generator, steps)
        while not krylov.full:
            krylov.extend()
        for lane in range(krylov.lanes):
            values, vectors, _ = krylov.ritz(lane)
            nodes[lane].append(values)
            weights[lane].append(vectors[0] ** 2 / probes)
    return [Spectrum(np.concatenate(n), np.concatenate(w)) for n, w in zip(nodes, weights, strict=True)]
