"""The kernel regime of two-layer ReLU networks without biases, in the limit of infinite width."""

from __future__ import annotations

import numpy as np

from suite.oracles.solvers import Array, OracleError

MAX_CONDITION = 1e7
"""A larger condition number means that points coincide: rounding moves the angle between two equal inputs by 1e-8."""


def neural_tangent_kernel(x: Array, z: Array) -> Array:
    """The kernel of ``f(x) = sum_j a_j relu(w_j · x) / sqrt(width)`` when both layers train.

    At the angle t between two inputs it is ``|x||z| (cos t (pi - t) + sin t + (pi - t) cos t) / (2 pi)``, of the
    arc-cosine kernels of degree 0 and 1 (Cho and Saul 2009; Jacot et al. 2018, arXiv:1806.07572).

    Args:
        x: inputs [n, d].
        z: inputs [m, d].

    Returns:
        [n, m].
    """
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(z, axis=1)[None]
    cosine = np.clip(x @ z.T / norms, -1, 1)
    angle = np.arccos(cosine)
    degree_1 = np.sin(angle) + (np.pi - angle) * cosine
    return norms * (cosine * (np.pi - angle) + degree_1) / (2 * np.pi)


def kernel_interpolation(x: Array, y: Array, z: Array) -> Array:
    """The tangent kernel's interpolant of (x, y) at z: the result of lazy training of an infinitely wide network.

    Args:
        x: samples [n, d].
        y: targets [n].
        z: inputs [m, d].

    Returns:
        Its values at z, [m].

    Raises:
        OracleError: the kernel matrix is singular to working precision.
    """
    matrix = neural_tangent_kernel(x, x)
    condition = np.linalg.cond(matrix)
    if not condition < MAX_CONDITION:
        raise OracleError(f"The tangent kernel's matrix cannot be inverted: condition number {condition:.1e}.")
    return neural_tangent_kernel(z, x) @ np.linalg.solve(matrix, y)
