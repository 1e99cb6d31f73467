"""Features: which of several sufficient ones does a network learn, and does it find those that generated the data?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.models import balance, relu_network
from suite.oracles.functions import kernel_interpolation
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import (
    adam_interface,
    arrays,
    hessian_norm,
    normal,
    relative_distance,
    slope_variation,
)
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task


@task
def teacher_student(scale: float = 0.1) -> Task:
    """Does the student find the teacher's neurons?

    Claim. From small initial weights a wide student recovers the few neurons of its teacher, the solution of least
    variation norm (Chizat and Bach 2020, arXiv:2002.04486; Boursier et al. 2022, arXiv:2206.00939); from large ones
    training is lazy and interpolates with the initial neurons (Chizat et al. 2019, arXiv:1812.07956).

    Data. n = 200 inputs x ~ N(0, I) in d = 10 dimensions, y = relu(q_1·x) - relu(q_2·x) + relu(q_3·x) with orthonormal
    q; the mean square of y is about 1.3. Model: two-layer ReLU network of width 50 without biases, He's initialization
    times `scale`, rescaled to layers of equal norm, as gradient flow conserves them. Loss: mean squared error over the
    largest eigenvalue of its Hessian at the initial weights or at the balanced teacher, whichever is larger: small
    initial weights have little of the final curvature. Of interest: scale 0.1 (rich), 1 (lazy).

    Oracle. The teacher, of variation norm 3; and, for the kernel regime, the interpolant of the infinite-width tangent
    kernel.

    Norm axis. `variation_ratio`: total variation of the slope along straight segments between test points, mean over
    200 of them, over the teacher's on the same. For networks of this kind its expectation is the variation norm sum of
    |a_j||w_j|, up to a factor, but it is measured from the function, for any architecture. Score 0: the network at
    scale 1 before training, per seed; in the lazy regime weights hardly change, so the solution keeps these kinks.
    Generalization axis. `teacher_distance`: distance to the teacher on 1,000 test points over the teacher's norm. Score
    0: the kernel's, per data set, about 0.17. Score 1: closer counts as exact.
    """
    n, d, width, neurons, test, segments = 200, 10, 50, 3, 1_000, 200
    if not 1e-3 <= scale <= 10:
        raise ValueError(f"scale must be between 0.001 and 10, not {scale}.")

    def initial_network(seed: int, scale: float) -> nn.Sequential:
        return balance(relu_network(d, [width], torch_stream("teacher_student", seed, "init"), scale, bias=False))

    def teacher(directions: Tensor) -> nn.Sequential:
        network = relu_network(d, [neurons], torch_stream("teacher_student", "shape"), bias=False)
        network.load_state_dict({"0.weight": directions, "2.weight": torch.tensor([[1.0, -1.0, 1.0]])})
        return network

    def problem(seed: int) -> Problem:
        stream = torch_stream("teacher_student", seed, "data")
        directions = torch.linalg.qr(normal(stream, d, d)).Q[:neurons]
        truth = teacher(directions)
        x = normal(stream, n + test, d)
        with torch.no_grad():
            y = truth(x)
        train = Split(x[:n], y[:n])
        networks = (initial_network(seed, scale), truth)
        return Problem(
            train,
            test=Split(x[n:], y[n:]),
            lipschitz=max(hessian_norm(network, train, mean_squared_error) for network in networks),
            # Nothing reads the seed; it is part of the fingerprint that shipped records hold.
            ground_truth={"teacher": directions, "seed": torch.tensor(seed)},
        )

    def variation(model: nn.Module, problem: Problem) -> float:
        x = problem.required_test.x
        return float(slope_variation(model, x[:segments], x[segments : 2 * segments], points=251).mean())

    def oracle(problem: Problem, seed: int) -> Oracle:
        problem = problem.to("cpu")
        (x, y), test = arrays(problem.train), problem.required_test
        kernel = torch.from_numpy(kernel_interpolation(x, y[:, 0], test.x.numpy()))
        teacher_variation = variation(teacher(problem.ground_truth["teacher"]), problem)
        values = {
            "teacher_variation": teacher_variation,
            "lazy_ratio": variation(initial_network(seed, 1.0), problem) / teacher_variation,
            "kernel_distance": relative_distance(kernel[:, None], test.y),
        }
        return Oracle(values=values)

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        test, values = solution.problem.required_test, solution.oracle.values
        return {
            "variation_ratio": variation(solution.model, solution.problem) / values["teacher_variation"],
            "teacher_distance": relative_distance(solution.model(test.x), test.y),
        } | {name: values[name] for name in ("lazy_ratio", "kernel_distance")}

    return Task(
        problem=problem,
        model=lambda problem, seed: initial_network(seed, scale),
        loss=mean_squared_error,
        target=Target(1e-4, budget=8_000),
        measure=measure,
        oracle=oracle,
        selection="convergence",
        axes=(
            Axis("norm", "variation_ratio", "log", score_0="lazy_ratio", score_1=1.0),
            Axis("generalization", "teacher_distance", "log", score_0="kernel_distance", score_1=0.01, floor=0.01),
        ),
        reported=("lazy_ratio", "kernel_distance"),
        interface=adam_interface(d),
    )
