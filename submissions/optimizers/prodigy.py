"""Prodigy: Adam that estimates its own step size (Mishchenko and Defazio 2023, arXiv:2306.06101).

The estimate grows with the distance travelled. `lr` stays 1, as its authors advise; tuned is their factor on it, which
they call the preferred way to tune. Betas 0.9 and 0.999, a first estimate of 1e-6, no decay and no bias correction: the
defaults of their code.
"""

from pytorch_optimizer import Prodigy

from suite import LogUniform, Submission

submission = Submission(name="prodigy", optimizer=Prodigy, space={"lr": 1.0, "d_coef": LogUniform(0.03, 3.0)})
