"""Muon: orthogonalized momentum for hidden matrices, AdamW for the rest (Jordan et al. 2024).

From https://kellerjordan.github.io/posts/muon/.

As its authors say: hidden matrices are stepped by Muon, vectors, embeddings and heads by AdamW (betas 0.9 and 0.95, eps
1e-10, no decay), whose step size is tuned beside Muon's. So on a task that has vectors only this row *is* AdamW; the
table says how many weights each has stepped. From the authors' code: momentum 0.95 in Nesterov's form, five
Newton-Schulz steps, updates times sqrt(max(1, rows / columns)), convolutions as matrices [out, in * k * k], no decay.
Other than theirs, the steps are computed in the parameters' own precision: in bfloat16 no low target loss is reached.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from suite import LogUniform, Submission
from suite.optimizers import OptimizerList, evaluated

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
    """``m <- momentum * m + g``; steps along ``orthogonalized(g + momentum * m)``, longer for tall matrices."""

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
                direction = (gradient + group["momentum"] * momentum).flatten(1)
                rows, columns = direction.shape
                step = max(1, rows / columns) ** 0.5 * orthogonalized(direction)
                parameter.sub_(group["lr"] * step.view_as(parameter))
        return loss


def muon(params: Iterable[Any], lr: float, adamw_lr: float, momentum: float = 0.95) -> OptimizerList:
    """Muon for the groups of `params` whose flag `use_muon` is set, AdamW for the others, as in its authors' code.

    Raises:
        TypeError: `params` are not such groups.
    """
    groups = [group for group in params if isinstance(group, dict) and "use_muon" in group]
    if not groups:
        raise TypeError("muon takes parameter groups with the flag use_muon")
    matrices, rest = ([p for g in groups if g["use_muon"] == flag for p in g["params"]] for flag in (True, False))
    optimizers: list[Optimizer] = [Muon(matrices, lr, momentum)] if matrices else []
    if rest:
        optimizers.append(AdamW(rest, adamw_lr, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0))
    return OptimizerList(optimizers)


submission = Submission(
    name="muon", optimizer=muon, space={"lr": LogUniform(1e-3, 0.1), "adamw_lr": LogUniform(3e-4, 3e-2)}
)
