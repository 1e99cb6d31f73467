"""Measures along training against plain loops of one seed, closed forms, and dense Hessians."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from suite.entries.loading import load
from suite.seeding import torch_stream
from suite.task import Problem, Split, Task
from suite.tasks import find_task
from suite.tasks.losses import mean_squared_error
from suite.training import TrainingResult, TrainingRun, common_schedule, snapshots, train
from suite.trials.training_path import TracedRun, TrainingPath, training_paths
from tests.suite.toys import regression, toy

Make = Callable[..., Any]


def traced(
    task: Task, make: Make, settings: dict[str, Any], seeds: Sequence[int] = (0, 1), growth: float = 1.5, **options: Any
) -> tuple[list[TrainingRun], list[TrainingResult]]:
    runs = [TrainingRun(task.problem(seed), seed, 0, settings, traced=growth) for seed in seeds]
    return runs, train(task, runs, make, **options)


def paths_of(task: Task, runs: list[TrainingRun], results: list[TrainingResult], **options: Any) -> list[TrainingPath]:
    oracles = [task.oracle(run.problem, run.seed) if task.oracle else None for run in runs]
    given = zip(runs, results, oracles, strict=True)
    return training_paths(task, [TracedRun(*each) for each in given], **options)


def dense_hessian(task: Task, model: nn.Module, problem: Problem) -> Tensor:
    """The Hessian [P, P] of the objective by torch alone."""
    shapes = {name: p.shape for name, p in model.named_parameters()}
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    def loss(vector: Tensor) -> Tensor:
        parts = torch.split(vector, [shape.numel() for shape in shapes.values()])
        weights = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return task.loss(functional_call(model, weights, (problem.train.x,)), problem.train.y) / problem.lipschitz

    hessian: Tensor = torch.autograd.functional.hessian(loss, flat)
    return hessian


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "alone"])
@pytest.mark.parametrize(
    ("make", "settings"),
    [(torch.optim.SGD, {"lr": 0.3}), (torch.optim.Adam, {"lr": 0.01}), (torch.optim.RMSprop, {"lr": 0.01})],
    ids=["sgd", "adam", "rmsprop"],
)
def test_the_path_is_that_of_a_plain_loop_of_one_seed(make: Make, settings: dict[str, Any], batched: bool) -> None:
    task = toy(None)
    path = paths_of(task, *traced(task, make, settings, batched=batched), everything=True)[1]

    problem = task.problem(1)
    model = task.model(problem, 1)
    optimizer = make(model.parameters(), **settings)
    expected: dict[int, dict[str, float | None]] = {}
    for step in range(task.target.budget + 1):
        if step:
            optimizer.param_groups[0]["lr"] = settings["lr"] * common_schedule((step - 1) / task.target.budget)
            optimizer.zero_grad()
            (task.loss(model(problem.train.x), problem.train.y) / problem.lipschitz).backward()
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.step()
        if step not in path.steps:
            continue
        weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        hessian = dense_hessian(task, model, problem)
        expected[step] = {
            "train_loss": task.loss(model(problem.train.x), problem.train.y).item(),
            "weight_norm": weights.norm().item(),
            "sharpness": torch.linalg.eigvalsh(hessian)[-1].item(),
        }
        if step:
            moved = weights - torch.cat([p.reshape(-1) for p in before])
            expected[step]["update_norm"] = moved.norm().item()
        if step and make is not torch.optim.SGD:
            roots = []
            for p in model.parameters():
                state = optimizer.state[p]
                if make is torch.optim.Adam:
                    root = (state["exp_avg_sq"] / (1 - 0.999**step)).sqrt() + 1e-8
                    roots.append((1 - 0.9**step) * root.reshape(-1))
                else:
                    roots.append(state["square_avg"].sqrt().reshape(-1) + 1e-8)
            # P^-1 H is not symmetric: its eigenvalues by the general solver.
            product = hessian / torch.cat(roots)[:, None]
            expected[step]["preconditioned_sharpness"] = torch.linalg.eigvals(product).real.max().item()
    assert path.steps == sorted(expected)
    assert path.steps[:6] == [0, 1, 2, 3, 5, 8]
    assert path.steps[-1] == task.target.budget
    for place, step in enumerate(path.steps):
        measured = {name: column[place] for name, column in path.measures.items() if column[place] is not None}
        measured.pop("gradient_flow_distance", None)  # has tests of its own
        if step == task.target.budget:
            expected[step].pop("update_norm", None)  # its last step is not known to be the last before it ends
            measured.pop("update_norm", None)
        assert measured == pytest.approx(expected[step], rel=2e-3)
        for exact in ("train_loss", "weight_norm"):
            assert measured[exact] == pytest.approx(expected[step][exact], rel=5e-6)
    assert ("preconditioned_sharpness" in path.measures) == (make is not torch.optim.SGD)


def test_gradient_descent_on_a_quadratic_has_its_closed_form() -> None:
    """With ``loss / lipschitz = w'Hw / 2 - ...`` gradient descent is ``w_t = w* - (1 - s H)^t w*`` from w = 0."""
    task, scale = find_task("min_norm_regression"), 0.9
    runs, results = traced(task, torch.optim.SGD, {"lr": scale})
    for run, path in zip(runs, paths_of(task, runs, results, everything=True), strict=True):
        x, y = run.problem.train.x, run.problem.train.y
        hessian = 2 / len(x) * x.T @ x / run.problem.lipschitz
        limit = torch.linalg.lstsq(x, y, driver="gelsd").solution
        values, vectors = torch.linalg.eigh(hessian)
        at = {step: place for place, step in enumerate(path.steps)}
        for step in (step for step in path.steps if step <= 40):  # no further: the schedule is still at 1
            weights = limit - vectors @ ((1 - scale * values) ** step * (vectors.T @ limit))
            assert path.measures["weight_norm"][at[step]] == pytest.approx(weights.norm().item(), rel=1e-5, abs=1e-9)
        assert path.measures["sharpness"] == pytest.approx([values[-1].item()] * len(path.steps), rel=2e-3)
        # The task's own distance to its oracle, from the start at 0 to the solution.
        assert path.measures["excess_norm"][0] == 1.0
        assert path.measures["excess_norm"][-1] < 1e-3


