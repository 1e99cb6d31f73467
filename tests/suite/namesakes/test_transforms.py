"""optax's transforms as torch optimizers; the nightly has optax, which no other install needs."""

from __future__ import annotations

import pytest
import torch

from suite.entries.loading import STEP_SIZES_WITHOUT_DEFAULT, default_space
from suite.namesakes.collections import find, installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed("optax") is None, reason="optax is not installed"),
]


def _stepped(
    optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], rates: list[float]
) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.setdefault("initial", group["lr"])
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=draw, dtype=torch.float64).to(parameter.dtype)
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def _parameters(dtype: torch.dtype) -> list[torch.nn.Parameter]:
    draw = torch.Generator().manual_seed(4)
    shapes = ((4, 3), (3,))
    return [torch.nn.Parameter(torch.randn(s, generator=draw, dtype=torch.float64).to(dtype)) for s in shapes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_is_torchs_with_a_schedule_and_two_groups(dtype: torch.dtype) -> None:
    rates = [1.0, 0.7, 0.4, 0.2, 0.1]
    ends = []
    for use in ("torch.optim:Adam", "optax:adam"):
        first, second = parameters = _parameters(dtype)
        groups = [{"params": [first]}, {"params": [second], "lr": 0.03}]
        ends.append(_stepped(find(use)(groups, lr=0.01, betas=(0.8, 0.99)), parameters, rates))
    assert ends[0].dtype == dtype
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0.0)


def test_parameters_without_gradient_are_left_alone() -> None:
    first, second = _parameters(torch.float64)
    optimizer, before = find("optax:sgd")([first, second], lr=0.1), second.detach().clone()
    first.grad = torch.ones_like(first)
    optimizer.step()
    assert torch.equal(second.detach(), before)


def test_the_closure_is_called_with_gradients_on() -> None:
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))

    def closure() -> torch.Tensor:
        loss = (parameter**2).sum()
        loss.backward()
        return loss.detach()

    assert float(find("optax:sgd")([parameter], lr=0.25).step(closure)) == 3.0
    assert parameter.tolist() == [0.5, 0.5, 0.5]


def test_a_step_size_is_the_transforms_own_or_is_asked_for() -> None:
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    assert find("optax.contrib:prodigy")([parameter]).param_groups[0]["lr"] == 1.0
    assert default_space(find("optax:adadelta")) == {"lr": STEP_SIZES_WITHOUT_DEFAULT}
    with pytest.raises(TypeError, match="'lr'"):
        find("optax:adadelta")([parameter])
