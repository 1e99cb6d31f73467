"""Normalized momentum: steps of equal length along the momentum (Cutkosky and Mehta 2020, arXiv:2002.03305).

With one l2 norm over all parameters, as its authors have it, and a momentum of 0.95 in Nesterov's form.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from suite import LogUniform, Submission
from suite.optimizers import evaluated


class NormalizedMomentum(Optimizer):
    """``m <- momentum * m + g``, and a step of length `lr` along ``-(g + momentum * m)``."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; a closure, if given, is evaluated first and its loss returned."""
        loss = evaluated(closure)
        steps = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                    momentum.mul_(group["momentum"]).add_(parameter.grad)
                    steps.append((group["lr"], parameter, parameter.grad + group["momentum"] * momentum))
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(step) for _, _, step in steps]))
        for rate, parameter, step in steps:
            # The constant avoids 0 / 0 where nothing moves.
            parameter.sub_(rate * step / (norm + 1e-30))
        return loss


submission = Submission(
    name="normalized_momentum", optimizer=NormalizedMomentum, space={"lr": LogUniform(1e-3, 0.1), "momentum": 0.95}
)
