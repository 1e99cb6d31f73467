"""The slot through which architectures enter the tasks of functions and features: the same for all of them."""

from __future__ import annotations

from torch.optim import Adam

from suite.submission import LogUniform
from suite.task import Slot

RATES = LogUniform(3e-4, 3e-2)


def slot(features: int, outputs: int = 1) -> Slot:
    """Inputs [n, features], trained by Adam with a tuned step size.

    Adam, because its steps do not depend on the gradient's scale. The curvature of submitted networks differs by orders
    of magnitude at the start (a wide initialisation against a narrow one), and one space of step sizes for gradient
    descent would decide by it who reaches the stop. Its own bias is the same for all: what differs is the architecture.
    """
    return Slot((features,), outputs, Adam, {"lr": RATES})
