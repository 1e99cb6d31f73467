"""Adam: adaptive moments (Kingma and Ba 2015, arXiv:1412.6980)."""

from torch.optim import Adam

from suite import LogUniform, Submission

submission = Submission(name="adam", optimizer=Adam, space={"lr": LogUniform(3e-4, 3e-2)})
