"""Optimizers as people install them, against ordinary loops as their documentation shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from suite.seeding import seed_of
from suite.training import TrainingResult, TrainingRun, common_schedule, train
from tests.suite.toys import regression, toy

BUDGET = 60


def _runs(count: int = 3, **settings: Any) -> list[TrainingRun]:
    return [TrainingRun(regression(seed), seed, 0, settings) for seed in range(count)]


def loop(
    run: TrainingRun, make: Callable[[nn.Module], Any], body: Callable[..., int], budget: int
) -> dict[str, Tensor]:
    """Train one model for `budget` gradient evaluations; `body` is one iteration and returns how many it took."""
    task = toy(None)
    model = task.model(run.problem, run.seed)
    torch.manual_seed(seed_of(task.name, run.seed, "optimizer"))
    optimizer = make(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    data = run.problem.train

    def loss() -> Tensor:
        return task.loss(model(data.x), data.y) / run.problem.lipschitz

    spent = 0
    while spent < budget:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * common_schedule(spent / BUDGET)
        spent += body(optimizer, loss)
    return {name: p.detach() for name, p in model.named_parameters()}


def plain(optimizer: Any, loss: Callable[[], Tensor]) -> int:
    optimizer.zero_grad()
    loss().backward()
    optimizer.step()
    return 1


def primed_closure(optimizer: Any, loss: Callable[[], Tensor]) -> int:
    """The loop of `pytorch_optimizer.SAM`'s documentation."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    closure()
    optimizer.step(closure)
    return 2


def graph(optimizer: Any, loss: Callable[[], Tensor]) -> int:
    """The loop of AdaHessian's documentation; the Hessian product inside `step` costs an evaluation."""
    optimizer.zero_grad()
    loss().backward(create_graph=True)
    optimizer.step()
    return 2


Hook = Callable[..., int]


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize(
    ("make", "settings", "body", "stepping"),
    [
        (pytorch_optimizer.SAM, {"base_optimizer": torch.optim.SGD, "lr": 0.1}, primed_closure, "rendezvous"),
        (pytorch_optimizer.AdaHessian, {"lr": 0.05}, graph, "alone"),
        (pytorch_optimizer.Lamb, {"lr": 0.05}, plain, "per lane"),
        (pytorch_optimizer.Prodigy, {}, plain, "per lane"),
        (pytorch_optimizer.Shampoo, {"lr": 0.05}, plain, "per lane"),
    ],
)
def test_equals_the_documented_loop(make: Any, settings: dict[str, Any], body: Hook, stepping: str) -> None:
    runs = _runs(**settings)
    for run, result in zip(runs, train(toy(None, BUDGET), runs, make, batched=True), strict=True):
        assert result.stepping == stepping
        expected = loop(run, lambda model: make(model.parameters(), **settings), body, result.gradient_evaluations)
        for name, weight in expected.items():
            torch.testing.assert_close(result.weights[name], weight, rtol=1e-8, atol=1e-10)


def test_weights_for_evaluation_are_judged_and_kept() -> None:
    """Schedule-free training is judged, and ends, at the averages that `eval` puts in place."""
    task, runs = toy(None, BUDGET), _runs(lr=0.3)
    seen: list[Any] = []

    def ends_in_eval(model: nn.Module) -> Any:
        seen.append(pytorch_optimizer.ScheduleFreeSGD(model.parameters(), lr=0.3))
        seen[-1].train()
        return seen[-1]

    for run, result in zip(runs, train(task, runs, pytorch_optimizer.ScheduleFreeSGD, batched=True), strict=True):
        weights = loop(run, ends_in_eval, plain, result.gradient_evaluations)
        training = {name: weight.clone() for name, weight in weights.items()}
        seen[-1].eval()  # writes into the very tensors of `weights`
        for name, weight in weights.items():
            torch.testing.assert_close(result.weights[name], weight, rtol=1e-8, atol=1e-10)
            assert not torch.allclose(training[name], weight, rtol=1e-4)
        model = task.model(run.problem, run.seed)
        model.load_state_dict(result.weights)
        loss = task.loss(model(run.problem.train.x), run.problem.train.y)
        assert result.train_loss == pytest.approx(loss.item(), rel=1e-12)


def _agree(run: TrainingRun, result: TrainingResult, make: Any) -> None:
    weights = loop(run, lambda model: make(model.parameters(), **run.settings), plain, result.gradient_evaluations)
    for name, weight in weights.items():
        torch.testing.assert_close(result.weights[name], weight, rtol=1e-8, atol=1e-10)


