"""Minimisers under an explicit constraint."""

from __future__ import annotations

import numpy as np

from suite.oracles.solvers import Array, OracleError

BOX_TOLERANCE = 1e-5
"""The largest coordinate of the projected gradient of the log-loss that counts as solved, over the box's radius."""


def box_logistic_minimizer(z: Array, radius: float) -> Array:
    """argmin of the mean logistic loss over |w|_inf <= radius, by L-BFGS-B (Byrd et al. 1995).

    The limit of AdamW and Lion with decoupled decay 1 / radius (Xie and Li 2024, arXiv:2404.04454). The logarithm of
    the loss is minimised: it has the same minimiser and keeps its scale where the loss itself vanishes.

    Args:
        z: signed samples y_i x_i, [n, d].
        radius: of the box.

    Returns:
        w [d].

    Raises:
        OracleError: the projected gradient is not small enough.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit

    n, d = z.shape

    def log_loss(w: Array) -> tuple[float, Array]:
        margins = z @ w
        loss = -log_expit(margins).mean()
        return float(np.log(loss)), -(expit(-margins) @ z) / (n * loss)

    options = {"maxiter": 10_000, "maxfun": 50_000, "ftol": 0.0, "gtol": 1e-8}
    result = minimize(
        log_loss, np.zeros(d), jac=True, method="L-BFGS-B", bounds=[(-radius, radius)] * d, options=options
    )
    w = result.x
    # Projected gradient: by how much a step of length 1 within the box would change a coordinate.
    projected = float(abs(w - np.clip(w - log_loss(w)[1], -radius, radius)).max())
    if not projected <= BOX_TOLERANCE * radius:
        raise OracleError(f"L-BFGS-B did not solve the box problem: status {result.status} ({result.message}).")
    return w
