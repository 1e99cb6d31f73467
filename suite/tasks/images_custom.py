"""The standard networks on any image data set."""

from __future__ import annotations

from suite.data import load_images
from suite.data.image_set import Published
from suite.models import cnn, mlp, resnet
from suite.task import Task
from suite.tasks.images import Network, data_set_task
from suite.tasks.registry import task, task_name

NETWORKS: dict[str, Network] = {"cnn": cnn, "mlp": mlp, "resnet": resnet}


@task
def image(data: str, network: str = "cnn", subset: int = 0) -> Task:
    """A standard network on a data set of your own: ``image:NAME``.

    Data. ``NAME.npz`` in the directory of ``--data`` or ``$LOWLANDS_DATA`` with x_train, y_train, x_test and y_test
    (images uint8 or floating point, channels last; labels from 0), or a published one: mnist, fashion_mnist, cifar10. A
    tenth of the training images is for validation, the rest (or `subset` of it) for training, drawn anew for every
    seed. `network` is ``cnn``, ``mlp`` (two hidden layers of 128) or ``resnet``. Hyper-parameters are chosen by
    validation loss.

    Measures of `mnist5k_mlp`. There are no frozen references, so the measures are reported and not scored.
    """
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, not {network!r}")
    images = load_images(data)
    channels, height, width = images.train.x.shape[1:]
    return data_set_task(
        task_name(image, data=data, network=network, subset=subset),
        data,
        NETWORKS[network],
        subset,
        epochs=100,
        rate=3_000,
        published=Published(len(images.train), (channels, height, width), images.classes),
    )
