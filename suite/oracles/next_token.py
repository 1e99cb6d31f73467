"""Linear next-token prediction: the logits that the data fix, and the direction in which the rest diverges.

Contexts x [n, d] have next-token probabilities y [n, tokens], of which some are 0: the tokens that never follow. The
logits of a context are W x with W [tokens, d]; matrices are flattened here, row by row (Thrampoulidis 2024,
arXiv:2402.18551).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from suite.oracles.margins import max_margin_l2, max_margin_linf, max_margin_spectral
from suite.oracles.solvers import Array


@dataclass(frozen=True)
class NextTokenRows:
    """What the data ask of W, as rows whose products with the flattened W are differences of logits.

    Attributes:
        equal: [k, tokens d], one row for each token that follows a context, but the first: its logit less the first's.
        log_odds: [k], what these differences have to be: the logarithm of the probabilities' ratio.
        apart: [m, tokens d], one row for each token that never follows a context: the logit of the first token that
            does less its own. On matrices that give `equal` the value 0 this is the least difference between any token
            that follows and the one that does not.
    """

    equal: Array
    log_odds: Array
    apart: Array


def next_token_rows(x: Array, y: Array) -> NextTokenRows:
    """The rows of contexts x [n, d] with next-token probabilities y [n, tokens]."""
    tokens = np.eye(y.shape[1])
    equal, log_odds, apart = [], [], []
    for context, probabilities in zip(x, y, strict=True):
        first, *others = np.flatnonzero(probabilities)
        for token in others:
            equal.append(np.outer(tokens[token] - tokens[first], context).ravel())
            log_odds.append(np.log(probabilities[token] / probabilities[first]))
        for token in np.flatnonzero(probabilities == 0):
            apart.append(np.outer(tokens[first] - tokens[token], context).ravel())
    return NextTokenRows(np.array(equal), np.array(log_odds), np.array(apart))


def finite_component(rows: NextTokenRows) -> Array:
    """The W of least norm whose differences of logits are the log-odds, flattened: it lies in the span of `equal`."""
    return np.asarray(np.linalg.lstsq(rows.equal, rows.log_odds, rcond=None)[0], dtype=np.float64)


def outside_of(rows: NextTokenRows, w: Array) -> Array:
    """The part of `w` [..., tokens d] that is orthogonal to the rows `equal`: no log-odds depend on it."""
    return w - (w @ np.linalg.pinv(rows.equal)) @ rows.equal


def next_token_margins(rows: NextTokenRows, shape: tuple[int, int]) -> dict[str, Array]:
    """The directions of largest next-token margin, flattened, in the Frobenius, the spectral and the max norm.

    Each is argmax of min(`apart` @ w) over the unit ball, among the w orthogonal to `equal`. That of the Frobenius norm
    is where gradient descent diverges to (Thrampoulidis 2024, arXiv:2402.18551); it is the same problem with rows
    projected, as its solution is a combination of them.

    Raises:
        OracleError: a solver failed, or the data are not separable in this sense.
    """
    return {
        "frobenius": max_margin_l2(outside_of(rows, rows.apart)),
        "spectral": max_margin_spectral(rows.apart, shape, zero=rows.equal),
        "max": max_margin_linf(rows.apart, zero=rows.equal),
    }
