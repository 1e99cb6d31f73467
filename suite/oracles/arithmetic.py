"""Networks that compute a known function exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PHASES = 6
"""Hidden neurons per frequency: the fewest equally spaced phases at which all unwanted terms cancel."""


def modular_addition_network(p: int) -> tuple[Tensor, Tensor]:
    """A network ``output (hidden x)²`` that adds modulo p exactly.

    x [2p] is the one-hot code of a followed by that of b, the outputs are the one-hot code of (a + b) mod p. After
    Gromov (2023, arXiv:2301.02679), whose phases are random, so that the unwanted sums vanish only as the width grows.
    Here the neurons are ``cos(w a + t) + cos(w b - 2 t)`` with outputs ``cos(w c - t)``: the product within the square
    gives cos(w (a + b - c)) / 2 without any t, all other terms have t once to five times in their phase and sum to zero
    over six equally spaced t. The sum over w = 2 pi k / p, k = 1 … (p - 1) / 2, is one at c = a + b and zero elsewhere
    but for a constant, which one more neuron adds. Each neuron's weights in and out are scaled to least squared norm.

    Returns:
        The weights hidden [3p - 2, 2p] and output [p, 3p - 2], float64.

    Raises:
        ValueError: p is not an odd number of at least 3.
    """
    if p < 3 or p % 2 == 0:
        raise ValueError(f"p must be odd and at least 3, not {p}.")
    number = torch.arange(p, dtype=torch.float64)
    waves = 2 * math.pi / p * torch.arange(1, (p + 1) // 2, dtype=torch.float64).repeat_interleave(PHASES)[:, None]
    phases = 2 * math.pi / PHASES * torch.arange(PHASES, dtype=torch.float64).repeat((p - 1) // 2)[:, None]
    hidden = torch.cat([torch.cos(waves * number + phases), torch.cos(waves * number - 2 * phases)], 1)
    output = torch.cos(waves * number - phases).T * 4 / (PHASES * p)
    hidden = torch.cat([hidden, torch.full((1, 2 * p), 0.5, dtype=torch.float64)])
    output = torch.cat([output, torch.full((p, 1), 1 / p, dtype=torch.float64)], 1)
    # The function stays the same when a neuron's input weights are multiplied by s and its output weights by 1 / s².
    scale = (2 * output.square().sum(0) / hidden.square().sum(1)) ** (1 / 6)
    return hidden * scale[:, None], output / scale.square()
