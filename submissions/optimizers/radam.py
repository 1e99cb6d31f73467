"""RAdam: Adam whose first steps are rectified instead of warmed up (Liu et al. 2020, arXiv:1908.03265)."""

from torch.optim import RAdam

from suite import LogUniform, Submission

submission = Submission(name="radam", optimizer=RAdam, space={"lr": LogUniform(3e-4, 3e-2)})
