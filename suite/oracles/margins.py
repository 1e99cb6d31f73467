"""Separators of linear models: of largest margin in several norms, and of least logistic loss in a box.

z [n, d] holds signed samples y_i x_i with labels y_i = ±1, or the rows of `pairwise_rows` for more classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.oracles.solvers import MAX_DUALITY_GAP, Array, OracleError, certified_margin, linear_program

FIXED_POINT_STEPS, DAMPING, FIXED_POINT_TOLERANCE = 3_000, 0.05, 1e-8
"""Of the shares of samples, which sum to 1: steps at most, the weight of an update, and the change at the end."""

BALL_STEPS = 20_000
"""Of accelerated projected descent to the minimizer in a spectral ball, at most."""

BOX_TOLERANCE = 1e-5
"""The largest coordinate of the projected gradient of the log-loss that counts as solved, over the box's radius."""


def pairwise_rows(x: Array, y: NDArray[np.int64], classes: int) -> Array:
    """One row ``(e_y - e_c) x'``, flattened, per sample and wrong class c: [n (classes - 1), classes d].

    Its product with a flattened W [classes, d] is the margin ``(W_y - W_c)·x`` for labels y in 0 … classes - 1, so the
    separators of this file serve for matrices too: l2 is the Frobenius norm, l_inf the largest entry.
    """
    signs = np.eye(classes)[y][:, None, :] - np.eye(classes)[None]
    rows = signs[:, :, :, None] * x[:, None, None, :]
    wrong = np.arange(classes)[None] != y[:, None]
    return rows[wrong].reshape(len(x) * (classes - 1), -1)


