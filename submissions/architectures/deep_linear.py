"""Deep linear network: three linear layers without a nonlinearity between them (Saxe et al. 2014, arXiv:1312.6120).

It computes what one linear layer computes, from an initialisation of torch's usual scale: what depth alone changes.
"""

import itertools
import math

from torch import nn

from suite import Submission

WIDTH = 128


def deep_linear(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Inputs of `input_shape`, flattened, to [n, outputs]."""
    sizes = (math.prod(input_shape), WIDTH, WIDTH, outputs)
    return nn.Sequential(nn.Flatten(), *(nn.Linear(a, b) for a, b in itertools.pairwise(sizes)))


submission = Submission(name="deep_linear", architecture=deep_linear)
