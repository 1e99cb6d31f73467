"""The reference networks of the image tasks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn


def mlp(input_shape: Sequence[int], outputs: int, widths: Sequence[int] = (128, 128)) -> nn.Sequential:
    """Fully connected ReLU network with biases; inputs of `input_shape` are flattened."""
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    sizes = [math.prod(input_shape), *widths]
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw every linear layer anew from `generator`: torch's own default, uniform within 1/sqrt(fan in)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            for parameter in module.parameters():
                parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
    return model
