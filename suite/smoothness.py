"""The curvature that a task divides its objective by."""

from __future__ import annotations

from torch import nn

from suite.curvature import Hessian, Network, lanczos
from suite.curvature.network import Loss
from suite.seeding import torch_stream
from suite.task import Split


def smoothness(model: nn.Module, data: Split, loss: Loss) -> float:
    """The largest eigenvalue of the Hessian of `loss`, any summary of the samples, to three digits.

    Gradient descent on the loss over this value has the stability limit of step size 2 there. Three digits, because the
    value goes into the data's fingerprint and further ones depend on the machine.
    """
    hessian = Hessian(Network(model), data, loss, chunk=len(data))
    return float(f"{lanczos(hessian, 1, torch_stream('smoothness')).values[0].item():.3g}")
