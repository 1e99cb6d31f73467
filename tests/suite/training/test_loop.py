"""Lanes against ordinary sequential training, for every way of stepping."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from suite.entries.loading import builtin_files, load
from suite.seeding import seed_of, torch_stream
from suite.signature import Settings
from suite.task import Task
from suite.tasks import find_task
from suite.tasks.losses import mean_squared_error
from suite.training import Budget, TrainingResult, TrainingRun, common_schedule, make_optimizer, train
from suite.training.lanes import StackedModels
from suite.training.optimizer_factory import Parameters
from suite.training.step_protocol import PLAIN
from suite.training.steppers import make_groups
from tests.suite.toys import matrix, network, regression, toy

BUILT_IN = [name for name, path in builtin_files().items() if path.parent.name == "optimizers"]


def _reference(task: Task, run: TrainingRun, make: Callable[..., Any], budget: int) -> dict[str, Tensor]:
    """An ordinary loop over one model, written without anything of the suite's lanes."""
    model = task.model(run.problem, run.seed)
    # Muon takes flagged groups: what is built is the suite's, the loop is not.
    budget_of = Budget(task.target.budget, len(run.problem.train))
    torch.manual_seed(seed_of(task.name, run.seed, "optimizer"))  # Kron draws probes
    optimizer = make_optimizer(make, dict(model.named_parameters()), run.settings, budget_of, model)
    rates = [group["lr"] for group in optimizer.param_groups]
    x, y = run.problem.train.x, run.problem.train.y
    order, queue = torch_stream(task.name, run.seed, "order"), torch.empty(0, dtype=torch.long)
    evaluations = 0
    if hasattr(optimizer, "train"):
        optimizer.train()
    while evaluations < budget:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * common_schedule(evaluations / task.target.budget)
        rows = torch.arange(len(x))
        if task.batch_size is not None:
            if not len(queue):
                queue = torch.randperm(len(x), generator=order)
            rows, queue = queue[: task.batch_size], queue[task.batch_size :]
        calls = 0

        def closure(rows: Tensor = rows) -> Tensor:
            nonlocal calls
            calls += 1
            model.zero_grad()
            loss = task.loss(model(x[rows]), y[rows]) / run.problem.lipschitz
            loss.backward()
            return loss

        if "sam" in str(make).lower() or make is torch.optim.LBFGS:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
        evaluations += calls
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    return {name: p.detach() for name, p in model.named_parameters()}


def _runs(settings: list[dict[str, Any]], seeds: int = 2) -> list[TrainingRun]:
    return [
        TrainingRun(regression(s), s, number, setting) for number, setting in enumerate(settings) for s in range(seeds)
    ]


def _agree(
    task: Task, runs: list[TrainingRun], make: Callable[..., Any], results: list[TrainingResult], rtol: float = 1e-9
) -> None:
    for run, result in zip(runs, results, strict=True):
        for name, expected in _reference(task, run, make, result.gradient_evaluations).items():
            torch.testing.assert_close(result.weights[name], expected, rtol=rtol, atol=1e-10)


@pytest.mark.parametrize("batch_size", [None, 7], ids=["full batch", "mini-batch"])
@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "alone"])
def test_built_in_equals_sequential(name: str, batch_size: int | None, batched: bool) -> None:
    submission = load(name).submission
    task, runs = toy(batch_size), _runs(submission.settings(2))
    assert submission.optimizer is not None
    results = train(task, runs, submission.optimizer, batched=batched)
    if name != "soap" or not batched:
        # SOAP's eigenbasis is arbitrary where a layer's gradients have less than full rank, so that rounding decides:
        # gradients that differ by 1e-15 part its weights by 0.2 within 30 steps, in ordinary loops too.
        # Shampoo's inverse roots of matrices that have just begun to fill magnify rounding, and so do line searches;
        # Kron's state is float32.
        _agree(
            task,
            runs,
            submission.optimizer,
            results,
            rtol={"shampoo": 1e-7, "lbfgs": 1e-7, "kron": 1e-4}.get(name, 1e-9),
        )
    assert {result.status for result in results} <= {"budget", "stalled"}


class Normalised(torch.optim.SGD):
    """A step of fixed length over all parameters: mixes lanes if it is stepped on stacks."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        norm = torch.sqrt(sum(p.grad.square().sum() for p in parameters))
        for p in parameters:
            p.grad.div_(norm)
        super().step()


class ReplacingStorage(torch.optim.SGD):
    """Replaces the storage of its parameters instead of writing into it."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - group["lr"] * p.grad