class Noisy(torch.optim.SGD):
    """Adds noise from torch's global generator to every step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(0.01 * torch.randn_like(p))


def test_runs_that_draw_have_streams_of_their_own() -> None:
    runs = _runs(lr=0.1)
    together = train(toy(None, BUDGET), runs, Noisy, batched=True)
    assert {result.stepping for result in together} == {"per lane"}
    pair = train(toy(None, BUDGET), [runs[2], runs[0]], Noisy, batched=True)
    for result, other in ((together[2], pair[0]), (together[0], pair[1])):
        for name, weight in result.weights.items():
            assert torch.equal(weight, other.weights[name])
    for run, result in zip(runs, together, strict=True):
        _agree(run, result, Noisy)


class Remembering(torch.optim.Optimizer):
    """Keeps the very gradient that it was given, as is legitimate, and steps along the change."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                before = self.state[p].get("gradient", torch.zeros_like(p))
                p.sub_(group["lr"] * (2 * p.grad - before))
                self.state[p]["gradient"] = p.grad


def test_an_optimizer_may_keep_gradients() -> None:
    runs = _runs(lr=0.1)
    for run, result in zip(runs, train(toy(None, BUDGET), runs, Remembering, batched=True), strict=True):
        assert result.stepping == "per lane"
        _agree(run, result, Remembering)


class OwnRate(torch.optim.SGD):
    """Halves its own step size after ten steps."""

    def step(self, closure: Any = None) -> None:
        super().step()
        self.count = getattr(self, "count", 0) + 1
        if self.count == 10:
            for group in self.param_groups:
                group["lr"] /= 2


def test_a_step_size_that_the_optimizer_changes_stays_changed() -> None:
    optimizers: list[OwnRate] = []

    def make(params: Any, lr: float) -> OwnRate:
        optimizers.append(OwnRate(params, lr=lr))
        return optimizers[-1]

    (result,) = train(toy(None, BUDGET), _runs(1, lr=0.1), make)
    last = (result.gradient_evaluations - 1) / BUDGET
    assert optimizers[-1].param_groups[0]["lr"] == pytest.approx(0.05 * common_schedule(last))


class Nameless(torch.optim.SGD):
    """Finds its step size itself, and holds None for it, as Adafactor does."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.1)
        for group in self.param_groups:
            group["lr"] = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(0.1 * p.grad)


def test_a_step_size_of_none_is_left_alone() -> None:
    for one, other in zip(
        train(toy(None, BUDGET), _runs(), Nameless, batched=True),
        train(toy(None, BUDGET), _runs(lr=0.1), torch.optim.SGD, schedule=lambda _: 1.0),
        strict=True,
    ):
        assert one.stepping == "per lane"
        for name, weight in one.weights.items():
            torch.testing.assert_close(weight, other.weights[name], rtol=1e-12, atol=1e-14)


def warmup(progress: float) -> float:
    return min(1.0, 5 * progress)


def shrinking(outputs: Tensor, targets: Tensor, task_loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return task_loss(outputs, targets) + 0.5 * outputs.square().mean()


@pytest.mark.parametrize("batched", [True, False])
def test_schedule_and_loss_of_a_submission(batched: bool) -> None:
    """Descends its own loss, which never falls to the target loss, by its own schedule; stopped by the task's loss."""
    task, runs = toy(None, 400, target_loss=0.1), _runs(lr=0.5)
    results = train(task, runs, torch.optim.SGD, batched=batched, schedule=warmup, loss=shrinking)
    for run, result in zip(runs, results, strict=True):
        model, data = task.model(run.problem, run.seed), run.problem.train
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for step in range(result.gradient_evaluations):
            optimizer.param_groups[0]["lr"] = 0.5 * warmup(step / task.target.budget)
            optimizer.zero_grad()
            (shrinking(model(data.x), data.y, task.loss) / run.problem.lipschitz).backward()
            optimizer.step()
        for name, weight in model.named_parameters():
            torch.testing.assert_close(result.weights[name], weight.detach(), rtol=1e-8, atol=1e-10)
        assert result.converged
        judged = task.loss(model(data.x), data.y).item()
        assert result.train_loss == pytest.approx(judged, rel=1e-9)
        assert judged <= 0.1 < shrinking(model(data.x), data.y, task.loss).item()


def test_what_fails_with_every_protocol_fails_with_its_own_reason() -> None:
    class Broken(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            if closure is None:
                raise RuntimeError("closure, please")
            closure()
            raise ZeroDivisionError("the true mistake")

    with pytest.raises(ZeroDivisionError, match="the true mistake"):
        train(toy(None), _runs(lr=0.1), Broken)
