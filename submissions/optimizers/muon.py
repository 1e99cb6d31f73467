"""Muon: momentum whose matrices are orthogonalised (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

The reference Muon of this suite. Its rank on some tasks depends on details, so they are fixed here: Nesterov momentum,
five Newton-Schulz steps in the parameter's own precision (packages compute them in bfloat16, which no tight stop can be
reached with), no factor for the shape, vectors normalised to length 1, convolutions as matrices [out, in * k * k].
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from suite import LogUniform, Submission
from suite.optimizers import evaluated

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalized(matrix: Tensor) -> Tensor:
    """About ``U V'`` of the singular value decomposition ``U S V'``: singular values come to lie in [0.7, 1.2]."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (torch.linalg.matrix_norm(wide) + 1e-30)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(Optimizer):
    """``m <- momentum * m + g``; matrices step along ``orthogonalized(g + momentum * m)``, vectors along its unit."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; a closure, if given, is evaluated first and its loss returned."""
        loss = evaluated(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient, state = parameter.grad, self.state[parameter]
                momentum = state.setdefault("momentum", torch.zeros_like(parameter))
                momentum.mul_(group["momentum"]).add_(gradient)
                direction = gradient + group["momentum"] * momentum
                if parameter.dim() < 2:
                    step = direction / (torch.linalg.vector_norm(direction) + 1e-30)
                else:
                    step = orthogonalized(direction.flatten(1)).view_as(parameter)
                parameter.sub_(group["lr"] * step)
        return loss


submission = Submission(name="muon", optimizer=Muon, space={"lr": LogUniform(2e-3, 0.1), "momentum": 0.95})
