"""Interpolators of linear models: of least l2, l1, l_inf and nuclear norm, and those between l2 and l1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.oracles.solvers import Array, OracleError, conic_program, linear_program


def min_norm_interpolator(x: Array, y: Array) -> Array:
    """argmin |w|_2 subject to X w = y, by the pseudo-inverse; w is [d], or [d, k] for y [n, k].

    The limit of gradient descent from zero (Gunasekar et al. 2018, arXiv:1802.08246).
    """
    return np.linalg.pinv(x) @ y


def best_ridge(x: Array, y: Array, teacher: Array, variance: Array) -> Array:
    """The ridge regression ``X' (X X' + p I)^-1 y`` [d] of least risk over all penalties p that leave it finite.

    The risk is ``sum_j variance_j (w_j - teacher_j)²``; p may be negative, but above minus the least eigenvalue of
    ``X X'`` [n, n], where it can be best for n < d (Kobak, Lomond and Sanchez 2020, arXiv:1805.10939). As a quotient of
    polynomials the risk can have several minima: the least of 400 penalties is refined between its neighbors.
    """
    from scipy.optimize import minimize_scalar

    eigenvalues, basis = np.linalg.eigh(x @ x.T)

    def solution(penalty: float) -> Array:
        return np.asarray(x.T @ (basis @ ((basis.T @ y) / (eigenvalues + penalty))))

    def risk(penalty: float) -> float:
        return float(variance @ (solution(penalty) - teacher) ** 2)

    positive = eigenvalues[-1] * np.geomspace(1e-6, 1e3, 200)
    grid = np.concatenate([np.linspace(-0.999 * eigenvalues[0], 0, 200), positive])
    best = int(np.argmin([risk(penalty) for penalty in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    return solution(float(minimize_scalar(risk, bounds=bounds, method="bounded").x))


def basis_pursuit(x: Array, y: Array) -> Array:
    """argmin |w|_1 subject to X w = y, as a linear program over w = a - b with a, b >= 0.

    The limit of gradient flow on the diagonal network from vanishing initialization (Woodworth et al. 2020,
    arXiv:2002.09277).
    """
    d = x.shape[1]
    parts = linear_program("basis pursuit", c=np.ones(2 * d), A_eq=np.hstack([x, -x]), b_eq=y, bounds=(0, None))
    return parts[:d] - parts[d:]


def min_linf_interpolator(x: Array, y: Array) -> Array:
    """argmin |w|_inf subject to X w = y, as a linear program over w and its bound.

    Sign descent from zero moves in its geometry (Gunasekar et al. 2018, arXiv:1802.08246, on steepest descent); on
    interpolation problems it comes near this solution but need not reach it.
    """
    n, d = x.shape
    unit, bound = np.eye(d), -np.ones((d, 1))
    return linear_program(
        "l_inf interpolation",
        c=np.append(np.zeros(d), 1.0),
        A_ub=np.block([[unit, bound], [-unit, bound]]),
        b_ub=np.zeros(2 * d),
        A_eq=np.hstack([x, np.zeros((n, 1))]),
        b_eq=y,
        bounds=(None, None),
    )[:d]


def hyperbolic_entropy_interpolator(x: Array, y: Array, alpha: float | Array, tolerance: float = 1e-10) -> Array:
    """argmin over X w = y of the potential that gradient flow on w = u² - v² from u = v = alpha minimizes.

    `alpha` is one number, or one of each coordinate [d].

    The potential is ``sum_j alpha² q(w_j / alpha²)`` with ``q(z) = 2 - sqrt(4 + z²) + z asinh(z / 2)`` (Woodworth et
    al. 2020, arXiv:2002.09277, theorem 1). Its dual is smooth and unconstrained: ``w = 2 alpha² sinh(Xᵀ nu)`` where
    `nu` [n] minimizes ``2 alpha² sum cosh(Xᵀ nu) - yᵀ nu``, by damped Newton steps up to a relative residual of
    `tolerance`. Large alpha selects the l2 norm, small alpha the l1 norm.

    Raises:
        OracleError: 500 steps were not enough.
    """
    scale = 2 * alpha**2

    def dual(nu: Array) -> float:
        """The sum of cosh - 1 weighted by `scale`, without cancellation, minus yᵀ nu."""
        with np.errstate(over="ignore"):  # the line search shortens steps that overflow
            terms = 2 * np.sinh(x.T @ nu / 2) ** 2
            return float((scale @ terms if isinstance(scale, np.ndarray) else scale * terms.sum()) - y @ nu)

    nu = np.zeros(len(y))
    for _ in range(500):
        inner = x.T @ nu
        w = scale * np.sinh(inner)
        residual = x @ w - y
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(y):
            return w
        hessian = (x * (scale * np.cosh(inner))) @ x.T
        step = np.linalg.solve(hessian, residual)
        length, value, slope = 1.0, dual(nu), float(residual @ step)
        # Near the minimum the decrease is below rounding: the slack accepts the last full Newton steps.
        slack = 1e-12 * abs(value)
        while dual(nu - length * step) > value - 1e-4 * length * slope + slack and length > 1e-12:
            length /= 2
        nu = nu - length * step
    raise OracleError(f"Newton's method did not minimize the hyperbolic entropy for alpha={alpha} in 500 steps.")


def nuclear_norm_completion(filled: Array, seen: NDArray[np.int64]) -> Array:
    """argmin of the nuclear norm over matrices that agree with `filled` [d, e] at the cells `seen` [m, 2].

    The reference for deep factorisations (Gunasekar et al. 2017, arXiv:1705.09280). Solved through the dual (Recht,
    Fazel and Parrilo 2010, arXiv:0706.4138), which has a variable per seen cell: ``max <L, filled>`` over matrices L
    that are zero elsewhere and have spectral norm at most 1. That bound is a semidefinite constraint, whose multiplier
    contains the completion. Three times as fast as the primal, and agrees with the cells up to rounding.
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
