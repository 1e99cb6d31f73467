"""Solvers of the oracles: each returns an exact solution or raises an error that names it and its status."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError

Array = NDArray[np.float64]

MAX_DUALITY_GAP = 1e-6
"""The largest relative gap between a solution's value and its bound by duality that counts as exact."""


class OracleError(InputError):
    """A solver failed. The message names the solver, the problem and the status."""


def linear_program(name: str, **arguments: Any) -> Array:
    """The solution of ``scipy.optimize.linprog(**arguments)`` by HiGHS (Huangfu and Hall 2018)."""
    from scipy.optimize import linprog

    result = linprog(method="highs", **arguments)
    if not result.success:
        raise OracleError(f"HiGHS did not solve the {name} problem: status {result.status} ({result.message}).")
    return np.asarray(result.x, dtype=np.float64)


def conic_program(name: str, problem: Any, certified: bool = False, tolerance: float = 1e-8) -> None:
    """Solve a `cvxpy.Problem` in place with Clarabel (Goulart and Chen 2024, arXiv:2405.12762).

    Args:
        name: of the problem, for the error.
        problem: afterwards its variables have values.
        certified: the caller bounds the error itself, so a solution that the solver calls inaccurate is accepted.
        tolerance: of the duality gap and the violation of constraints, relative. A solver that stalls just before it
            has failed, so problems with many nearly parallel constraints pass a larger one than Clarabel's default.
    """
    import cvxpy as cp

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")  # the status says so
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance)
    except (cp.error.SolverError, ValueError) as error:  # cvxpy raises ValueError if data are not finite
        raise OracleError(f"Clarabel did not solve the {name} problem ({error}).") from error
    if problem.status != cp.OPTIMAL and not (certified and problem.status == cp.OPTIMAL_INACCURATE):
        raise OracleError(f"Clarabel did not solve the {name} problem: status {problem.status}.")


def certify(name: str, gap: float, scale: float) -> None:
    """Refuse a conic solution whose duality gap is larger than `MAX_DUALITY_GAP` times `scale`, or NaN."""
    if not gap <= MAX_DUALITY_GAP * scale:
        raise OracleError(f"Clarabel solved the {name} problem only to {gap:.1e} of {scale:.3g}.")


def certified_margin(
    name: str,
    z: Array,
    w: Any,
    norm: Any,
    norm_of: Callable[[Array], float],
    dual_norm_of: Callable[[Array], float],
    zero: Array | None = None,
) -> Array:
    """argmax of min_i z_i·w over norm(w) <= 1, flattened, for a cvxpy variable `w` and its expression `norm`.

    With rows `zero` [k, d] only among the w that are orthogonal to them. No margin exceeds the dual norm of a convex
    combination of the rows of z [n, d] and anything in the span of `zero`; the multipliers give one that certifies the
    margin, whatever status the interior-point method returns.
    """
    import cvxpy as cp

    flat = cp.vec(w, order="C")
    separated = z @ flat >= 1
    orthogonal = [] if zero is None else [zero @ flat == 0]
    conic_program(name, cp.Problem(cp.Minimize(norm), [separated, *orthogonal]), certified=True)
    solution = np.asarray(w.value, dtype=np.float64).ravel()
    solution /= norm_of(solution)
    multipliers = np.maximum(np.asarray(separated.dual_value, dtype=np.float64), 0)
    combination = multipliers @ z
    if zero is not None:
        combination = combination - np.asarray(orthogonal[0].dual_value, dtype=np.float64) @ zero
    bound = dual_norm_of(combination / multipliers.sum())
    certify(name, bound - float((z @ solution).min()), bound)
    return solution
