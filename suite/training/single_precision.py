"""A copy of a task in single precision, for optimizers that raise for weights in double precision.

    data, initial weights, training   in float32
    target loss                       below the task's by what rounding can hide, if it can be reached at all
    measures and references           the task's own, in float64, at the weights as they were found

Outputs of float32 are off by some `OUTPUT_ERROR`; where the loss is the square r² of a residual r it is off by about
2 r `OUTPUT_ERROR`. A run that ends at that distance below the target loss is at the target loss in double precision
too, and a target loss that is smaller than twice that is not reachable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from suite.task import Problem, Split, Target, Task, Weights
from suite.training.run import TrainingResult, TrainingRun

OUTPUT_ERROR = 8 * torch.finfo(torch.float32).eps
"""Of outputs of about 1: sums of some hundred products."""

PRECISION = re.compile(r"\b(double|float64|dtypes?|scalar type)\b", re.IGNORECASE)


def refuses_double(errors: Sequence[object]) -> bool:
    """Whether all of `errors`, of runs in double precision, are exceptions that speak of precision."""
    return bool(errors) and all(isinstance(error, Exception) and PRECISION.search(str(error)) for error in errors)


def _hidden(target: Target) -> float:
    """By how much rounding may change the target loss."""
    return 2 * OUTPUT_ERROR * math.sqrt(abs(target.loss))


def is_reachable(target: Target) -> bool:
    """Whether single precision can tell a loss at the target loss from one that is far above it."""
    return 0 < 2 * _hidden(target) < abs(target.loss)


def in_single_precision(task: Task) -> Task:
    """The copy of `task`; one that is in single precision already as it is."""
    if task.dtype != torch.float64:
        return task

    def model(problem: Problem, seed: int) -> nn.Module:
        return task.model(problem, seed).float()

    return replace(
        task,
        problem=lambda seed: _narrowed(task.problem(seed)),
        model=model,
        dtype=torch.float32,
        target=replace(task.target, loss=task.target.loss - _hidden(task.target)),
    )


def _narrow(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.dtype == torch.float32 else tensor


def _narrowed(problem: Problem) -> Problem:
    parts = {"train": problem.train, "validation": problem.validation, "test": problem.test}
    splits = {name: Split(_narrow(part.x), _narrow(part.y)) for name, part in parts.items() if part is not None}
    truth = {name: _narrow(tensor) for name, tensor in problem.ground_truth.items()}
    return replace(problem, **splits, ground_truth=truth)  # type: ignore[arg-type]


def narrowed(runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    """The same runs on data in single precision."""
    return [replace(run, problem=_narrowed(run.problem)) for run in runs]


def widened(result: TrainingResult) -> TrainingResult:
    """The result of a run on the copy, with weights in double precision, and the mark of it."""
    weights, initial = _widened(result.weights), _widened(result.initial)
    snapshots = tuple(replace(taken, weights=_widened(taken.weights)) for taken in result.snapshots)
    return replace(result, weights=weights, initial=initial, snapshots=snapshots, precision="float32")


def _widened(state: Weights) -> Weights:
    return {name: _wide(tensor) for name, tensor in state.items()}
