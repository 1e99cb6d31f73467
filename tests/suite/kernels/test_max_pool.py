"""Max pooling against torch's own, which goes another way: values to the last bit, derivatives of every order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from suite.kernels.max_pool import FastMaxPool2d
from tests.suite.kernels.test_conv2d import Function, normal, third_order

POOLINGS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2},
    {"kernel_size": (3, 2), "stride": (1, 2), "padding": 1},
    {"kernel_size": 2, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "dilation": 2, "stride": 1},
]


def pooled(options: dict[str, Any]) -> Function:
    def function(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, **options)

    return function


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("options", POOLINGS, ids=str)
def test_derivatives(options: dict[str, Any], last: bool) -> None:
    inputs = (normal(3, 4, 7, 6, last=last),)
    expected = third_order(pooled(options), inputs)
    with FastMaxPool2d():
        actual = third_order(pooled(options), inputs)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


sides = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(5, 9), st.integers(5, 9)),
    sides, sides, sides, st.booleans(), st.booleans(), st.sampled_from([torch.float32, torch.bfloat16]), st.randoms(),
)  # fmt: skip
def test_every_window_to_the_last_bit(
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    ceil_mode: bool,
    padded: bool,
    dtype: torch.dtype,
    random: Any,
) -> None:
    """Maxima and slopes, where many entries of a window are equal and one is infinite."""
    stream = torch.Generator().manual_seed(random.randrange(2**31))
    x = torch.randint(-2, 3, shape, generator=stream).to(dtype)
    x.view(-1)[0] = random.choice([0.0, float("inf"), float("-inf")])
    options: dict[str, Any] = {
        "kernel_size": kernel, "stride": stride, "dilation": dilation, "ceil_mode": ceil_mode,
        "padding": tuple(size // 2 for size in kernel) if padded else 0,
    }  # fmt: skip
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if any(extent > size for extent, size in zip(extents, shape[2:], strict=True)):
        return
    leaf = x.clone().requires_grad_()
    expected = functional.max_pool2d(leaf, **options)
    slope = torch.randint(1, 9, expected.shape, generator=stream).to(dtype)
    (gradient,) = torch.autograd.grad(expected, leaf, slope)
    with FastMaxPool2d():
        assert torch.equal(functional.max_pool2d(x, **options), expected.detach())
        actual = functional.max_pool2d(leaf, **options)
    assert torch.equal(actual, expected)
    assert actual.is_contiguous()
    assert torch.equal(torch.autograd.grad(actual, leaf, slope)[0], gradient)


def test_not_a_number_stays_one() -> None:
    x = normal(1, 1, 4, 4).float()
    x[0, 0, 1, 0] = torch.nan
    with FastMaxPool2d():
        actual = functional.max_pool2d(x, 2)
    assert torch.equal(actual.isnan(), functional.max_pool2d(x, 2).isnan())


def test_by_finite_differences() -> None:
    x = normal(2, 2, 5, 4).requires_grad_()

    def function(x: Tensor) -> Tensor:
        with FastMaxPool2d():
            return functional.max_pool2d(x.sin(), 2)

    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_modules_of_every_kind_give_what_they_give() -> None:
    """Keywords, single images, wanted indices, other dimensions, whole numbers: replaced or left, never changed."""
    x, sequence = normal(2, 4, 8, 8), normal(2, 4, 8, name="sequence")
    calls: list[Function] = [
        lambda: functional.max_pool2d(input=x, kernel_size=2),
        lambda: functional.max_pool2d(x[0], 2),
        lambda: torch.max_pool2d(x, 2, []),
        lambda: nn.MaxPool2d(2, ceil_mode=True)(x),
        lambda: functional.max_pool2d((100 * x).long(), 2),
        lambda: functional.max_pool2d(x, 2, return_indices=True)[1],
        lambda: functional.max_pool1d(sequence, 2),
    ]
    for call in calls:
        expected = call()
        with FastMaxPool2d():
            torch.testing.assert_close(call(), expected, rtol=0, atol=0)
    with FastMaxPool2d(), pytest.raises(RuntimeError):
        functional.max_pool2d(x, 9)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_the_layout_of_the_input_is_kept(last: bool) -> None:
    x = normal(3, 4, 8, 8, last=last).requires_grad_()
    with FastMaxPool2d():
        outputs = functional.max_pool2d(x, 2)
    slope = torch.autograd.grad((outputs**3).sum(), x, create_graph=True)[0]
    at_input = torch.autograd.grad((slope**3).sum(), x)[0]
    for tensor in (outputs, slope, at_input):
        assert tensor.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
