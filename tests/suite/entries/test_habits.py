"""What is said of an optimizer's habits: each is one that the toy has, and no other."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor

from suite.entries.description import describe
from suite.entries.habits import Habits, habits
from suite.submission import LogUniform, Submission

DECAYS, STANDS, SPLITS = "has by default", "does not move in its first step", "steps vectors otherwise than matrices"
CLIPS, NARROW, REFUSES = "it clips", "keeps state in", "does not step weights in double precision"


class Toy(torch.optim.Optimizer):
    """Plain steps; its kinds change what a step is given."""

    def __init__(self, params: Any, lr: float = 0.01, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.count = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        self.count += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(group["lr"] * self.direction(parameter, parameter.grad))

    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient


class Decaying(Toy):
    def __init__(self, params: Any, lr: float = 0.01, weight_decay: float = 0.25) -> None:
        super().__init__(params, lr, weight_decay)


class Standing(Toy):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient * (self.count > 1)


class Splitting(Toy):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient * (2 if parameter.dim() > 1 else 1)


class Clipping(Toy):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient / gradient.norm().clamp_min(10.0)


class ClippingBeforeAdam(torch.optim.Adam):
    """Clips what Adam averages, so that no first step shows it."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        torch.nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 10.0)
        super().step()


class Narrow(Toy):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        momentum = self.state[parameter].setdefault("m", torch.zeros_like(gradient, dtype=torch.bfloat16))
        return momentum.add_(gradient).to(gradient.dtype)


class Refusing(Toy):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        if parameter.dtype == torch.float64:
            raise RuntimeError("expected scalar type Double but found Float")
        return gradient


class Noisy(Toy):
    """Draws other numbers for a vector than for a matrix: that is noise, and no other treatment."""

    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient + torch.randn_like(gradient)


class AskingForALoss(Decaying):
    def step(self, closure: Callable[[], Any]) -> None:  # type: ignore[override]
        closure()
        super().step()


class DrawingPython(Toy):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return gradient * random.choice((1.0, 2.0))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Toy, []),
        (Decaying, ["'x' has by default weight_decay=0.25."]),
        (Standing, [STANDS]),
        (Splitting, [SPLITS]),
        (Clipping, [CLIPS]),
        (ClippingBeforeAdam, [CLIPS]),
        (Narrow, [f"{NARROW} bfloat16"]),
        (Refusing, [f"{REFUSES} (RuntimeError: expected scalar type Double but found Float)"]),
        (Noisy, []),
        (AskingForALoss, ["weight_decay=0.25"]),
        (torch.optim.SGD, []),
        (torch.optim.Adam, []),
        (torch.optim.Adadelta, []),
        (torch.optim.AdamW, ["weight_decay=0.01"]),
        (pytorch_optimizer.Lamb, ["max_grad_norm=1.0"]),
        (pytorch_optimizer.RAdam, [STANDS]),
        (pytorch_optimizer.Shampoo, [SPLITS]),
        (pytorch_optimizer.Kron, ["float32"]),
    ],
)
def test_what_is_said(make: Any, expected: list[str]) -> None:
    found = habits(Submission("x", make, space={"lr": 0.01}), {"lr": 0.01}).sentences("x")
    assert len(found) == len(expected)
    for sentence, part in zip(found, expected, strict=True):
        assert sentence.startswith("'x' ")
        assert part in sentence


@pytest.mark.parametrize(
    ("make", "draws", "walked"),
    [(Toy, False, True), (Noisy, True, True), (DrawingPython, True, True), (AskingForALoss, False, False)],
)
def test_random_numbers_are_seen_of_all_that_step(make: Any, draws: bool, walked: bool) -> None:
    found = habits(Submission("x", make, space={"lr": 0.01}), {"lr": 0.01})
    assert (found.draws, found.walked) == (draws, walked)


def test_what_the_user_sets_is_no_habit() -> None:
    submission = Submission("x", Decaying, space={"lr": 0.01, "weight_decay": 0.25})
    assert habits(submission, submission.settings(1)[0]).sentences("x") == []


def test_architectures_and_what_cannot_be_stepped_have_none() -> None:
    assert habits(Submission("x", architecture=lambda shape, outputs: torch.nn.Flatten()), {}) == Habits()
    assert habits(Submission("x", lambda params, lr: None, space={"lr": 0.1}), {"lr": 0.1}) == Habits()


def test_it_is_said_of_what_is_not_built_in() -> None:
    assert any(STANDS in note for note in describe("pytorch_optimizer:RAdam", 1).notes)
    assert describe("soap", 1).notes == ()


def test_the_space_is_asked_where_it_begins() -> None:
    submission = Submission("x", Clipping, space={"lr": LogUniform(1e-4, 1e-2)})
    assert habits(submission, submission.settings(1)[0]).clips
