"""ASAM: sharpness-aware minimization whose ball has the weights' own scale (Kwon et al. 2021, arXiv:2102.11600).

As in algorithm 1 of the paper, over heavy-ball momentum: the ball is an ellipsoid with the half-axes |w| + 0.01, and
its radius, 0.5 there, is tuned. Other than there it shrinks in proportion to the scheduled step size, as in `sam`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from suite import LogUniform, Submission

SMALLEST_AXIS = 0.01


class ASAM(SGD):
    """Descend with the gradient taken at ``w + rho * T² g / |T g|``, where T is the diagonal of |w| + 0.01."""

    def __init__(self, params: Iterable[Tensor], lr: float, rho: float = 0.5, momentum: float = 0.9) -> None:
        super().__init__(params, lr=lr, momentum=momentum)
        self._radius_per_rate = rho / lr

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """One step: two evaluations of `closure`. Returns the loss at the weights themselves."""
        with torch.enable_grad():
            loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before, axes = [p.clone() for p in parameters], [p.abs() + SMALLEST_AXIS for p in parameters]
        scaled = [axis * p.grad for axis, p in zip(axes, parameters, strict=True)]
        norm = torch.linalg.vector_norm(torch.cat([part.flatten() for part in scaled]))
        radius = self._radius_per_rate * self.param_groups[0]["lr"]
        for parameter, axis, part in zip(parameters, axes, scaled, strict=True):
            parameter.add_(axis * part / (norm + 1e-30), alpha=radius)
        with torch.enable_grad():
            closure()
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
        super().step()
        return loss


submission = Submission(
    name="asam",
    optimizer=ASAM,
    space={"lr": LogUniform(3e-3, 0.3), "rho": LogUniform(0.1, 1.0)},
    explicit=True,
)