@pytest.mark.parametrize(
    ("make", "stepping"),
    [
        (torch.optim.Adam, "stacked"),
        (torch.optim.Adafactor, "per lane"),
        (Normalised, "per lane"),
        (ReplacingStorage, "alone"),
        (torch.optim.Muon, "per lane"),
    ],
)
def test_way_of_stepping_is_exact(make: Callable[..., Any], stepping: str) -> None:
    task, runs = toy(None), _runs([{"lr": 1e-2}, {"lr": 3e-3}])
    if make is torch.optim.Muon:  # it takes matrices alone
        task = replace(task, model=matrix)
    results = train(task, runs, make, batched=True)
    assert {result.stepping for result in results} == {stepping}
    if make is not torch.optim.Muon:  # it orthogonalises in bfloat16, so that rounding of the last bit grows
        _agree(task, runs, make, results)


def test_closures_may_be_called_unequally_often() -> None:
    settings = [{"lr": 1.0, "line_search_fn": "strong_wolfe", "max_iter": 3}]
    task, runs = toy(None, budget=40), _runs(settings, seeds=3)
    together = train(task, runs, torch.optim.LBFGS, batched=True)
    apart = train(task, runs, torch.optim.LBFGS, batched=False)
    assert {r.stepping for r in together} == {"rendezvous"}
    for a, b in zip(together, apart, strict=True):
        assert a.gradient_evaluations == b.gradient_evaluations
        for name in a.weights:
            torch.testing.assert_close(a.weights[name], b.weights[name], rtol=1e-6, atol=1e-8)


def test_error_in_one_closure_reaches_the_caller() -> None:
    class Raising(torch.optim.SGD):
        def step(self, closure: Any) -> None:
            closure()
            raise RuntimeError("lane gives up")

    with pytest.raises(RuntimeError, match="lane gives up"):
        train(toy(None), _runs([{"lr": 0.1}], seeds=3), Raising, batched=True)


def builder(make: Callable[..., Any]) -> Callable[[Parameters, Settings], Any]:
    return lambda parameters, settings: make_optimizer(make, parameters, settings, Budget(100, 10), nn.Identity())


def test_a_diverging_lane_leaves_the_others_alone() -> None:
    task = toy(None)
    calm = train(task, _runs([{"lr": 0.1}]), torch.optim.SGD, batched=True)
    with_diverging = train(task, _runs([{"lr": 0.1}, {"lr": 1e6}]), torch.optim.SGD, batched=True)
    assert [r.status for r in with_diverging][2:] == ["diverged", "diverged"]
    for a, b in zip(calm, with_diverging, strict=False):
        for name in a.weights:
            torch.testing.assert_close(a.weights[name], b.weights[name], rtol=1e-12, atol=1e-14)


def test_run_is_frozen_at_the_target_loss() -> None:
    task = toy(None, budget=400, target_loss=0.2)
    runs = _runs([{"lr": 0.5}, {"lr": 0.05}])
    for run, result in zip(runs, train(task, runs, torch.optim.SGD), strict=True):
        assert result.converged
        model = task.model(run.problem, run.seed)
        model.load_state_dict(result.weights)
        loss = task.loss(model(run.problem.train.x), run.problem.train.y).item()
        assert loss == pytest.approx(result.train_loss, rel=1e-12)
        assert loss <= task.target.loss


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_every_lane_is_annealed_from_its_own_target_loss_as_in_a_plain_loop(optimizer: Any, batched: bool) -> None:
    decay = 30
    task = toy(None, budget=2_000, target_loss=0.2)
    task = replace(task, target=replace(task.target, annealing=decay))
    runs = _runs([{"lr": 0.02}, {"lr": 0.01}])
    results = train(task, runs, optimizer, batched=batched)
    assert len({result.gradient_evaluations for result in results}) > 1
    for run, result in zip(runs, results, strict=True):
        model, train_part = task.model(run.problem, run.seed), run.problem.train
        own, steps, left = optimizer(model.parameters(), **run.settings), 0, None
        while left != 0:
            own.zero_grad()
            loss = task.loss(model(train_part.x), train_part.y)
            if left is None and loss.item() <= task.target.loss:
                left = decay
            own.param_groups[0]["lr"] = run.settings["lr"] * (1 if left is None else left / decay)
            (loss / run.problem.lipschitz).backward()
            own.step()
            steps, left = steps + 1, left and left - 1
        assert result.converged
        assert result.gradient_evaluations == steps
        for name, weight in model.named_parameters():
            torch.testing.assert_close(result.weights[name], weight.detach(), rtol=1e-9, atol=1e-12)


