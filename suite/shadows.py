"""Proof on the run's own first steps that stacked lanes get what ordinary training gives them.

The probe of `suite.stepping` shows independence for made-up gradients. Here a few lanes of the true run are stepped a
second time, by an ordinary optimizer on a copy of their weights with the same gradients, until enough steps agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from suite.building import Settings
from suite.stepping import Build, Group

SHADOWED = 3
PROVEN_STEPS = 20
TOLERANCE = {torch.float64: (1e-6, 1e-13), torch.float32: (1e-3, 1e-5)}
"""Of how far the lane's tensor moved, and of its largest entry: single precision leaves room for kernels that add in
another order."""


class Refuted(Exception):
    """A stacked lane did not get what ordinary training gives it."""


class Shadow:
    """One lane of a stacked group, and an ordinary optimizer beside it."""

    def __init__(self, group: Group, lane: int, build: Build, settings: Settings) -> None:
        self.group, self.lane = group, lane
        self.parameters = {
            name: nn.Parameter(group.stack.leaf(name, lane).detach().clone()) for name in group.parameters
        }
        self.start = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.optimizer = build(self.parameters, settings)
        if callable(getattr(self.optimizer, "train", None)):
            self.optimizer.train()

    def step(self) -> None:
        """Take the lane's gradients and step sizes as they are before the group's step, and step."""
        for name, parameter in self.parameters.items():
            gradient = self.group.stack.gradient(name, self.lane)
            parameter.grad = None if gradient is None else gradient.clone()
        for own, stacked in zip(self.optimizer.param_groups, self.group.optimizer.param_groups, strict=True):
            if "lr" in stacked:
                own["lr"] = stacked["lr"]
        self.optimizer.step()

    def agrees(self) -> bool:
        """Whether the lane in the stack is where this one is; to be asked after the group's step."""
        for name, parameter in self.parameters.items():
            value, expected = self.group.stack.leaf(name, self.lane).detach(), parameter.detach()
            of_way, of_size = TOLERANCE.get(value.dtype, (1e-1, 1e-2))
            way, size = (expected - self.start[name]).abs().max(), expected.abs().max()
            if bool(((value - expected).abs() > of_way * way + of_size * size).any()):
                return False
        return True


class Shadows:
    """The shadows of some stacked lanes, for the first steps of a run."""

    def __init__(self, groups: Sequence[Group], build: Build, settings: Sequence[Settings]) -> None:
        """`settings` of each group, in order. Three lanes, spread over the groups."""
        lanes = [(group, lane, own) for group, own in zip(groups, settings, strict=True) for lane in group.lanes]
        chosen = sorted({0, len(lanes) // 2, len(lanes) - 1})[:SHADOWED]
        self.shadows = [Shadow(group, lane, build, own) for group, lane, own in (lanes[number] for number in chosen)]
        self.steps = 0

    def before_step(self, active: Sequence[int]) -> None:
        """Step the shadows of the lanes that are `active`; others are dropped."""
        self.shadows = [shadow for shadow in self.shadows if shadow.lane in active and self.steps < PROVEN_STEPS]
        for shadow in self.shadows:
            shadow.step()

    def after_step(self) -> None:
        """Compare.

        Raises:
            Refuted: a lane is not where its shadow is.
        """
        self.steps += 1
        if not all(shadow.agrees() for shadow in self.shadows):
            raise Refuted
