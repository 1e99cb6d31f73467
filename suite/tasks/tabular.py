"""Tables of the user's own."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from suite.data.tables import load_table, split_table
from suite.measures import measure
from suite.models import mlp, seeded
from suite.seeding import torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Axis, Problem, Solution, Target, Task
from suite.tasks.common import PARAMETER_MEASURES
from suite.tasks.own_references import file_of_data, referenced
from suite.tasks.registry import task, task_name

BATCH, EPOCHS, ROWS_A_SECOND = 64, 300, 100_000

CLASSIFICATION = ("input_margin", "train_error", "test_error", "test_loss", "generalization_gap", "calibration_error")
REGRESSION = ("jacobian_norm", "test_loss", "generalization_gap")

REPORTED = ("lambda_max", "hessian_trace", "l2_norm", "test_loss")


def _axes(classes: int | None) -> tuple[Axis, ...]:
    """What may be scored: flatness and, for classes, the axes of image tasks; for real targets slopes and errors."""
    unknown = math.nan
    flatness = Axis("flatness", "canonical_sharpness", "log", unknown, unknown)
    if classes:
        margin = Axis("norm", "input_margin", "log", unknown, unknown, higher=True)
        return flatness, margin, Axis("generalization", "test_error", "log", unknown, unknown, floor=1e-4)
    slope = Axis("norm", "jacobian_norm", "log", unknown, unknown)
    return flatness, slope, Axis("generalization", "test_loss", "log", unknown, unknown)


@task
def tabular(data: str, target: float = 0.01, width: int = 128) -> Task:
    """A fully connected network on a table of your own, classes or regression: ``tabular:NAME``.

    Data. ``NAME.npz`` in the directory of ``--data`` or ``$LOWLANDS_DATA`` with x [rows, features] and y, or with
    x_train, y_train, x_test and y_test. Integers y [rows] from 0 are classes; real numbers y [rows] or [rows, targets]
    are regressed. A fifth of the rows is for the test where the file has no test part, a fifth of the rest for
    validation, drawn anew for every seed. Features and real targets are standardized by the training part. Model: two
    hidden layers of `width` ReLUs. Cross-entropy (nats) or mean squared error, batches of 64.

    Target. `target` is the training loss; for regression it is a share of the variance. Noisy targets can be fitted
    only so far by this network within 300 epochs: choose a larger one where runs miss it.

    Measures. There are no references, so they are reported, until ``lowlands references tabular:NAME`` makes some.
    """
    table = load_table(data)
    name = task_name(tabular, data=data, target=target, width=width)
    if not (0 < target < math.inf and width > 0):
        raise ValueError("target and width must be positive")
    features, outputs = table.train.x.shape[1], table.outputs
    per_epoch = math.ceil(table.training_size / BATCH)
    names = (*PARAMETER_MEASURES, *(CLASSIFICATION if table.classes else REGRESSION))

    def problem(seed: int) -> Problem:
        return split_table(table, "tabular", seed)

    def model(problem: Problem, seed: int) -> nn.Module:
        made = seeded(lambda: mlp((features,), outputs, (width, width)), torch_stream("tabular", seed, "init"))
        return made.double()

    def measured(solution: Solution) -> dict[str, float]:
        train, test, initial = solution.problem.train, solution.problem.test, solution.initial
        return dict(measure(solution.model, train, names, test=test, initial=initial, matched_loss=target))

    made = Task(
        problem=problem,
        model=model,
        loss=cross_entropy if table.classes else mse_loss,
        target=Target(target, EPOCHS * per_epoch, check_every=per_epoch, annealing=2 * per_epoch),
        measure=measured,
        selection="validation_loss",
        batch_size=min(BATCH, table.training_size),
        dtype=torch.float64,
        reported=REPORTED,
        seconds=table.training_size * EPOCHS / 4 / ROWS_A_SECOND,
        interface=ArchitectureInterface((features,), outputs, torch.optim.Adam, {"lr": LogUniform(1e-4, 1e-2)}),
    )
    return referenced(replace(made, family="tabular"), _axes(table.classes), file_of_data(data), name)
