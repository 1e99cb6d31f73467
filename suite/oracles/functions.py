"""Interpolating functions: of least variation of the derivative, of random features and kernels; a spectral bound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from suite.models import copy_of
from suite.oracles.solvers import Array, OracleError

MAX_CONDITION = 1e7
"""A larger condition number means that points coincide: rounding moves the angle between two equal inputs by 1e-8."""


def least_variation(x: Array, y: Array) -> float:
    """min of ``∫ |f''|`` over all functions f with f(x_i) = y_i, for points x [n] in any order.

    The mean of f' between two neighbouring points is their chord's slope, so f' varies at least as much as the chords'
    slopes do; the piecewise linear interpolant attains it. The minimum over ReLU networks of two layers is the same:
    their least norm of weights is this variation, but for a term of the slopes at infinity (Savarese et al. 2019,
    arXiv:1902.05040, theorem 3.1).

    Raises:
        OracleError: there are fewer than two points, or two coincide.
    """
    order = np.argsort(x)
    gaps = np.diff(x[order])
    if len(x) < 2 or gaps.min() <= 0:
        raise OracleError("The least variation of the derivative needs two or more points, all at different places.")
    return float(np.abs(np.diff(np.diff(y[order]) / gaps)).sum())


@torch.no_grad()
def frozen_features_interpolant(network: nn.Sequential, x: Tensor, y: Tensor) -> nn.Sequential:
    """The network interpolating y [n, 1] at x that differs least (l2) from `network`, in its linear last layer alone.

    What gradient descent from `network` reaches if only the last layer is trained, by the pseudo-inverse: random
    features (Rahimi and Recht 2007), not the tangent kernel, which has a part from every layer.

    Raises:
        OracleError: the features cannot interpolate.
    """
    interpolant = copy_of(network)
    last = interpolant[-1]
    assert isinstance(last, nn.Linear)
    features = torch.cat([interpolant[:-1](x), torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    change = torch.linalg.pinv(features) @ (y - interpolant(x))
    last.weight += change[:-1].T
    last.bias.add_(change[-1])
    residual = float((interpolant(x) - y).abs().max())
    if not residual <= 1e-6 * float(y.abs().max()):
        raise OracleError(f"The pseudo-inverse did not interpolate with frozen features: residual {residual:.1e}.")
    return interpolant


def last_centroid(frequencies: Sequence[int], share: float) -> float:
    """The mean frequency of the residual if `share` of the energy remains and low frequencies are fitted first.

    The target has equal energies at `frequencies`. This is the largest mean of any residual whose energy at no
    frequency exceeds the target's.
    """
    remaining, moment = share * len(frequencies), 0.0
    for frequency in sorted(frequencies, reverse=True):
        moment += frequency * min(1.0, remaining)
        remaining -= min(1.0, remaining)
    return moment / (share * len(frequencies))


def neural_tangent_kernel(x: Array, z: Array) -> Array:
    """The kernel [n, m], at x and z [m, d], of ``f(x) = sum_j a_j relu(w_j · x) / sqrt(width)`` when both layers train.

    In the limit of infinite width, at the angle t between two inputs, it is ``|x||z| (cos t (pi - t) + sin t + (pi - t)
    cos t) / (2 pi)``, of the arc-cosine kernels of degree 0 and 1 (Cho and Saul 2009; Jacot et al. 2018,
    arXiv:1806.07572).
    """
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(z, axis=1)[None]
    cosine = np.clip(x @ z.T / norms, -1, 1)
    angle = np.arccos(cosine)
    degree_1 = np.sin(angle) + (np.pi - angle) * cosine
    return norms * (cosine * (np.pi - angle) + degree_1) / (2 * np.pi)


def kernel_interpolation(x: Array, y: Array, z: Array) -> Array:
    """The tangent kernel's interpolant of (x, y) at z [m, d]: lazy training of an infinitely wide network, values [m].

    Raises:
        OracleError: the kernel matrix is singular to working precision.
    """
    matrix = neural_tangent_kernel(x, x)
    condition = np.linalg.cond(matrix)
    if not condition < MAX_CONDITION:
        raise OracleError(f"The tangent kernel's matrix cannot be inverted: condition number {condition:.1e}.")
    return neural_tangent_kernel(z, x) @ np.linalg.solve(matrix, y)
