"""MARS-AdamW: AdamW on gradients whose variance is reduced by the last one (Yuan et al. 2024, arXiv:2411.10438).

In the approximate form that its authors use: the last batch's gradient, at the last weights, with their gamma 0.025,
betas 0.95 and 0.99, and clipping at norm 1. Vectors are stepped in the same way; in their code by AdamW, with a step
size and a decay of its own. No decay.
"""

from pytorch_optimizer import MARS

from suite import LogUniform, Submission

submission = Submission(
    name="mars", optimizer=MARS, space={"lr": LogUniform(1e-3, 0.1), "optimize_1d": True, "weight_decay_1d": 0.0}
)
