"""Heavy-ball momentum (Polyak 1964) with the customary coefficient 0.9.

As torch has it, ``v <- 0.9 v + g`` and ``w <- w - lr * v``: with a step size that changes, not quite Polyak's.
"""

from torch.optim import SGD

from suite import LogUniform, Submission

submission = Submission(name="momentum", optimizer=SGD, space={"lr": LogUniform(0.002, 0.2), "momentum": 0.9})
