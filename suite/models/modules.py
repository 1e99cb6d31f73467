"""What is done to any module: weights drawn anew from a generator alone, and eval mode for a while."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Generator, nn
from torch.nn.modules.batchnorm import _NormBase

Module = TypeVar("Module", bound=nn.Module)


@torch.no_grad()
def initialize(model: Module, generator: Generator, dtype: torch.dtype = torch.float32) -> Module:
    """Draw linear and convolutional layers anew: torch's default, uniform within 1/sqrt(fan in).

    Args:
        model: changed in place and returned; its other layers keep their weights.
        generator: the only source of the draws, on the CPU.
        dtype: the precision of the draws, which decides their values; the model keeps its own.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for parameter in module.parameters():
                parameter.copy_(torch.empty(parameter.shape, dtype=dtype).uniform_(-bound, bound, generator=generator))
    return model


def seeded(build: Callable[[], Module], generator: Generator, dtype: torch.dtype = torch.float32) -> Module:
    """A new model whose weights depend on `generator` alone, and which leaves torch's global generator as it was.

    Args:
        build: constructs the model. The weights that its layers draw from the global generator are replaced.
        generator: what `initialize` draws from, on the CPU.
        dtype: the precision of the model and of the draws.
    """
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
        model = build()
    return initialize(model.to(dtype), generator, dtype)


def is_scripted(model: nn.Module) -> bool:
    """Whether a part of `model` was scripted or traced: it has no Python code, and its parts cannot be replaced."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """`model` in eval mode (batch norm with its running statistics, no dropout); afterwards every module as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch norm normalizes with its batch, but leaves its running statistics as they are."""
    norms = [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    before = [(m.momentum, None if m.num_batches_tracked is None else m.num_batches_tracked.clone()) for m in norms]
    for module in norms:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, (momentum, batches) in zip(norms, before, strict=True):
            module.momentum = momentum
            if batches is not None and module.num_batches_tracked is not None:
                module.num_batches_tracked.copy_(batches)
