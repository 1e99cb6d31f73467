"""The fingerprint of data: the same on every processor, another one for other data."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.data import digits
from suite.data.splits import _normalised
from suite.task import Problem, Split
from suite.tasks import find_task
from tests.suite.tasks.test_all import AT_HAND

MADE = [*AT_HAND, "factorial[data=teacher]"]

ANOTHER_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Prescott"}
"""Makes torch and the libraries of linear algebra compute as on a processor without vector instructions."""

PRINT = """
import hashlib, json, sys
from suite.tasks import find_task
prints = {}
for name in json.loads(sys.argv[1]):
    problem = find_task(name).problem(3)
    bits = hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in problem._tensors().values()))
    prints[name] = [problem.fingerprint(), bits.hexdigest()]
print(json.dumps(prints))
"""


def _rounded_otherwise(problem: Problem, seed: int) -> Problem:
    """The problem as another processor might compute it: each double is off by some units in its last place."""
    stream = torch.Generator().manual_seed(seed)

    def off(values: torch.Tensor) -> torch.Tensor:
        if values.dtype != torch.float64:
            return values
        factor = 1 + 4e-16 * torch.randint(-3, 4, values.shape, generator=stream)
        return values * factor + 1e-16 * values.abs().max() * torch.randn(values.shape, generator=stream)

    def split(part: Split | None) -> Split | None:
        return None if part is None else Split(off(part.x), off(part.y))

    return replace(
        problem,
        train=Split(off(problem.train.x), off(problem.train.y)),
        validation=split(problem.validation),
        test=split(problem.test),
        lipschitz=problem.lipschitz * (1 + 1e-14),
        ground_truth={name: off(tensor) for name, tensor in problem.ground_truth.items()},
    )


@pytest.mark.parametrize("name", MADE)
def test_rounding_does_not_change_it(name: str) -> None:
    problem = find_task(name).problem(0)
    assert {_rounded_otherwise(problem, seed).fingerprint() for seed in range(3)} == {problem.fingerprint()}


def test_another_processor_computes_the_same() -> None:
    """A process that computes without vector instructions, against this one."""
    prints = []
    for settings in ({}, ANOTHER_PROCESSOR):
        command = [sys.executable, "-c", PRINT, json.dumps(MADE)]
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
        prints.append(json.loads(done.stdout))
    here, there = prints
    assert {name: prints[0] for name, prints in here.items()} == {name: prints[0] for name, prints in there.items()}
    # The other processor is really another one: where data are products, their bits differ.
    assert any(here[name][1] != there[name][1] for name in MADE)
    assert here["mnist5k_mlp"][1] == there["mnist5k_mlp"][1]


def _problem(n: int = 12, d: int = 5) -> Problem:
    stream = torch.Generator().manual_seed(7)
    x = torch.randn(n, d, generator=stream, dtype=torch.float64)
    return Problem(Split(x, torch.arange(n) % 3), lipschitz=2.5, ground_truth={"teacher": x[0].clone()})


@given(
    row=st.integers(0, 11),
    column=st.integers(0, 4),
    change=st.floats(2e-5, 1e6) | st.floats(-1e6, -2e-5),
    single=st.booleans(),
)
def test_every_change_of_a_value_is_seen(row: int, column: int, change: float, single: bool) -> None:
    problem = _problem()
    if single:
        problem = replace(problem, train=Split(problem.train.x.float(), problem.train.y))
    x = problem.train.x.clone()
    x[row, column] += change * float(x.square().mean().sqrt())
    assert replace(problem, train=Split(x, problem.train.y)).fingerprint() != problem.fingerprint()


@given(change=st.floats(1e-8, 1e-2))
def test_a_small_change_of_many_values_is_seen(change: float) -> None:
    """40,000 values grow by 1e-8 or more, a thousandth of a step: some 40 of them cross a bound."""
    stream = torch.Generator().manual_seed(1)
    x = torch.randn(40_000, 2, generator=stream, dtype=torch.float64)
    moved = x + change * torch.tensor([1.0, 0.0], dtype=torch.float64)
    y = torch.zeros(40_000)
    assert Problem(Split(moved, y)).fingerprint() != Problem(Split(x, y)).fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, lipschitz=p.lipschitz * 1.00002),
        lambda p: replace(p, train=Split(p.train.x, p.train.y.roll(1))),
        lambda p: replace(p, train=Split(p.train.x.roll(1, 0), p.train.y)),
        lambda p: replace(p, train=Split(p.train.x * 1.00002, p.train.y)),
        lambda p: replace(p, train=Split(-p.train.x, p.train.y)),
        lambda p: replace(p, train=Split(p.train.x.reshape(5, 12), p.train.y)),
        lambda p: replace(p, train=Split(p.train.x.float(), p.train.y)),
        lambda p: replace(p, train=Split(p.train.x, p.train.y.int())),
        lambda p: replace(p, test=p.train),
        lambda p: replace(p, test=p.train, validation=p.train),
        lambda p: replace(p, ground_truth={"other": p.ground_truth["teacher"]}),
        lambda p: replace(p, ground_truth={}),
        lambda p: replace(p, train=Split(torch.zeros_like(p.train.x), p.train.y)),
        lambda p: replace(p, train=Split(torch.full_like(p.train.x, math.nan), p.train.y)),
    ],
)  # fmt: skip
def test_every_other_change_is_seen(change) -> None:  # type: ignore[no-untyped-def]
    problem = _problem()
    assert change(problem).fingerprint() != problem.fingerprint()
    assert change(problem).fingerprint() == change(_problem()).fingerprint()


def test_layout_in_memory_and_the_sign_of_zero_do_not_count() -> None:
    x, y = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).T, torch.zeros(2)
    assert Problem(Split(x, y)).fingerprint() == Problem(Split(x.contiguous(), -y)).fingerprint()


def test_images_are_normalised_by_exact_sums() -> None:
    """Mean and deviation as Python's whole numbers give them, in whatever order the images come."""
    pixels = digits().x[:200]
    values = [int(value) for value in pixels.flatten()]
    mean = sum(values) / len(values)
    deviation = math.sqrt((sum(v * v for v in values) - sum(values) * mean) / (len(values) - 1))
    problems = [_normalised(*(Split(x, digits().y[:200]),) * 3) for x in (pixels, pixels.flip(0))]
    expected = (pixels.float() - torch.tensor(mean)) / torch.tensor(deviation)
    assert torch.equal(problems[0].train.x, expected)
    assert torch.equal(problems[1].train.x, expected.flip(0))
