"""PSGD Kron: a learned preconditioner in Kronecker form (Li 2018, arXiv:1512.04202 and arXiv:1803.09383).

With its authors' settings: momentum 0.9, triangular factors up to 8192 rows, and the preconditioner fitted, on random
probes, less and less often, from every step to one in 33. No decay. The probes are seen in the path, so that it counts
as one that draws random numbers.
"""

from pytorch_optimizer import Kron

from suite import LogUniform, Submission

submission = Submission(name="kron", optimizer=Kron, space={"lr": LogUniform(3e-4, 3e-2)}, explicit=True)
