"""The training loop of every family, and the cost of measuring: time, and exact counts of gradient evaluations."""

from __future__ import annotations

from dataclasses import replace

import torch

from suite.loading import load
from suite.measures import measure
from suite.tasks import find_task
from suite.training import Lane, train

FAMILIES = {
    "linear": "min_norm_regression",
    "separable": "max_margin",
    "factorised": "sparse_regression",
    "images": "mnist5k_mlp",
}
STEPS = 160


class TrainingLoop:
    """`STEPS` gradient evaluations of every lane, without a stop."""

    params = (list(FAMILIES), ["sgd", "adam", "sam"], [1, 8])
    param_names = ("family", "submission", "lanes")
    rounds = 2
    repeat = (2, 5, 2.0)
    sample_time = 0.05
    warmup_time = 0.1

    def setup(self, family: str, submission: str, lanes: int) -> None:
        # The first optimizer of a process imports torch._dynamo, two seconds that are nobody's training loop.
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        task = find_task(FAMILIES[family])
        self.task = replace(task, stop=replace(task.stop, loss=-1e9, budget=STEPS))
        loaded = load(submission).submission
        self.make, settings = loaded.optimizer, loaded.settings(1)[0]
        self.lanes = [Lane(self.task.problem(seed), seed, 0, settings) for seed in range(lanes)]

    def time_train(self, family: str, submission: str, lanes: int) -> None:
        train(self.task, self.lanes, self.make)

    def track_gradient_evaluations(self, family: str, submission: str, lanes: int) -> int:
        return sum(result.gradient_evaluations for result in train(self.task, self.lanes, self.make))


class Measuring:
    """Curvature of the image network on its training data."""

    rounds = 2
    repeat = (2, 5, 2.0)

    def setup(self) -> None:
        task = find_task("mnist5k_mlp")
        self.problem = task.problem(0)
        self.model = task.model(self.problem, 0)

    def time_curvature(self) -> None:
        measure(self.model, self.problem.train, ["lambda_max", "hessian_trace"])
