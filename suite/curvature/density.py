"""The spectral density by stochastic Lanczos quadrature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from suite.curvature.lanczos import Krylov
from suite.curvature.operators import Operator
from suite.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """A spectrum as weighted points: nodes [m] with weights [m] that sum to 1, an average over random starts."""

    nodes: Array
    weights: Array

    def density(self, grid: Array, width: float) -> Array:
        """The density at the points of `grid`, every node widened to a normal of deviation `width`; [len(grid)]."""
        distances = (np.asarray(grid)[:, None] - self.nodes) / width
        kernel = np.exp(-(distances**2) / 2) / (width * np.sqrt(2 * np.pi))
        density: Array = kernel @ self.weights
        return density

    def moment(self, power: int) -> float:
        """The mean of ``eigenvalue ** power``: ``size * moment(1)`` estimates the trace."""
        return float(self.weights @ self.nodes**power)


def spectral_density(
    operator: Operator, generator: torch.Generator, *, probes: int = 4, steps: int = 40
) -> list[Spectrum]:
    """The spectrum of every lane from `probes` random starts of `steps` products each (a single network is one lane).

    Gauss quadrature by the Ritz values, weighted by the squared first components of their vectors (Golub and Meurant
    2010; for networks Ghorbani et al. 2019, arXiv:1901.10159). Moments up to ``2 steps - 1`` are exact for each start.
    """
    if probes < 1 or steps < 1:
        raise InputError(f"A spectral density needs at least one probe and one step, not {probes} and {steps}.")
    nodes: list[list[Array]] = [[] for _ in range(operator.lanes or 1)]
    weights: list[list[Array]] = [[] for _ in range(operator.lanes or 1)]
    for _ in range(probes):
        krylov = Krylov(operator, generator, steps)
        while not krylov.full:
            krylov.extend()
        for lane in range(krylov.lanes):
            values, vectors, _ = krylov.ritz(lane)
            nodes[lane].append(values)
            weights[lane].append(vectors[0] ** 2 / probes)
    return [Spectrum(np.concatenate(n), np.concatenate(w)) for n, w in zip(nodes, weights, strict=True)]
