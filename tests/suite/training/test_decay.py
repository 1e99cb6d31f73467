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


def _by_hand(lane: TrainingRun, make: Callable[..., Any], closures: bool) -> nn.Module:
    """One model, one optimizer, one loop, with the penalty written into the loss."""
    model, (x, y) = _model(lane.problem, lane.seed), (lane.problem.train.x, lane.problem.train.y)
    optimizer = make(model.parameters(), **lane.settings)
    evaluations = 0

    def closure() -> Tensor:
        nonlocal evaluations
        strength = DECAY if evaluations < UNTIL * BUDGET else 0.0
        evaluations += 1
        optimizer.zero_grad()
        penalty = sum(p.square().sum() for p in model.parameters())
        loss = (mean_squared_error(model(x), y) + strength / 2 * penalty) / lane.problem.lipschitz
        loss.backward()
        return loss

    while evaluations < BUDGET:
        for group in optimizer.param_groups:
            group["lr"] = lane.settings["lr"] * common_schedule(evaluations / BUDGET)
        if closures:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return model


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "alone"])
@pytest.mark.parametrize(("name", "way"), [("adam", "stacked"), ("normalized", "per lane"), ("sam", "rendezvous")])
def test_every_way_of_stepping_decays_alike(name: str, way: str, batched: bool) -> None:
    submission = load(name).submission
    assert submission.optimizer is not None
    task = replace(noisy(None), label_noise=None, decay=Decay(DECAY, UNTIL))
    lanes = [TrainingRun(_problem(seed), seed, 0, submission.settings(1)[0]) for seed in range(2)]
    results = train(task, lanes, submission.optimizer, batched=batched)
    assert {result.stepping for result in results} == {way if batched else "alone"}
    for lane, result in zip(lanes, results, strict=True):
        model = _by_hand(lane, submission.optimizer, closures=name == "sam")
        for weight, value in model.named_parameters():
            torch.testing.assert_close(result.weights[weight], value.detach(), rtol=1e-9, atol=1e-11)
        # The loss that is reported is without the decay.
        clean = mean_squared_error(model(lane.problem.train.x), lane.problem.train.y).item()
        assert result.train_loss == pytest.approx(clean, rel=1e-9)
