"""Image classification with all of MNIST."""

from __future__ import annotations

import functools

from suite.data import load_images, split_images
from suite.data.image_set import PUBLISHED
from suite.data.splits import training_size
from suite.models.images import cnn, mlp
from suite.task import Problem, Task
from suite.tasks.images import DINH, FORET, KESKAR, LIU, Network, image_task
from suite.tasks.registry import task, task_name

WIDE = functools.partial(mlp, widths=(256, 256))


ZHANG = "Zhang et al. 2017, arXiv:1611.03530"


def _mnist(name: str, network: Network, subset: int, epochs: int, rate: float, flipped: float = 0.0) -> Task:
    base = name.partition("[")[0]

    def problem(seed: int) -> Problem:
        return split_images(load_images("mnist"), base, seed, subset, flipped)

    known = PUBLISHED["mnist"]
    return image_task(
        name,
        problem,
        network,
        input_shape=known.shape,
        samples=subset or training_size(known.samples),
        epochs=epochs,
        batch=64,
        rate=rate,
        papers=(KESKAR, FORET, DINH, LIU, *((ZHANG,) if flipped else ())),
    )


@task
def mnist_mlp(subset: int = 0) -> Task:
    """Which minimum of a fully connected network does the optimizer reach on all of MNIST?

    Claim. That of `mnist5k_mlp`, where data are not scarce.

    Data. MNIST: 54,000 images for training (or `subset` of them) and 6,000 for validation, drawn anew for every seed,
    and the 10,000 of the test part, normalised by the training part. Model: 784-256-256-10 ReLU, torch's default
    initialisation. Cross-entropy, batches of 64, float32.

    Target. Loss on the whole training part <= 0.01, within 40 epochs of gradient evaluations. Selection by validation
    loss.

    Measures and axes of `mnist5k_mlp`. Curvature, sharpness and margins on the first 5,000 training images at a matched
    loss of 0.02 (see `image_measures`).
    """
    return _mnist(task_name(mnist_mlp, subset=subset), WIDE, subset, epochs=40, rate=25_000)


@task
def mnist_cnn(subset: int = 0) -> Task:
    """Which minimum of a convolutional network does the optimizer reach on all of MNIST?

    Claim. That of `mnist5k_mlp`, for an architecture that suits images: how much is left for the optimizer to decide?

    Data and stop of `mnist_mlp`, within 40 epochs of gradient evaluations; ``[subset=10000]`` is the size of the track,
    for two cores. Model: three 3×3 convolutions of 16, 32 and
    64 channels, each with ReLU and 2×2 max pooling, and a linear layer, torch's default initialisation.

    Measures and axes of `mnist_mlp`.
    """
    return _mnist(task_name(mnist_cnn, subset=subset), cnn, subset, epochs=40, rate=4_000)


@task
def mnist_noisy(subset: int = 0) -> Task:
    """How much harm do memorised wrong labels do?

    Claim. Networks fit wrong labels as well (Zhang et al. 2017, arXiv:1611.03530); solutions that fit them equally well
    differ in how far the damage spreads around each of them.

    Data and model of `mnist_mlp`, with 20 % of the training and validation labels replaced by another class. Nobody who
    has noisy labels has clean ones to select by, so validation is noisy too; the test part is clean.

    Target. Loss on the whole noisy training part <= 0.01, within 100 epochs of gradient evaluations: every wrong label is
    memorised. Selection by validation loss. ``[subset=10000]`` is the size of the track.

    Measures and axes of `mnist_mlp`.
    """
    return _mnist(task_name(mnist_noisy, subset=subset), WIDE, subset, epochs=100, rate=25_000, flipped=0.2)
