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


def largest_addition_margin(p: int) -> float:
    """The largest L_{2,3} margin of networks of any width that add modulo p: sqrt(2 / 27) / (sqrt(p) (p - 1)).

    The margin on all pairs (a, b), over ``neuron_norms(...).sum()``, of networks ``sum_j output_j (u_j[a] + v_j[b])²``
    (Morwani et al. 2023, arXiv:2311.07568). A least margin is at most the mean over pairs and wrong classes,
    which is a sum over neurons, so no network has more than the best single neuron has on average; a neuron of one
    frequency, with phases that add up and three parts of equal norm, has this much.

    Raises:
        ValueError: p is not an odd number of at least 3.
    """
    if p < 3 or p % 2 == 0:
        raise ValueError(f"p must be odd and at least 3, not {p}.")
    return math.sqrt(2 / 27) / (math.sqrt(p) * (p - 1))


def largest_margin_addition_network(p: int) -> tuple[Tensor, Tensor]:
    """A network of `largest_addition_margin`: `modular_addition_network` without the constant, which moves no margin.

    Its waves of all frequencies sum to the same at all wrong classes, and each of its neurons is the best there is.
    """
    hidden, output = modular_addition_network(p)
    return hidden[:-1], output[:, :-1]


def neuron_norms(hidden: Tensor, output: Tensor) -> Tensor:
    """The cubes [m] of the norms of all weights of each neuron: hidden [m, 2p] and output [p, m]."""
    return (hidden.square().sum(1) + output.square().sum(0)) ** 1.5


def frequency_shares(hidden: Tensor, output: Tensor) -> Tensor:
    """The share of each frequency in each neuron's energy, [m, (p - 1) / 2]; the mean of its three parts is left out.

    Of hidden [m, 2p] and output [p, m].
    """
    parts = torch.stack([*hidden.chunk(2, dim=1), output.T])  # [3, m, p]
    energy = torch.fft.rfft(parts, dim=-1)[..., 1:].abs().square().sum(0)
    return energy / energy.sum(1, keepdim=True).clamp_min(1e-300)
