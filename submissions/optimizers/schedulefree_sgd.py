"""Schedule-free SGD: averages of the iterates in place of a schedule (Defazio et al. 2024, arXiv:2405.15682).

Gradients are taken between iterate and average, at 0.9 of the way to the average, and the average weighs iterates by
their squared step size, as in its authors' code; no decay, and no warm-up, which they advise for large networks. It
brings its own schedule, none. The loss is judged at the averages, as they demand.
"""

from pytorch_optimizer import ScheduleFreeSGD

from suite import LogUniform, Submission


def constant(progress: float) -> float:
    """No schedule."""
    return 1.0


submission = Submission(
    name="schedulefree_sgd", optimizer=ScheduleFreeSGD, space={"lr": LogUniform(0.03, 3.0)}, schedule=constant
)
