"""Neural collapse: the least decayed cross-entropy over free features, and distances to a simplex ETF."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from suite.oracles.solvers import Array


class CollapsedMinimum(NamedTuple):
    """The minimum: the gap between the right logit and each other one, the cross-entropy, and |W|² (which is |H|²)."""

    gap: float
    loss: float
    squared_norm: float


def collapsed_minimum(classes: int, samples: int, decay: float) -> CollapsedMinimum:
    """The least of cross-entropy(W H) + decay / 2 (|W|² + |H|²) over W [classes, d] and H [d, samples].

    Classes are of equal size and d is at least classes - 1. The decay of the factors of Z = W H is at least the nuclear
    norm of Z times `decay`, a convex problem that permutations leave alone; so a minimizer is a multiple of the centred
    labels, whose nuclear norm is ``gap (classes - 1) sqrt(samples / classes)``. That is a simplex ETF (Zhu et al. 2021,
    arXiv:2105.02375, who show that all minimizers are).

    Raises:
        ValueError: the decay is not positive, or so strong that the minimum is 0.
    """
    share = decay * (classes - 1) * math.sqrt(samples / classes)  # of wrong classes in the softmax
    if not 0 < share < 1 - 1 / classes:
        raise ValueError(f"A decay of {decay} has no minimum with features.")
    gap = math.log((1 - share) * (classes - 1) / share)
    return CollapsedMinimum(gap, -math.log(1 - share), gap * (classes - 1) * math.sqrt(samples / classes))


def simplex_etf(classes: int) -> Array:
    """The Gram matrix of a simplex ETF, of Frobenius norm 1: (I - 1 1' / classes) / sqrt(classes - 1)."""
    return (np.eye(classes) - 1 / classes) / math.sqrt(classes - 1)


def etf_distance(gram: Array) -> float:
    """The distance of a matrix [classes, classes], divided by its norm, to `simplex_etf`: 0 for an ETF, 2 at most."""
    norm = float(np.linalg.norm(gram))
    return float(np.linalg.norm(gram / norm - simplex_etf(len(gram)))) if norm else 1.0
