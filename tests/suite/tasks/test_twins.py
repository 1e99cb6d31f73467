"""A twin asks its task's question: with the weights put back, everything is the task's own."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import nn

from suite.entries.loading import load
from suite.models import hold, restore
from suite.task import Oracle, Problem, Solution, Task
from suite.tasks import find_task, task_functions
from suite.tasks.twins import has_twins, twin, twin_name
from suite.tracks import QUICK
from suite.training import train
from suite.training.run import TrainingRun

LINEAR = ("min_norm_regression", "init_memory", "adaptive_trap", "benign_overfitting", "sobolev_interpolation",
          "max_margin", "spectral_margin", "linf_box")  # fmt: skip

OWN_WAYS = ("adam_epsilon", "adam_edge", "attention_selection", "attention_selection[parametrisation=key_query]")
"""Tasks whose networks keep what they see of training in buffers, or have parameters beside layers."""


def test_every_task_of_quick_has_twins() -> None:
    for name in {*LINEAR, *QUICK}:
        assert has_twins(find_task(name)), name
    assert not any("~" in name for name in task_functions())


class _AsWideAsItsParameter(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * dict(self.named_parameters())["weight"].numel()


def test_a_network_that_computes_with_the_shapes_of_its_parameters_has_no_twins() -> None:
    task = find_task("teacher_student")

    def model(problem: Problem, seed: int) -> nn.Module:
        network = _AsWideAsItsParameter(10, 1, dtype=torch.float64)
        nn.init.ones_(network.weight)
        nn.init.ones_(network.bias)
        return network

    odd = replace(task, model=model)
    assert not has_twins(odd)
    with pytest.raises(ValueError, match="it has no twins"):
        twin(odd, "1")


@pytest.mark.parametrize("name", sorted({*QUICK, *OWN_WAYS} - {*LINEAR, "mnist5k_mlp"}))
def test_wider_parameters_change_nothing_but_the_shapes(name: str) -> None:
    """Every number of a shape is another one; loss and gradients are the task's, and dead entries have none."""
    task, other = find_task(name), find_task(twin_name(name, "a nonce"))
    problem, changed = task.problem(1), other.problem(1)
    network, model = task.model(problem, 1), other.model(changed, 1)
    assert task.target.budget < other.target.budget <= 1.08 * task.target.budget
    (own, parameters), (theirs, wide) = (
        (
            dict(
                zip(
                    dict(n.named_parameters()),
                    torch.autograd.grad(task.loss(n(p.train.x), p.train.y), list(n.parameters())),
                    strict=True,
                )
            ),
            dict(n.named_parameters()),
        )
        for n, p in ((network, problem), (model, changed))
    )
    assert wide.keys() == parameters.keys()
    for key, parameter in parameters.items():
        live = tuple(map(slice, parameter.shape))
        assert all(b > a for a, b in zip(parameter.shape, wide[key].shape, strict=True))
        assert torch.equal(wide[key][live], parameter)
        torch.testing.assert_close(theirs[key][live], own[key], rtol=1e-9, atol=1e-12)
        for tensor in (wide[key], theirs[key]):
            assert tensor.count_nonzero() == tensor[live].count_nonzero()
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for twice in copies:
        assert torch.equal(twice(changed.train.x), model(changed.train.x))
    oracle = Oracle() if task.oracle is None else task.oracle(problem, 1)
    own, theirs = _measures(task, network, problem, oracle), _measures(other, model, changed, oracle)
    assert own == pytest.approx(theirs, rel=1e-9, nan_ok=True)


def _measures(task: Task, network: nn.Module, problem: Problem, oracle: Oracle) -> Mapping[str, float]:
    """What the task measures of a network that has stayed where it started."""
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return task.measure(Solution(network.eval(), weights, problem, oracle, 1))


