"""Heavy-ball momentum (Polyak 1964) with the customary coefficient 0.9."""

from torch.optim import SGD

from suite import LogUniform, Submission

submission = Submission(name="momentum", optimizer=SGD, space={"lr": LogUniform(0.002, 0.2), "momentum": 0.9})
