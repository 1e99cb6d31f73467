"""Max-margin separators of linear models, in several norms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from suite.oracles.solvers import Array, OracleError, certify, conic_program, linear_program


def max_margin_l2(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_2 = 1.

    The direction of gradient descent on the logistic loss (Soudry et al. 2018, arXiv:1710.10345). Least-distance
    programming: the minimum-norm w with Z w >= 1 is read off the residual of one non-negative least-squares problem
    (Lawson and Hanson 1974, chapter 23), which an active-set method solves exactly.

    Args:
        z: signed samples y_i x_i, or rows of `pairwise_rows`, [n, d].

    Returns:
        w [d], of unit norm.

    Raises:
        OracleError: the solver failed, or the data are not separable.
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
    w = -residual[:d] / residual[d]
    return w / np.linalg.norm(w)


def max_margin_linf(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_inf <= 1, as a linear program.

    The direction of sign descent and Adam (Zhang et al. 2024, arXiv:2406.10650).

    Args:
        z: signed samples y_i x_i, or rows of `pairwise_rows`, [n, d].

    Returns:
        w [d].

    Raises:
        OracleError: the solver failed.
    """
    n, d = z.shape
    cost = np.append(np.zeros(d), -1.0)
    bounds = [(-1.0, 1.0)] * d + [(0.0, None)]
    return linear_program(
        "l_inf margin", c=cost, A_ub=np.hstack([-z, np.ones((n, 1))]), b_ub=np.zeros(n), bounds=bounds
    )[:d]


def max_margin_l1(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_1 <= 1, as a linear program over w = a - b with a, b >= 0.

    The direction of coordinate descent (Gunasekar et al. 2018, arXiv:1802.08246).

    Args:
        z: signed samples y_i x_i, or rows of `pairwise_rows`, [n, d].

    Returns:
        w [d].

    Raises:
        OracleError: the solver failed.
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


def pairwise_rows(x: Array, y: NDArray[np.int64], classes: int) -> Array:
    """One row ``(e_y - e_c) x'``, flattened, per sample and wrong class c.

    Its product with a flattened W [classes, d] is the margin ``(W_y - W_c)·x``, so the separators of this file serve
    for matrices too: l2 is the Frobenius norm, l_inf the largest entry.

    Args:
        x: samples [n, d].
        y: labels [n] in 0 … classes - 1.
        classes: their number.

    Returns:
        [n (classes - 1), classes d].
    """
    signs = np.eye(classes)[y][:, None, :] - np.eye(classes)[None]
    rows = signs[:, :, :, None] * x[:, None, None, :]
    wrong = np.arange(classes)[None] != y[:, None]
    return rows[wrong].reshape(len(x) * (classes - 1), -1)


def max_margin_spectral(z: Array, shape: tuple[int, int]) -> Array:
    """argmax of min_i z_i·W over matrices of spectral norm <= 1, a semidefinite program.

    The direction of spectral descent and Muon (Fan et al. 2025, arXiv:2502.04664). By duality no margin exceeds the
    nuclear norm of a convex combination of the rows; the multipliers give one that certifies the margin, whatever
    status the interior-point method returns.

    Args:
        z: rows of `pairwise_rows`, [m, prod(shape)].
        shape: of the matrix.

    Returns:
        The flattened matrix [prod(shape)], of spectral norm 1.

    Raises:
        OracleError: the solver failed, or its margin is not certified.
    """
    import cvxpy as cp

    matrix = cp.Variable(shape)
    separated = z @ cp.vec(matrix, order="C") >= 1
    conic_program("spectral margin", cp.Problem(cp.Minimize(cp.sigma_max(matrix)), [separated]), certified=True)
    solution = np.asarray(matrix.value, dtype=np.float64)
    solution /= np.linalg.norm(solution, 2)
    multipliers = np.maximum(np.asarray(separated.dual_value, dtype=np.float64), 0)
    combination = (multipliers / multipliers.sum()) @ z
    bound = float(np.linalg.norm(combination.reshape(shape), "nuc"))
    certify("spectral margin", bound - float((z @ solution.ravel()).min()), bound)
    return solution.ravel()
