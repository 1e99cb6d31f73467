"""AdEMAMix: Adam with a second, slow momentum (Pagliardini et al. 2024, arXiv:2409.03137).

With the paper's betas 0.9, 0.999 and 0.9999 and alpha 5. Without its schedulers of alpha and of the slow beta, which
are for long runs, and without decay.
"""

from pytorch_optimizer import AdEMAMix

from suite import LogUniform, Submission

submission = Submission(name="ademamix", optimizer=AdEMAMix, space={"lr": LogUniform(3e-4, 3e-2)})
