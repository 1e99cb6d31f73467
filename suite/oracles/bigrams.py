"""Gradient flow on bigrams: what is left of each token's excess loss when a given share of the whole is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from suite.oracles.solvers import Array


def squared_flow(times: Array) -> Array:
    """``exp(-2 t)``: the share left of half the squared distance to any target under its gradient flow from 0."""
    return np.asarray(np.exp(-2 * times), dtype=np.float64)


def cross_entropy_flow(law: Array, end: float) -> Callable[[Array], Array]:
    """The share left of KL(law | softmax(z)) under its gradient flow ``z' = law - softmax(z)`` from z = 0.

    Args:
        law: probabilities [k].
        end: up to when the flow is integrated, to a relative error of 1e-9.

    Returns:
        Times [m] between 0 and `end` -> shares [m].
    """
    from scipy.integrate import solve_ivp
    from scipy.special import log_softmax, rel_entr, softmax

    flow = solve_ivp(
        lambda _, z: law - softmax(z),
        (0.0, end),
        np.zeros(len(law)),
        method="LSODA",
        dense_output=True,
        rtol=1e-9,
        atol=1e-12,
    )

    def share(times: Array) -> Array:
        excess = rel_entr(law[:, None], np.exp(log_softmax(flow.sol(times), axis=0))).sum(0)
        return np.asarray(excess / rel_entr(law, 1 / len(law)).sum(), dtype=np.float64)

    return share


def zipf_flow(law: Array, remaining: float, loss: str) -> Array:
    """Shares [k] of their excess that tokens of frequencies `law` [k] have left when `remaining` of the whole is left.

    Each token's next-token probabilities are `law` in some order, so all have the same excess at the start, and the
    flow of each runs at the speed of its frequency.

    Args:
        loss: ``squared`` or ``cross_entropy``.
    """
    from scipy.optimize import brentq

    end = 100 / law.min()  # by then the rarest token is fitted too
    share = squared_flow if loss == "squared" else cross_entropy_flow(law, end * law.max())
    time = brentq(lambda time: float(law @ share(law * time)) - remaining, 0.0, end, xtol=1e-9 * end)
    return share(law * time)
