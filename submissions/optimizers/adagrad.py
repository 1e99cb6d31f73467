"""Adagrad: the gradient over the root of its accumulated squares (Duchi et al. 2011, JMLR 12).

Its authors' diagonal version. Sums start at 0, as theirs do but for the constant that keeps divisions finite (1e-10).
"""

from torch.optim import Adagrad

from suite import LogUniform, Submission

submission = Submission(name="adagrad", optimizer=Adagrad, space={"lr": LogUniform(0.01, 1.0)})
