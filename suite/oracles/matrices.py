"""Matrices: completion by least nuclear norm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.oracles.solvers import Array, conic_program


def nuclear_norm_completion(filled: Array, seen: NDArray[np.int64]) -> Array:
    """argmin of the nuclear norm over matrices [d, e] that agree with `filled` at the cells `seen` [m, 2].

    The reference that deep factorisations are held against (Gunasekar et al. 2017, arXiv:1705.09280).
    """
    import cvxpy as cp

    mask = np.zeros(filled.shape)
    mask[seen[:, 0], seen[:, 1]] = 1
    matrix = cp.Variable(filled.shape)
    conic_program(
        "nuclear norm",
        cp.Problem(cp.Minimize(cp.normNuc(matrix)), [cp.multiply(mask, matrix) == mask * filled]),
    )
    solution: Array = np.asarray(matrix.value, dtype=np.float64)
    return solution
