"""Image classification with CIFAR-10."""

from __future__ import annotations

from suite.data.image_set import PUBLISHED
from suite.data.splits import training_size
from suite.models import cnn, resnet
from suite.task import Task
from suite.tasks.images import data_set_task
from suite.tasks.images_adversarial_init import AdversarialInit, from_adversarial_init
from suite.tasks.registry import task, task_name


@task
def cifar10_cnn(subset: int = 0, batch: int = 64) -> Task:
    """Which minimum of a convolutional network does the optimizer reach on CIFAR-10?

    Claim. That of `mnist5k_mlp`, on natural images, where a network that fits generalizes far from perfectly.

    Data. CIFAR-10: 45,000 images for training (or `subset` of them) and 5,000 for validation, drawn anew for every
    seed, and the 10,000 of the test part, normalised by the training part, channel by channel. Model: three 3×3
    convolutions of 16, 32 and 64 channels, each with ReLU and 2×2 max pooling, and a linear layer, torch's default
    initialization. Cross-entropy, float32, no augmentation. Hyper-parameters are chosen by validation loss.

    Variants. ``[subset=2000]`` is the size of the track, for two cores. ``[batch=200]`` is a tenth of that: the large
    batch of Keskar et al. 2017 (arXiv:1609.04836), with as many gradient evaluations.

    Measures and axes of `mnist5k_mlp`, on at most 5,000 training images (matched at a loss of 0.02 where there are
    more).
    """
    name = task_name(cifar10_cnn, subset=subset, batch=batch)
    return data_set_task(name, "cifar10", cnn, subset, epochs=100 * batch // 64, rate=3_000, batch=batch)


@task
def cifar10_resnet(subset: int = 0) -> Task:
    """Which minimum of a residual network does the optimizer reach on CIFAR-10?

    Claim. That of `cifar10_cnn`, with shortcuts and normalisation, which make the loss smoother (Li et al. 2018,
    arXiv:1712.09913) and the weights' scale meaningless.

    Data of `cifar10_cnn`. Model: a 3×3 stem that halves the image, three residual blocks of 16, 32 and 64 channels with
    group norm, the mean over positions and a linear layer.

    Measures and axes of `cifar10_cnn`.
    """
    name = task_name(cifar10_resnet, subset=subset)
    return data_set_task(name, "cifar10", resnet, subset, epochs=100, rate=3_000)


@task
def cifar10_bad_start(subset: int = 0) -> Task:
    """Does the optimizer escape from a bad global minimum of a convolutional network?

    Claim. That of `mnist5k_bad_start`; Liu, Papailiopoulos and Achlioptas 2020 (arXiv:1906.02613) show it on CIFAR-10.

    Data, model and measures of `cifar10_cnn`. Adversarial initialization: the network is trained for 60 epochs on the
    training data together with twice as many copies that have a tenth of their pixels zeroed and a wrong label.

    Target. Every run spends the whole budget, 40 epochs of gradient evaluations.

    Axes as in `cifar10_cnn`, with the same references.
    """
    wrong = 2 * (subset or training_size(PUBLISHED["cifar10"].samples))
    return from_adversarial_init(cifar10_cnn(subset=subset), AdversarialInit(wrong, epochs=40))
