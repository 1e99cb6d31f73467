"""Adversarial starts: weights that already fit the training data, and generalise badly.

Liu, Papailiopoulos and Achlioptas 2020 (arXiv:1906.02613): pre-train on wrong labels, then train on the data from
there. Plain SGD stays in the bad minimum; that is the zero point of the image tasks.
"""

from __future__ import annotations

import functools
import hashlib
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite import disk
from suite.data.splits import wrong_labels
from suite.models import images
from suite.seeding import torch_stream
from suite.task import Problem

ZEROED = 0.1
EPOCHS = 60
BATCH = 100
RATE = 0.05


def poisoned_start(model: nn.Module, problem: Problem, seed: int, wrong: int, classes: int = 10) -> nn.Module:
    """Train `model` in place on the training data together with `wrong` wrongly labelled images; returns it.

    The wrongly labelled images are copies of training images of which a tenth of the pixels is zeroed. So the network
    fits the true training data, and is wrong around it. Heavy-ball SGD with batches of 100 and a cosine schedule over
    60 epochs. What an earlier process has trained from the same weights on the same data is taken from the disk.
    """
    key = _key(model, problem, seed, wrong, classes)
    start = disk.kept("starts", key, lambda: _weights(_poison(model, problem, seed, wrong, classes)))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in start.items()})
    return model


def _weights(model: nn.Module) -> disk.Arrays:
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def _key(model: nn.Module, problem: Problem, seed: int, wrong: int, classes: int) -> str:
    """All that decides the start: source, network, initial weights, data, and the numbers that are passed."""
    digest = hashlib.sha256(_source() + repr(model).encode())
    for name, array in _weights(model).items():
        digest.update(name.encode() + array.tobytes())
    return " ".join(
        map(str, ("poisoned", digest.hexdigest(), problem.fingerprint(), seed, wrong, classes, torch.__version__))
    )


@functools.cache
def _source() -> bytes:
    return b"".join(Path(file or "").read_bytes() for file in (__file__, images.__file__))


def poison(problem: Problem, stream: torch.Generator, wrong: int, classes: int) -> tuple[Tensor, Tensor]:
    """The training data and after it `wrong` copies of training images with zeroed pixels and wrong labels."""
    x, y = problem.train.x, problem.train.y
    rows = torch.arange(wrong) % len(x)
    copies = x[rows] * (torch.rand((wrong, *x.shape[1:]), generator=stream) >= ZEROED)
    return torch.cat([x, copies]), torch.cat([y, wrong_labels(y[rows], classes, stream)])


def _poison(model: nn.Module, problem: Problem, seed: int, wrong: int, classes: int) -> nn.Module:
    stream = torch_stream("poisoned start", seed)
    x, y = poison(problem, stream, wrong, classes)
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    for epoch in range(EPOCHS):
        optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2
        for rows in torch.split(torch.randperm(len(x), generator=stream), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(model(x[rows]), y[rows]))
            optimizer.step()
    return model
