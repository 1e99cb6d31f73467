"""Prodigy: Adam that estimates its own step size (Mishchenko and Defazio 2023, arXiv:2306.06101).

The estimate grows with the distance travelled. `lr` stays 1, as its authors advise; tuned is their factor on it.
"""

from pytorch_optimizer import Prodigy

from suite import LogUniform, Submission

submission = Submission(name="prodigy", optimizer=Prodigy, space={"lr": 1.0, "d_coef": LogUniform(0.3, 3.0)})
