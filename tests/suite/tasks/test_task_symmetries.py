"""Scored measures of tasks with networks of their own keep still when weights change and the function does not.

But in the valleys, whose question is where on such an orbit noise goes (`suite.tasks.valleys`).
"""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.seeding import torch_stream
from suite.task import Oracle, Solution
from suite.tasks import find_task

STREAM = "task symmetries"


def positive(size: int) -> Tensor:
    return torch.randn(size, generator=torch_stream(STREAM, size), dtype=torch.float64).exp()


def rescale(model: Any, degree: int = 1) -> None:
    """Hidden weights times factors, output weights over their power."""
    factors = positive(len(model.hidden)).to(model.hidden)
    model.hidden *= factors[:, None]
    model.output /= factors**degree


def rescale_quadratic(model: Any) -> None:
    rescale(model, degree=2)


def rescale_chain(model: Any) -> None:
    for before, after in itertools.pairwise([m for m in model.modules() if isinstance(m, nn.Linear)]):
        factors = positive(len(before.weight))
        before.weight *= factors[:, None]
        if before.bias is not None:
            before.bias *= factors
        after.weight /= factors


def shift_squares(model: Any) -> None:
    added = positive(len(model.u))
    model.u.copy_((model.u.square() + added).sqrt())
    model.v.copy_((model.v.square() + added).sqrt())


def mix_factors(model: Any) -> None:
    factors = list(model.parameters())
    for before, after in itertools.pairwise(factors):
        size = len(before)
        mix = torch.eye(size, dtype=before.dtype) + torch.diag(positive(size - 1), 1)
        before.copy_(mix @ before)
        after.copy_(torch.linalg.solve(mix.T, after.T).T)


CASES: dict[str, Callable[[Any], None]] = {
    "homogeneous_margin": rescale,
    "teacher_student": rescale_chain,
    "univariate_relu": rescale_chain,
    "modular_addition": rescale_quadratic,
    "sparse_regression": shift_squares,
    "matrix_completion": mix_factors,
    "valley_relu": rescale,
}


@pytest.mark.parametrize("name", CASES)
def test_scored_measures_keep_still(name: str) -> None:
    task = find_task(name)
    problem = task.problem(0)
    model = task.model(problem, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            draws = torch.randn(parameter.shape, generator=torch_stream(STREAM, "start"), dtype=torch.float64)
            parameter += 0.1 * draws.to(parameter)
    other = copy.deepcopy(model)
    with torch.no_grad():
        CASES[name](other)
        outputs, moved = model(problem.train.x), other(problem.train.x)
    assert torch.allclose(outputs, moved, rtol=1e-5, atol=1e-5 * float(outputs.abs().max()))
    assert not all(map(torch.allclose, model.parameters(), other.parameters()))
    # Its numbers only divide the measured ones.
    oracle = Oracle(defaultdict(lambda: torch.ones(1)), defaultdict(lambda: 1.0))
    before, after = (task.measure(Solution(each, {}, problem, oracle, 0)) for each in (model, other))
    for axis in task.axes:
        is_moved = after[axis.measure] != pytest.approx(before[axis.measure], rel=1e-4)
        assert is_moved == name.startswith("valley"), axis.measure
