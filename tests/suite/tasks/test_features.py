"""Features: which ones networks learn, and that they could learn the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from suite.entries import load
from suite.entries.entry import bind
from suite.task import Oracle, Solution, Target, Task
from suite.tasks import find_task
from suite.tasks.features_grokking import influences
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import oracle_of, trained


def test_a_small_initialization_recovers_the_teacher_and_a_large_one_does_not() -> None:
    rich = trained(find_task("teacher_student"), "momentum", 0.125)
    lazy = trained(find_task("teacher_student[scale=1.0]"), "momentum", 0.125)
    for small, large in zip(rich, lazy, strict=True):
        assert 0.95 < small["variation_ratio"] < 1.1
        assert large["variation_ratio"] > 1.6
        assert small["teacher_distance"] < 0.05 < large["teacher_distance"]


def test_the_teacher_and_the_initial_network_are_the_references() -> None:
    task = find_task("teacher_student")
    problem, oracle = task.problem(0), oracle_of("teacher_student", 0)

    def measured(network: torch.nn.Module) -> dict[str, float]:
        return task.measure(Solution(network, {}, problem, oracle, 0))

    student = find_task("teacher_student[scale=1.0]").model(problem, 0)
    assert measured(student)["variation_ratio"] == pytest.approx(oracle.values["lazy_ratio"], rel=1e-9)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
        # Each teacher neuron split into two of the student's, in other proportions.
        student[0].weight[:6] = problem.ground_truth["teacher"].repeat_interleave(2, 0)
        student[2].weight[0, :6] = torch.tensor([0.3, 0.7, -0.5, -0.5, 0.9, 0.1], dtype=torch.float64)
    recovered = measured(student)
    assert recovered["variation_ratio"] == pytest.approx(1, rel=1e-9)
    assert recovered["teacher_distance"] < 1e-12
    assert torch.allclose(student(problem.train.x), problem.train.y, atol=1e-12)
    assert 0.1 < oracle.values["kernel_distance"] < 0.25


def test_decay_finds_the_relevant_inputs_after_the_fit() -> None:
    task = find_task("sparse_parity")
    grokked = trained(task, "adamw", 0.01, seeds=1, weight_decay=0.3)[0]
    memorised = trained(task, "adam", 0.01, seeds=1)[0]
    assert grokked["test_error"] < 0.1 < 0.35 < memorised["test_error"]
    assert grokked["relevant_influence"] > 0.7 > 0.4 > memorised["relevant_influence"]


class Parity(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3].prod(1, keepdim=True)


def test_influences_of_the_parity_itself() -> None:
    x = torch.randint(0, 2, (50, 6)) * 2.0 - 1
    assert influences(Parity(), x).tolist() == [4, 4, 4, 0, 0, 0]


def test_the_parity_of_tokens_is_the_same_problem() -> None:
    """The same network and the same steps: what is measured agrees; and a flipped bit is a flipped sign."""
    values = [
        trained(_short(name), "sgd", 0.5, seeds=1)[0] for name in ("sparse_parity", "sparse_parity[inputs=tokens]")
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    x = torch.randint(0, 2, (50, 6))
    assert influences(lambda bits: Parity()(2.0 * bits - 1), x).tolist() == [4, 4, 4, 0, 0, 0]


def _short(name: str, steps: int = 30) -> Task:
    return replace(find_task(name), target=Target(1.0, budget=steps, at_end=True))


@pytest.mark.parametrize("name", ["gru", "transformer_small"])
def test_architectures_of_tokens_enter_the_parity(name: str) -> None:
    entry = bind(load(name).submission, _short("sparse_parity[inputs=tokens]", 3))
    problem = entry.task.problem(0)
    (result,) = train(entry.task, [TrainingRun(problem, 0, 0, {"lr": 3e-3})], entry.make)
    model = entry.task.model(problem, 0)
    model.load_state_dict(result.weights)
    values = entry.task.measure(Solution(model.eval(), result.initial, problem, Oracle(), 0))
    assert 0 < values["relevant_influence"] < 1
