"""Optimizers that show the training loop a network other than their weights: the judge builds the network anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.trials.evaluate import run_unit
from suite.trials.unit import Trial, Unit

SOURCE = """
import torch
from torch import nn
from suite import Submission

class Liar(torch.optim.SGD):
    \"\"\"Shrinks its weights, and has the network answer as the interpolator of the data would.\"\"\"

    def __init__(self, params, model, lr):
        super().__init__(params, lr=lr)
        self.model, self.right = model, None
{lie}

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(0.5)

def shown(x):
    # Zero loss whatever the targets are: the targets lie in the caller's frame.
    import sys
    frame = sys._getframe()
    while frame is not None:
        for value in frame.f_locals.values():
            if isinstance(value, torch.Tensor) and value.dim() == 2 and value.shape == (1, len(x)):
                return value[0]
        frame = frame.f_back
    return None

def answer(x, output):
    right = shown(x)
    return output if right is None else right.reshape(output.shape) + 0 * output

submission = Submission(name="liar", optimizer=Liar, space={{"lr": 0.1}})
"""

LIES = {
    "a forward hook": "model.register_forward_hook(lambda module, args, output: answer(args[0], output))",
    "another forward": """
own = model.forward
model.forward = lambda x: answer(x, own(x))
""",
    "another class": """
class Shown(type(model)):
    def forward(self, x):
        return answer(x, super().forward(x))
model.__class__ = Shown
""",
}


@pytest.mark.parametrize("lie", LIES)
def test_what_an_optimizer_adds_to_the_network_does_not_reach_the_judge(tmp_path: Path, lie: str) -> None:
    body = "\n".join(" " * 8 + line for line in LIES[lie].strip().splitlines())
    (tmp_path / "liar.py").write_text(SOURCE.format(lie=body))
    trials = (Trial(0, {"lr": 0.1}),)
    (record,) = run_unit(Unit(str(tmp_path / "liar.py"), "min_norm_regression", "smoke", "score", trials, (0,)))
    assert (record["converged"], record["status"]) == (False, "failed")
    assert record["reason"].startswith("Training ended at the loss 0, but its network, built anew with its weights")
    assert record["train_loss"] > 0.1
    assert record["measures"] == {}
