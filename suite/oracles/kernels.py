"""The kernel regime of two-layer ReLU networks without biases, in the limit of infinite width."""

from __future__ import annotations

import numpy as np

from suite.oracles.solvers import Array, OracleError

CONDITION = 1e7
"""Above it points coincide: rounding moves the angle between two equal inputs by 1e-8."""


def neural_tangent_kernel(x: Array, z: Array) -> Array:
    """The kernel of ``f(x) = sum_j a_j relu(w_j · x) / sqrt(width)`` when both layers train.

    x [n, d], z [m, d]; returns [n, m]. At the angle t between two inputs it is
    ``|x||z| (cos t (pi - t) + sin t + (pi - t) cos t) / (2 pi)``, of the arc-cosine kernels of degree 0 and 1 (Cho and
    Saul 2009; Jacot et al. 2018, arXiv:1806.07572).
    """
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(z, axis=1)[None]
    cosine = np.clip(x @ z.T / norms, -1, 1)
    angle = np.arccos(cosine)
    first: Array = np.sin(angle) + (np.pi - angle) * cosine
    kernel: Array = norms * (cosine * (np.pi - angle) + first) / (2 * np.pi)
    return kernel


def kernel_interpolation(x: Array, y: Array, z: Array) -> Array:
    """The tangent kernel's interpolant of (x, y) at z: what infinitely wide lazy training finds. y [n]; returns [m].

    Raises:
        OracleError: the kernel matrix is singular to working precision.
    """
    matrix = neural_tangent_kernel(x, x)
    condition = np.linalg.cond(matrix)
    if not condition < CONDITION:
        raise OracleError(f"The tangent kernel's matrix cannot be inverted: condition number {condition:.1e}.")
    solution: Array = neural_tangent_kernel(z, x) @ np.linalg.solve(matrix, y)
    return solution
