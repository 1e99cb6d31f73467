"""Max pooling that is fast on a CPU, with fast derivatives of every order.

    maxima of all windows = the maximum of the window's shifted maps: first over its rows, then over its columns
    places of the maxima  = updated while the window's entries are compared in row-major order
    derivative            = scatter-add of the slopes to the places; its derivative = gather from the places

torch loops over windows where maps are contiguous (channels first), and is 15 times slower than maxima of shifted maps,
which are whole rows: more than half of the forward pass of a convolutional network. The results are the same to the
last bit, and so is the place of each maximum (the first in the window's row-major order). And torch differentiates the
gradient of pooling by a gather that loses the memory layout of its input, so that everything after it mixes two
layouts; pooling and its transpose are a family that is closed under differentiation.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from suite.kernels.override import FunctionOverride, Gradients, Size, is_channels_last, match_memory_format, pair


@dataclass(frozen=True)
class _Window:
    """Kernel, stride, padding and dilation along height and width, as torch's own functions take them."""

    kernel: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    ceil_mode: bool

    def fits(self, x: Tensor) -> bool:
        """Whether there is a window, and none lies in the padding alone (otherwise torch raises its own error)."""
        inside = all(2 * padding <= kernel for padding, kernel in zip(self.padding, self.kernel, strict=True))
        return inside and min(self._counts(x)) > 0

    def maxima(self, x: Tensor) -> Tensor:
        """The maxima of maps x [n, c, h, w], as [n, c, h', w']."""
        if not _is_slow(x):
            return torch.max_pool2d(x, *self.options())
        counts = self._counts(x)
        maps = self._padded(x, counts)
        for axis in (0, 1):  # whole rows first
            maps = functools.reduce(torch.maximum, self._shifted(maps, axis, counts[axis]))
        return maps.contiguous()

    def maxima_and_places(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The maxima, and their places, numbered within each map; both [n, c, h', w']."""
        if not _is_slow(x) or any(self.padding):  # padding must never win, not even over minus infinity
            return torch.ops.aten.max_pool2d_with_indices(x, *self.options())
        counts = self._counts(x)
        first, *others = self._entries(self._padded(x, counts), counts)
        best, offset = first[1], torch.zeros(first[1].shape, dtype=torch.int32, device=x.device)
        for (row, column), other in others:
            # Later entries of a window have larger places, so the maximum is the place of the last entry that won.
            place = row * self.dilation[0] * x.shape[3] + column * self.dilation[1]
            offset = torch.maximum(offset, (other > best).int().mul_(place))
            best = torch.maximum(best, other)
        top, left = (
            torch.arange(count, dtype=torch.int32, device=x.device) * stride
            for count, stride in zip(counts, self.stride, strict=True)
        )
        corners = top[:, None] * x.shape[3] + left  # the places of the windows' first entries
        return best, offset.add_(corners).long()

    def options(self) -> tuple[Any, ...]:
        return self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode

    def _counts(self, x: Tensor) -> list[int]:
        """The numbers of windows along height and width."""
        counts = []
        for length, padding, stride, extent in zip(x.shape[2:], self.padding, self.stride, self._extents, strict=True):
            free = length + 2 * padding - extent
            count = (-(-free // stride) if self.ceil_mode else free // stride) + 1
            # With `ceil_mode`, the last window must still begin within the map or its left padding.
            counts.append(count - 1 if self.ceil_mode and (count - 1) * stride >= length + padding else count)
        return counts

    @property
    def _extents(self) -> list[int]:
        return [dilation * (size - 1) + 1 for dilation, size in zip(self.dilation, self.kernel, strict=True)]

    def _padded(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """x, padded with minus infinity as far as the windows reach."""
        sides: list[int] = []
        for axis in (1, 0):
            reach = (counts[axis] - 1) * self.stride[axis] + self._extents[axis]
            sides += [self.padding[axis], max(0, reach - self.padding[axis] - x.shape[2 + axis])]
        return functional.pad(x, sides, value=-torch.inf) if any(sides) else x

    def _shifted(self, maps: Tensor, axis: int, count: int) -> Iterator[Tensor]:
        """For every offset along an axis of the window: the entry at that offset of each of `count` windows."""
        for offset in range(self.kernel[axis]):
            begin = offset * self.dilation[axis]
            entries = slice(begin, begin + (count - 1) * self.stride[axis] + 1, self.stride[axis])
            yield maps[:, :, entries] if axis == 0 else maps[..., entries]

    def _entries(self, maps: Tensor, counts: Sequence[int]) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """(row, column) within a window, and that entry of all windows [n, c, *counts], in row-major order."""
        for row, rows in enumerate(self._shifted(maps, 0, counts[0])):
            for column, entry in enumerate(self._shifted(rows, 1, counts[1])):
                yield (row, column), entry.contiguous()


def _is_slow(x: Tensor) -> bool:
    """Whether torch's own kernel is the slow one."""
    return x.device.type == "cpu" and x.is_contiguous() and x.is_floating_point()


class _Pooled(Function):
    """The maxima of maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: _Window) -> Tensor:
        pooled, places = window.maxima_and_places(x)
        ctx.save_for_backward(x, places)
        ctx.window = window
        return pooled

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        x, places = ctx.saved_tensors
        return _ScatterAdd.apply(slope, x, places, ctx.window), None


class _Gather(Function):
    """The entries of maps x [n, c, h, w] at `places` [n, c, h', w'], numbered within each map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, window: _Window) -> Tensor:
        ctx.save_for_backward(x, places)
        ctx.window = window
        x = match_memory_format(x, places)
        if not is_channels_last(places):
            return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)
        # With channels last, positions and channels of both are views.
        entries, indices = (maps.permute(0, 2, 3, 1).flatten(1, 2) for maps in (x, places))
        gathered = entries.gather(1, indices)
        return gathered.view(*places.shape[:1], *places.shape[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Gradients:
        x, places = ctx.saved_tensors
        return _ScatterAdd.apply(slope, x, places, ctx.window), None, None


class _ScatterAdd(Function):
    """The transpose of `_Gather`: zeros like x, to which the slopes are added at the places."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, places: Tensor, window: _Window) -> Tensor:
        ctx.save_for_backward(x, places)
        ctx.window = window
        slope = match_memory_format(slope, x)
        return torch.ops.aten.max_pool2d_with_indices_backward(slope, x, *window.options(), places)

    @staticmethod
    def backward(ctx: Any, upper: Tensor) -> Gradients:
        x, places = ctx.saved_tensors
        return _Gather.apply(match_memory_format(upper, x), places, ctx.window), None, None, None


def _max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    steps = pair(stride) if stride else pair(kernel_size)
    window = _Window(pair(kernel_size), steps, pair(padding), pair(dilation), ceil_mode)
    if input.dim() != 4 or return_indices or not window.fits(input):
        options: Any = {"ceil_mode": ceil_mode, "return_indices": return_indices}
        return functional.max_pool2d(input, kernel_size, stride, padding, dilation, **options)
    if input.requires_grad and torch.is_grad_enabled():
        return _Pooled.apply(input, window)
    return window.maxima(input)


class FastMaxPool2d(FunctionOverride):
    """While it is entered, two-dimensional max pooling is that of this file."""

    functions: ClassVar = {functional.max_pool2d: _max_pool2d, torch.max_pool2d: _max_pool2d}