@pytest.mark.parametrize("name", ["sgd", "sam", "schedulefree", "adamw", "muon"])
@pytest.mark.parametrize("batch_size", [None, 7], ids=["full batch", "mini-batch"])
def test_a_traced_run_has_the_numbers_of_one_that_is_not(name: str, batch_size: int | None) -> None:
    submission = load(name).submission
    assert submission.optimizer is not None
    task, settings = toy(batch_size), submission.settings(1)[0]
    runs, results = traced(task, submission.optimizer, settings)
    untraced = train(task, [replace(run, traced=None) for run in runs], submission.optimizer)
    for one, other in zip(results, untraced, strict=True):
        assert all(torch.equal(one.weights[key], other.weights[key]) for key in other.weights)
        assert (one.history, one.steps, one.status) == (other.history, other.steps, other.status)
        assert other.snapshots == ()
        taken = [snapshot.step for snapshot in one.snapshots]
        assert taken[0] == 0
        assert taken[-1] == one.steps
        assert taken == sorted(set(taken))
        assert all(torch.equal(one.snapshots[-1].weights[key], one.weights[key]) for key in one.weights)


def product_network(bias: bool, middle: nn.Module) -> Callable[[Problem, int], nn.Module]:
    def model(problem: Problem, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(6, 8, bias=bias), middle, nn.Linear(8, 2, bias=False)).double()

    return model


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_gradient_flow_keeps_the_imbalance_of_factors(bias: bool) -> None:
    """A hundred times smaller steps change it a hundred times less: gradient descent changes it by its own square."""
    task = replace(toy(None, budget=200), model=product_network(bias, nn.ReLU()))
    drifts = []
    for rate in (0.1, 0.001):
        (path,) = paths_of(task, *traced(task, torch.optim.SGD, {"lr": rate}, seeds=(3,)))
        first, last = path.measures["imbalance"][0], path.measures["imbalance"][-1]
        model = task.model(task.problem(3), 3)
        inner, outer = model[0], model[2]
        norms = [sum(p.square().sum().item() for p in layer.parameters()) for layer in (inner, outer)]
        assert first == pytest.approx(abs(norms[0] - norms[1]), rel=1e-5)
        drifts.append(abs(last - first) / rate)
        moved = abs(path.measures["weight_norm"][-1] - path.measures["weight_norm"][0]) / rate
        assert drifts[-1] < 0.1 * moved
    assert drifts[1] < 0.05 * drifts[0] + 1e-6 / 0.001


