"""L2 decay that is part of a task, against an ordinary loop, for every way of stepping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.entries.loading import load
from suite.task import Decay
from suite.tasks.losses import mean_squared_error
from suite.training import TrainingRun, common_schedule, train
from tests.suite.training.test_label_noise import BUDGET, _model, _problem, noisy

DECAY, UNTIL = 0.3, 0.5


def _by_hand(run: TrainingRun, make: Callable[..., Any], closures: bool) -> nn.Module:
    """One model, one optimizer, one loop, with the penalty written into the loss."""
    model, (x, y) = _model(run.problem, run.seed), (run.problem.train.x, run.problem.train.y)
    optimizer = make(model.parameters(), **run.settings)
    evaluations = 0

    def closure() -> Tensor:
        nonlocal evaluations
        strength = DECAY if evaluations < UNTIL * BUDGET else 0.0
        evaluations += 1
        optimizer.zero_grad()
        penalty = sum(p.square().sum() for p in model.parameters())
        loss = (mean_squared_error(model(x), y) + strength / 2 * penalty) / run.problem.lipschitz
        loss.backward()
        return loss

    while evaluations < BUDGET:
        for group in optimizer.param_groups:
            group["lr"] = run.settings["lr"] * common_schedule(evaluations / BUDGET)
        if closures:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return model


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "alone"])
@pytest.mark.parametrize(
    ("name", "stepping"),
    [("adam", "stacked"), ("normalized", "per lane"), ("sam", "rendezvous"), ("lbfgs", "rendezvous")],
)
def test_every_way_of_stepping_decays_alike(name: str, stepping: str, batched: bool) -> None:
    submission = load(name).submission
    assert submission.optimizer is not None
    task = replace(noisy(None), label_noise=None, decay=Decay(DECAY, UNTIL))
    runs = [TrainingRun(_problem(seed), seed, 0, submission.settings(1)[0]) for seed in range(2)]
    results = train(task, runs, submission.optimizer, batched=batched)
    assert {result.stepping for result in results} == {stepping if batched else "alone"}
    for run, result in zip(runs, results, strict=True):
        model = _by_hand(run, submission.optimizer, closures=name in ("sam", "lbfgs"))
        for weight, value in model.named_parameters():
            torch.testing.assert_close(result.weights[weight], value.detach(), rtol=1e-9, atol=1e-11)
        # The loss that is reported is without the decay.
        clean = mean_squared_error(model(run.problem.train.x), run.problem.train.y).item()
        assert result.train_loss == pytest.approx(clean, rel=1e-9)
