"""Exact solutions, by closed form or a convex solver. Arrays are float64 numpy; n samples, d features.

Each function states the problem that it solves and who showed that an algorithm's bias selects its solution. A solver
that fails raises `OracleError` with its name and status: an oracle is exact or it is an error, never a silent NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.errors import InputError

Array = NDArray[np.float64]


class OracleError(InputError):
    """A solver did not solve. The message names the solver, the problem and the status."""


def min_norm_interpolator(x: Array, y: Array) -> Array:
    """argmin |w|_2 subject to X w = y, by the pseudo-inverse. x [n, d], y [n] or [n, k]; returns [d] or [d, k].

    The limit of gradient descent from zero (Gunasekar et al. 2018, arXiv:1802.08246).
    """
    solution: Array = np.linalg.pinv(x) @ y
    return solution


def _linear_program(what: str, **arguments: Any) -> Array:
    from scipy.optimize import linprog

    result = linprog(method="highs", **arguments)
    if not result.success:
        raise OracleError(f"HiGHS did not solve the {what} problem: status {result.status} ({result.message}).")
    solution: Array = np.asarray(result.x, dtype=np.float64)
    return solution


def basis_pursuit(x: Array, y: Array) -> Array:
    """argmin |w|_1 subject to X w = y, as a linear program over w = a - b with a, b >= 0. Returns [d].

    The limit of gradient flow on the diagonal network from vanishing initialisation (Woodworth et al. 2020,
    arXiv:2002.09277).
    """
    d = x.shape[1]
    parts = _linear_program("basis pursuit", c=np.ones(2 * d), A_eq=np.hstack([x, -x]), b_eq=y, bounds=(0, None))
    return parts[:d] - parts[d:]


def max_margin_l2(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_2 = 1, where z_i = y_i x_i, [n, d]. Returns the unit vector [d].

    The direction of gradient descent on the logistic loss (Soudry et al. 2018, arXiv:1710.10345). Least-distance
    programming: the minimum-norm w with Z w >= 1 is read off the residual of one non-negative least-squares problem
    (Lawson and Hanson 1974, chapter 23), which an active-set method solves exactly.
    """
    from scipy.optimize import nnls

    n, d = z.shape
    system = np.vstack([z.T, np.ones((1, n))])
    target = np.append(np.zeros(d), 1.0)
    try:
        multipliers, _ = nnls(system, target, maxiter=30 * n)
    except RuntimeError as error:
        raise OracleError(f"NNLS did not solve the l2 margin problem: {error}.") from error
    residual = system @ multipliers - target
    if abs(residual[d]) < 1e-12:
        raise OracleError("The l2 margin problem is infeasible: the data are not separable.")
    w: Array = -residual[:d] / residual[d]
    return w / np.linalg.norm(w)


def max_margin_linf(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_inf <= 1, as a linear program. z [n, d]; returns [d].

    The direction of sign descent and Adam (Zhang et al. 2024, arXiv:2406.10650).
    """
    n, d = z.shape
    cost = np.append(np.zeros(d), -1.0)
    bounds = [(-1.0, 1.0)] * d + [(0.0, None)]
    return _linear_program(
        "l_inf margin", c=cost, A_ub=np.hstack([-z, np.ones((n, 1))]), b_ub=np.zeros(n), bounds=bounds
    )[:d]


def max_margin_l1(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_1 <= 1, as a linear program over w = a - b. z [n, d]; returns [d].

    The direction of coordinate descent (Gunasekar et al. 2018, arXiv:1802.08246).
    """
    n, d = z.shape
    cost = np.append(np.zeros(2 * d), -1.0)
    budget = np.append(np.ones(2 * d), 0.0)[None]
    parts = _linear_program(
        "l1 margin",
        c=cost,
        A_ub=np.vstack([np.hstack([-z, z, np.ones((n, 1))]), budget]),
        b_ub=np.append(np.zeros(n), 1.0),
        bounds=(0, None),
    )
    return parts[:d] - parts[d : 2 * d]


def hyperbolic_entropy_interpolator(x: Array, y: Array, alpha: float, tolerance: float = 1e-10) -> Array:
    """argmin over X w = y of the potential that gradient flow on w = u² - v² from u = v = alpha minimises. Returns [d].

    The potential is ``sum_j alpha² q(w_j / alpha²)`` with ``q(z) = 2 - sqrt(4 + z²) + z asinh(z / 2)`` (Woodworth et
    al. 2020, arXiv:2002.09277, theorem 1). Its dual is smooth and unconstrained: ``w = 2 alpha² sinh(Xᵀ nu)`` where
    `nu` [n] minimises ``2 alpha² sum cosh(Xᵀ nu) - yᵀ nu``; damped Newton reaches a relative residual of `tolerance`.
    """
    scale = 2 * alpha**2

    def dual(nu: Array) -> float:
        with np.errstate(over="ignore"):  # a step too far: the line search takes it back
            # cosh - 1 without cancellation
            return float(scale * (2 * np.sinh(x.T @ nu / 2) ** 2).sum() - y @ nu)

    nu = np.zeros(len(y))
    for _ in range(500):
        inner = x.T @ nu
        w: Array = scale * np.sinh(inner)
        residual = x @ w - y
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(y):
            return w
        hessian = (x * (scale * np.cosh(inner))) @ x.T
        step = np.linalg.solve(hessian, residual)
        length, value, slope = 1.0, dual(nu), float(residual @ step)
        # Near the minimum the decrease drowns in rounding: the slack lets the last full Newton steps pass.
        slack = 1e-12 * abs(value)
        while dual(nu - length * step) > value - 1e-4 * length * slope + slack and length > 1e-12:
            length /= 2
        nu = nu - length * step
    raise OracleError(f"Newton's method did not minimise the hyperbolic entropy for alpha={alpha} in 500 steps.")


def _conic(what: str, problem: Any) -> None:
    """Solve a cvxpy problem in place by Clarabel, an interior-point solver (Goulart and Chen 2024, arXiv:2405.12762)."""
    import cvxpy as cp

    try:
        problem.solve(solver=cp.CLARABEL)
    except cp.error.SolverError as error:
        raise OracleError(f"Clarabel did not solve the {what} problem ({error}).") from error
    if problem.status != cp.OPTIMAL:
        raise OracleError(f"Clarabel did not solve the {what} problem: status {problem.status}.")


def nuclear_norm_completion(filled: Array, seen: NDArray[np.int64]) -> Array:
    """argmin of the nuclear norm over matrices [d, e] that agree with `filled` at the cells `seen` [m, 2].

    The reference that deep factorisations are held against (Gunasekar et al. 2017, arXiv:1705.09280).
    """
    import cvxpy as cp

    mask = np.zeros(filled.shape)
    mask[seen[:, 0], seen[:, 1]] = 1
    matrix = cp.Variable(filled.shape)
    _conic(
        "nuclear norm",
        cp.Problem(cp.Minimize(cp.normNuc(matrix)), [cp.multiply(mask, matrix) == mask * filled]),
    )
    solution: Array = np.asarray(matrix.value, dtype=np.float64)
    return solution
