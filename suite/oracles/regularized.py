"""Minimisers that an explicit regulariser selects. Rows of z are ``y_i x_i``."""

from __future__ import annotations

import numpy as np

from suite.oracles.solvers import Array, OracleError


def box_logistic_minimizer(z: Array, radius: float) -> Array:
    """argmin of the mean logistic loss over |w|_inf <= radius, by L-BFGS-B (Byrd et al. 1995). z [n, d]; returns [d].

    Where AdamW and Lion with decoupled decay 1 / radius end (Xie and Li 2024, arXiv:2404.04454). The logarithm of the
    loss has the same minimiser and keeps its scale where the loss itself vanishes.
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
    w: Array = result.x
    # Projected gradient: what a step of length 1 within the box would still change.
    left = float(abs(w - np.clip(w - log_loss(w)[1], -radius, radius)).max())
    if not left <= BOX_TOLERANCE * radius:
        raise OracleError(f"L-BFGS-B did not solve the box problem: status {result.status} ({result.message}).")
    return w


BOX_TOLERANCE = 1e-5
"""The largest coordinate of the projected gradient of the log-loss that counts as solved, over the box's radius."""
