"""ADOPT: Adam whose gradient is divided by the root of the past ones alone (Taniguchi et al. 2024, arXiv:2411.02853).

Algorithm 2 of the paper with its betas 0.9 and 0.9999 and eps 1e-6: the first gradient only starts the second moment,
and normalized gradients are clipped at t ** 0.25. (The package counts the first step in t, so that its first bound is
1.19 in place of 1.) No decay.
"""

from pytorch_optimizer import ADOPT

from suite import LogUniform, Submission

submission = Submission(name="adopt", optimizer=ADOPT, space={"lr": LogUniform(3e-4, 3e-2)})
