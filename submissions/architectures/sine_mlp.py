"""SIREN: sines in place of ReLUs (Sitzmann et al. 2020, arXiv:2006.09661), with the paper's initialisation.

Its first layer holds frequencies up to 30 radians per unit of input: it should lose the bias to low frequencies.
"""

import itertools
import math

import torch
from torch import Tensor, nn

from suite import Submission

WIDTH, HIDDEN, OMEGA = 128, 2, 30.0


class Sine(nn.Module):
    """``sin(30 (W x + b))``; weights of the first layer uniform within 1/fan in, of others within sqrt(6/fan in)/30."""

    def __init__(self, fan_in: int, fan_out: int, first: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out)
        bound = 1 / fan_in if first else math.sqrt(6 / fan_in) / OMEGA
        with torch.no_grad():
            self.linear.weight.uniform_(-bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(OMEGA * self.linear(x))


def sine_mlp(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Inputs of `input_shape`, flattened, to [n, outputs]."""
    sizes = [math.prod(input_shape), *[WIDTH] * HIDDEN]
    hidden = [Sine(fan_in, fan_out, number == 0) for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes))]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(WIDTH, outputs))


submission = Submission(name="sine_mlp", architecture=sine_mlp)
