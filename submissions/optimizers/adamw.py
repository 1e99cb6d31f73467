"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

The decay is multiplied by the step size, so that the schedule ends it too and the stopping rule stays reachable.
"""

from torch.optim import AdamW

from suite import Choice, LogUniform, Submission

submission = Submission(
    name="adamw",
    optimizer=AdamW,
    space={"lr": LogUniform(3e-4, 3e-2), "weight_decay": Choice(0.01, 0.1, 0.5)},
    explicit=True,
)
