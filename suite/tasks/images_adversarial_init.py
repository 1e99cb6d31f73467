"""Adversarial starts: weights that already fit the training data, and generalise badly.

Liu, Papailiopoulos and Achlioptas 2020 (arXiv:1906.02613): pre-train on wrong labels, then train on the data from
there. Plain SGD stays in the bad minimum; that is the zero point of the image tasks.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.data.splits import wrong_labels
from suite.models import images
from suite.seeding import torch_stream
from suite.storage.cache import Arrays, cached
from suite.task import Problem, Target, Task
from suite.tasks.images import mnist5k_mlp
from suite.tasks.registry import find_task, task

ZEROED = 0.1


EPOCHS = 60


BATCH = 100


RATE = 0.05


def adversarial_init(model: nn.Module, problem: Problem, seed: int, wrong: int, classes: int = 10) -> nn.Module:
    """Train `model` in place on the training data together with `wrong` wrongly labelled images; returns it.

    The wrongly labelled images are copies of training images of which a tenth of the pixels is zeroed. So the network
    fits the true training data, and is wrong around it. Heavy-ball SGD with batches of 100 and a cosine schedule over
    60 epochs. What an earlier process has trained from the same weights on the same data is taken from the disk.
    """
    key = _key(model, problem, seed, wrong, classes)
    start = cached("starts", key, lambda: _weights(_poison(model, problem, seed, wrong, classes)))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in start.items()})
    return model


def _weights(model: nn.Module) -> Arrays:
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


@dataclass(frozen=True)
class AdversarialInit:
    """How a task's adversarial start is made, and for how many epochs it is trained from there.

    wrong: wrongly labelled images, as many as the network can memorise beside the true ones.
    """

    wrong: int
    epochs: int


ADVERSARIAL_INITS = {
    "mnist5k_mlp": AdversarialInit(wrong=4_000, epochs=40),
    "mnist5k_mlp[batch=200]": AdversarialInit(wrong=4_000, epochs=40),
    "mnist_mlp": AdversarialInit(wrong=20_000, epochs=2),
    "mnist_cnn[subset=10000]": AdversarialInit(wrong=4_000, epochs=8),
    "mnist_noisy[subset=10000]": AdversarialInit(wrong=10_000, epochs=8),
    "cifar10_cnn[subset=2000]": AdversarialInit(wrong=4_000, epochs=40),
    "cifar10_cnn[batch=200,subset=2000]": AdversarialInit(wrong=4_000, epochs=40),
    "cifar10_resnet[subset=2000]": AdversarialInit(wrong=4_000, epochs=40),
}
"""Per task that has references."""


def from_adversarial_init(plain: Task, bad: AdversarialInit) -> Task:
    """The task `plain` from an adversarial start, trained to the end of a budget of its own: the start already fits.

    Architectures cannot enter: the start belongs to the task's own network.
    """

    def model(problem: Problem, seed: int) -> nn.Module:
        network = plain.model(problem, seed)
        network.load_state_dict(_bad_start(plain.name, seed, bad.wrong))
        return network

    target = Target(plain.target.loss, bad.epochs * plain.target.check_every, plain.target.check_every, at_end=True)
    seconds = None if plain.seconds is None else plain.seconds * 4 * target.budget / plain.target.budget
    return replace(plain, model=model, target=target, interface=None, seconds=seconds)


# A lane's network is built several times: for training, for measuring, for its curves.
@functools.lru_cache(maxsize=32)
def _bad_start(plain: str, seed: int, wrong: int) -> dict[str, Tensor]:
    base = find_task(plain)
    problem = base.problem(seed)
    return dict(adversarial_init(base.model(problem, seed), problem, seed, wrong).state_dict())


@task
def mnist5k_bad_start() -> Task:
    """Does the optimizer escape from a bad global minimum to one that generalises?

    Claim. Bad global minima exist and plain SGD stays in one that it is started from; momentum, weight decay and
    augmentation lead away from it (Liu, Papailiopoulos and Achlioptas 2020, arXiv:1906.02613).

    Data, model and measures of `mnist5k_mlp`. Start: the network is trained for 60 epochs on the training data together
    with twice as many copies that have a tenth of their pixels zeroed and a wrong label (`suite.tasks.images_adversarial_init`). It fits
    the true training data and is wrong around it; its raw `lambda_max` looks harmless. The start is computed once per
    machine and seed (some seconds) and kept under ``$XDG_CACHE_HOME/lowlands``.

    Target. The start already fits, so every lane spends the whole budget of 40 epochs, about twice what most submissions
    need from a fresh start; the loss on the training part must then be <= 0.01.

    Axes as in `mnist5k_mlp`. Null: what plain SGD makes of the bad start. Ideal: that of `mnist5k_mlp`, the best of the
    reference runs from a fresh start.
    """
    return from_adversarial_init(mnist5k_mlp(), ADVERSARIAL_INITS["mnist5k_mlp"])
