"""RAdam: Adam whose first steps are rectified instead of warmed up (Liu et al. 2020, arXiv:1908.03265).

As in the paper: Adam's betas, and steps along the momentum alone while the variance cannot be estimated (five steps).
"""

from torch.optim import RAdam

from suite import LogUniform, Submission

submission = Submission(name="radam", optimizer=RAdam, space={"lr": LogUniform(3e-4, 3e-2)})
