"""Gradient flow ``dw/dt = -grad L(w)``: the path that small steps of gradient descent approach.

from the start on, with scipy's adaptive Runge-Kutta method (the one of `scipy.integrate.solve_ivp`)
    take a step
    whenever the loss has fallen through one of the losses that are asked for: find the place within the step
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import RK45
from scipy.optimize import brentq

Array = NDArray[np.float64]
Objective = Callable[[Array], tuple[float, Array]]
"""Weights [P] -> the loss and its gradient [P]."""

RELATIVE, ABSOLUTE = 1e-7, 1e-10
"""Local tolerances of a step."""

MAX_EVALUATIONS = 20_000
"""Gradients after which the losses that were not reached are given up."""


def flow_at_losses(
    objective: Objective, start: Array, losses: Sequence[float], max_evaluations: int = MAX_EVALUATIONS
) -> list[Array | None]:
    """Where gradient flow from `start` has each of the `losses`: the loss falls along it, so there is one such place.

    Args:
        objective: what is descended.
        start: weights [P].
        losses: in any order.
        max_evaluations: gradients that may be spent.

    Returns:
        Weights [P] for each loss; None for one that is not below the loss of `start`, or is not reached in time.
    """
    evaluations = 0

    def slope(_: float, weights: Array) -> Array:
        nonlocal evaluations
        evaluations += 1
        return -objective(weights)[1]

    places: list[Array | None] = [None for _ in losses]
    initial = objective(start)[0]
    left = sorted((k for k in range(len(losses)) if losses[k] < initial), key=lambda k: -losses[k])
    solver = RK45(slope, 0.0, start, np.inf, rtol=RELATIVE, atol=ABSOLUTE)
    while left and solver.status == "running" and evaluations < max_evaluations:
        solver.step()
        reached, within = objective(solver.y)[0], solver.dense_output()
        while left and reached <= losses[left[0]]:
            number = left.pop(0)
            places[number] = _place(objective, within, losses[number], solver.t_old, solver.t)
    return places


def _place(objective: Objective, within: Callable[[float], Array], loss: float, begin: float, end: float) -> Array:
    """Where the loss is `loss` between two times of a step, at whose end it is no larger."""

    def above(time: float) -> float:
        return objective(within(time))[0] - loss

    return within(brentq(above, begin, end) if above(begin) > 0 > above(end) else end)
