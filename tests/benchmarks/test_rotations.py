"""Training in rotated coordinates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.rotations import Movement, Rotated, Turn, movement, table


def test_a_turn_is_a_rotation_that_mixes_all_entries() -> None:
    turn, identity = Turn(12, torch.Generator().manual_seed(0)), torch.eye(12, dtype=torch.float64)
    matrix = torch.stack([turn.there(row) for row in identity], dim=1)
    torch.testing.assert_close(matrix @ matrix.T, identity)
    assert matrix.abs().max() < 0.6
    values = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(turn.there(values).flatten(), matrix @ values.flatten())
    torch.testing.assert_close(turn.back(turn.there(values)), values)


@pytest.mark.parametrize("make", [partial(torch.optim.Adam, lr=0.1), partial(torch.optim.LBFGS, lr=0.5)])
def test_the_rotated_path_is_that_of_the_rotated_problem(make: partial[torch.optim.Optimizer]) -> None:
    """On w'Hw/2 - b'w: the method itself on the problem of Q H Q' and Q b, from Q w, its weights turned back by Q'."""
    rng = np.random.default_rng(0)
    hessian = torch.from_numpy(np.diag([1.0, 2.0, 3.0, 4.0]) + 0.3)
    target, start = (torch.from_numpy(rng.normal(size=4)) for _ in range(2))

    def path(w: torch.Tensor, h: torch.Tensor, b: torch.Tensor, build: Callable[..., Any]) -> torch.Tensor:
        parameter = nn.Parameter(w.clone())
        optimizer = build([parameter])

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = parameter @ h @ parameter / 2 - b @ parameter
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        for _ in range(5):
            closure()
            optimizer.step(closure)
        return parameter.detach()

    rotated = path(start, hessian, target, partial(Rotated, make=make.func, **make.keywords))
    wrapper = Rotated([nn.Parameter(start)], make.func, **make.keywords)
    q = torch.stack([wrapper.turns[0].there(row) for row in torch.eye(4, dtype=torch.float64)], dim=1)
    expected = q.T @ path(q @ start, q @ hessian @ q.T, q @ target, make)
    torch.testing.assert_close(rotated, expected)


def test_who_knows_coordinates_moves() -> None:
    lr = {"lr": 0.02}
    assert movement("min_norm_regression", "momentum", {"lr": 0.02, "momentum": 0.9}).moved == pytest.approx(
        0, abs=1e-6
    )
    moved = movement("min_norm_regression", "adam", lr).moved
    assert moved is not None
    assert moved > 0.1


def test_the_table_has_a_column_for_every_method() -> None:
    amplified = [Movement("b", "sgd", 0.02), Movement("c", "sgd", 0)]
    rows = table([Movement("a", "sgd", 1e-9), Movement("a", "adam", 0.51), Movement("b", "adam", None), *amplified])
    assert rows.splitlines() == [
        "| task | sgd | adam |",
        "| --- | ---: | ---: |",
        "| `a` | 1e-09 | 0.51 |",
        "| `b` | 0.02 | – |",
        "| `c` | 0 | – |",
        "| rotation invariant | yes | no |",
    ]
