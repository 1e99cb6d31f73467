"""L-BFGS: quasi-Newton steps from the last few changes of the gradient (Liu and Nocedal 1989).

As torch has it: its line search looks for a point that meets the strong Wolfe conditions with the paper's constants,
1e-4 and 0.9, and tries a full step first. Five pairs are remembered, one of the paper's choices. torch's own tolerances
are 0: when a run ends is the task's affair. It brings its own schedule, none. Every gradient that the line search asks
for counts. It is meant for full batches; on small ones it takes the 20 iterations of a step on one of them.
"""

from torch.optim import LBFGS

from suite import Submission


def constant(progress: float) -> float:
    """No schedule."""
    return 1.0


submission = Submission(
    name="lbfgs",
    optimizer=LBFGS,
    space={
        "lr": 1.0,
        "history_size": 5,
        "line_search_fn": "strong_wolfe",
        "tolerance_grad": 0.0,
        "tolerance_change": 0.0,
    },
    schedule=constant,
)
