"""The training data of all lanes, held once on the device, and what a step takes of it.

No loader stands in the loop: a batch is one gather. For a lane that is trained by itself it is a gather of whole rows
(five times faster on a CPU than one that also picks the lane), and images come out channels last in memory, with which
convolutions on a CPU are 1.7 times faster. The weights keep torch's own layout, which optimizers may rely on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from suite.task import Split, Task
from suite.training.run import Device


class DeviceDataset:
    """Inputs ``[lanes, n, ...]`` and targets of several lanes, on a device; `target` is one sample's."""

    def __init__(self, splits: Sequence[Split], device: Device) -> None:
        self._single, self.target = len(splits) == 1, splits[0].y[0]
        parts = [split.to(device) for split in splits]
        # A single lane is a view of its data: a copy of all of MNIST would be 170 MB.
        if self._single:
            self._x, self._y = parts[0].x[None], parts[0].y[None]
        else:
            self._x, self._y = torch.stack([part.x for part in parts]), torch.stack([part.y for part in parts])
        channels_last = self._single and self._x.dim() == 5
        self._rows = self._x[0].permute(0, 2, 3, 1).contiguous() if channels_last else self._x[0]
        self._selection: tuple[list[int], tuple[Tensor, Tensor]] | None = None
        self._index: tuple[list[int], Tensor] | None = None

    def __len__(self) -> int:
        return self._x.shape[1]

    def index(self, lanes: list[int]) -> Tensor | None:
        """`lanes` as an index into what is stacked; None for all. The last one is kept."""
        if len(lanes) == len(self._x):
            return None
        if self._index is None or self._index[0] != lanes:
            self._index = [*lanes], torch.tensor(lanes, device=self._x.device)
        return self._index[1]

    def whole(self, lanes: list[int]) -> tuple[Tensor, Tensor]:
        """All data of `lanes`. The last selection is cached: lanes end rarely, and a copy costs as much as a step."""
        index = self.index(lanes)
        if index is None:
            return self._x, self._y
        if self._selection is None or self._selection[0] != lanes:
            self._selection = lanes, (self._x[index], self._y[index])
        return self._selection[1]

    def batch(self, lanes: list[int], rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The samples `rows` of each of `lanes`: inputs ``[lanes, b, ...]`` and targets."""
        if self._single:
            row_index = rows[0].to(self._x.device)
            x = self._rows.index_select(0, row_index)
            return (x.permute(0, 3, 1, 2) if x.dim() == 4 else x)[None], self._y[0].index_select(0, row_index)[None]
        lane_index = torch.tensor(lanes, device=self._x.device)[:, None]
        row_index = torch.stack(rows).to(self._x.device)
        return self._x[lane_index, row_index], self._y[lane_index, row_index]


class BatchSampler:
    """The present batch of every lane (with these seeds of its random `streams`): a piece of a permutation, or all."""

    def __init__(self, task: Task, dataset: DeviceDataset, streams: Sequence[Mapping[str, int]]) -> None:
        self._size, self._noise, self._budget = task.batch_size, task.label_noise, task.target.budget
        self._dataset, self._cyclic = dataset, task.cyclic
        self._orders, self._signs = (
            [torch.Generator().manual_seed(seeds[name]) for seeds in streams] for name in ("order", "label noise")
        )
        self._shifts: list[Tensor | None] = [None] * len(streams)
        self._remaining = [torch.empty(0, dtype=torch.long) for _ in streams]

    def advance(self, lane: int, evaluations: int) -> None:
        """Go on to a lane's next batch: pieces of a permutation, drawn anew each epoch, the last of them shorter.

        The order of a `cyclic` task is that of the data, always.

        The label noise of the step, if the task has any after so many gradient `evaluations`, is drawn with it from the
        lane's own stream; every gradient of the step sees it.
        """
        if self._size is not None:
            self._remaining[lane] = self._remaining[lane][self._size :]
            if not len(self._remaining[lane]):
                rows = len(self._dataset)
                order = torch.arange(rows) if self._cyclic else torch.randperm(rows, generator=self._orders[lane])
                self._remaining[lane] = order
        noise, self._shifts[lane] = self._noise, None
        if noise is not None and evaluations < noise.until * self._budget:
            rows = len(self._dataset) if self._size is None else len(self._remaining[lane][: self._size])
            target = self._dataset.target
            signs = torch.randint(0, 2, (rows, *target.shape), generator=self._signs[lane], dtype=target.dtype) * 2 - 1
            self._shifts[lane] = noise.scale * signs

    def batch(self, lanes: list[int]) -> tuple[Tensor, Tensor]:
        """The present batches of `lanes`: inputs ``[lanes, b, ...]`` and targets, with their label noise."""
        if self._size is None:
            x, y = self._dataset.whole(lanes)
        else:
            x, y = self._dataset.batch(lanes, [self._remaining[lane][: self._size] for lane in lanes])
        shifts = [] if self._noise is None else [self._shifts[lane] for lane in lanes]
        if all(shift is None for shift in shifts):
            return x, y
        zeros = torch.zeros(y.shape[1:], dtype=y.dtype)
        return x, y + torch.stack([zeros if shift is None else shift for shift in shifts]).to(y.device)
