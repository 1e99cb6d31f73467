"""The flattest points of whole manifolds of minima; weights as in `suite.models.linear_networks`."""

from __future__ import annotations

import numpy as np

from suite.oracles.interpolators import basis_pursuit
from suite.oracles.solvers import Array, conic_program

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
