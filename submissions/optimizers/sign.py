"""signSGD: a step of equal length in every coordinate (Bernstein et al. 2018, arXiv:1802.04434).

Without momentum; with it the paper calls the method Signum.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from suite import LogUniform, Submission
from suite.optimizers import evaluated


class SignSGD(Optimizer):
    """``w <- w - lr * sign(gradient)``."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; a closure, if given, is evaluated first and its loss returned."""
        loss = evaluated(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad.sign(), alpha=-group["lr"])
        return loss


submission = Submission(name="sign", optimizer=SignSGD, space={"lr": LogUniform(1e-4, 1e-2)})
