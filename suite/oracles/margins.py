"""Max-margin separators of linear models, in several norms. Rows of z [n, d] are ``y_i x_i``."""

from __future__ import annotations

import numpy as np

from suite.oracles.solvers import Array, OracleError, linear_program


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
    return linear_program(
        "l_inf margin", c=cost, A_ub=np.hstack([-z, np.ones((n, 1))]), b_ub=np.zeros(n), bounds=bounds
    )[:d]


def max_margin_l1(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_1 <= 1, as a linear program over w = a - b. z [n, d]; returns [d].

    The direction of coordinate descent (Gunasekar et al. 2018, arXiv:1802.08246).
    """
    n, d = z.shape
    cost = np.append(np.zeros(2 * d), -1.0)
    budget = np.append(np.ones(2 * d), 0.0)[None]
    parts = linear_program(
        "l1 margin",
        c=cost,
        A_ub=np.vstack([np.hstack([-z, z, np.ones((n, 1))]), budget]),
        b_ub=np.append(np.zeros(n), 1.0),
        bounds=(0, None),
    )
    return parts[:d] - parts[d : 2 * d]
