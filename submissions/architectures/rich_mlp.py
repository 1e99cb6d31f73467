"""`mlp` with all initial weights halved: the rich regime (Chizat et al. 2019, arXiv:1812.07956; Woodworth et al. 2020).

The function at the start is an eighth of that of `mlp`, so features must move further before the data are fitted.
"""

import torch
from torch import nn

from suite import Submission
from suite.models.images import mlp

SCALE = 0.5


@torch.no_grad()
def rich_mlp(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """`mlp` with every parameter times 0.5."""
    network = mlp(input_shape, outputs)
    for parameter in network.parameters():
        parameter *= SCALE
    return network


submission = Submission(name="rich_mlp", architecture=rich_mlp)
