"""Schedule-free AdamW: averages of the iterates in place of a schedule (Defazio et al. 2024, arXiv:2405.15682).

It brings its own schedule, none: the averages do what the decay of the step size does elsewhere. Betas 0.9 and 0.999
and weights of the average in proportion to the squared step size, as in its authors' code; no decay, and no warm-up,
which they advise for large networks. The loss is judged at the averages, as they demand.
"""

from pytorch_optimizer import ScheduleFreeAdamW

from suite import LogUniform, Submission


def constant(progress: float) -> float:
    """No schedule."""
    return 1.0


submission = Submission(
    name="schedulefree", optimizer=ScheduleFreeAdamW, space={"lr": LogUniform(1e-3, 0.1)}, schedule=constant
)
