"""Interpolating functions: of least variation of the derivative, and those of the kernel regime."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from suite.oracles.solvers import Array, OracleError


def least_variation(x: Array, y: Array) -> float:
    """min of ``∫ |f''|`` over all f with f(x_i) = y_i; x [n] and y [n].

    The mean of f' between two neighbouring points is their chord's slope, so f' varies at least as much as the chords'
    slopes do; the piecewise linear interpolant attains it. The minimum over ReLU networks of two layers is the same:
    their least norm of weights is this variation, but for a term of the slopes at infinity (Savarese et al. 2019,
    arXiv:1902.05040, theorem 3.1).
    """
    order = np.argsort(x)
    gaps = np.diff(x[order])
    if len(x) < 2 or gaps.min() <= 0:
        raise OracleError("The least variation of the derivative needs two or more points, all at different places.")
    return float(np.abs(np.diff(np.diff(y[order]) / gaps)).sum())


@torch.no_grad()
def frozen_features_interpolant(network: nn.Sequential, x: Tensor, y: Tensor) -> nn.Sequential:
    """`network` with its last layer moved as little as it takes (l2) to interpolate; x [n, d], y [n, 1].

    What gradient descent from `network` reaches if the last layer alone is trained: the kernel regime of random
    features (Chizat et al. 2019, arXiv:1812.07956), in closed form by the pseudo-inverse.

    Raises:
        OracleError: the features cannot interpolate.
    """
    moved = copy.deepcopy(network)
    last = moved[-1]
    assert isinstance(last, nn.Linear)
    features = torch.cat([moved[:-1](x), torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    change = torch.linalg.pinv(features) @ (y - moved(x))
    last.weight += change[:-1].T
    last.bias.add_(change[-1])
    residual = float((moved(x) - y).abs().max())
    if not residual <= 1e-6 * float(y.abs().max()):
        raise OracleError(f"The pseudo-inverse did not interpolate with frozen features: residual {residual:.1e}.")
    return moved


def last_centroid(frequencies: Sequence[int], share: float) -> float:
    """The mean frequency of what is left when `share` of the energy is, all `frequencies` alike, taken in their order.

    The largest mean that any residual can have whose energy at no frequency exceeds the target's.
    """
    left, moment = share * len(frequencies), 0.0
    for frequency in sorted(frequencies, reverse=True):
        moment += frequency * min(1.0, left)
        left -= min(1.0, left)
    return moment / (share * len(frequencies))
