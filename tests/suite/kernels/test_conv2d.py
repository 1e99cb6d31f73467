"""Second derivatives of convolutions against torch's own, which go another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from suite.kernels.conv2d import DoubleBackwardConv2d
from suite.kernels.max_pool import FastMaxPool2d
from suite.seeding import torch_stream

Function = Callable[..., Tensor]

CONVOLUTIONS: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"padding": 1},
    {"stride": (2, 1), "padding": (0, 2)},
    {"dilation": 2, "padding": [1, 2]},
    {"groups": 2, "stride": (2,)},
    {"groups": 4, "padding": 1, "dilation": (1, 2)},
    {"padding": "valid"},
]


def normal(*shape: int, name: str = "x", last: bool = False) -> Tensor:
    drawn = torch.randn(*shape, generator=torch_stream("convolutions", name), dtype=torch.float64)
    return drawn.contiguous(memory_format=torch.channels_last) if last else drawn


def convolved(options: dict[str, Any]) -> Function:
    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.conv2d(x, weight, bias, **options)

    return function


def third_order(function: Function, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs, gradients, and gradients of a function of those, and of one of these, of a curved loss."""
    leaves = [tensor.clone(memory_format=torch.preserve_format).requires_grad_() for tensor in inputs]
    level = function(*leaves)
    derivatives = [level]
    for _ in range(3):
        loss = sum((each**3).sum() + each.sin().sum() for each in derivatives[-len(leaves) :])
        derivatives += torch.autograd.grad(loss, leaves, create_graph=True)
    return [each.detach() for each in derivatives]


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolutions(options: dict[str, Any], last: bool) -> None:
    weight = normal(8, 4 // options.get("groups", 1), 3, 2, name="weight", last=last)
    inputs = (normal(3, 4, 7, 6, last=last), weight, normal(8, name="bias"))
    expected = third_order(convolved(options), inputs)
    with DoubleBackwardConv2d():
        actual = third_order(convolved(options), inputs)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_by_finite_differences() -> None:
    inputs = tuple(
        tensor.requires_grad_()
        for tensor in (normal(2, 2, 5, 4), normal(2, 2, 3, 3, name="weight"), normal(2, name="bias"))
    )

    def both(*tensors: Tensor) -> Tensor:
        with DoubleBackwardConv2d(), FastMaxPool2d():
            return functional.max_pool2d(functional.conv2d(*tensors, padding=1), 2)

    assert gradcheck(both, inputs)
    assert gradgradcheck(both, inputs)


@pytest.mark.parametrize("training", [False, True])
def test_modules_of_every_kind_give_what_they_give(training: bool) -> None:
    """Keywords, single images, string padding, other dimensions: replaced or left, never changed."""
    x, weight = normal(2, 4, 8, 8), normal(4, 4, 3, 3, name="weight")
    sequence = normal(2, 4, 8, name="sequence")
    calls: list[Function] = [
        lambda: functional.conv2d(input=x, weight=weight, bias=None, stride=1),
        lambda: functional.conv2d(x[0], weight),
        lambda: functional.conv2d(x, weight, padding="valid"),
        lambda: functional.conv1d(sequence, weight[:, :, 0]),
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", dtype=x.dtype).train(training)(x) * 0,
        lambda: functional.conv_transpose2d(x, weight),
    ]
    for call in calls:
        expected = call()
        with DoubleBackwardConv2d():
            torch.testing.assert_close(call(), expected, rtol=1e-12, atol=1e-12)


def test_the_layout_of_the_input_is_kept() -> None:
    """What this is for: a layout that is given up on the way back makes the kernels after it many times slower."""
    leaves = [
        normal(3, 4, 8, 8, last=True).requires_grad_(),
        normal(6, 4, 3, 3, name="weight", last=True).requires_grad_(),
    ]
    with DoubleBackwardConv2d(), FastMaxPool2d():
        maps = functional.conv2d(*leaves, padding=1)
        outputs = functional.max_pool2d(maps, 2)
    slope = torch.autograd.grad((outputs**3).sum(), leaves[0], create_graph=True)[0]
    at_maps = torch.autograd.grad((slope**3).sum(), maps)[0]
    for tensor in (maps, outputs, slope, at_maps):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
