"""Matrices: completion by least nuclear norm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.oracles.solvers import Array, conic_program


def nuclear_norm_completion(filled: Array, seen: NDArray[np.int64]) -> Array:
    """argmin of the nuclear norm over matrices [d, e] that agree with `filled` at the cells `seen` [m, 2].

    The reference that deep factorisations are held against (Gunasekar et al. 2017, arXiv:1705.09280). Solved through
    the dual (Recht, Fazel and Parrilo 2010, arXiv:0706.4138), which has a variable per seen cell: ``max <L, filled>``
    over matrices L that are zero elsewhere and have spectral norm at most 1. That bound is a semidefinite constraint,
    whose multiplier holds the completion. Three times as fast as the primal, and agrees with the cells to rounding.
    """
    import cvxpy as cp

    (d, e), (rows, columns) = filled.shape, seen.T
    weights = cp.Variable(len(seen))
    place = np.zeros((d * e, len(seen)))
    place[rows * e + columns, np.arange(len(seen))] = 1
    dual = cp.reshape(place @ weights, (d, e), order="C")
    bound = cp.bmat([[np.eye(d), dual], [dual.T, np.eye(e)]]) >> 0
    conic_program("nuclear norm", cp.Problem(cp.Maximize(filled[rows, columns] @ weights), [bound]))
    solution: Array = -2 * np.asarray(bound.dual_value, dtype=np.float64)[:d, d:]
    return solution
