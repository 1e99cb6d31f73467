"""Where does training stop sharpening?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from suite.curvature import Hessian, Network, lanczos
from suite.seeding import torch_stream
from suite.task import Problem, Solution, Split, Target, Task
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task


def _half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return mean_squared_error(outputs.squeeze(-1), targets) / 2


@task
def edge_of_stability() -> Task:
    """Does full-batch gradient descent sharpen until its step size is as large as stability allows?

    Claim. Full-batch gradient descent sharpens progressively until the Hessian's largest eigenvalue reaches 2 over the
    step size, and then hovers there while the loss goes on falling (Cohen et al. 2021, arXiv:2103.00065).

    Data. 20 equidistant points on [-1, 1], y = 8x⁴ - 8x² + 1, the same for every seed: the seeds differ in the
    initialisation. Model: 1-40-40-1 tanh, torch's default initialisation. Loss: half the mean squared error, not
    divided by a curvature: the step size itself is what is asked about.

    Target. Loss <= 2e-4 within 24,000 gradient evaluations: the step size is constant for the first 12,000, in which
    gradient descent meets the stop with steps from 0.05 on.

    Oracle. The limit of stability 2 / step size.

    Shown, not scored: it identifies gradient descent, and says nothing of quality. `stability_ratio` = lambda_max times
    the step size over 2: 1 at the edge, for plain gradient descent; momentum's limit is higher, and methods that
    precondition the gradient have a limit in other coordinates (Cohen et al. 2022, arXiv:2207.14484).
    """

    def problem(seed: int) -> Problem:
        x = torch.linspace(-1, 1, 20, dtype=torch.float64)
        return Problem(Split(x[:, None], 8 * x**4 - 8 * x**2 + 1), ground_truth={"seed": torch.tensor(seed)})

    def model(problem: Problem, seed: int) -> nn.Module:
        stream = torch_stream("edge_of_stability", seed, "init")
        with torch.random.fork_rng(devices=[]):  # layers draw weights of their own when they are made
            first, second, last = nn.Linear(1, 40), nn.Linear(40, 40), nn.Linear(40, 1)
        network = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), last).double()
        with torch.no_grad():
            for layer in network:
                if isinstance(layer, nn.Linear):
                    bound = 1 / math.sqrt(layer.in_features)
                    for parameter in layer.parameters():
                        parameter.copy_(torch.empty_like(parameter).uniform_(-bound, bound, generator=stream))
        return network

    def measure(solution: Solution) -> dict[str, float]:
        hessian = Hessian(Network(solution.model), solution.problem.train, _half_squared_error)
        sharpness = lanczos(hessian, 1, torch_stream("lambda_max")).values[0].item()
        step = float(solution.settings.get("lr", math.nan))
        return {"lambda_max": sharpness, "step_size": step, "stability_ratio": sharpness * step / 2}

    return Task(
        family="stability",
        problem=problem,
        model=model,
        loss=_half_squared_error,
        target=Target(2e-4, budget=24_000),
        measure=measure,
        axes=(),
        reported=("stability_ratio", "lambda_max"),
        papers=("Cohen et al. 2021, arXiv:2103.00065", "Cohen et al. 2022, arXiv:2207.14484"),
    )
