"""Which samples a step sees, and with which label noise: every lane draws from streams of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from suite.samples import Samples
from suite.task import Task


class Batches:
    """The present batch of every lane: a piece of a permutation of its samples, or all of them."""

    def __init__(self, task: Task, samples: Samples, streams: Sequence[Mapping[str, int]]) -> None:
        """streams: the seeds of each lane's streams (`suite.training.STREAMS`)."""
        self._size, self._noise, self._budget = task.batch_size, task.label_noise, task.stop.budget
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
