"""Three residual blocks of width 128 without normalisation (He et al. 2016, arXiv:1603.05027).

Eight layers of weights, to the seven of `mlp_deep`: beside it, what the shortcuts do.
"""

import math

from torch import Tensor, nn

from suite import Submission

WIDTH, BLOCKS = 128, 3


class Block(nn.Module):
    """``x + W2 relu(W1 relu(x))``: the shortcut passes unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def residual_mlp(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Inputs of `input_shape`, flattened, to [n, outputs]."""
    blocks = [Block(WIDTH) for _ in range(BLOCKS)]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(input_shape), WIDTH), *blocks, nn.ReLU(), nn.Linear(WIDTH, outputs)
    )


submission = Submission(name="residual_mlp", architecture=residual_mlp)
