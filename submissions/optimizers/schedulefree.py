"""Schedule-free AdamW: averages of the iterates in place of a schedule (Defazio et al. 2024, arXiv:2405.15682).

It brings its own schedule, none: the averages do what the decay of the step size does elsewhere.
"""

from pytorch_optimizer import ScheduleFreeAdamW

from suite import LogUniform, Submission


def constant(progress: float) -> float:
    """No schedule."""
    return 1.0


submission = Submission(
    name="schedulefree", optimizer=ScheduleFreeAdamW, space={"lr": LogUniform(1e-3, 0.1)}, schedule=constant
)
