"""Adversarial initialization: weights that already fit the training data, and generalize badly.

Liu, Papailiopoulos and Achlioptas 2020 (arXiv:1906.02613): pre-train on wrong labels, then train on the data from
there. Plain SGD stays in the bad minimum; its mean scores 0 on the image tasks. In pseudo-code::

    copies <- training images, again and again; a tenth of the pixels zeroed; labels replaced by another class
    train the network on images and copies together for 60 epochs, so that it fits both
    start the task from its weights
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.data.splits import wrong_labels
from suite.models import images
from suite.seeding import torch_stream
from suite.storage.cache import Arrays, cached_on_disk
from suite.task import Problem, Target, Task
from suite.tasks.images import mnist5k_mlp
from suite.tasks.registry import find_task, task

ZEROED = 0.1
"""The share of a copy's pixels that are zeroed."""

EPOCHS, BATCH, LEARNING_RATE = 60, 100, 0.05


def adversarial_init(model: nn.Module, problem: Problem, seed: int, wrong: int, classes: int = 10) -> nn.Module:
    """Train `model` in place, by the algorithm above, with `wrong` wrongly labelled images; returns the model.

    The network then fits the true training data and is wrong around it. The seed decides the zeroed pixels, the wrong
    labels and the order of the batches. The result for given weights and data is kept on disk.
    """
    source = b"".join(Path(file or "").read_bytes() for file in (__file__, images.__file__))
    digest = hashlib.sha256(source + repr(model).encode())
    for name, array in _weights(model).items():
        digest.update(name.encode() + array.tobytes())
    arguments = (seed, wrong, classes)
    # Everything that decides the result: source, network, initial weights, data, and the numbers that are passed.
    key = " ".join(map(str, (digest.hexdigest(), problem.fingerprint(), *arguments, torch.__version__)))
    pretrained = cached_on_disk("adversarial_init", key, lambda: _weights(_pretrain(model, problem, *arguments)))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in pretrained.items()})
    return model


def _weights(model: nn.Module) -> Arrays:
    """The weights, by name."""
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def with_wrong_copies(problem: Problem, stream: torch.Generator, wrong: int, classes: int) -> tuple[Tensor, Tensor]:
    """The training data and after them `wrong` copies of training images with zeroed pixels and wrong labels."""
    x, y = problem.train.x, problem.train.y
    rows = torch.arange(wrong) % len(x)
    copies = x[rows] * (torch.rand((wrong, *x.shape[1:]), generator=stream) >= ZEROED)
    return torch.cat([x, copies]), torch.cat([y, wrong_labels(y[rows], classes, stream)])


def _pretrain(model: nn.Module, problem: Problem, seed: int, wrong: int, classes: int) -> nn.Module:
    """The training of `adversarial_init`: heavy-ball SGD with a cosine schedule."""
    stream = torch_stream("poisoned start", seed)  # shipped records depend on this name
    x, y = with_wrong_copies(problem, stream, wrong, classes)
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
    for epoch in range(EPOCHS):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2
        for rows in torch.split(torch.randperm(len(x), generator=stream), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(model(x[rows]), y[rows]))
            optimizer.step()
    return model


ADVERSARIAL_INITS = {
    "mnist5k_mlp": (4_000, 40),
    "mnist5k_mlp[batch=200]": (4_000, 40),
    "mnist_mlp": (20_000, 2),
    "mnist_cnn[subset=10000]": (4_000, 8),
    "mnist_noisy[subset=10000]": (10_000, 8),
    "cifar10_cnn[subset=2000]": (4_000, 40),
    "cifar10_cnn[batch=200,subset=2000]": (4_000, 40),
    "cifar10_resnet[subset=2000]": (4_000, 40),
}
"""Per task that has references: the number of wrongly labelled images, as many as the network can memorise together
with the true ones, and the epochs of the training from there."""


def from_adversarial_init(fresh: Task, wrong: int, epochs: int) -> Task:
    """The task `fresh` from an adversarial initialization, which fits already: every run spends all `epochs`.

    Architectures cannot enter: the initialization belongs to the task's own network.
    """

    def model(problem: Problem, seed: int) -> nn.Module:
        network = fresh.model(problem, seed)
        network.load_state_dict(_initial_weights(fresh.name, seed, wrong))
        return network

    target = Target(fresh.target.loss, epochs * fresh.target.check_every, fresh.target.check_every, at_end=True)
    seconds = None if fresh.seconds is None else fresh.seconds * 4 * target.budget / fresh.target.budget
    return replace(fresh, model=model, target=target, interface=None, seconds=seconds)


# A run's network is built several times: for training, for measuring, for its curves.
@functools.lru_cache(maxsize=32)
def _initial_weights(task_name: str, seed: int, wrong: int) -> dict[str, Tensor]:
    """The adversarial initialization of a task's network, by parameter."""
    plain = find_task(task_name)
    problem = plain.problem(seed)
    return dict(adversarial_init(plain.model(problem, seed), problem, seed, wrong).state_dict())


def pretraining_samples(problem: Problem, wrong: int) -> int:
    """How many samples the training of an adversarial initialization with `wrong` wrong labels sees."""
    return EPOCHS * (len(problem.train) + wrong)


@task
def mnist5k_bad_start() -> Task:
    """Does the optimizer escape from a bad global minimum to one that generalizes?

    Claim. Bad global minima exist, SGD stays near one that it is started from, and explicit regularization (weight
    decay, augmentation) leads away from it (Liu, Papailiopoulos and Achlioptas 2020, arXiv:1906.02613). The experiment
    here differs: their start is fitted to wrong labels alone, this one to the true data too, so that it is a global
    minimum from the beginning. Momentum, which they list among the remedies, hardly moves here (18 % errors against
    plain SGD's 19 %).

    Data, model and measures of `mnist5k_mlp`. Adversarial initialization: the network is trained for 60 epochs on the
    training data together with twice as many copies that have a tenth of their pixels zeroed and a wrong label
    (`suite.tasks.images_adversarial_init`). It fits the true training data and is wrong around them; its raw
    `lambda_max` looks harmless. It is computed once per machine and seed (some seconds) and cached under
    ``$XDG_CACHE_HOME/lowlands``.

    Target. The initialization fits already, so every run spends the whole budget of 40 epochs, about twice what most
    submissions need from a fresh initialization.

    Axes and references of `mnist5k_mlp`: score 0 is what plain SGD reaches here.
    """
    return from_adversarial_init(mnist5k_mlp(), *ADVERSARIAL_INITS["mnist5k_mlp"])
