"""Small classifiers of three kinds of which every design choice is a variant: the study's second task."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from suite.data import load_images, split_digits, split_images
from suite.data.image_set import ImageSet
from suite.models import seeded
from suite.models.blocks import KINDS, block_network
from suite.seeding import torch_stream
from suite.task import Problem, Split, Target, Task
from suite.tasks.common import require_choice
from suite.tasks.factorial import FIT, LOSSES, TEST_SAMPLES, TRAIN_SAMPLES, measure_classifier, teacher, uninformed_loss
from suite.tasks.registry import task

CIFAR_CLASSES = 4
"""Airplane, automobile, bird and cat: with all ten classes 200 images teach next to nothing."""

LETTERS, LENGTH = 4, 8
"""Of the sequences: letters beside the marker, and places."""


def _pooled(problem: Problem, side: int) -> Problem:
    def part(split: Split) -> Split:
        return Split(adaptive_avg_pool2d(split.x, side).contiguous(), split.y)

    return Problem(part(problem.train), test=part(problem.required_test))


def _digits(seed: int) -> Problem:
    """Digits pooled to 7 x 7: x [n, 1, 7, 7]."""
    return _pooled(split_digits("factorial_networks", seed, TRAIN_SAMPLES, 1, TEST_SAMPLES), 7)


def _cifar(seed: int) -> Problem:
    """Four classes of CIFAR-10 pooled to 8 x 8: x [n, 3, 8, 8]; the test points are the first of the test part."""
    images = load_images("cifar10")

    def chosen(split: Split, count: int | None = None) -> Split:
        rows = (split.y < CIFAR_CLASSES).nonzero().flatten()[:count]
        return Split(split.x[rows], split.y[rows])

    few = ImageSet("cifar10", chosen(images.train), chosen(images.test, TEST_SAMPLES), CIFAR_CLASSES)
    return _pooled(split_images(few, "factorial_networks", seed, subset=TRAIN_SAMPLES), 8)


def _teacher(seed: int) -> Problem:
    """The 20 inputs of `factorial`'s teacher as 5 rows of 4: x [n, 1, 5, 4]."""
    problem = teacher(seed)

    def part(split: Split) -> Split:
        return Split(split.x.reshape(-1, 1, 5, 4), split.y)

    return Problem(part(problem.train), test=part(problem.required_test))


def _sequence(seed: int) -> Problem:
    """Sequences of 8 letters of which one is the marker: the class is the letter after it. x [n, 5, 8, 1], one-hot."""
    stream = torch_stream("factorial_networks", "sequence", seed, "data")
    count = TRAIN_SAMPLES + TEST_SAMPLES
    letters = torch.randint(LETTERS, (count, LENGTH), generator=stream)
    marker = torch.randint(LENGTH - 1, (count, 1), generator=stream)
    y = letters.gather(1, marker + 1).flatten()
    x = one_hot(letters.scatter(1, marker, LETTERS), LETTERS + 1).float().transpose(1, 2)[..., None].contiguous()
    return Problem(Split(x[:TRAIN_SAMPLES], y[:TRAIN_SAMPLES]), test=Split(x[TRAIN_SAMPLES:], y[TRAIN_SAMPLES:]))


DATA = {"digits": (_digits, 10), "teacher": (_teacher, 4), "cifar": (_cifar, CIFAR_CLASSES), "sequence": (_sequence, 4)}
"""How the data are drawn from a seed, and their number of classes."""


@task
def factorial_networks(
    data: str = "digits",
    network: str = "mlp",
    depth: int = 1,
    width: int = 32,
    normalisation: str = "none",
    shortcut: str = "none",
    loss: str = "cross_entropy",
    batch: int = 50,
    scale: float = 1.0,
) -> Task:
    """Which design choice decides which property of the solution, across kinds of networks and of data?

    Claim. That of `factorial`, with the kind of network and of data among the choices: what is found on one kind may be
    a property of the kind (Dziugaite et al. 2020, arXiv:2010.11924, ask in which environments a measure fails).
    `lowlands study --preset second` compares a fraction of this task's variants, chosen by a stated criterion.

    Data. 200 training and up to 2,000 test points: digits pooled to 7 x 7 (`data=digits`); the Gaussian inputs of
    `factorial` in 5 rows of 4, labels by a random ReLU network (`teacher`); four classes of CIFAR-10 pooled to 8 x 8
    (`cifar`, needs the files); sequences of 8 letters of which one is a marker, labels the letter after it
    (`sequence`). Model: `network=mlp`, `cnn` or `transformer`, all of a first layer, `depth` pre-activation blocks and
    a linear head: two hidden layers of `width`, two 3 x 3 convolutions of width / 4 channels, or attention and a ReLU
    network on rows as tokens of width / 2. `normalisation=layer` at the start of each block, `shortcut=identity` around
    it; torch's default initial weights times `scale`. Loss: `cross_entropy`, `squared` or `smoothed` (label
    smoothing 0.1).

    Target. That of `factorial`: 5 % of the loss of predicting all classes alike, for every loss.

    Reported, not scored. At the temperature that brings the training cross-entropy to 5 % of log(classes): three
    measures of flatness, `canonical_sharpness` (moved by no symmetry of the network), `adaptive_sharpness` (not by
    rescaling) and raw curvature; `input_gradient_norm` of `factorial`, `test_error`, norms.
    """
    require_choice("data", data, DATA)
    require_choice("network", network, KINDS)
    require_choice("normalisation", normalisation, ("none", "layer"))
    require_choice("shortcut", shortcut, ("none", "identity"))
    require_choice("loss", loss, LOSSES)
    if not (1 <= depth <= 12 and 8 <= width <= 1_024 and 1 <= batch <= TRAIN_SAMPLES and 1e-3 <= scale <= 100):
        raise ValueError("depth must be 1 to 12, width 8 to 1024, batch 1 to 200 and scale 0.001 to 100.")
    if width % 8:
        raise ValueError("width must be a multiple of 8.")
    draw, classes = DATA[data]

    def problem(seed: int) -> Problem:
        return replace(draw(seed), lipschitz=4.0 if loss == "squared" else 1.0)

    def model(problem: Problem, seed: int) -> nn.Module:
        stream = torch_stream("factorial_networks", data, network, depth, width, seed, "init")
        shape = problem.train.x.shape[1:]

        def build() -> nn.Module:
            return block_network(
                network, shape, classes, depth, width, normalisation == "layer", shortcut == "identity"
            )

        built = seeded(build, stream)
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.mul_(scale)
        return built

    return Task(
        problem=problem,
        model=model,
        loss=LOSSES[loss],
        target=Target(FIT * uninformed_loss(loss, classes), budget=2_000, check_every=20),
        measure=measure_classifier,
        reported=("canonical_sharpness", "adaptive_sharpness", "input_gradient_norm", "test_error"),
        batch_size=batch,
        dtype=torch.float32,
        batched=False,
    )
