"""The papers' formulas: against steps that were computed by hand, and against torch where torch has the algorithm."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from suite.namesakes.formulas import FORMULAS, NOT_LOOKED_UP, NUMBERS

HALF = {"betas": (0.5, 0.75)}
"""Betas whose corrections are 1/2 and 1/4 after a step, 3/4 and 7/16 after two."""

A, B, C = 3.4445, -4.7750, 2.0315
ORTHOGONAL = 0.6 * A + 0.216 * B + 0.07776 * C, 0.8 * A + 0.512 * B + 0.32768 * C
LENGTH = 19 - 10 * 0.59049 / 0.40951  # of RAdam's average after five steps at beta 0.9
RECTIFIED = sqrt((LENGTH - 4) * (LENGTH - 2) * 19 / (15 * 17 * LENGTH))
ADAFACTOR = 3 - 0.1 * sqrt(12.5), 4 + 0.1 * sqrt(12.5)
ADAFACTOR_SIZE = sqrt((ADAFACTOR[0] ** 2 + ADAFACTOR[1] ** 2) / 2)
FREE = 0.89 - 0.1 * sqrt(0.4375) - 0.01 * 0.89
PRODIGY = 1 - 1 / sqrt(3), 1 - 1 / sqrt(3) - 1.5 / sqrt(3.75)
ESTIMATE = 0.1 / sqrt(3) / 0.15  # Prodigy's distance after two steps: r = 0.1 / sqrt(3), s = 0.15
BETWEEN = (0.075 + ESTIMATE) / sqrt(0.009375 + 3 * ESTIMATE**2)

# name, settings, the start, then every gradient with the weights after it
STEPS: list[tuple[str, dict[str, Any], Any, list[tuple[Any, Any]]]] = [
    # velocities 0.05 and 0.9 * 0.05 + 0.1
    ("sgdw", {"lr": 0.1, "decay": 0.01}, [1.0], [([0.5], [0.94]), ([1.0], [0.94 - 0.145 - 0.0094])]),
    # momenta (1, -0.5), then (0, -0.75)
    ("signum", {"lr": 0.1, "momentum": 0.5}, [1.0, 1], [([2.0, -1], [0.9, 1.1]), ([-1.0, -1], [0.9, 1.2])]),
    # momenta 0.5 and 1.25; directions 0.4 * 1 + 0.6 * 0.5 and 0.4 * 2 + 0.6 * 1.25
    ("qhm", {"lr": 0.1, "momentum": 0.5, "nu": 0.6}, [1.0], [([1.0], [0.93]), ([2.0], [0.775])]),
    # velocities (-1, -1), then (-2, -2.5)
    ("aggmo", {"lr": 0.3, "betas": (0.0, 0.5)}, [1.0], [([1.0], [0.7]), ([2.0], [0.025])]),
    # averages 1 and 1.5 of the squares, 0 and 0.5 of the steps: -sqrt(1 / 2) * sqrt(2), -sqrt(1.5 / 2.5) * sqrt(2)
    ("adadelta", {"rho": 0.5, "eps": 1.0}, [1.0], [([sqrt(2)], [0.0]), ([sqrt(2)], [-sqrt(1.2)])]),
    # corrected moments 2 and 4, then -2/3 and 4
    (
        "adam",
        {"lr": 0.1, "eps": 1.0, "decay": 0.01} | HALF,
        [1.0],
        [([2.0], [0.99 - 0.2 / 3]), ([-2.0], [0.99 * (0.99 - 0.2 / 3) + 0.2 / 9])],
    ),
    # momenta 1 and 1, infinity norms 2 and 1.5
    ("adamax", {"lr": 0.1} | HALF, [1.0], [([2.0], [0.9]), ([1.0], [0.9 - 0.1 / 0.75 / 1.5])]),
    # moments 1 and 1, then 0.5 and 0.75, where the largest is 1
    ("amsgrad", {"lr": 0.1} | HALF, [1.0], [([2.0], [0.9]), ([0.0], [0.85])]),
    # corrected moments 2 and 4 throughout; the average is long enough at the fifth step, 4.58
    (
        "radam",
        {"lr": 0.1, "betas": (0.5, 0.9)},
        [1.0],
        [([2.0], [0.8]), ([2.0], [0.6]), ([2.0], [0.4]), ([2.0], [0.2]), ([2.0], [0.2 - 0.1 * RECTIFIED])],
    ),
    ("radam", {"lr": 0.1, "betas": (0.5, 0.9), "tractable": 5.0}, [1.0], [([2.0], None)] * 4 + [([2.0], [0.0])]),
    # momenta 1 and 1, squares 1.25 and 0.75 * 1.25 + 1
    (
        "adabelief",
        {"lr": 0.1, "eps": 1.0} | HALF,
        [1.0],
        [
            ([2.0], [1 - 0.2 / (sqrt(5) + 1)]),
            ([1.0], [1 - 0.2 / (sqrt(5) + 1) - 0.1 / 0.75 / (sqrt(1.9375 / 0.4375) + 1)]),
        ],
    ),
    # frictions of the changes 2 and 0
    (
        "diffgrad",
        {"lr": 0.1, "eps": 0.0} | HALF,
        [1.0],
        [([2.0], [1 - 0.1 * 0.8807970779778823]), ([2.0], [0.95 - 0.1 * 0.8807970779778823])],
    ),
    # normalized gradients 1 and sqrt(0.4375)
    (
        "laprop",
        {"lr": 0.1, "eps": 0.0} | HALF,
        [1.0],
        [([2.0], [0.9]), ([1.0], [0.9 - 0.1 * (0.25 + 0.5 * sqrt(0.4375)) / 0.75])],
    ),
    # corrected moments 2 and 4, then 4/3 and 1 / 0.4375
    (
        "qhadam",
        {"lr": 0.1, "nus": (0.6, 0.8), "eps": 0.0} | HALF,
        [1.0],
        [([2.0], [0.9]), ([1.0], [0.9 - 0.1 * 1.2 / sqrt(0.2 + 0.8 / 0.4375)])],
    ),
    # slow momenta 0.2 and 0.28, which are not corrected
    (
        "ademamix",
        {"lr": 0.1, "betas": (0.5, 0.75, 0.9), "alpha": 2.0, "eps": 0.0, "decay": 0.1},
        [1.0],
        [([2.0], [0.87]), ([1.0], [0.87 - 0.1 * ((4 / 3 + 0.56) * sqrt(0.4375) + 0.087)])],
    ),
    # the second gradient's change is -1, and its square that of 1 - 0.75
    (
        "adan",
        {"lr": 0.1, "betas": (0.5, 0.25, 0.25), "eps": 0.0, "decay": 0.1},
        [1.0],
        [
            ([2.0], [0.9 / 1.01]),
            ([1.0], [(0.9 / 1.01 - 0.1 / sqrt(0.765625 / 0.4375) * (4 / 3 - 0.1875 / 0.4375)) / 1.01]),
        ],
    ),
    # normalized gradients 3 and 3, clipped to 1 and 2 ** 0.25
    (
        "adopt",
        {"lr": 0.1} | HALF,
        [1.0],
        [([2.0], [1.0]), ([6.0], [0.95]), ([3 * sqrt(12)], [0.95 - 0.1 * (0.25 + 0.5 * 2**0.25)])],
    ),
    (
        "adopt",
        {"lr": 0.1, "clipped": False} | HALF,
        [1.0],
        [([2.0], [1.0]), ([6.0], [0.85]), ([3 * sqrt(12)], [0.625])],
    ),
    # corrected gradients (0.45, 0.6), and (4.35, 5.8) of norm 7.25, scaled to (0.6, 0.8)
    (
        "mars",
        {"lr": 0.1, "gamma": 0.5, "eps": 0.0, "decay": 0.1} | HALF,
        [1.0, 1.0],
        [
            ([0.3, 0.4], [0.89, 0.89]),
            ([3.0, 4.0], [0.8811 - 0.055 / sqrt(0.2925), 0.8811 - 0.1 * 0.55 / 0.75 / sqrt(0.52)]),
        ],
    ),
    # interpolated momenta 1 and 0.25 - 0.2
    ("lion", {"lr": 0.1, "decay": 0.1} | HALF, [1.0], [([2.0], [0.89]), ([-0.4], [0.89 - 0.1089])]),
    # norms 5 and 1, then 4.5 and 1; rates 0.5 / 2 and 0.45 / 1.9
    (
        "lars",
        {"lr": 1.0, "trust": 0.1, "decay": 0.2},
        [3.0, 4.0],
        [([0.6, 0.8], [2.7, 3.6]), ([0.6, 0.8], [2.16, 2.88])],
    ),
    # the direction (1, 1) and a tenth of the weights
    (
        "lamb",
        {"lr": 0.1, "eps": 0.0, "decay": 0.1},
        [3.0, 4.0],
        [([2.0, 2.0], [3 - 0.5 * 1.3 / sqrt(3.65), 4 - 0.5 * 1.4 / sqrt(3.65)])],
    ),
    # sqrt(1 + 0.75 ** 2) is 1.25
    ("fromage", {"lr": 0.75}, [3.0, 4.0], [([1.2, 1.6], [0.6, 0.8])]),
    # the squared norm stays 25
    (
        "novograd",
        {"lr": 0.1, "eps": 0.0} | HALF,
        [3.0, 4.0],
        [([3.0, 4.0], [2.94, 3.92]), ([0.0, 5.0], [2.91, 3.78])],
    ),
    # cube roots of 64 and 64 + sqrt(2)
    (
        "madgrad",
        {"lr": 1.0, "momentum": 0.5, "eps": 0.0},
        [1.0],
        [([8.0], [0.0]), ([1.0], [0.5 - 0.5 * (8 + sqrt(2)) / (64 + sqrt(2)) ** (1 / 3)])],
    ),
    # rows then hold 4 and 16, columns 9 and 16
    (
        "sm3",
        {"lr": 0.1},
        [[0.0, 0.0], [0.0, 0.0]],
        [
            ([[1.0, 2], [3, 4]], [[-0.1, -0.1], [-0.1, -0.1]]),
            (
                [[1.0, 1], [1, 1]],
                [[-0.1 - 0.1 / sqrt(5), -0.1 - 0.1 / sqrt(5)], [-0.1 - 0.1 / sqrt(10), -0.1 - 0.1 / sqrt(17)]],
            ),
        ],
    ),
    # signs times the root mean square of the weights, sqrt(12.5) at first
    (
        "adafactor",
        {"lr": 0.1},
        [3.0, 4.0],
        [([2.0, -1], ADAFACTOR), ([2.0, 1], [w - 0.1 * ADAFACTOR_SIZE for w in ADAFACTOR])],
    ),
    # the product of means is 1/2 everywhere
    (
        "adafactor",
        {"lr": 0.1},
        [[1.0, 1.0], [1.0, 1.0]],
        [([[1.0, 0], [0, 1]], [[1 - 0.1 * sqrt(2), 1], [1, 1 - 0.1 * sqrt(2)]])],
    ),
    # 25 + 11 is 36; of a matrix both sides take a fourth root
    ("shampoo", {"lr": 0.1, "eps": 11.0}, [1.0, 1.0], [([3.0, 4.0], [0.95, 1 - 0.4 / 6])]),
    (
        "shampoo",
        {"lr": 0.1, "eps": 7.0},
        [[1.0, 0], [0, 1]],
        [
            ([[3.0, 0], [0, 4]], [[0.925, 0], [0, 1 - 0.4 / sqrt(23)]]),
            ([[3.0, 0], [0, 0]], [[0.865, 0], [0, 1 - 0.4 / sqrt(23)]]),
        ],
    ),
    # singular values 0.6 and 0.8; a column has one, 1, and is longer by sqrt(2)
    (
        "muon",
        {"lr": 0.1, "momentum": 0.0, "steps": 1},
        [[0.0, 0], [0, 0]],
        [([[3.0, 0], [0, 4]], [[-0.1 * ORTHOGONAL[0], 0], [0, -0.1 * ORTHOGONAL[1]]])],
    ),
    (
        "muon",
        {"lr": 0.1, "momentum": 0.0, "steps": 1},
        [[0.0], [0]],
        [([[3.0], [4]], [[-0.06 * sqrt(2) * (A + B + C)], [-0.08 * sqrt(2) * (A + B + C)]])],
    ),
    # z = 0.89 and FREE, x = z and their mean
    (
        "schedule_free",
        {"lr": 0.1, "eps": 0.0, "decay": 0.1} | HALF,
        [1.0],
        [([2.0], [0.89]), ([1.0], [0.75 * FREE + 0.25 * 0.89])],
    ),
    # its estimate of the distance grows from 0.1 at the third step
    (
        "prodigy",
        {"lr": 10.0, "betas": (0.5, 0.25), "distance": 0.1, "eps": 0.0},
        [1.0],
        [([2.0], [PRODIGY[0]]), ([2.0], [PRODIGY[1]]), ([2.0], [PRODIGY[1] - 10 * ESTIMATE * BETWEEN])],
    ),
]


@pytest.mark.parametrize(
    ("name", "settings", "start", "steps"), STEPS, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(STEPS)]
)
def test_steps_computed_by_hand(name: str, settings: dict[str, Any], start: Any, steps: list[tuple[Any, Any]]) -> None:
    walk = FORMULAS[name](torch.tensor(start, dtype=torch.float64), **settings)
    assert next(walk).tolist() == start
    for gradient, expected in steps:
        weights = walk.send(torch.tensor(gradient, dtype=torch.float64))
        if expected is not None:
            torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), rtol=1e-7, atol=1e-9)


def test_every_formula_has_steps_computed_by_hand_and_a_source() -> None:
    assert {name for name, *_ in STEPS} == FORMULAS.keys()
    assert len(FORMULAS) >= 20
    for function in FORMULAS.values():
        assert "arXiv:" in (function.__doc__ or "")


def test_every_formula_has_a_number_with_where_it_was_read_or_says_that_it_was_not_looked_up() -> None:
    assert NUMBERS.keys() == FORMULAS.keys()
    for name, number in NUMBERS.items():
        assert number == NOT_LOOKED_UP or re.match(r"(algorithm|equation) \d+\b.* \(.+\)$", number), name
        unnumbered = re.sub(r"arXiv:[\d.]+", "", FORMULAS[name].__doc__ or "")
        assert not re.search(r"(algorithm|equation|section)s? \d", unnumbered), name  # a number is stated once


OF_TORCH: list[tuple[str, dict[str, Any], Callable[[list[Tensor]], torch.optim.Optimizer]]] = [
    ("sgdw", {"lr": 0.1}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    ("adadelta", {}, lambda p: torch.optim.Adadelta(p)),
    ("adam", {"lr": 0.01}, lambda p: torch.optim.Adam(p, 0.01)),
    ("adam", {"lr": 0.01, "decay": 0.01 * 0.1}, lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
    ("adamax", {"lr": 0.01}, lambda p: torch.optim.Adamax(p, 0.01, eps=0.0)),
    ("radam", {"lr": 0.01, "tractable": 5.0}, lambda p: torch.optim.RAdam(p, 0.01, eps=0.0)),
    ("adafactor", {"lr": 0.01}, lambda p: torch.optim.Adafactor(p, 0.01)),
]


@pytest.mark.parametrize("shape", [(6,), (5, 3), (3, 5)])
@pytest.mark.parametrize(("name", "settings", "make"), OF_TORCH)
def test_torch_takes_the_same_steps(
    name: str,
    settings: dict[str, Any],
    make: Callable[[list[Tensor]], torch.optim.Optimizer],
    shape: tuple[int, ...],
) -> None:
    draw = torch.Generator().manual_seed(5)
    start = torch.randn(shape, generator=draw, dtype=torch.float64)
    parameter = torch.nn.Parameter(start.clone())
    optimizer, walk = make([parameter]), FORMULAS[name](start, **settings)
    next(walk)
    for _ in range(30):
        parameter.grad = torch.randn(shape, generator=draw, dtype=torch.float64)
        weights = walk.send(parameter.grad.clone())
        optimizer.step()
        torch.testing.assert_close(weights, parameter.detach(), rtol=1e-9, atol=1e-12)


def test_muon_is_torchs_up_to_its_bfloat16() -> None:
    """Torch orthogonalizes in bfloat16, whose rounding is 2 ** -9: the direction is the same within a few of it."""
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    parameter = torch.nn.Parameter(start.clone())
    parameter.grad = torch.randn(5, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    walk = FORMULAS["muon"](start, lr=0.1)
    next(walk)
    step = walk.send(parameter.grad.clone()) - start
    torch.optim.Muon([parameter], lr=0.1, weight_decay=0.0).step()
    assert float((parameter.detach() - start - step).norm() / step.norm()) < 16 * 2**-9
