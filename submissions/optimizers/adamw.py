"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101).

Betas and eps are Adam's. The decay is multiplied by the step size, as in torch: in the paper by the schedule's factor
alone. Either way the schedule ends it too, so that the stopping rule stays reachable.
"""

from torch.optim import AdamW

from suite import Choice, LogUniform, Submission

submission = Submission(
    name="adamw",
    optimizer=AdamW,
    space={"lr": LogUniform(3e-4, 3e-2), "weight_decay": Choice(0.01, 0.1, 0.5)},
    explicit=True,
)
