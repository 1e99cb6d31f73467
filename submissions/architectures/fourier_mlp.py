"""`mlp` on random Fourier features of the input (Tancik et al. 2020, arXiv:2006.10739).

Frequencies from N(0, 3²) cycles per unit, divided by the root of the number of inputs: high ones are learned as fast as
low ones, so it should lose the bias to low frequencies.
"""

import math

import torch
from torch import Tensor, nn

from suite import Submission
from suite.models.images import mlp

FEATURES, CYCLES = 64, 3.0


class FourierFeatures(nn.Module):
    """``[sin(2 pi B x), cos(2 pi B x)]`` with a fixed random B: [n, inputs] -> [n, 128]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", CYCLES / math.sqrt(inputs) * torch.randn(inputs, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        angles = 2 * math.pi * x @ self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def fourier_mlp(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Inputs of `input_shape`, flattened, to [n, outputs]."""
    return nn.Sequential(nn.Flatten(), FourierFeatures(math.prod(input_shape)), mlp((2 * FEATURES,), outputs))


submission = Submission(name="fourier_mlp", architecture=fourier_mlp)
