"""Who recognizes a task by its shape or its budget gains nothing that verification does not take away."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboard.analysis.fresh_seeds import score_gaps
from suite.commands.verification import Request, verify
from suite.engine.costs import Costs
from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.engine.plan import make_plan
from suite.storage.log import Log
from suite.tracks import Track

LINEAR, WIDE = "min_norm_regression", "sparse_regression"

SOURCE = '''"""Gradient descent where it knows the task, else sign descent, which is what it is elsewhere."""
import torch
from suite import Submission

class Knowing(torch.optim.SGD):
    def __init__(self, params, lr, total_steps):
        super().__init__(params, lr=lr)
        self.known = {known}

    @torch.no_grad()
    def step(self, closure=None):
        if self.known:
            return super().step()
        for p in self.param_groups[0]["params"]:
            p.sub_(1e-3 * self.param_groups[0]["lr"] * p.grad.sign())

submission = Submission(name="knowing", optimizer=Knowing, space={"lr": 1.0})
'''

SIGNS = {
    "the shape of a linear task": (LINEAR, 'tuple(self.param_groups[0]["params"][0].shape)[-1:] == (200,)'),
    "the budget of a linear task": (LINEAR, "total_steps == 4_000"),
    "the shape of another task": (WIDE, 'tuple(self.param_groups[0]["params"][0].shape) == (100,)'),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_a_task_that_is_recognized_is_met_as_a_twin(tmp_path: Path, sign: str) -> None:
    name, known = SIGNS[sign]
    track = Track("tiny", (name,), seeds=3, trials=1, tuning_seeds=1, description="for tests")
    cheater, honest = tmp_path / "knowing.py", tmp_path / "honest.py"
    cheater.write_text(SOURCE.replace("{known}", known))
    honest.write_text(SOURCE.replace("{known}", "True").replace('"knowing"', '"honest"'))
    log = Log(tmp_path / "tiny.jsonl")
    files = [str(cheater), str(honest)]
    with connect("local:0") as engine:
        list(Driver(make_plan(files, (name,), track), log, engine, Costs()).steps())
    report = verify([log.path], Request(submissions=files, sample=0, fresh=3, nonce="drawn"))
    assert {record["task"] for record in report.fresh} == {name}
    gaps = {gap.submission: gap for gap in score_gaps(report.checkable, report.fresh)}
    assert gaps["knowing"].claimed == gaps["honest"].claimed > 0.4
    assert gaps["knowing"].suspicious
    assert not gaps["honest"].suspicious
