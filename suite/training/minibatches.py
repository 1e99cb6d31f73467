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


class DeviceDataset:
    """Inputs ``[lanes, n, ...]`` and targets of several lanes."""

    def __init__(self, splits: Sequence[Split], device: torch.device | str) -> None:
        self._lone = len(splits) == 1
        parts = [split.to(device) for split in splits]
        # A lane by itself is a view of its data: a copy of all of MNIST would be 170 MB.
        self._x, self._y = (
            tensors[0][None] if self._lone else torch.stack(tensors)
            for tensors in ([part.x for part in parts], [part.y for part in parts])
        )
        self._rows = self._x[0].permute(0, 2, 3, 1).contiguous() if self._lone and self._x.dim() == 5 else self._x[0]
        self._kept: tuple[list[int], tuple[Tensor, Tensor]] | None = None

    def __len__(self) -> int:
        """The number of samples of a lane."""
        return self._x.shape[1]

    @property
    def target(self) -> Tensor:
        """One lane's first target: its shape and dtype."""
        return self._y[0, 0]

    def index(self, lanes: list[int]) -> Tensor | None:
        """`lanes` as an index into what is stacked; None for all."""
        return None if len(lanes) == len(self._x) else torch.tensor(lanes, device=self._x.device)

    def whole(self, lanes: list[int]) -> tuple[Tensor, Tensor]:
        """All data of `lanes`; the last selection is kept, since lanes end rarely and copies cost a step."""
        index = self.index(lanes)
        if index is None:
            return self._x, self._y
        if self._kept is None or self._kept[0] != lanes:
            self._kept = lanes, (self._x[index], self._y[index])
        return self._kept[1]

    def batch(self, lanes: list[int], rows: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The samples `rows` of each of `lanes`: inputs ``[lanes, b, ...]`` and targets."""
        if self._lone:
            chosen = rows[0].to(self._x.device)
            x = self._rows.index_select(0, chosen)
            return (x.permute(0, 3, 1, 2) if x.dim() == 4 else x)[None], self._y[0].index_select(0, chosen)[None]
        where = torch.tensor(lanes, device=self._x.device)[:, None]
        stacked = torch.stack(rows).to(self._x.device)
        return self._x[where, stacked], self._y[where, stacked]


class BatchSampler:
    """The present batch of every lane: a piece of a permutation of its samples, or all of them."""

    def __init__(self, task: Task, samples: DeviceDataset, streams: Sequence[Mapping[str, int]]) -> None:
        """streams: the seeds of each lane's streams (`suite.training.loop.STREAMS`)."""
        self._size, self._noise, self._budget = task.batch_size, task.label_noise, task.target.budget
        self._samples = samples
        self._orders = [torch.Generator().manual_seed(own["order"]) for own in streams]
        self._signs = [torch.Generator().manual_seed(own["label noise"]) for own in streams]
        self._shifts: list[Tensor | None] = [None] * len(streams)
        self._left: list[Tensor] = [torch.empty(0, dtype=torch.long) for _ in streams]

    def advance(self, lane: int, evaluations: int) -> None:
        """On to a lane's next batch: consecutive pieces of a permutation, a new one each epoch, the last piece shorter.

        The label noise of the step, if the task has any after so many gradient `evaluations`, is drawn with it.
        """
        if self._size is not None:
            self._left[lane] = self._left[lane][self._size :]
            if not len(self._left[lane]):
                self._left[lane] = torch.randperm(len(self._samples), generator=self._orders[lane])
        self._draw_noise(lane, evaluations)

    def _draw_noise(self, lane: int, evaluations: int) -> None:
        """The label noise of a lane's next step, from the lane's own stream; every gradient of the step sees it."""
        noise, self._shifts[lane] = self._noise, None
        if noise is not None and evaluations < noise.until * self._budget:
            rows = len(self._samples) if self._size is None else len(self._left[lane][: self._size])
            target = self._samples.target
            signs = torch.randint(0, 2, (rows, *target.shape), generator=self._signs[lane], dtype=target.dtype) * 2 - 1
            self._shifts[lane] = noise.scale * signs

    def take(self, lanes: list[int]) -> tuple[Tensor, Tensor]:
        """The present batches of `lanes`: inputs ``[lanes, b, ...]`` and targets, with their label noise."""
        if self._size is None:
            x, y = self._samples.whole(lanes)
        else:
            x, y = self._samples.batch(lanes, [self._left[lane][: self._size] for lane in lanes])
        shifts = [self._shifts[lane] for lane in lanes]
        if all(shift is None for shift in shifts):
            return x, y
        still = torch.zeros(y.shape[1:], dtype=y.dtype)
        return x, y + torch.stack([still if shift is None else shift for shift in shifts]).to(y.device)
