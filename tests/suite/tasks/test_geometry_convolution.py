"""Regression by linear networks, as submitted architectures and as the task's own."""

from __future__ import annotations

import pytest
import torch

from suite.entries import load
from suite.entries.entry import bind, build_network
from suite.errors import InputError
from suite.tasks import find_task
from suite.training import TrainingRun, train
from tests.suite.tasks.helpers import measured, trained


def entered(architecture: str, task_name: str, lr: float, seeds: int = 2) -> list[dict[str, float]]:
    entry = bind(load(architecture).submission, find_task(task_name))
    runs = [TrainingRun(entry.task.problem(seed), seed, 0, {"lr": lr}) for seed in range(seeds)]
    results = train(entry.task, runs, entry.make)
    return [measured(entry.task, run, result) for run, result in zip(runs, results, strict=True)]


def test_three_parametrisations_of_the_same_functions() -> None:
    task = find_task("linear_convolution")
    values = [task.oracle(task.problem(seed), seed).values for seed in range(2)]  # type: ignore[misc]
    measures = {name: entered(f"linear_{name}", "linear_convolution", 0.4) for name in ("convolutional", "full")}
    for seed in range(2):
        assert measures["convolutional"][seed]["recovery_error"] < 0.2
        assert measures["convolutional"][seed]["fourier_l1_ratio"] < 1.15
        assert measures["full"][seed]["recovery_error"] == pytest.approx(values[seed]["l2_recovery_error"], abs=0.02)


def test_large_initialisation_forgets_the_frequencies() -> None:
    errors = [
        trained(find_task(f"linear_convolution[scale={scale}]"), "sgd", 0.6, seeds=1)[0]["recovery_error"]
        for scale in (1.0, 0.1, 0.01)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2 * errors[2]


def test_the_oracle_recovers_the_teacher() -> None:
    task = find_task("linear_convolution")
    for seed in range(5):
        problem = task.problem(seed)
        oracle = task.oracle(problem, seed)  # type: ignore[misc]
        assert torch.allclose(oracle.solutions["fourier_l1"], problem.ground_truth["teacher"], atol=1e-5)
        assert oracle.values["l2_fourier_l1_ratio"] > 1.5


@pytest.mark.parametrize("name", ["linear_full", "linear_diagonal", "linear_convolutional"])
def test_linear_architectures_take_images_and_classes(name: str) -> None:
    network = load(name).submission.architecture((3, 4, 4), 10)  # type: ignore[misc]
    assert network(torch.randn(2, 3, 4, 4, dtype=torch.float64)).shape == (2, 10)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda shape, outputs: torch.nn.Linear(shape[0], 2), r"to the shape \(2, 2\), not \(2, 1\)"),
        (
            lambda shape, outputs: torch.nn.Sequential(torch.nn.Linear(shape[0], 1), torch.nn.Flatten(0)),
            r"shape \(2,\)",
        ),
        (lambda shape, outputs: torch.nn.Linear(shape[0] + 1, outputs), "raised on inputs of shape"),
    ],
)
def test_architectures_of_another_shape_are_refused(make: object, sentence: str) -> None:
    """A prediction [n] against targets [n, 1] would be broadcast to [n, n] and trained without complaint."""
    task = find_task("linear_convolution")
    with pytest.raises(InputError, match=sentence):
        build_network(make, task, 0)  # type: ignore[arg-type]
