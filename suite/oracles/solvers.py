"""Solvers of the oracles: each returns an exact solution or raises an error that names it and its status."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError

Array = NDArray[np.float64]


CERTIFIED = 1e-6
"""The largest relative gap between a solution's value and its bound by duality that counts as exact."""


class OracleError(InputError):
    """A solver did not solve. The message names the solver, the problem and the status."""


def linear_program(what: str, **arguments: Any) -> Array:
    """Solve ``scipy.optimize.linprog(**arguments)`` with HiGHS (Huangfu and Hall 2018); returns the solution [d]."""
    from scipy.optimize import linprog

    result = linprog(method="highs", **arguments)
    if not result.success:
        raise OracleError(f"HiGHS did not solve the {what} problem: status {result.status} ({result.message}).")
    solution: Array = np.asarray(result.x, dtype=np.float64)
    return solution


def conic_program(what: str, problem: Any, certified: bool = False, tolerance: float = 1e-8) -> None:
    """Solve a cvxpy problem in place with Clarabel (Goulart and Chen 2024, arXiv:2405.12762).

    `certified`: the caller bounds the error itself, so a solution that the solver calls inaccurate may pass.
    `tolerance` bounds the duality gap and the constraints' violation, relative. A solver that stalls just before it is
    an error, so problems with many nearly parallel constraints give a looser one than Clarabel's own.
    """
    import cvxpy as cp

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")  # the status says so
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance)
    except (cp.error.SolverError, ValueError) as error:  # cvxpy refuses data that are not finite by ValueError
        raise OracleError(f"Clarabel did not solve the {what} problem ({error}).") from error
    if problem.status != cp.OPTIMAL and not (certified and problem.status == cp.OPTIMAL_INACCURATE):
        raise OracleError(f"Clarabel did not solve the {what} problem: status {problem.status}.")


def certify(what: str, gap: float, scale: float) -> None:
    """Refuse a conic solution whose value is further than `CERTIFIED` times `scale` from its bound by duality."""
    if not gap <= CERTIFIED * scale:
        raise OracleError(f"Clarabel solved the {what} problem only to {gap:.1e} of {scale:.3g}.")
