"""What a step costs: bytes are those of a closed form; judgements are made on given times, and no test measures one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from suite.commands.bench import StepCost, Stepper, _cost, _times, networks, parse_shapes
from suite.commands.updates import make_plan
from suite.entries.versions import Version
from suite.errors import InputError
from suite.submission import Submission

SHAPES = ((50, 40), (30,))
WEIGHTS = 2030


class InsideAnother(torch.optim.SGD):
    """Its momentum is the state of an optimizer that it holds."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.1) -> None:
        params = list(params)
        super().__init__(params, lr=lr)
        self.inner = torch.optim.SGD(params, lr=lr, momentum=0.9)

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        self.inner.step()


@pytest.mark.parametrize(
    ("optimizer", "settings", "expected"),
    [
        (torch.optim.SGD, {"lr": 0.1}, 0.0),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, 4.0),
        (torch.optim.Adam, {"lr": 0.1}, 8.0 + 2 * 4 / WEIGHTS),  # two moments, and the number of steps of each tensor
        (torch.optim.Adam, {"lr": 0.1, "amsgrad": True}, 12.0 + 2 * 4 / WEIGHTS),
        (InsideAnother, {}, 4.0),
    ],
)
def test_bytes_of_state_are_those_of_the_moments(
    optimizer: Callable[..., Any], settings: dict[str, Any], expected: float
) -> None:
    submission = Submission("x", optimizer, space=settings)
    stepper = Stepper(submission, Version(), make_plan(submission), SHAPES)
    assert stepper.state_bytes() == pytest.approx(expected)


class Spending(torch.optim.SGD):
    """Writes into the gradients that it was given, as the Muon of several collections does."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(0.5)


class Dropping(torch.optim.SGD):
    """Leaves no gradient behind, as heavyball's optimizers do."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        super().step()
        self.zero_grad()


@pytest.mark.parametrize("optimizer", [Spending, Dropping])
def test_every_step_gets_the_same_gradients(optimizer: Callable[..., Any]) -> None:
    submission = Submission("x", optimizer, space={"lr": 0.1})
    stepper = Stepper(submission, Version(), make_plan(submission), SHAPES)
    stepper.seconds(4)
    for parameter, start, gradient in zip(stepper._parameters, stepper._start, stepper._gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), start - 4 * 0.1 * gradient)


def test_the_interval_is_that_of_order_statistics() -> None:
    ratios = np.random.default_rng(0).permutation(np.arange(1.0, 11.0))
    cost = _cost("x", "tensors", [(1.0, ratio) for ratio in ratios], (8.0, 8.0), 0.95)
    # Of ten numbers the second and the ninth enclose the median unless one or none lies on a side of it.
    assert (cost.low, cost.ratio, cost.high) == (2.0, 5.5, 9.0)
    assert 1 - 2 * binom.cdf(1, 10, 0.5) > 0.95 > 1 - 2 * binom.cdf(2, 10, 0.5)
    assert cost.seconds == (1.0, 5.5)


def test_what_is_slower_and_what_is_larger() -> None:
    rng = np.random.default_rng(0)
    for factor, slower in ((1.0, False), (1.08, False), (1.5, True)):
        times = [(base, factor * base * rng.lognormal(sigma=0.05)) for base in rng.uniform(1, 3, size=30)]
        assert _cost("x", "tensors", times, (8.0, 8.0), 0.95).slower == slower
    made = StepCost("x", "tensors", (1.0, 1.0), 1.0, 0.9, 1.2, (8.0, 12.0))
    assert made.larger
    assert not made.slower


@dataclass
class _Clock:
    """Steps take so many seconds."""

    each: float
    order: list[float] = field(default_factory=list)

    def seconds(self, steps: int) -> float:
        self.order.append(self.each)
        return self.each * steps


def test_rounds_begin_with_either_in_turn() -> None:
    order: list[float] = []
    steppers = cast("list[Stepper]", [_Clock(1.0, order), _Clock(2.0, order)])
    assert _times(steppers, 4) == 4 * [(1.0, 2.0)]
    assert order[-8:] == [2.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0]


def test_shapes() -> None:
    assert parse_shapes("4096x512,512") == ((4096, 512), (512,))
    for text in ("", "3x", "a", "0x3", "-1"):
        with pytest.raises(InputError, match="must look like"):
            parse_shapes(text)
    state = torch.get_rng_state()
    assert sum(int(np.prod(shape)) for shape in networks()["mlp"]) == 118_282
    assert torch.equal(state, torch.get_rng_state())
