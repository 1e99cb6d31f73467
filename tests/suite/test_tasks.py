"""Every task: seeds, references, and what theory says its solutions are."""

from __future__ import annotations

import math

import pytest
import torch

from suite.errors import InputError
from suite.loading import load
from suite.task import Oracle, Solution, Task
from suite.tasks import find_task, task_functions
from suite.training import Lane, Trained, train
from suite.trial import resolve_axes, select

NAMES = [*task_functions(), "sparse_regression[alpha=0.01]", "max_margin[objective=logistic]"]


def trained(task: Task, submission: str, lr: float, seeds: int = 2) -> list[dict[str, float]]:
    made = load(submission).submission
    settings = made.settings(1)[0] | {"lr": lr}
    lanes = [Lane(task.problem(seed), seed, 0, settings) for seed in range(seeds)]
    results = train(task, lanes, made.optimizer)  # type: ignore[arg-type]
    return [_measure(task, lane, result) for lane, result in zip(lanes, results, strict=True)]


def _measure(task: Task, lane: Lane, result: Trained) -> dict[str, float]:
    assert result.converged, result.status
    model = task.model(lane.problem, lane.seed)
    model.load_state_dict(result.weights)
    oracle = task.oracle(lane.problem) if task.oracle else Oracle()
    return task.measure(Solution(model.eval(), result.initial, lane.problem, oracle, lane.seed))


@pytest.mark.parametrize("name", NAMES)
def test_seeds_differ_and_repeat(name: str) -> None:
    task = find_task(name)
    assert task.name == name
    problems = [task.problem(seed) for seed in (0, 1, 0)]
    prints = [problem.fingerprint() for problem in problems]
    assert prints[0] == prints[2] != prints[1]
    models = [task.model(problem, seed) for problem, seed in zip(problems, (0, 1, 0), strict=True)]
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[2])
    if name.startswith("mnist"):
        assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize("name", NAMES)
def test_references_are_finite_and_in_order(name: str) -> None:
    task = find_task(name)
    for seed in range(5):
        problem = task.problem(seed)
        for axis, entry in zip(
            task.axes, resolve_axes(task.axes, task.oracle(problem) if task.oracle else Oracle()).values(), strict=True
        ):
            assert math.isfinite(entry["null"])
            assert math.isfinite(entry["ideal"])
            assert (entry["ideal"] > entry["null"]) == axis.higher


@pytest.mark.parametrize("name", NAMES)
def test_building_a_task_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    task = find_task(name)
    task.model(task.problem(3), 3)
    if not name.startswith("mnist"):
        assert torch.equal(before, torch.get_rng_state())


def test_min_norm_regression() -> None:
    task = find_task("min_norm_regression")
    assert all(m["excess_norm"] < 1e-3 for m in trained(task, "sgd", 0.7) + trained(task, "momentum", 0.1))
    assert all(m["excess_norm"] > 0.3 for m in trained(task, "adam", 0.01))


def test_adaptive_trap() -> None:
    task = find_task("adaptive_trap")
    assert all(m["test_error"] == 0 for m in trained(task, "sgd", 0.7))
    for name, lr in (("adam", 0.01), ("rmsprop", 0.005), ("sign", 0.001)):
        assert all(m["test_error"] == pytest.approx(0.4, abs=0.02) for m in trained(task, name, lr))


def test_adaptive_trap_is_the_published_construction() -> None:
    problem = find_task("adaptive_trap").problem(0)
    x, y = problem.train.x, problem.train.y
    assert x.shape == (60, 303)
    assert (y > 0).sum() == 36
    assert torch.equal(x[:, 0], y)
    assert (x[:, 1:3] == 1).all()
    own = x[:, 3:].reshape(60, 60, 5)
    for row in range(60):
        expected = torch.tensor([1.0, 0, 0, 0, 0] if y[row] > 0 else [1.0] * 5).double()
        assert torch.equal(own[row, row], expected)
        assert own[row].sum() == expected.sum()


def test_max_margin() -> None:
    task = find_task("max_margin")
    gradient, sign = trained(task, "sgd", 0.7), trained(task, "sign", 0.01)
    for g, s in zip(gradient, sign, strict=True):
        assert g["l2_margin_ratio"] > 0.95 > s["l2_margin_ratio"]
        assert s["linf_margin_ratio"] > g["linf_margin_ratio"]
        for measures in (g, s):
            assert all(measures[f"{p}_margin_ratio"] <= 1 + 1e-9 for p in ("l2", "linf", "l1"))


def test_sparse_regression_follows_the_potential() -> None:
    task = find_task("sparse_regression")
    for measures in trained(task, "sgd", 0.3):
        assert measures["potential_distance"] < 0.02
        assert 1 < measures["l1_ratio"] < 1.6
    assert all(m["l1_ratio"] > 2 for m in trained(task, "adam", 0.01))


def test_smaller_initialisation_is_sparser() -> None:
    errors = [
        trained(find_task(f"sparse_regression[alpha={alpha}]"), "sgd", 1.0, seeds=1)[0]["recovery_error"]
        for alpha in (1.0, 0.1, 0.01)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.15


def test_selection_never_looks_at_what_is_scored() -> None:
    def lane(trial: int, converged: bool, evaluations: int, validation: float, loss: float = 0.1) -> dict[str, object]:
        return {
            "trial": trial,
            "converged": converged,
            "stop_evaluations": evaluations,
            "validation_loss": validation,
            "train_loss": loss,
        }

    fast, better = [lane(0, True, 10, 0.9)] * 2, [lane(1, True, 50, 0.3)] * 2
    missed = [lane(2, True, 1, 0.1), lane(2, False, 1, 0.1)]
    records = [*missed, *better, *fast]
    assert select("gradient_evaluations", records) == 0
    assert select("validation_loss", records) == 1
    assert select("validation_loss", [lane(0, False, 9, 0.0, 0.5), lane(1, False, 9, 0.0, 0.2)]) == 1
    assert select("validation_loss", [lane(0, False, 9, 0.0, math.inf), lane(1, False, 9, 0.0, 0.2)]) == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("max_margn", "did you mean 'max_margin'"),
        ("sparse_regression[alpha=small]", "must be of type float"),
        ("sparse_regression[alpha=-1]", "alpha must be between"),
        ("sparse_regression[beta=1]", "no variant 'beta'"),
        ("max_margin[objective=hinge]", "objective must be one of"),
        ("", "There is no task"),
    ],
)
def test_unknown_tasks(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_task(name)
