"""Where does training stop sharpening?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from suite.curvature import Hessian, Network, lanczos
from suite.models import seeded
from suite.seeding import torch_stream
from suite.task import Problem, Solution, Split, Target, Task
from suite.tasks.losses import half_squared_error
from suite.tasks.registry import task


def half_squared_error_of_column(outputs: Tensor, targets: Tensor) -> Tensor:
    """`half_squared_error` of outputs [n, 1] for targets [n]."""
    return half_squared_error(outputs.squeeze(-1), targets)


@task
def edge_of_stability() -> Task:
    """Does full-batch gradient descent sharpen until its step size is as large as stability allows?

    Claim. Full-batch gradient descent sharpens progressively until the Hessian's largest eigenvalue reaches 2 over the
    step size, and then hovers there while the loss goes on falling (Cohen et al. 2021, arXiv:2103.00065).

    Data. 20 equidistant points on [-1, 1], y = 8x⁴ - 8x² + 1, the same for every seed: the seeds differ in the initial
    weights. Model: 1-40-40-1 tanh, torch's default initialization. Loss: half the mean squared error, not divided by a
    Lipschitz constant: the step size itself is what the task is about.

    Target. The step size is constant for the first half of the budget, in which steps from 0.05 on reach the target
    loss. Every step size that does is reported: the claim is of all of them.

    Reported, not scored. `stability_ratio` = lambda_max times the step size over 2: 1 at the edge, for plain gradient
    descent. It identifies gradient descent, and is no measure of quality: momentum's limit is higher, and methods that
    precondition the gradient have a limit in other coordinates (Cohen et al. 2022, arXiv:2207.14484).
    """

    def problem(seed: int) -> Problem:
        x = torch.linspace(-1, 1, 20, dtype=torch.float64)
        # Nothing reads the seed: it alone makes the fingerprints of the seeds differ, as in shipped records.
        return Problem(Split(x[:, None], 8 * x**4 - 8 * x**2 + 1), ground_truth={"seed": torch.tensor(seed)})

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))

    def measure(solution: Solution) -> dict[str, float]:
        hessian = Hessian(Network(solution.model), solution.problem.train, half_squared_error_of_column)
        sharpness = lanczos(hessian, 1, torch_stream("lambda_max")).values[0].item()
        step = float(solution.settings.get("lr", math.nan))
        return {"lambda_max": sharpness, "step_size": step, "stability_ratio": sharpness * step / 2}

    return Task(
        problem=problem,
        model=lambda problem, seed: seeded(network, torch_stream("edge_of_stability", seed, "init"), torch.float64),
        loss=half_squared_error_of_column,
        target=Target(2e-4, budget=24_000),
        measure=measure,
        selection="convergence",
        reported=("stability_ratio", "lambda_max"),
    )
