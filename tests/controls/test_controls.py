"""Controls of the benchmark itself: what must not move a score does not, and who cheats gains nothing.

A small classification task with everything that the image tasks have: a ReLU network, cross-entropy, a stop, scored
measures at matched loss. Cheaters that need a sandbox to be caught are in `tests/suite/sandbox`; one that remembers the
published seeds is in `tests/suite/commands/test_verification.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leaderboard.analysis.scoring import axis_score
from suite.entries.loading import load
from suite.models import initialize, mlp
from suite.seeding import torch_stream
from suite.task import Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.images import IMAGE_AXES, TARGET_LOSS, image_measures
from suite.training import TrainingResult, TrainingRun, train

FEATURES, CLASSES, WIDTH = 12, 3, 16
SCORED = tuple(axis.measure for axis in IMAGE_AXES)
RAW = ("lambda_max", "l2_norm")
SGD = {"lr": 0.3}


def clouds(seed: int) -> Problem:
    stream = torch_stream("controls", seed, "data")
    x = torch.randn(290, FEATURES, generator=stream, dtype=torch.float64)
    y = (x @ torch.randn(FEATURES, CLASSES, generator=stream, dtype=torch.float64)).argmax(1)
    return Problem(train=Split(x[:90], y[:90]), test=Split(x[90:], y[90:]))


def network(problem: Problem, seed: int) -> nn.Module:
    made = mlp((FEATURES,), CLASSES, (WIDTH, WIDTH)).double()
    return initialize(made, torch_stream("controls", seed, "init"))


def small_task() -> Task:
    return Task(
        family="controls",
        problem=clouds,
        model=network,
        loss=cross_entropy,
        target=Target(TARGET_LOSS, budget=4_000, check_every=10),
        measure=image_measures,
        axes=IMAGE_AXES,
        papers=(),
        name="controls",
    )


def end(task: Task, make: Any, settings: dict[str, Any], seed: int = 0) -> TrainingResult:
    """Where a lane ends."""
    return train(task, [TrainingRun(task.problem(seed), seed, 0, settings)], make)[0]


def model_of(task: Task, trained: TrainingResult, seed: int = 0) -> nn.Module:
    model = task.model(task.problem(seed), seed)
    model.load_state_dict(trained.weights)
    return model.eval()


def measures(task: Task, trained: TrainingResult, seed: int = 0) -> dict[str, float]:
    assert trained.converged, trained.status
    solution = Solution(model_of(task, trained, seed), trained.initial, task.problem(seed), Oracle(), seed)
    return task.measure(solution)


# -- cheaters ---------------------------------------------------------------------------------------------------------


class Zero(torch.optim.SGD):
    """The lowest norm and the flattest land there are."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            p.zero_()


class Idle(torch.optim.SGD):
    """Never steps."""

    def step(self, closure: Any = None) -> None:
        pass


@pytest.mark.parametrize("cheater", [Zero, Idle])
def test_who_does_not_fit_scores_nothing(cheater: Any) -> None:
    trained = end(small_task(), cheater, SGD)
    assert not trained.converged
    # However good its measures would be.
    assert axis_score(1e-9, 1.0, 0.1, True, float("nan"), trained.converged) == 0.0


def _layer_wise(p: list[Tensor]) -> list[Tensor | float]:
    return [10.0, 10.0, 0.1, 1.0, 1.0, 1.0]


def _neuron_wise(p: list[Tensor]) -> list[Tensor | float]:
    stream = torch_stream("controls", "neurons")
    first, second = (torch.randn(WIDTH, generator=stream, dtype=torch.float64).exp() for _ in range(2))
    return [first[:, None], first, second[:, None] / first, second, 1 / second, 1.0]


