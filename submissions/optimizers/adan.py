"""Adan: Adam with Nesterov's momentum and the gradient's change in its moments (Xie et al. 2022, arXiv:2208.06677).

With the settings of its authors' code: betas 0.98, 0.92 and 0.99, and biases corrected. Its decay, 0.02 there, is 0
here.
"""

from pytorch_optimizer import Adan

from suite import LogUniform, Submission

submission = Submission(name="adan", optimizer=Adan, space={"lr": LogUniform(1e-3, 0.1)})
