"""Label noise that is part of a task, against an ordinary loop, for every way of stepping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.entries.loading import load
from suite.seeding import torch_stream
from suite.task import LabelNoise, Problem, Split, Target, Task
from suite.tasks.losses import mean_squared_error
from suite.training import TrainingRun, common_schedule, train

SCALE, BUDGET = 0.7, 40


def _problem(seed: int) -> Problem:
    stream = torch_stream("noisy toy", seed, "data")
    x = torch.randn(10, 4, generator=stream, dtype=torch.float64)
    return Problem(Split(x, torch.cos(x[:, :2])), lipschitz=2.0)


def _model(problem: Problem, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def noisy(batch_size: int | None, until: float = 0.6, target_loss: float = 1e9) -> Task:
    return Task(
        family="toy",
        problem=_problem,
        model=_model,
        loss=mean_squared_error,
        target=Target(target_loss, BUDGET, check_every=10, at_end=True),
        measure=lambda solution: {},
        axes=(),
        papers=(),
        batch_size=batch_size,
        label_noise=LabelNoise(SCALE, until),
        name="noisy toy",
    )


def _by_hand(task: Task, run: TrainingRun, make: Callable[..., Any], closures: bool) -> dict[str, Tensor]:
    """One model, one optimizer, one loop: the noise of a step is drawn once, however many gradients it takes."""
    model, (x, y) = _model(run.problem, run.seed), (run.problem.train.x, run.problem.train.y)
    optimizer = make(model.parameters(), **run.settings)
    rate = run.settings["lr"]
    noise, order = (torch_stream(task.name, run.seed, what) for what in ("label noise", "order"))
    queue: list[int] = []
    evaluations = 0
    while evaluations < BUDGET:
        for group in optimizer.param_groups:
            group["lr"] = rate * common_schedule(evaluations / BUDGET)
        rows = list(range(len(x)))
        if task.batch_size is not None:
            queue = queue or torch.randperm(len(x), generator=order).tolist()
            rows, queue = queue[: task.batch_size], queue[task.batch_size :]
        targets = y[rows]
        if evaluations < 0.6 * BUDGET:
            signs = torch.randint(0, 2, targets.shape, generator=noise, dtype=torch.float64)
            targets = targets + SCALE * (2 * signs - 1)

        def closure(rows: list[int] = rows, targets: Tensor = targets) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            optimizer.zero_grad()
            loss = (model(x[rows]) - targets).square().mean() / 2.0
            loss.backward()
            return loss

        if closures:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "alone"])
@pytest.mark.parametrize("batch_size", [None, 4], ids=["full batch", "mini-batch"])
@pytest.mark.parametrize(
    ("name", "stepping"),
    [("adam", "stacked"), ("normalized", "per lane"), ("sam", "rendezvous")],
    ids=lambda text: text,
)
def test_every_way_of_stepping_sees_the_same_noise(
    name: str, stepping: str, batch_size: int | None, batched: bool
) -> None:
    submission = load(name).submission
    assert submission.optimizer is not None
    task = noisy(batch_size)
    runs = [TrainingRun(_problem(seed), seed, 0, settings) for settings in submission.settings(1) for seed in range(2)]
    results = train(task, runs, submission.optimizer, batched=batched)
    assert {result.stepping for result in results} == {stepping if batched else "alone"}
    for run, result in zip(runs, results, strict=True):
        expected = _by_hand(task, run, submission.optimizer, closures=name == "sam")
        for weight, value in expected.items():
            torch.testing.assert_close(result.weights[weight], value, rtol=1e-9, atol=1e-11)


def test_losses_are_those_of_the_clean_targets() -> None:
    runs = [TrainingRun(_problem(seed), seed, 0, {"lr": 0.05}) for seed in range(3)]
    task = noisy(None, until=1.0)
    for run, result in zip(runs, train(task, runs, torch.optim.SGD), strict=True):
        model = _model(run.problem, run.seed)
        model.load_state_dict(result.weights)
        clean = mean_squared_error(model(run.problem.train.x), run.problem.train.y).item()
        assert result.train_loss == pytest.approx(clean, rel=1e-12)


class Wandering(torch.optim.SGD):
    """Leaves where it is at its tenth step and comes back at its twentieth."""

    def step(self, closure: Any = None) -> None:
        self.count = getattr(self, "count", 0) + 1
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_({10: 1.0, 20: -1.0}.get(self.count, 0.0))


def test_fit_that_is_lost_again_does_not_count() -> None:
    """Where a task trains on, the target loss counts from the check after which it held to the end."""
    runs = [TrainingRun(_problem(0), 0, 0, {"lr": 0.05})]
    model = _model(_problem(0), 0)
    first = mean_squared_error(model(runs[0].problem.train.x), runs[0].problem.train.y).item()
    task = replace(noisy(None, target_loss=1.01 * first), label_noise=None)
    (wandering,), (calm,) = (train(task, runs, make) for make in (Wandering, torch.optim.SGD))
    assert wandering.converged
    assert wandering.target_evaluations == 20
    assert calm.target_evaluations == 0
