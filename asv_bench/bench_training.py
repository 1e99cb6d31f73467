"""The training loop of every family: time, peak memory, and exact counts of gradient evaluations and operations."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from asv_bench import steps
from asv_bench.quiet import Quiet
from suite.entries.loading import load
from suite.measures import measure
from suite.models import restore
from suite.tasks import find_task
from suite.training import TrainingRun, train

FAMILIES = {
    "linear": "min_norm_regression",
    "separable": "max_margin",
    "factorised": "sparse_regression",
    "valleys": "valley_sparse",
    "functions": "univariate_relu",
    "features": "teacher_student",
    "images": "mnist5k_mlp",
}
"""A task of each family. Families whose loops are those of another (stability, factorial) are left out."""

STEPS = 160


class _Training:
    """`STEPS` gradient evaluations of every run, without a target loss."""

    timeout = 300

    def prepare(self, family: str, submission: str, runs: int, steps: int = STEPS) -> None:
        # The first optimizer of a process imports torch._dynamo, two seconds that are nobody's training loop.
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        task = find_task(FAMILIES[family])
        target = replace(task.target, loss=-1e9, budget=steps, check_every=min(task.target.check_every, steps))
        self.task = replace(task, target=target)
        loaded = load(submission).submission
        self.make, settings = loaded.optimizer, loaded.settings(1)[0]
        self.runs = [TrainingRun(self.task.problem(seed), seed, 0, settings) for seed in range(runs)]

    def run(self) -> int:
        return sum(result.gradient_evaluations for result in train(self.task, self.runs, self.make))


class TrainingLoop(Quiet, _Training):
    """Time, by how the optimizer is stepped (plain, with a closure) and by the number of runs."""

    params = (list(FAMILIES), ["sgd", "sam"], [1, 8])
    param_names = ("family", "submission", "runs")

    def setup(self, family: str, submission: str, runs: int) -> None:
        self.prepare(family, submission, runs)

    def time_train(self, family: str, submission: str, runs: int) -> None:
        self.run()


class Steps:
    """A step of a small task, without what a training costs beside its steps."""

    params = (list(steps.TASKS), list(steps.SUBMISSIONS), list(steps.LANES))
    param_names = ("task", "submission", "lanes")
    timeout = 300

    def track_microseconds(self, task: str, submission: str, lanes: int) -> float:
        torch.set_num_threads(1)
        return 1e6 * steps.seconds_per_evaluation(find_task(task), submission, lanes)

    track_microseconds.unit = "microseconds"


class TrainingCounts(_Training):
    """What is the same in every run on every machine, and so can be compared exactly."""

    params = (list(FAMILIES), ["sgd", "sam"])
    param_names = ("family", "submission")

    def setup(self, family: str, submission: str) -> None:
        self.prepare(family, submission, runs=4, steps=32)

    def track_gradient_evaluations(self, family: str, submission: str) -> int:
        return self.run()

    def track_flops(self, family: str, submission: str) -> int:
        with FlopCounterMode(display=False) as counter:
            self.run()
        return counter.get_total_flops()

    track_gradient_evaluations.unit = "evaluations"
    track_flops.unit = "operations"


class TrainingMemory(_Training):
    """The peak memory of a process that trains eight runs."""

    params = (list(FAMILIES),)
    param_names = ("family",)

    def setup(self, family: str) -> None:
        self.prepare(family, "sgd", runs=8, steps=32)

    def peakmem_train(self, family: str) -> None:
        self.run()


class Measuring(Quiet):
    """Curvature and sharpness of the image network on its training data."""

    params = (["lambda_max", "hessian_trace", "adaptive_sharpness"],)
    param_names = ("measure",)

    def setup(self, name: str) -> None:
        task = find_task("mnist5k_mlp")
        self.problem = task.problem(0)
        self.model = task.model(self.problem, 0)
        # At matched loss only a network that fits can be measured.
        run = TrainingRun(self.problem, 0, 0, {"lr": 1e-3})
        (result,) = train(task, [run], load("adam").submission.optimizer)
        restore(self.model, result.weights)

    def time_measure(self, name: str) -> None:
        measure(self.model, self.problem.train, [name])

    def peakmem_measure(self, name: str) -> None:
        measure(self.model, self.problem.train, [name])
