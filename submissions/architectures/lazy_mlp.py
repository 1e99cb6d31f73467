"""`mlp` with all initial weights tripled: the lazy or kernel regime (Chizat et al. 2019, arXiv:1812.07956).

The function at the start is 27 times that of `mlp`: small changes of the weights fit the data, features hardly move.
"""

import torch
from torch import nn

from suite import Submission
from suite.models.images import mlp

SCALE = 3.0


@torch.no_grad()
def lazy_mlp(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """`mlp` with every parameter times 3."""
    network = mlp(input_shape, outputs)
    for parameter in network.parameters():
        parameter *= SCALE
    return network


submission = Submission(name="lazy_mlp", architecture=lazy_mlp)