def test_race_never_changes_the_fastest_trial() -> None:
    task = toy(None, budget=400, target_loss=0.2)
    runs = _runs([{"lr": 0.05}, {"lr": 0.5}, {"lr": 0.1}, {"lr": 1e6}])

    def totals(results: list[TrainingResult]) -> dict[int, float]:
        spent: dict[int, float] = {}
        for run, result in zip(runs, results, strict=True):
            cost = result.gradient_evaluations if result.converged else float("inf")
            spent[run.trial] = spent.get(run.trial, 0) + cost
        return spent

    free, raced = (totals(train(task, runs, torch.optim.SGD, race=race)) for race in (False, True))
    assert min(free, key=free.__getitem__) == min(raced, key=raced.__getitem__) == 1
    assert raced[0] == float("inf")
    assert free[0] < float("inf")


def test_stacked_gradients_are_those_of_each_lane() -> None:
    problems = [regression(seed) for seed in range(3)]
    models = [network(problem, seed) for seed, problem in enumerate(problems)]
    stack = StackedModels(models, mean_squared_error, torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    x, y = (torch.stack([getattr(p.train, part) for p in problems]) for part in ("x", "y"))
    index = torch.tensor([0, 2])
    losses = stack.evaluate(x[index], y[index], index)
    for row, (lane, scale) in enumerate([(0, 1.0), (2, 4.0)]):
        loss = mean_squared_error(models[lane](x[lane]), y[lane])
        assert losses[row].item() == pytest.approx(loss.item(), rel=1e-12)
        expected = torch.autograd.grad(loss / scale, list(models[lane].parameters()))
        for got, want in zip(stack.gradients.values(), expected, strict=True):
            torch.testing.assert_close(got[lane], want, rtol=1e-12, atol=1e-14)
    assert all(gradient[1].abs().max() == 0 for gradient in stack.gradients.values())


def test_constructor_of_groups_covers_every_lane_once() -> None:
    problems = [regression(seed) for seed in range(4)]
    stack = StackedModels(
        [network(p, s) for s, p in enumerate(problems)], mean_squared_error, torch.ones(4, dtype=torch.float64)
    )
    trials = {range(2): {"lr": 0.1}, range(2, 4): {"lr": 0.2}}
    groups, stepping = make_groups(stack, builder(torch.optim.SGD), trials, replace(PLAIN, is_entrywise=True), range(4))
    assert stepping == "stacked"
    assert [lane for group in groups for lane in group.lanes] == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["min_norm_regression", "max_margin", "sparse_regression"])
def test_runs_do_not_depend_on_their_number_or_order(name: str) -> None:
    task = find_task(name)
    task = replace(task, target=replace(task.target, budget=100))
    momentum = {"lr": 0.05, "momentum": 0.9}
    runs = [TrainingRun(task.problem(seed), seed, 0, momentum) for seed in range(5)]
    together = train(task, runs, torch.optim.SGD)
    reversed_pair = train(task, [runs[3], runs[1]], torch.optim.SGD, batched=True)
    for result, other in zip(reversed_pair, (together[3], together[1]), strict=True):
        for weight_name, weight in result.weights.items():
            assert torch.equal(weight, other.weights[weight_name])


def test_data_are_freed_with_the_last_reference_to_them() -> None:
    """Nothing that training makes refers to itself: data in a cycle stay until Python happens to look for cycles."""
    for batch in (None, 8):
        task = toy(batch)
        run = TrainingRun(task.problem(0), 0, 0, {"lr": 0.01})
        train(task, [run], torch.optim.SGD)
        gc.collect()  # what torch's first optimizer leaves
        run = TrainingRun(task.problem(1), 1, 0, {"lr": 0.01})
        data = weakref.ref(run.problem)
        gc.disable()
        try:
            train(task, [run], torch.optim.SGD)
            del run
            assert data() is None
        finally:
            gc.enable()


def test_only_a_run_whose_trial_may_be_the_first_selected_one_is_probed() -> None:
    """Trial 0 stands still, 1 and 2 arrive: what 2 does beside following gradients, no record states."""

    def probed(rates: Sequence[float]) -> list[bool]:
        runs = [
            TrainingRun(regression(seed), seed, trial, {"lr": lr}, probed=seed == 0)
            for trial, lr in enumerate(rates)
            for seed in range(2)
        ]
        return [result.probe is not None for result in train(toy(None, 400, target_loss=0.2), runs, SGD)]

    assert probed([0.0, 0.1, 0.2]) == [False, False, True, False, False, False]
    assert probed([0.0, 1e-9, 0.0]) == [True, False] * 3