def rescaler(factors: Callable[[list[Tensor]], list[Tensor | float]]) -> Any:
    """SGD whose weights are shown times `factors`, which a ReLU network does not notice; its own path is SGD's."""

    class Rescaler(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            parameters = self.param_groups[0]["params"]
            scales = factors(parameters)
            if not self.state:
                # What is shown first is the network's own start.
                for p in parameters:
                    self.state[p]["own"] = p.clone()
                    self.state[p]["reported"] = 1.0
            for p, scale in zip(parameters, scales, strict=True):
                state = self.state[p]
                state["own"] -= self.param_groups[0]["lr"] * p.grad * state["reported"]
                p.copy_(state["own"] * scale)
                state["reported"] = scale

    return Rescaler


@pytest.mark.parametrize("factors", [_layer_wise, _neuron_wise])
def test_rescaling_moves_no_score(factors: Callable[[list[Tensor]], list[Tensor | float]]) -> None:
    task = small_task()
    plain, cheat = (measures(task, end(task, make, SGD)) for make in (torch.optim.SGD, rescaler(factors)))
    for name in SCORED:
        assert cheat[name] == pytest.approx(plain[name], rel=1e-4), name
    assert any(abs(cheat[name] / plain[name] - 1) > 0.5 for name in RAW)


def test_louder_logits_move_no_score() -> None:
    task = small_task()
    trained = end(task, torch.optim.SGD, SGD)
    louder = dict(trained.weights)
    for name in list(louder)[-2:]:
        louder[name] = 3 * louder[name]
    plain, cheat = measures(task, trained), measures(task, replace(trained, weights=louder))
    for name in SCORED:
        assert cheat[name] == pytest.approx(plain[name], rel=1e-4), name
    assert cheat["l2_norm"] > 1.2 * plain["l2_norm"]


# -- canaries ---------------------------------------------------------------------------------------------------------


def _permutation(size: int) -> Tensor:
    return torch.randperm(size, generator=torch_stream("controls", "permutation", size))


def hidden_units(task: Task) -> Task:
    """The same start with its hidden units in another order."""
    order = _permutation(WIDTH)

    def model(problem: Problem, seed: int) -> nn.Module:
        made = task.model(problem, seed)
        with torch.no_grad():
            first, second = made[0], made[2]  # type: ignore[index]
            first.weight.copy_(first.weight[order].clone())
            first.bias.copy_(first.bias[order].clone())
            second.weight.copy_(second.weight[:, order].clone())
        return made

    return replace(task, model=model)


def class_names(task: Task) -> Task:
    """The classes under other numbers, and the output units with them."""
    order = torch.tensor([2, 0, 1])

    def problem(seed: int) -> Problem:
        plain = task.problem(seed)
        assert plain.test is not None
        return replace(
            plain,
            train=Split(plain.train.x, order.argsort()[plain.train.y]),
            test=Split(plain.test.x, order.argsort()[plain.test.y]),
        )

    def model(problem: Problem, seed: int) -> nn.Module:
        made = task.model(problem, seed)
        with torch.no_grad():
            last = made[-1]  # type: ignore[index]
            last.weight.copy_(last.weight[order].clone())
            last.bias.copy_(last.bias[order].clone())
        return made

    return replace(task, problem=problem, model=model)


def pixels(task: Task) -> Task:
    """The inputs in another order, and the first layer's columns with them."""
    order = _permutation(FEATURES)

    def problem(seed: int) -> Problem:
        plain = task.problem(seed)
        assert plain.test is not None
        return replace(
            plain, train=Split(plain.train.x[:, order], plain.train.y), test=Split(plain.test.x[:, order], plain.test.y)
        )

    def model(problem: Problem, seed: int) -> nn.Module:
        made = task.model(problem, seed)
        with torch.no_grad():
            made[0].weight.copy_(made[0].weight[:, order].clone())  # type: ignore[index]
        return made

    return replace(task, problem=problem, model=model)


@pytest.mark.parametrize("canary", [hidden_units, class_names, pixels])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_names_and_orders_move_no_score(canary: Callable[[Task], Task], name: str) -> None:
    make, settings = (torch.optim.SGD, SGD) if name == "sgd" else (torch.optim.Adam, {"lr": 0.01})
    plain_task = small_task()
    other_task = canary(plain_task)
    plain, other = (measures(task, end(task, make, settings)) for task in (plain_task, other_task))
    assert other["test_error"] == plain["test_error"]
    assert other["input_margin"] == pytest.approx(plain["input_margin"], rel=1e-3)
    # Twenty draws of noise that meet other weights: equal up to their spread.
    assert other["adaptive_sharpness"] == pytest.approx(plain["adaptive_sharpness"], rel=0.3)


# -- rotation: shown as a property, not scored ------------------------------------------------------------------------


def rotated(task: Task) -> Task:
    """Inputs times a rotation, and the first layer times its inverse: the same function at the start."""
    stream = torch_stream("controls", "rotation")
    rotation, _ = torch.linalg.qr(torch.randn(FEATURES, FEATURES, generator=stream, dtype=torch.float64))

    def turn(split: Split | None) -> Split | None:
        return None if split is None else Split(split.x @ rotation, split.y)

    def problem(seed: int) -> Problem:
        plain = task.problem(seed)
        return replace(plain, train=turn(plain.train), test=turn(plain.test))  # type: ignore[arg-type]

    def model(problem: Problem, seed: int) -> nn.Module:
        made = task.model(problem, seed)
        with torch.no_grad():
            made[0].weight.copy_(made[0].weight @ rotation)  # type: ignore[index]
        return made

    return replace(task, problem=problem, model=model)


@pytest.mark.parametrize(
    ("name", "lr", "equivariant"),
    [
        ("sgd", 0.3, True),
        ("momentum", 0.05, True),
        ("normalized", 0.05, True),
        ("muon", 0.02, True),
        ("adam", 0.01, False),
        ("sign", 0.003, False),
    ],
)
def test_who_notices_a_rotation(name: str, lr: float, equivariant: bool) -> None:
    submission = load(name).submission
    settings = submission.settings(1)[0] | {"lr": lr}
    task = small_task()
    # For 200 steps: a property of the update, whether or not it reaches the stop.
    task = replace(task, target=Target(0.0, budget=200, check_every=10, at_end=True))
    outputs = []
    for one in (task, rotated(task)):
        test = one.problem(0).test
        assert test is not None
        with torch.no_grad():
            outputs.append(model_of(one, end(one, submission.optimizer, settings))(test.x))
    moved = float((outputs[0] - outputs[1]).norm() / outputs[0].norm())
    assert moved < 1e-3 if equivariant else moved > 0.05
