"""Helpers for submissions: closures, several optimizers as one; and an optimizer that tasks use and torch lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """The value of `closure`, called with gradients enabled as `step` must call it; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class OptimizerList:
    """Several optimizers as one: their groups in a row, stepped in turn."""

    def __init__(self, optimizers: Iterable[Any]) -> None:
        self.optimizers = list(optimizers)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()


class NormalizedGD(Optimizer):
    """``w <- w - lr * gradient / |gradient|`` with the l2 norm over all parameters."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; a closure, if given, is evaluated first and its loss returned."""
        loss = evaluated(closure)
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    # The constant avoids 0 / 0 where the gradient is zero.
                    parameter.sub_(group["lr"] * parameter.grad / (norm + 1e-30))
        return loss
