"""The standard networks on any image data set."""

from __future__ import annotations

from suite.data import load_images, split_images
from suite.data.splits import training_size
from suite.models.images import cnn, mlp, resnet
from suite.task import Problem, Task
from suite.tasks.images import Network, image_task
from suite.tasks.registry import task, task_name

NETWORKS: dict[str, Network] = {"cnn": cnn, "mlp": mlp, "resnet": resnet}


@task
def image(data: str, network: str = "cnn", subset: int = 0) -> Task:
    """A standard network on a data set of your own: ``image:NAME``.

    Data. ``NAME.npz`` in the directory of ``--data`` or ``$LOWLANDS_DATA`` with x_train, y_train, x_test and y_test
    (images uint8 or floating point, channels last; labels from 0), or a published one: mnist, fashion_mnist, cifar10.
    A tenth of the training images is for validation, the rest (or `subset` of it) for training, drawn anew for every
    seed. `network` is ``cnn``, ``mlp`` (two hidden layers of 128) or ``resnet``.

    Target. Loss on the whole training part <= 0.01, within 100 epochs of gradient evaluations. Selection by validation
    loss.

    Measures of `mnist5k_mlp`. There are no frozen references, so the measures are shown and not scored.
    """
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, not {network!r}")
    images = load_images(data)
    name = task_name(image, data=data, network=network, subset=subset)

    def problem(seed: int) -> Problem:
        return split_images(load_images(data), name.partition("[")[0], seed, subset)

    return image_task(
        name,
        problem,
        NETWORKS[network],
        input_shape=tuple(images.train.x.shape[1:]),
        classes=images.classes,
        samples=subset or training_size(len(images.train)),
        epochs=100,
        batch=64,
        rate=3_000,
    )