def max_margin_l2(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_2 = 1.

    The direction of gradient descent on the logistic loss (Soudry et al. 2018, arXiv:1710.10345). Least-distance
    programming: the minimum-norm w with Z w >= 1 is read off the residual of one non-negative least-squares problem
    (Lawson and Hanson 1974, chapter 23), which an active-set method solves exactly.

    Raises:
        OracleError: the solver failed, or the data are not separable.
    """
    _, d = z.shape
    system, target, multipliers = _least_distance(z)
    residual = system @ multipliers - target
    if abs(residual[d]) < 1e-12:
        raise OracleError("The l2 margin problem is infeasible: the data are not separable.")
    w = -residual[:d] / residual[d]
    return w / np.linalg.norm(w)


def _least_distance(z: Array) -> tuple[Array, Array, Array]:
    """The non-negative least-squares problem of `max_margin_l2`: matrix, right side, solution."""
    from scipy.optimize import nnls

    n, d = z.shape
    system, target = np.vstack([z.T, np.ones((1, n))]), np.append(np.zeros(d), 1.0)
    try:
        multipliers, _ = nnls(system, target, maxiter=30 * n)
    except RuntimeError as error:
        raise OracleError(f"NNLS did not solve the l2 margin problem: {error}.") from error
    return system, target, multipliers


def incremental_adam_metric(z: Array) -> Array:
    """The diagonal metric M [d] whose margin Adam on single samples in turn maximizes as beta2 goes to 1.

    Over an epoch of small steps Adam then moves along ``sum_i c_i z_i / sqrt(sum_i c_i² z_i²)``, entry by entry, where
    c_i are the losses' shares. In a limit direction w they are those of the samples at the margin, so that M w is in
    proportion to ``sum_i c_i z_i`` with M = sqrt(sum_i c_i² z_i²): the KKT conditions of the largest margin over
    sqrt(w'M w), whose multipliers c define M in turn (a fixed point, as in Baek, Song and Yun 2025, arXiv:2510.26303).
    It is found by damped iteration from equal shares; that it is unique is not known.

    Raises:
        OracleError: the iteration did not settle.
    """
    shares = np.full(len(z), 1 / len(z))
    for _ in range(FIXED_POINT_STEPS):
        metric = np.sqrt((shares**2) @ z**2)
        multipliers = _least_distance(z / np.sqrt(metric))[2]
        update = multipliers / multipliers.sum()
        if abs(update - shares).sum() < FIXED_POINT_TOLERANCE:
            return metric
        shares = (1 - DAMPING) * shares + DAMPING * update
    raise OracleError(f"The metric of incremental Adam has not settled in {FIXED_POINT_STEPS} steps.")


def max_margin_mahalanobis(z: Array, metric: Array) -> Array:
    """argmax of min_i z_i·w over ``w' diag(metric) w = 1``."""
    root = np.sqrt(metric)
    return max_margin_l2(z / root) / root


def max_margin_linf(z: Array, zero: Array | None = None) -> Array:
    """argmax of min_i z_i·w over |w|_inf <= 1, as a linear program over w and its margin.

    The direction of sign descent and Adam (Zhang et al. 2024, arXiv:2406.10650). With rows `zero` [k, d] only among the
    w that are orthogonal to them.
    """
    n, d = z.shape
    cost = np.append(np.zeros(d), -1.0)
    bounds = [(-1.0, 1.0)] * d + [(0.0, None)]
    rows = np.hstack([-z, np.ones((n, 1))])
    equal = {} if zero is None else {"A_eq": np.pad(zero, ((0, 0), (0, 1))), "b_eq": np.zeros(len(zero))}
    return linear_program("l_inf margin", c=cost, A_ub=rows, b_ub=np.zeros(n), bounds=bounds, **equal)[:d]


def max_margin_l1(z: Array) -> Array:
    """argmax of min_i z_i·w over |w|_1 <= 1, as a linear program over w = a - b with a, b >= 0, and its margin.

    The direction of coordinate descent (Gunasekar et al. 2018, arXiv:1802.08246).
    """
    n, d = z.shape
    cost = np.append(np.zeros(2 * d), -1.0)
    rows = np.vstack([np.hstack([-z, z, np.ones((n, 1))]), np.append(np.ones(2 * d), 0.0)])
    parts = linear_program("l1 margin", c=cost, A_ub=rows, b_ub=np.append(np.zeros(n), 1.0), bounds=(0, None))
    return parts[:d] - parts[d : 2 * d]


def max_margin_spectral(z: Array, shape: tuple[int, int], zero: Array | None = None) -> Array:
    """argmax of min_i z_i·W over matrices of a shape and spectral norm <= 1, flattened: a semidefinite program.

    The direction of spectral descent and Muon (Fan et al. 2025, arXiv:2502.04664). The dual norm, which certifies the
    margin, is the nuclear norm. With rows `zero` [k, d] only among the matrices that are orthogonal to them.
    """
    import cvxpy as cp

    matrix = cp.Variable(shape)
    return certified_margin(
        "spectral margin",
        z,
        matrix,
        cp.sigma_max(matrix),
        lambda w: float(np.linalg.norm(w.reshape(shape), 2)),
        lambda w: float(np.linalg.norm(w.reshape(shape), "nuc")),
        zero,
    )


def max_margin_nuclear(z: Array, shape: tuple[int, int]) -> Array:
    """argmax of min_i z_i·W over matrices of a shape and nuclear norm <= 1, flattened: a semidefinite program.

    Where products of two matrices end on the regularization path of their l2 norm (Tarzanagh et al. 2023,
    arXiv:2308.16898, for attention). The dual norm, which certifies the margin, is the spectral norm.
    """
    import cvxpy as cp

    matrix = cp.Variable(shape)
    return certified_margin(
        "nuclear margin",
        z,
        matrix,
        cp.normNuc(matrix),
        lambda w: float(np.linalg.norm(w.reshape(shape), "nuc")),
        lambda w: float(np.linalg.norm(w.reshape(shape), 2)),
    )


def max_margin_layers(z: Array, shapes: Sequence[tuple[int, int]]) -> Array:
    """argmax of min_i z_i·w over the matrices of given shapes in w, none of spectral norm above 1.

    The largest spectral norm among the layers is the norm in which Muon on every layer is steepest descent (Gronich and
    Vardi 2026, arXiv:2602.16340). The dual norm, which certifies the margin, is the sum of the layers' nuclear norms.
    Only the columns' span counts, as orthogonal factors change no spectral norm: each layer is solved for in it.
    """
    import cvxpy as cp

    n = len(z)
    parts = np.split(z, np.cumsum([rows * columns for rows, columns in shapes])[:-1], axis=1)
    layers = [part.reshape(n, *shape) for part, shape in zip(parts, shapes, strict=True)]
    bases = [np.linalg.qr(layer.transpose(1, 0, 2).reshape(layer.shape[1], -1))[0] for layer in layers]
    reduced = [np.einsum("rk,nrc->nkc", basis, layer) for basis, layer in zip(bases, layers, strict=True)]
    small = [layer.shape[1:] for layer in reduced]
    ends = np.cumsum([rows * columns for rows, columns in small])

    def matrices(w: Any) -> list[Any]:
        """The layers of a flattened solution, an array or a cvxpy expression."""
        pieces = [w[end - rows * columns : end] for end, (rows, columns) in zip(ends, small, strict=True)]
        reshape = cp.reshape if isinstance(w, cp.Expression) else np.reshape
        return [reshape(piece, shape, order="C") for piece, shape in zip(pieces, small, strict=True)]

    def spectral(matrix: Any) -> Any:
        """The spectral norm as an expression: of a single column or row the cheaper l2 norm."""
        return cp.norm(matrix, "fro") if 1 in matrix.shape else cp.sigma_max(matrix)

    w = cp.Variable(int(ends[-1]))
    solution = certified_margin(
        "margin of layers",
        np.concatenate([layer.reshape(n, -1) for layer in reduced], axis=1),
        w,
        cp.max(cp.hstack([spectral(matrix) for matrix in matrices(w)])),
        lambda w: max(float(np.linalg.norm(matrix, 2)) for matrix in matrices(w)),
        lambda w: sum(float(np.linalg.norm(matrix, "nuc")) for matrix in matrices(w)),
    )
    full = [basis @ matrix for basis, matrix in zip(bases, matrices(solution), strict=True)]
    return np.concatenate([matrix.ravel() for matrix in full])


def box_logistic_minimizer(z: Array, radius: float) -> Array:
    """argmin of the mean logistic loss over |w|_inf <= radius, by L-BFGS-B (Byrd et al. 1995).

    Where AdamW (Xie and Li 2024, arXiv:2404.04454) and Lion (Chen et al. 2023, arXiv:2310.05898) with decoupled decay 1
    / radius end if they converge. The logarithm of
    the loss is minimized: it has the same minimizer and keeps its scale where the loss itself vanishes.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit

    n, d = z.shape

    def log_loss(w: Array) -> tuple[float, Array]:
        margins = z @ w
        loss = -log_expit(margins).mean()
        return float(np.log(loss)), -(expit(-margins) @ z) / (n * loss)

    bounds = [(-radius, radius)] * d
    options = {"maxiter": 10_000, "maxfun": 50_000, "ftol": 0.0, "gtol": 1e-8}
    result = minimize(log_loss, np.zeros(d), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    w = result.x
    # Projected gradient: by how much a step of length 1 within the box would change a coordinate.
    projected = float(abs(w - np.clip(w - log_loss(w)[1], -radius, radius)).max())
    if not projected <= BOX_TOLERANCE * radius:
        raise OracleError(f"L-BFGS-B did not solve the box problem: status {result.status} ({result.message}).")
    return w


def ball_logistic_minimizer(z: Array, shape: tuple[int, int], radius: float) -> Array:
    """argmin of the mean logistic loss over matrices of a shape and spectral norm <= radius, flattened.

    Where Muon with decoupled decay 1 / radius ends if it converges (Chen, Li and Liu 2025, arXiv:2506.15054).
    Accelerated projected gradient descent that starts anew where the loss rises (Beck and Teboulle 2009; O'Donoghue and
    Candes 2015, arXiv:1204.3982). The loss is convex, so no matrix in the ball has less than ``loss + <g, s - w>`` for
    the gradient g and the s in the ball that minimizes it: the end is certified by this gap.

    Raises:
        OracleError: the gap is above `MAX_DUALITY_GAP` of the loss after `BALL_STEPS` steps.
    """
    from scipy.special import expit

    n = len(z)
    step = 4 * n / float(np.linalg.norm(z, 2)) ** 2

    def loss_and_gradient(w: Array) -> tuple[float, Array]:
        margins = z @ w
        return float(np.logaddexp(0, -margins).mean()), -(expit(-margins) @ z) / n

    def projected(w: Array) -> Array:
        left, values, right = np.linalg.svd(w.reshape(shape), full_matrices=False)
        return np.asarray((left * np.minimum(values, radius)) @ right).ravel()

    w = ahead = np.zeros(z.shape[1])
    (loss, gradient), speed, gap = loss_and_gradient(w), 1.0, np.inf
    for _ in range(BALL_STEPS):
        gap = float(gradient @ w) + radius * float(np.linalg.norm(gradient.reshape(shape), "nuc"))
        if gap <= MAX_DUALITY_GAP * loss:
            return w
        moved = projected(ahead - step * loss_and_gradient(ahead)[1])
        (new_loss, new_gradient), faster = loss_and_gradient(moved), (1 + np.sqrt(1 + 4 * speed**2)) / 2
        if new_loss > loss:
            ahead, speed = w, 1.0
            continue
        ahead = moved + (speed - 1) / faster * (moved - w)
        w, loss, gradient, speed = moved, new_loss, new_gradient, faster
    raise OracleError(f"Projected descent did not solve the problem in the spectral ball: a gap of {gap:.1e}.")
