"""SAM: sharpness-aware minimization over heavy-ball momentum (Foret et al. 2021, arXiv:2010.01412).

As in the paper: the l2 ball over all parameters, the ascent step normalized, momentum 0.9; its radius, 0.05 there, is
tuned. Other than in the paper, where it is constant, the radius shrinks in proportion to the scheduled step size: a
constant one leaves a loss of order ``(rho * gradient)²`` and can never meet a tight stopping rule.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from suite import LogUniform, Submission


class SAM(SGD):
    """Descend with the gradient taken at ``w + rho * gradient / |gradient|`` (l2 norm over all parameters)."""

    def __init__(self, params: Iterable[Tensor], lr: float, rho: float = 0.05, momentum: float = 0.9) -> None:
        super().__init__(params, lr=lr, momentum=momentum)
        self._radius_per_rate = rho / lr

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step: two evaluations of `closure`. Returns the loss at the weights themselves."""
        with torch.enable_grad():
            loss = closure()
        rate = self.param_groups[0]["lr"]
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in parameters]))
        before = [p.clone() for p in parameters]
        for parameter in parameters:
            # The tiny constant keeps a zero gradient from becoming 0 / 0.
            parameter.add_(parameter.grad / (norm + 1e-30), alpha=self._radius_per_rate * rate)
        with torch.enable_grad():
            closure()
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
        super().step()
        return loss


submission = Submission(
    name="sam",
    optimizer=SAM,
    space={"lr": LogUniform(3e-3, 0.3), "rho": LogUniform(0.05, 0.5)},
    explicit=True,
)
