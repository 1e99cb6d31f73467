"""Diagonal linear network of two layers: biased to sparse predictors (Gunasekar et al. 2018, arXiv:1806.00468).

It computes what a single linear layer computes. All layers are Gaussian, with a predictor of norm 1e-3 at the start:
the bias is that of small initialisation.
"""

import math

from suite import Submission
from suite.models.linear_networks import Diagonal


def network(input_shape: tuple[int, ...], outputs: int) -> Diagonal:
    return Diagonal(math.prod(input_shape), outputs, depth=2, scale=1e-3)


submission = Submission(name="linear_diagonal", architecture=network)
