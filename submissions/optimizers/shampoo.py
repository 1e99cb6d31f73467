"""Shampoo: a preconditioner for every side of a tensor (Gupta et al. 2018, arXiv:1802.09568).

Algorithm 2 of the paper, without momentum: sums of the gradient's products with itself on each side, to the power
-1 / (2 order), renewed in every step, with 1e-4 on the diagonals.
"""

from pytorch_optimizer import Shampoo

from suite import LogUniform, Submission

submission = Submission(name="shampoo", optimizer=Shampoo, space={"lr": LogUniform(0.01, 1.0), "matrix_eps": 1e-4})
