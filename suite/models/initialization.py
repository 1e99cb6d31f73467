"""Initial weights that depend on a generator alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


@torch.no_grad()
def initialise(model: Module, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Module:
    """Draw linear and convolutional layers anew: torch's default, uniform within 1/sqrt(fan in).

    Args:
        model: changed in place; its other layers keep their weights.
        generator: the only source of the draws, on the CPU.
        dtype: the precision of the draws, which decides their values; the model keeps its own.

    Returns:
        The model.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for parameter in module.parameters():
                draws = torch.empty(parameter.shape, dtype=dtype).uniform_(-bound, bound, generator=generator)
                parameter.copy_(draws)
    return model


def seeded(build: Callable[[], Module], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Module:
    """A new model whose weights depend on `generator` alone, and which leaves torch's global generator as it was.

    Args:
        build: constructs the model. The weights that its layers draw from the global generator are replaced.
        generator: what `initialise` draws from, on the CPU.
        dtype: the precision of the model and of the draws.

    Returns:
        The initialised model.
    """
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
        model = build()
    return initialise(model.to(dtype), generator, dtype)
