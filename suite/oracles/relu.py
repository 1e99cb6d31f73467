"""Two-layer ReLU networks on the plane: exact programs over networks of any width.

``f(x) = sum_j a_j relu(w_j·x)`` without biases, for n points x [n, 2]. The lines ``w·x_i = 0`` cut the plane of hidden
weights into at most 2n cones; in each, the same samples are active and the network is linear in its weights. Neurons of
one cone and one sign of the output weight can be merged into one without cost, so a finite convex program with one
neuron per cone and sign is exact (Pilanci and Ergen 2020, arXiv:2002.10553).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suite.oracles.solvers import Array, OracleError, conic_program

NEGLIGIBLE_COST = 1e-6
"""Neurons with a smaller share of the cost are rounding errors of the solver."""
INACTIVE = 1e-6
"""Samples whose preactivation is below this share of the largest count as inactive."""
MAX_STEPS = 200_000


@dataclass(frozen=True)
class PlaneNetwork:
    """A two-layer ReLU network of k neurons on the plane, and the value of the program that it solves."""

    hidden: Array  # [k, 2]
    output: Array  # [k]
    value: float


def cones(x: Array) -> tuple[NDArray[np.bool_], Array]:
    """The p cones of hidden weights in which the same samples are active, without the cone of no active sample.

    Returns:
        Which samples are active in each, [p, n]; and the two unit vectors between which each lies, anticlockwise,
        [p, 2, 2].
    """
    angles = np.arctan2(x[:, 1], x[:, 0])
    begin = np.unique(np.concatenate([angles + np.pi / 2, angles - np.pi / 2]) % (2 * np.pi))
    end = np.append(begin[1:], begin[0] + 2 * np.pi)
    middle = (begin + end) / 2
    active = np.stack([np.cos(middle), np.sin(middle)], axis=1) @ x.T > 0
    edges = np.stack([np.stack([np.cos(angle), np.sin(angle)], axis=1) for angle in (begin, end)], axis=1)
    return active[active.any(axis=1)], edges[active.any(axis=1)]


def _least_cost(
    problem_name: str, x: Array, costs: Array, fit: Callable[[Any], Any], largest: bool = False
) -> PlaneNetwork:
    """The network of least ``sum_k |costs_k w_k|`` over one neuron per cone and sign that meets a constraint.

    `costs` [p, 2, 2] has one matrix per cone. `fit` makes the constraint of the outputs [n], a cvxpy expression. The
    norm is l2, or l_inf for `largest`.
    """
    import cvxpy as cp

    active, edges = (np.concatenate([part, part]) for part in cones(x))
    matrices, signs = np.concatenate([costs, costs]), np.repeat([1.0, -1.0], len(active) // 2)
    hidden, bound = cp.Variable((len(signs), 2)), cp.Variable(len(signs))

    def product(rows: Array) -> Any:
        """rows [k, 2] times the hidden weights, neuron by neuron."""
        return cp.multiply(rows[:, 0], hidden[:, 0]) + cp.multiply(rows[:, 1], hidden[:, 1])

    begin, end = edges[:, 0], edges[:, 1]
    inside = [
        product(np.stack([-begin[:, 1], begin[:, 0]], axis=1)),
        product(np.stack([end[:, 1], -end[:, 0]], axis=1)),
    ]
    linear = signs[:, None, None] * active[:, :, None] * x
    outputs = linear[:, :, 0].T @ hidden[:, 0] + linear[:, :, 1].T @ hidden[:, 1]
    both = cp.vstack([product(matrices[:, 0]), product(matrices[:, 1])])
    norm = cp.max(cp.abs(both), axis=0) <= bound if largest else cp.SOC(bound, both, axis=0)
    problem = cp.Problem(cp.Minimize(cp.sum(bound)), [norm, *(part >= 0 for part in inside), fit(outputs)])
    conic_program(problem_name, problem, tolerance=1e-7)
    value, used = float(problem.value), bound.value > NEGLIGIBLE_COST * problem.value
    return PlaneNetwork(np.asarray(hidden.value)[used], signs[used], value)


def variation_norm_margin(x: Array, y: Array, largest: bool = False) -> PlaneNetwork:
    """argmax of min_i y_i f(x_i) over networks with ``sum_j |a_j| |w_j|_2 <= 1``, for labels y_i = ±1.

    The value is the margin of the variation norm, which bounds that of every two-layer network: ``min_i y_i f(x_i) <=
    value sum_j |a_j| |w_j| <= value |theta|² / 2``. Wide networks reach it in the limit (Chizat and Bach 2020,
    arXiv:2002.04486). With `largest` each ``|w_j|`` is the l_inf norm instead: no network of m neurons has a larger
    margin than ``value m |theta|_inf²``.
    """
    import cvxpy as cp

    costs = np.tile(np.eye(2), (len(cones(x)[0]), 1, 1))
    network = _least_cost("variation-norm margin", x, costs, lambda outputs: cp.multiply(y, outputs) >= 1, largest)
    return PlaneNetwork(network.hidden / network.value, network.output, 1 / network.value)


def flattest_interpolator(x: Array, y: Array) -> PlaneNetwork:
    """argmin of the trace of the Hessian of ``mean (f - y)² / 2`` over networks with f(x_i) = y_i.

    At an interpolator the trace is ``1/n sum_ij relu(w_j·x_i)² + a_j² |x_i|² [w_j·x_i > 0]``. Rescaling neuron by
    neuron brings it to ``sum_j 2 |a_j| sqrt(1/n sum_i relu(w_j·x_i)²) sqrt(1/n sum_{i active} |x_i|²)``, which is
    homogeneous in the neuron: a variation norm with a weight that depends on the cone (the weight that Nacson et al.
    2023, arXiv:2306.17499, find for stable minima). Samples on a cone's boundary count as not active, as in torch. The
    value, the trace, is the exact infimum; the weights may lie on the other side of a cone's boundary by rounding.
    """
    active, _ = cones(x)
    reach = np.sqrt((active * (x**2).sum(axis=1)).mean(axis=1))
    # |relu(X w)| = |root w| on the cone, where root' root = (the Gram matrix of its active samples).
    values, vectors = np.linalg.eigh(np.einsum("pn,ni,nj->pij", active, x, x))
    roots = np.sqrt(np.maximum(values, 0))[:, :, None] * vectors.transpose(0, 2, 1)
    costs = 2 / np.sqrt(len(x)) * reach[:, None, None] * roots
    network = _least_cost("flattest interpolator", x, costs, lambda outputs: outputs == y)
    # The rescaling that attains it: both parts of a neuron's trace are equal.
    balance = np.array([_balance(x, w) for w in network.hidden])
    return PlaneNetwork(network.hidden / balance[:, None], network.output * balance, network.value)


def _balance(x: Array, w: Array) -> float:
    """The output weight c at which the neuron ``c relu(w/c · x)`` has the least trace."""
    preactivations = x @ w
    active = preactivations > INACTIVE * np.abs(preactivations).max()
    return float(((preactivations[active] ** 2).sum() / (x[active] ** 2).sum()) ** 0.25)


def gradient_flow(x: Array, y: Array, hidden: Array, output: Array, loss: float, step: float) -> PlaneNetwork:
    """Where gradient flow on ``mean (f - y)² / 2`` from the weights hidden [m, d] and output [m] reaches a loss.

    By Euler's method, whose step is a small part of the inverse curvature: higher orders gain nothing where samples
    enter and leave the neurons' active sides. The value is the loss reached.

    Raises:
        OracleError: the loss was not reached within `MAX_STEPS` steps.
    """
    for _ in range(MAX_STEPS):
        active = x @ hidden.T > 0
        features = (x @ hidden.T) * active
        residual = features @ output - y
        value = float(np.mean(residual**2) / 2)
        if value <= loss:
            return PlaneNetwork(hidden, output, value)
        slopes = residual / len(x)
        hidden, output = (
            hidden - step * ((slopes[:, None] * active) * output).T @ x,
            output - step * features.T @ slopes,
        )
    raise OracleError(f"Euler's method did not bring gradient flow to a loss of {loss} in {MAX_STEPS} steps.")