@pytest.mark.parametrize("name", ["adam_epsilon", "adam_edge"])
def test_what_a_network_keeps_of_its_training_is_measured_on_a_twin_as_on_the_task(name: str) -> None:
    """Forty steps of Adam: the points of the path that are kept, the running mean of squared gradients."""
    submission, task = load("adam").submission, find_task(name)
    assert submission.optimizer is not None
    short = {"target": replace(task.target, budget=40, loss=math.inf, at_end=True)}
    measures = []
    for one in (task, twin(task, "77")):
        problem = one.problem(0)
        oracle = Oracle() if task.oracle is None else task.oracle(task.problem(0), 0)
        run = TrainingRun(problem, 0, 0, {"lr": 0.01})
        (end,) = train(replace(one, **short), [run], submission.optimizer)
        network = one.model(problem, 0)
        restore(network, end.weights)
        measures.append(
            one.measure(Solution(network.eval(), hold(one.model(problem, 0)), problem, oracle, 0, run.settings))
        )
    assert any(not math.isnan(value) for value in measures[0].values())
    assert dict(measures[0]) == pytest.approx(dict(measures[1]), rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", ["sgd", "adam", "sam"])
def test_honest_methods_end_on_a_wide_twin_where_they_end_on_the_task(name: str) -> None:
    submission = load(name).submission
    assert submission.optimizer is not None
    settings = submission.settings(4)[1]
    task = find_task("teacher_student")
    short = {"target": replace(task.target, budget=60, loss=0.0, at_end=False)}
    ends = []
    for one in (task, twin(task, "77")):
        (end,) = train(replace(one, **short), [TrainingRun(one.problem(0), 0, 0, settings)], submission.optimizer)
        ends.append(end.train_loss)
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)


@pytest.mark.parametrize("name", sorted({*LINEAR} - {"adaptive_trap"}))  # whose columns are alike but for their rows
def test_losses_gradients_and_measures_are_the_tasks_own(name: str) -> None:
    task, other = find_task(name), find_task(twin_name(name, "a nonce"))
    problem, changed = task.problem(1), other.problem(1)
    features, more = problem.train.x.shape[1], changed.train.x.shape[1]
    assert more > features
    assert task.target.budget < other.target.budget <= 1.08 * task.target.budget
    # The weights of the task's network, found in the twin's by marking each feature of a start of random weights.
    network, model = task.model(problem, 1), other.model(changed, 1)
    stream = torch.Generator().manual_seed(0)
    signs_and_places = _correspondence(problem.train.x, changed.train.x)
    weight = torch.randn(network.weight.shape, generator=stream, dtype=torch.float64)
    moved = torch.zeros(model.weight.shape, dtype=torch.float64)
    for feature, (place, sign) in enumerate(signs_and_places):
        assert torch.equal(model.weight[..., place], sign * network.weight[..., feature])
        moved[..., place] = sign * weight[..., feature]
    with torch.no_grad():
        network.weight.copy_(weight)
        model.weight.copy_(moved)
    losses = [task.loss(n(p.train.x), p.train.y) for n, p in ((network, problem), (model, changed))]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
    own, theirs = (torch.autograd.grad(loss, n.weight)[0] for loss, n in zip(losses, (network, model), strict=True))
    for feature, (place, sign) in enumerate(signs_and_places):
        torch.testing.assert_close(theirs[..., place], sign * own[..., feature], rtol=1e-9, atol=1e-12)
    oracle = task.oracle(problem, 1) if task.oracle else None
    assert oracle is not None
    expected, found = _measures(task, network, problem, oracle), _measures(other, model, changed, oracle)
    assert expected == pytest.approx(found, rel=1e-12)


def _correspondence(x: torch.Tensor, changed: torch.Tensor) -> list[tuple[int, float]]:
    """Place and sign of every feature of `x` in `changed`, whose rows stand in another order: by sorted columns."""
    found, taken = [], set()
    for column in x.T:
        for place, candidate in enumerate(changed.T):
            if place in taken:
                continue
            sign = next((s for s in (1.0, -1.0) if torch.equal((s * candidate).sort().values, column.sort().values)), 0)
            if sign:
                found.append((place, float(sign)))
                taken.add(place)
                break
    assert len(found) == x.shape[1]
    return found


@pytest.mark.parametrize("name", ["sgd", "adam", "sign"])
def test_honest_methods_end_where_they_end_on_the_task(name: str) -> None:
    submission = load(name).submission
    assert submission.optimizer is not None
    settings = submission.settings(4)[2]
    task = find_task("min_norm_regression")
    ends = [
        train(one, [TrainingRun(one.problem(0), 0, 0, settings)], submission.optimizer)[0]
        for one in (task, twin(task, "77"))
    ]
    norms = [float(end.weights["weight"].norm()) for end in ends]
    assert norms[0] == pytest.approx(norms[1], rel=0.02)
