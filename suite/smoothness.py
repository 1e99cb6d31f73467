"""The curvature that a task divides its objective by."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from suite.curvature import Hessian, lanczos
from suite.seeding import torch_stream


def smoothness(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> float:
    """The largest eigenvalue of the Hessian of ``loss(model)``, to three digits.

    Gradient descent on the loss over this value has the stability limit of step size 2 there. Three digits, because the
    value goes into the data's fingerprint and further ones depend on the machine.
    """
    return float(f"{lanczos(Hessian(model, loss), 1, torch_stream('smoothness'))[0]:.3g}")
