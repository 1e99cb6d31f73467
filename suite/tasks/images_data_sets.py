"""Image classification with MNIST, CIFAR-10, or any image data set."""

from __future__ import annotations

import functools
from dataclasses import replace

from suite.data import load_images
from suite.data.image_set import PUBLISHED, Published
from suite.data.splits import training_size
from suite.models import cnn, mlp, resnet
from suite.task import Task
from suite.tasks.images import IMAGE_AXES, REPORTED, Network, data_set_task
from suite.tasks.images_adversarial_init import from_adversarial_init
from suite.tasks.own_references import file_of_data, referenced
from suite.tasks.registry import task, task_name

WIDE_MLP = functools.partial(mlp, widths=(256, 256))
NETWORKS: dict[str, Network] = {"cnn": cnn, "mlp": mlp, "resnet": resnet}


@task
def cifar10_cnn(subset: int = 0, batch: int = 64) -> Task:
    """Which minimum of a convolutional network does the optimizer reach on CIFAR-10?

    Claim. That of `mnist5k_mlp`, on natural images, where a network that fits generalizes far from perfectly.

    Data. CIFAR-10: 45,000 images for training (or `subset` of them) and 5,000 for validation, drawn anew for every
    seed, and the 10,000 of the test part, normalised by the training part, channel by channel. Model: that of
    `mnist_cnn`. Cross-entropy, float32, no augmentation.

    Variants. ``[subset=2000]`` is the size of the track, for two cores. ``[batch=200]`` is a tenth of that: the large
    batch of Keskar et al. 2017 (arXiv:1609.04836), with as many gradient evaluations.

    Measures and axes of `mnist5k_mlp`, on at most 5,000 training images (of more, at a matched loss of 0.02).
    """
    name = task_name(cifar10_cnn, subset=subset, batch=batch)
    return data_set_task(name, "cifar10", cnn, subset, epochs=100 * batch // 64, rate=3_000, batch=batch)


@task
def cifar10_resnet(subset: int = 0) -> Task:
    """Which minimum of a residual network does the optimizer reach on CIFAR-10?

    Claim. That of `cifar10_cnn`, with shortcuts and normalisation, which make the loss smoother (Li et al. 2018,
    arXiv:1712.09913) and the weights' scale meaningless.

    Data, measures and axes of `cifar10_cnn`. Model: a 3×3 stem that halves the image, three residual blocks of 16, 32
    and 64 channels with group norm, the mean over positions and a linear layer.
    """
    name = task_name(cifar10_resnet, subset=subset)
    return data_set_task(name, "cifar10", resnet, subset, epochs=100, rate=3_000)


@task
def cifar10_bad_start(subset: int = 0) -> Task:
    """Does the optimizer escape from a bad global minimum of a convolutional network?

    Claim. That of `mnist5k_bad_start`; Liu, Papailiopoulos and Achlioptas 2020 (arXiv:1906.02613) show it on CIFAR-10.

    Data, model, measures, axes and references of `cifar10_cnn`, initialization and target as in `mnist5k_bad_start`.
    """
    wrong = 2 * (subset or training_size(PUBLISHED["cifar10"].samples))
    return from_adversarial_init(cifar10_cnn(subset=subset), wrong, epochs=40)


@task
def mnist_mlp(subset: int = 0) -> Task:
    """Which minimum of a fully connected network does the optimizer reach on all of MNIST?

    Claim. That of `mnist5k_mlp`, where data are not scarce.

    Data. MNIST: 54,000 images for training (or `subset` of them) and 6,000 for validation, drawn anew for every seed,
    and the 10,000 of the test part, normalised by the training part. Model: 784-256-256-10 ReLU, torch's default
    initialization. Cross-entropy, float32.

    Measures and axes of `mnist5k_mlp`, on the first 5,000 training images at a matched loss of 0.02 (`image_measures`).
    """
    return data_set_task(task_name(mnist_mlp, subset=subset), "mnist", WIDE_MLP, subset, epochs=40, rate=25_000)


@task
def mnist_cnn(subset: int = 0) -> Task:
    """Which minimum of a convolutional network does the optimizer reach on all of MNIST?

    Claim. That of `mnist5k_mlp`, for an architecture that suits images: how much is left for the optimizer to decide?

    Data, measures and axes of `mnist_mlp`; ``[subset=10000]`` is the size of the track, for two cores. Model: three 3×3
    convolutions of 16, 32 and 64 channels, each with ReLU and 2×2 max pooling, and a linear layer, torch's default
    initialization.
    """
    return data_set_task(task_name(mnist_cnn, subset=subset), "mnist", cnn, subset, epochs=40, rate=4_000)


@task
def mnist_noisy(subset: int = 0) -> Task:
    """How much harm do memorised wrong labels do?

    Claim. Networks fit wrong labels as well (Zhang et al. 2017, arXiv:1611.03530); solutions that fit them equally well
    differ in how far the damage spreads around each of them.

    Data, model, measures and axes of `mnist_mlp`, with 20 % of the training and validation labels replaced by another
    class. In practice noisy labels come without clean ones to select by, so validation is noisy too; the test part is
    clean. ``[subset=10000]`` is the size of the track.

    Target. The loss is that on the noisy training part: every wrong label is memorised.
    """
    name = task_name(mnist_noisy, subset=subset)
    return data_set_task(name, "mnist", WIDE_MLP, subset, epochs=100, rate=25_000, flipped=0.2)


@task
def image(data: str, network: str = "cnn", subset: int = 0) -> Task:
    """A standard network on a data set of your own: ``image:NAME``.

    Data. ``NAME.npz`` in the directory of ``--data`` or ``$LOWLANDS_DATA`` with x_train, y_train, x_test and y_test
    (images uint8 or floating point, channels last; labels from 0), or a published one: mnist, fashion_mnist, cifar10. A
    tenth of the training images is for validation, the rest (or `subset` of it) for training, drawn anew for every
    seed. `network` is ``cnn``, ``mlp`` (two hidden layers of 128) or ``resnet``.

    Measures of `mnist5k_mlp`. They are reported, and scored once ``lowlands references image:NAME`` has made references
    for them.
    """
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, not {network!r}")
    images = load_images(data)
    channels, height, width = images.train.x.shape[1:]
    published = Published(len(images.train), (channels, height, width), images.classes)
    name = task_name(image, data=data, network=network, subset=subset)
    made = data_set_task(name, data, NETWORKS[network], subset, epochs=100, rate=3_000, published=published)
    return referenced(replace(made, reported=REPORTED), IMAGE_AXES, file_of_data(data), name)
