"""Adam: adaptive moments (Kingma and Ba 2015, arXiv:1412.6980).

With the paper's betas 0.9 and 0.999 and eps 1e-8. Its step size, 0.001 there, is tuned.
"""

from torch.optim import Adam

from suite import LogUniform, Submission

submission = Submission(name="adam", optimizer=Adam, space={"lr": LogUniform(3e-4, 3e-2)})
