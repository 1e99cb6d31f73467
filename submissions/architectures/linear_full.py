"""Fully connected linear network of two layers: biased to the l2 margin (Ji & Telgarsky 2019, arXiv:1810.02032).

It computes what a single linear layer computes. All layers are Gaussian, with a predictor of norm 1e-3 at the start:
the bias is that of small initialisation.
"""

import math

from suite import Submission
from suite.models.linear_networks import FullyConnected


def network(input_shape: tuple[int, ...], outputs: int) -> FullyConnected:
    return FullyConnected(math.prod(input_shape), outputs, depth=2, scale=1e-3)


submission = Submission(name="linear_full", architecture=network)
