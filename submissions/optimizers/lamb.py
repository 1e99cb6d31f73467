"""LAMB: Adam's direction with a length in proportion to each layer's weights (You et al. 2020, arXiv:1904.00962).

As in algorithm 2 of the paper: both moments are corrected for their bias before the ratio is taken, the ratio is 1
where weights or direction are zero, betas 0.9 and 0.999, eps 1e-6, and no decay. (pytorch_optimizer 4.1 multiplies by
the correction after the ratio, so that its first steps are ten times as long.)
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from suite import LogUniform, Submission
from suite.optimizers import evaluated


class Lamb(Optimizer):
    """``w <- w - lr * |w| / |r| * r`` per parameter tensor, with Adam's direction r."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; a closure, if given, is evaluated first and its loss returned."""
        loss = evaluated(closure)
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
                state["step"] += 1
                state["mean"].lerp_(parameter.grad, 1 - first)
                state["square"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
                mean = state["mean"] / (1 - first ** state["step"])
                direction = mean / ((state["square"] / (1 - second ** state["step"])).sqrt() + group["eps"])
                weights, length = torch.linalg.vector_norm(parameter), torch.linalg.vector_norm(direction)
                ratio = torch.where((weights > 0) & (length > 0), weights / length.clamp_min(1e-30), 1.0)
                parameter.sub_(group["lr"] * ratio * direction)
        return loss


submission = Submission(name="lamb", optimizer=Lamb, space={"lr": LogUniform(1e-3, 0.1)})
