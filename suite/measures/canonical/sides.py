"""What writes to a block of channels between linear maps, or reads it, as matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.measures.canonical.network import TracedNetwork
from suite.measures.canonical.parts import Part


class Side:
    """What writes to a block of channels, or reads it, as a matrix [block, others]."""

    name: str

    def __init__(self, owner: TracedNetwork, part: Part, rows: Tensor) -> None:
        self.owner, self.part, self.rows = owner, part, rows

    @property
    def is_trained(self) -> bool:
        return self.name in self.part.trained

    def get(self) -> Tensor:
        """The matrix."""
        raise NotImplementedError

    def put(self, value: Tensor, free: float) -> None:
        raise NotImplementedError

    def scale(self) -> Tensor:
        """For each of the others, the unit in which it counts: an input's size on samples, one over an output's."""
        raise NotImplementedError

    def ends(self) -> list[object]:
        """For each of the others, the axis along which it may be rotated, or None."""
        raise NotImplementedError


class Rows(Side):
    """A map or a constant that writes to the block."""

    def __init__(self, owner: TracedNetwork, part: Part, rows: Tensor) -> None:
        super().__init__(owner, part, rows)
        self.name = "weight" if part.weight is not None else "shift"

    def get(self) -> Tensor:
        if self.part.weight is None:
            assert self.part.shift is not None
            return self.part.shift.reshape(-1, self.part.shift.shape[-1])[:, self.rows].T
        matrix = self.part.weight[self.rows].flatten(1)
        return matrix if self.part.shift is None else torch.cat([matrix, self.part.shift[self.rows, None]], 1)

    def put(self, value: Tensor, free: float) -> None:
        part = self.part
        if part.weight is None:
            assert part.shift is not None
            flat = part.shift.reshape(-1, part.shift.shape[-1]).clone()
            flat[:, self.rows] = value.T
            part.shift = flat.view(part.shift.shape)
            part.free.setdefault("shift", torch.ones_like(part.shift))[..., self.rows] = free
            return
        if part.shift is not None:
            part.shift = part.shift.clone()
            part.shift[self.rows] = value[:, -1]
            value = value[:, :-1]
            part.free.setdefault("shift", torch.ones_like(part.shift))[self.rows] = free
        part.weight = part.weight.clone()
        part.weight[self.rows] = value.reshape(len(self.rows), *part.weight.shape[1:])
        part.free.setdefault("weight", torch.ones_like(part.weight))[self.rows] = free

    def scale(self) -> Tensor:
        if self.part.weight is None:
            return torch.ones(self.get().shape[1], dtype=torch.float64)
        scale = self.owner.scale_of_input(self.part).repeat_interleave(self.part.weight.shape[2])
        return scale if self.part.shift is None else torch.cat([scale, torch.ones(1, dtype=torch.float64)])

    def ends(self) -> list[object]:
        if self.part.weight is None:
            return [None] * self.get().shape[1]
        taps = self.part.weight.shape[2]
        roots = self.owner.roots(self.part.site.reads) or [-1] * self.part.weight.shape[1]
        found: list[object] = [
            (self.owner.iso[root], tap) if root in self.owner.iso else None for root in roots for tap in range(taps)
        ]
        return found if self.part.shift is None else [*found, None]


class Columns(Side):
    """A map that reads the block."""

    name = "weight"

    def get(self) -> Tensor:
        assert self.part.weight is not None
        return torch.cat([self.part.weight[:, places].movedim(1, 0).flatten(1) for places in self.rows], 1)

    def put(self, value: Tensor, free: float) -> None:
        part = self.part
        assert part.weight is not None
        part.weight = part.weight.clone()
        masks = part.free.setdefault("weight", torch.ones_like(part.weight))
        for places, piece in zip(self.rows, value.chunk(len(self.rows), 1), strict=True):
            part.weight[:, places] = piece.reshape(len(places), len(part.weight), -1).movedim(0, 1)
            masks[:, places] = free

    def scale(self) -> Tensor:
        assert self.part.weight is not None
        scale = self.owner.scale_of_output(self.part).repeat_interleave(self.part.weight.shape[2])
        return (1 / scale).repeat(len(self.rows))

    def ends(self) -> list[object]:
        assert self.part.weight is not None
        roots, taps = self.owner.roots(self.part.site.writes), self.part.weight.shape[2]
        return [
            (self.owner.iso[root], time, tap) if root in self.owner.iso else None
            for time in range(len(self.rows)) for root in roots for tap in range(taps)
        ]  # fmt: skip
