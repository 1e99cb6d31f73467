"""The flattest points of whole manifolds of minima; weights as in `suite.models.linear_networks`."""

from __future__ import annotations

import numpy as np

from suite.oracles.interpolators import basis_pursuit
from suite.oracles.solvers import Array, conic_program

NEGLIGIBLE = 1e-6
"""Singular values below this share of the largest are a solver's rounding."""

SMOOTHINGS = np.geomspace(1, 1e-3, 10)
"""Shares of the largest entry that keep the slope at 0 finite: the falling sequence leaves basic solutions again."""


def flow_on_hyperbola(u: Array, v: Array) -> float:
    """|u|² + |v|² where gradient flow on ``(u·v - 1)² / 2`` from given u and v [k] ends.

    Flow scales p = (u + v)/√2 by e^-s and q = (u - v)/√2 by e^s with one s(t), because u' = -r v and v' = -r u. At the
    end u·v = (|p|² e^-2s - |q|² e^2s) / 2 = 1, a quadratic equation for e^-2s, which gives
    |u|² + |v|² = |p|² e^-2s + |q|² e^2s = 2 sqrt(1 + |p|² |q|²), with p and q of the start.
    """
    product = (np.sum((u + v) ** 2) / 2) * (np.sum((u - v) ** 2) / 2)
    return float(2 * np.sqrt(1 + product))


def least_trace_interpolator(x: Array, y: Array) -> Array:
    """The diagonal network's flattest interpolator, in the trace of the Hessian.

    Where w = u² - v² interpolates, the Hessian's trace of the squared error is proportional to ``sum_j |X_j|² (u_j² +
    v_j²) >= sum_j |X_j|² |w_j|``, with equality where u_j or v_j is 0. So the minimum is basis pursuit with weights
    |X_j|² (X_j [n] is a column; HaoChen et al. 2021, arXiv:2006.08680; Li, Wang and Arora 2022, arXiv:2110.06914).
    """
    weights = np.sum(x**2, axis=0)
    return basis_pursuit(x / weights, y) / weights


def low_root_trace_interpolator(x: Array, y: Array) -> Array:
    """The best known interpolator of the diagonal network in ``tr Diag(H)^(1/2)``: a bound from above of the least.

    Where w = u² - v² interpolates, that is in proportion to ``sum_j |X_j| (|u_j| + |v_j|) >= sum_j |X_j| |w_j|^(1/2)``.
    This sum is concave between signs, so its minima are basic solutions of X w = y, of which there may be many. From
    the interpolator of least trace, which minimizes ``sum_j z_j`` of ``z_j = |X_j|² |w_j|``, linear programs with the
    slopes of ``sum_j z_j^(1/2)`` for weights go down to one of them (Candes, Wakin and Boyd 2008, arXiv:0711.1612).
    """
    scale = np.sum(x**2, axis=0)
    best = z = least_trace_interpolator(x, y) * scale
    for smoothing in SMOOTHINGS:
        slopes = 1 / np.sqrt(abs(z) + smoothing * abs(z).max())
        z = basis_pursuit(x / (scale * slopes), y) / slopes
        best = min(best, z, key=lambda z: np.sqrt(abs(z)).sum())
    return best / scale


def least_lambda_max_interpolator(x: Array, y: Array) -> Array:
    """The diagonal network's flattest interpolator, in the Hessian's largest eigenvalue.

    Where w = u² - v² interpolates, that eigenvalue is proportional to the largest one of ``X diag(D) X'`` with ``D = u²
    + v² >= |w|``: a semidefinite program.
    """
    import cvxpy as cp

    n, d = x.shape
    w, spread, top = cp.Variable(d), cp.Variable(d), cp.Variable()
    constraints = [x @ w == y, spread >= w, spread >= -w, top * np.eye(n) - x @ cp.diag(spread) @ x.T >> 0]
    conic_program("least lambda_max", cp.Problem(cp.Minimize(top), constraints))
    return np.asarray(w.value, dtype=np.float64)


def least_trace_factorization(x: Array, y: Array) -> tuple[Array, float]:
    """The flattest W = U V' with <x_k, W> = y_k in the trace of the Hessian of ``mean (<x_k, U V'> - y_k)² / 2``.

    At an interpolator the trace is ``tr V'M V + tr U'N U`` with ``M = mean x_k'x_k`` and ``N = mean x_k x_k'``; over
    all factorizations of W its minimum is twice the nuclear norm of ``N^(1/2) W M^(1/2)``: a semidefinite program
    (Gatmiry et al. 2023, arXiv:2306.13239, where M and N are nearly multiples of 1).

    Returns:
        W [rows, columns], for x [n, rows, columns] and y [n], and its trace.
    """
    import cvxpy as cp

    inner, outer = (np.einsum(pattern, x, x) / len(x) for pattern in ("kij,kil->jl", "kij,klj->il"))
    right_inverse, left_inverse = (
        (vectors / np.sqrt(values)) @ vectors.T for values, vectors in map(np.linalg.eigh, (inner, outer))
    )
    scaled = cp.Variable(x.shape[1:])
    rows = (left_inverse @ x @ right_inverse).reshape(len(x), -1)
    program = cp.Problem(cp.Minimize(cp.normNuc(scaled)), [rows @ cp.vec(scaled, order="C") == y])
    conic_program("least trace factorization", program)
    return left_inverse @ scaled.value @ right_inverse, 2 * float(program.value)


def root_trace_of_svd(x: Array, w: Array) -> float:
    """``tr Diag(H)^(1/2)`` of the Hessian above where U and V hold the singular vectors of w, each pair scaled best.

    The entry of u_a in row i has ``H = mean (x_k v_a)_i²``, so the pair's part is ``|u_a| b_a + |v_a| c_a`` for sums b
    and c of roots over the directions of v and u, at least ``2 (s_a b_a c_a)^(1/2)``.
    """
    left, values, right = np.linalg.svd(w)
    kept = values > NEGLIGIBLE * values[0]
    along_u = np.sqrt(np.mean((x @ right[: len(values)][kept].T) ** 2, axis=0)).sum(axis=0)
    along_v = np.sqrt(np.mean((x.transpose(0, 2, 1) @ left[:, : len(values)][:, kept]) ** 2, axis=0)).sum(axis=0)
    return float(2 * np.sqrt(values[kept] * along_u * along_v).sum())
