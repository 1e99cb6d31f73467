"""`mlp` with layer norm before every ReLU (Ba et al. 2016, arXiv:1607.06450).

The scale of the weights before a normalisation has no effect on the function, so norms of weights say nothing here.
"""

import math

from torch import nn

from suite import Submission

WIDTH = 128


def layernorm_mlp(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Inputs of `input_shape`, flattened, to [n, outputs]."""
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in in (math.prod(input_shape), WIDTH):
        layers += [nn.Linear(fan_in, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, outputs))


submission = Submission(name="layernorm_mlp", architecture=layernorm_mlp)
