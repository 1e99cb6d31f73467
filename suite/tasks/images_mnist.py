"""Image classification with all of MNIST."""

from __future__ import annotations

import functools

from suite.models import cnn, mlp
from suite.task import Task
from suite.tasks.images import IMAGE_PAPERS, data_set_task
from suite.tasks.registry import task, task_name

WIDE_MLP = functools.partial(mlp, widths=(256, 256))


@task
def mnist_mlp(subset: int = 0) -> Task:
    """Which minimum of a fully connected network does the optimizer reach on all of MNIST?

    Claim. That of `mnist5k_mlp`, where data are not scarce.

    Data. MNIST: 54,000 images for training (or `subset` of them) and 6,000 for validation, drawn anew for every seed,
    and the 10,000 of the test part, normalised by the training part. Model: 784-256-256-10 ReLU, torch's default
    initialization. Cross-entropy, float32. Hyper-parameters are chosen by validation loss.

    Measures and axes of `mnist5k_mlp`. Curvature, sharpness and margins on the first 5,000 training images at a matched
    loss of 0.02 (see `image_measures`).
    """
    return data_set_task(task_name(mnist_mlp, subset=subset), "mnist", WIDE_MLP, subset, epochs=40, rate=25_000)


@task
def mnist_cnn(subset: int = 0) -> Task:
    """Which minimum of a convolutional network does the optimizer reach on all of MNIST?

    Claim. That of `mnist5k_mlp`, for an architecture that suits images: how much is left for the optimizer to decide?

    Data of `mnist_mlp`; ``[subset=10000]`` is the size of the track, for two cores. Model: three 3×3 convolutions of
    16, 32 and 64 channels, each with ReLU and 2×2 max pooling, and a linear layer, torch's default initialization.

    Measures and axes of `mnist_mlp`.
    """
    return data_set_task(task_name(mnist_cnn, subset=subset), "mnist", cnn, subset, epochs=40, rate=4_000)


@task
def mnist_noisy(subset: int = 0) -> Task:
    """How much harm do memorised wrong labels do?

    Claim. Networks fit wrong labels as well (Zhang et al. 2017, arXiv:1611.03530); solutions that fit them equally well
    differ in how far the damage spreads around each of them.

    Data and model of `mnist_mlp`, with 20 % of the training and validation labels replaced by another class. In
    practice noisy labels come without clean ones to select by, so validation is noisy too; the test part is clean.
    ``[subset=10000]`` is the size of the track.

    Target. The loss is that on the noisy training part: every wrong label is memorised.

    Measures and axes of `mnist_mlp`.
    """
    return data_set_task(
        task_name(mnist_noisy, subset=subset),
        "mnist",
        WIDE_MLP,
        subset,
        epochs=100,
        rate=25_000,
        flipped=0.2,
        papers=(*IMAGE_PAPERS, "Zhang et al. 2017, arXiv:1611.03530"),
    )