def test_what_is_not_defined_for_a_network_is_not_measured() -> None:
    task = replace(toy(None), model=product_network(False, nn.Tanh()))
    (path,) = paths_of(task, *traced(task, torch.optim.SGD, {"lr": 0.1}, seeds=(0,)))
    assert set(path.measures) == {"train_loss", "weight_norm", "update_norm"}  # no factors, no classes, no labels


def signs(seed: int) -> Problem:
    x = torch.randn(20, 6, generator=torch_stream("signs", seed), dtype=torch.float64)
    return Problem(Split(x, torch.where(x[:, 0] > 0, 1.0, -1.0).double()))


def test_margins_of_labels_and_of_networks_that_are_homogeneous() -> None:
    def model(problem: Problem, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 1, bias=False), nn.Flatten(0)
        ).double()

    task = replace(toy(None), problem=signs, model=model, loss=lambda out, y: torch.exp(-y * out).mean())
    runs, results = traced(task, torch.optim.SGD, {"lr": 0.1}, seeds=(0,))
    (path,) = paths_of(task, runs, results)
    problem, net = runs[0].problem, model(runs[0].problem, 0)
    for place, snapshot in enumerate(results[0].snapshots):
        net.load_state_dict(snapshot.weights)
        margin = (net(problem.train.x) * problem.train.y).min().item()
        square = sum(p.square().sum().item() for p in net.parameters())  # of degree 2: margins scale like |w|^2
        assert path.measures["output_margin"][place] == pytest.approx(margin, rel=1e-5)
        assert path.measures["normalized_margin"][place] == pytest.approx(margin / square, rel=1e-5)


def test_a_run_that_diverges_is_measured_as_far_as_it_is_finite() -> None:
    task = toy(None)
    runs, results = traced(task, torch.optim.SGD, {"lr": 1e80}, seeds=(0, 1))
    for result, path in zip(results, paths_of(task, runs, results, everything=True), strict=True):
        assert result.status == "diverged"
        assert path.measures["sharpness"][0] is not None
        assert all(value is None or math.isfinite(value) for column in path.measures.values() for value in column)


def test_snapshots_that_take_too_much_memory_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy(None)
    whole = traced(task, torch.optim.SGD, {"lr": 0.1}, growth=1.1)[1]
    monkeypatch.setattr(snapshots, "MAX_BYTES", sum(s.size for s in whole[0].snapshots))
    thinned = traced(task, torch.optim.SGD, {"lr": 0.1}, growth=1.1)[1]
    for few, many in zip(thinned, whole, strict=True):
        assert 5 < len(few.snapshots) < 0.7 * len(many.snapshots)
        assert few.snapshots[0].step == 0
        assert few.snapshots[-1].step == few.steps
    assert sum(s.size for result in thinned for s in result.snapshots) <= snapshots.MAX_BYTES


def test_mini_batches_and_labels_are_those_of_the_whole_data() -> None:
    task = replace(toy(7), loss=mean_squared_error, problem=regression)
    runs, results = traced(task, torch.optim.SGD, {"lr": 0.1}, seeds=(0,))
    (path,) = paths_of(task, runs, results)
    model = task.model(runs[0].problem, 0)
    for place, snapshot in enumerate(results[0].snapshots):
        model.load_state_dict(snapshot.weights)
        loss = mean_squared_error(model(runs[0].problem.train.x), runs[0].problem.train.y).item()
        assert path.measures["train_loss"][place] == pytest.approx(loss, rel=1e-5)


def test_small_steps_follow_gradient_flow_and_adam_does_not() -> None:
    task = find_task("min_norm_regression")
    farthest = {}
    for name, make, rate in (
        ("large", torch.optim.SGD, 0.8),
        ("small", torch.optim.SGD, 0.08),
        ("adam", torch.optim.Adam, 0.01),
    ):
        (path,) = paths_of(task, *traced(task, make, {"lr": rate}, seeds=(0,)), everything=True)
        distances = path.measures["gradient_flow_distance"]
        assert distances[0] is None  # both are where they begin
        farthest[name] = max(value for value in distances if value is not None)
    assert farthest["small"] < 0.2 * farthest["large"]  # the error of a step is of the size of the step
    assert farthest["small"] < 0.02
    assert farthest["adam"] > 0.3
