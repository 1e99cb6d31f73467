"""Interpolating functions of least variation of the derivative, and of the kernel regime; a spectral bound."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from suite.oracles.solvers import Array, OracleError


def least_variation(x: Array, y: Array) -> float:
    """min of ``∫ |f''|`` over all functions f with f(x_i) = y_i.

    The mean of f' between two neighbouring points is their chord's slope, so f' varies at least as much as the chords'
    slopes do; the piecewise linear interpolant attains it. The minimum over ReLU networks of two layers is the same:
    their least norm of weights is this variation, but for a term of the slopes at infinity (Savarese et al. 2019,
    arXiv:1902.05040, theorem 3.1).

    Args:
        x: points [n], in any order.
        y: values [n].

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
    """The interpolating network that differs least (l2) from `network`, in its last layer alone.

    What gradient descent from `network` reaches if only the last layer is trained: the kernel regime of random features
    (Chizat et al. 2019, arXiv:1812.07956), in closed form by the pseudo-inverse.

    Args:
        network: its last layer is linear, with biases; a copy is changed.
        x: samples [n, d].
        y: targets [n, 1].

    Raises:
        OracleError: the features cannot interpolate.
    """
    interpolant = copy.deepcopy(network)
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

    It is the largest mean of any residual whose energy at no frequency exceeds the target's.

    Args:
        frequencies: of the target, with equal energies.
        share: of the energy that remains, between 0 and 1.
    """
    remaining, moment = share * len(frequencies), 0.0
    for frequency in sorted(frequencies, reverse=True):
        moment += frequency * min(1.0, remaining)
        remaining -= min(1.0, remaining)
    return moment / (share * len(frequencies))
