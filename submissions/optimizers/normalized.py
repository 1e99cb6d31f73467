"""Normalized gradient descent: a step of equal length in the whole gradient's direction (Nesterov 1984).

One l2 norm over all parameters, and no momentum.
"""

from suite import LogUniform, Submission
from suite.optimizers import NormalizedGD

submission = Submission(name="normalized", optimizer=NormalizedGD, space={"lr": LogUniform(3e-3, 0.3)})
