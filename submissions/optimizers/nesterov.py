"""Nesterov's accelerated gradient (Nesterov 1983; Sutskever et al. 2013) with coefficient 0.9.

The form of Sutskever et al. with a constant coefficient; Nesterov's own grows towards 1.
"""

from torch.optim import SGD

from suite import LogUniform, Submission

submission = Submission(
    name="nesterov", optimizer=SGD, space={"lr": LogUniform(0.002, 0.2), "momentum": 0.9, "nesterov": True}
)
