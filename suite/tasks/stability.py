"""Where does training stop sharpening?"""

from __future__ import annotations

import math
from statistics import fmean

import torch
from torch import Tensor, nn

from suite.curvature import Hessian, Network, lanczos
from suite.curvature.operators import Operator
from suite.models import RecordedTanhNetwork, seeded
from suite.seeding import torch_stream
from suite.task import Problem, Solution, Split, Target, Task
from suite.tasks.losses import half_squared_error
from suite.tasks.registry import task

POINTS, WIDTH, BETA2 = 20, 40, 0.999
TARGET = Target(1e-2, budget=12_000, check_every=6_000)
"""The step size is constant up to the first look at the loss, half of the budget."""

ADAM_TARGET = Target(1e-2, budget=6_000, check_every=3_000)
"""The same after three times the memory 1 / (1 - `BETA2`) of the preconditioner."""

BATCHES = 400
"""Batches that the batch sharpness is a mean over."""


def half_squared_error_of_column(outputs: Tensor, targets: Tensor) -> Tensor:
    """`half_squared_error` of outputs [n, 1] for targets [n]."""
    return half_squared_error(outputs.squeeze(-1), targets)


def chebyshev(x: Tensor) -> Tensor:
    """The Chebyshev polynomial of degree 4 of inputs [n, 1], [n]."""
    square = x[:, 0].square()
    return 8 * square**2 - 8 * square + 1


def polynomial_problem(seed: int) -> Problem:
    """Equidistant points of a polynomial, the same for every seed."""
    x = torch.linspace(-1, 1, POINTS, dtype=torch.float64)[:, None]
    # Nothing reads the seed: it alone makes the fingerprints of the seeds differ.
    return Problem(Split(x, chebyshev(x)), ground_truth={"seed": torch.tensor(seed)})


def batch_sharpness(model: nn.Module, data: Split, size: int) -> float:
    """The mean of ``g'H g / |g|²`` over random batches, g and H of a batch's own loss: curvature along its gradient.

    So Andreyev and Beneventano define it (2024, arXiv:2412.20553, Definition 3, as their own account of it and others
    quote it). To second order, a step s along -g lowers a batch's own loss while its quotient is below 2/s.
    """
    stream, leaves = torch_stream("batch_sharpness"), [p for p in model.parameters() if p.requires_grad]
    quotients = []
    for _ in range(BATCHES):
        rows = torch.randperm(len(data), generator=stream)[:size].to(data.x.device)
        loss = half_squared_error_of_column(model(data.x[rows]), data.y[rows])
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, leaves, create_graph=True)])
        direction = gradient.detach()
        products = torch.autograd.grad(gradient @ direction, leaves)
        curvature = torch.cat([product.flatten() for product in products]) @ direction
        quotients.append(float(curvature / (direction @ direction)))
    return fmean(quotients)


def setting(solution: Solution, name: str, default: float = math.nan) -> float:
    """The run's hyper-parameter of this name."""
    return float(solution.settings.get(name, default))


@task
def edge_of_stability(batch: int = POINTS) -> Task:
    """Does gradient descent sharpen until its step size is as large as stability allows?

    Claim. Gradient descent with a step size s sharpens progressively until the Hessian's largest eigenvalue reaches
    2/s, and then hovers there while the loss goes on falling; heavy-ball momentum b does at (2 + 2b)/s (Cohen et al.
    2021, arXiv:2103.00065). On mini-batches it is the batch sharpness that hovers at 2/s, the mean curvature of a
    batch's loss along its own gradient (Andreyev and Beneventano 2024, arXiv:2412.20553). The limits are theorems on
    quadratic losses; that training goes to them is an observation.

    Data. 20 equidistant points on [-1, 1], y = 8x⁴ - 8x² + 1, the same for every seed: the seeds differ in the initial
    weights. Model: 1-40-40-1 tanh, torch's default initialization. Loss: half the mean squared error, not divided by a
    Lipschitz constant: the step size itself is what the task is about. Variant `edge_of_stability[batch=4]`: steps on
    batches of 4 of the 20 points.

    Target. The loss is looked at after 6,000 steps of constant size, half of the budget, and there most step sizes that
    train are below the target loss: a run that ended as soon as it was would end while it still sharpens. Every step
    size that reaches it is reported: the claim is of all of them. Methods of two gradients a step have spent the budget
    then, and their step has fallen to 0.

    Reported, not scored: each is 1 at the edge that is predicted. `stability_ratio` = lambda_max s / 2, for plain
    gradient descent. `heavy_ball_ratio` = lambda_max s / (2 + 2b), with b the run's `momentum` or 0.
    `batch_sharpness_ratio` = batch sharpness times s / 2, on batches. They identify methods, and are no measures of
    quality; preconditioned methods have their edge in other coordinates (`adam_edge`).

    On seed 0 gradient descent stands at 1.03 and 1.00 (steps 0.05 and 0.1). On batches of 4 the batch sharpness is at
    0.57 and 0.95 (the same steps) after 6,000 steps. Heavy ball with b = 0.9 does not hover: its edge is a bound that
    throws it back. With a step of 0.1 the largest eigenvalue rises from 7 to 40 in 250 steps, beyond the edge of 38;
    the loss rises from 5e-3 to 4e-2 and the eigenvalue falls to 14, where the data are fitted to 1e-5 and sharpening
    ends with the gradient. So the ratio at the end is 0.40. With 0.15 this happens at 150 steps, and it lands at 24,
    0.96 of the edge, by chance; with 0.05 the data are fitted before the edge is there (0.74); 0.2 diverges.
    """
    if not 1 <= batch <= POINTS:
        raise ValueError(f"batch must be between 1 and {POINTS}, not {batch}.")

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(1, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))

    def measure(solution: Solution) -> dict[str, float]:
        hessian = Hessian(Network(solution.model), solution.problem.train, half_squared_error_of_column)
        top = lanczos(hessian, 1, torch_stream("lambda_max")).values[0].item()
        step, momentum = setting(solution, "lr"), setting(solution, "momentum", 0.0)
        ratios = {"stability_ratio": top * step / 2, "heavy_ball_ratio": top * step / (2 + 2 * momentum)}
        if batch < POINTS:
            sharpness = batch_sharpness(solution.model, solution.problem.train, batch)
            ratios["batch_sharpness_ratio"] = sharpness * step / 2
        return {"lambda_max": top, "step_size": step} | ratios

    return Task(
        problem=polynomial_problem,
        model=lambda problem, seed: seeded(network, torch_stream("edge_of_stability", seed, "init"), torch.float64),
        loss=half_squared_error_of_column,
        target=TARGET,
        batch_size=batch,
        measure=measure,
        selection="convergence",
        reported=(
            "stability_ratio",
            "heavy_ball_ratio",
            *(("batch_sharpness_ratio",) if batch < POINTS else ()),
            "lambda_max",
        ),
    )


class Preconditioned(Operator):
    """``D H D`` for an operator H and a diagonal D [P]: the eigenvalues of D² H."""

    def __init__(self, operator: Operator, diagonal: Tensor) -> None:
        self.like(operator)
        self._operator, self._diagonal = operator, diagonal

    def products(self, vectors: Tensor) -> Tensor:
        return self._diagonal * self._operator.products(self._diagonal * vectors)


@task
def adam_edge() -> Task:
    """Does full-batch Adam train at the edge of stability of its preconditioned Hessian?

    Claim. With its preconditioner P frozen, Adam is a gradient descent with averaged momentum b1 and step size s in the
    coordinates of P^(1/2), stable on a quadratic loss up to the largest eigenvalue (2 + 2 b1) / ((1 - b1) s) of P^-1 H,
    38 / s for b1 = 0.9. Full-batch training is seen to bring the eigenvalue there and to keep it, while the curvature
    itself goes on rising and P with it (Cohen et al. 2022, arXiv:2207.14484: an observation, not a theorem; its
    abstract was read, and that P has the bias corrections follows from Adam's step).

    Data, model, loss and target loss of `edge_of_stability`. The network keeps the running mean of its squared
    gradients in a buffer, as batch norm keeps its statistics, so the preconditioner of the last step is known from what
    a run leaves: P = (1 - b1^t) (sqrt(v) + epsilon), with v corrected for its start at 0 and t steps. Runs that keep it
    are trained one by one; so the fixed number of steps is half of that of `edge_of_stability`: 3,000, three times the
    memory of P, 1 / (1 - b2).

    Reported, not scored. `preconditioned_ratio` = the largest eigenvalue of P^-1 H times (1 - b1) s / (2 + 2 b1): 1 at
    Adam's edge. b1, b2 and epsilon are the run's, or else Adam's defaults, 0.9, 0.999 and 1e-8; it is NaN for another
    b2, as the network averages with 0.999. For every other method it says where Adam's edge would be.
    `stability_ratio` is that of `edge_of_stability`. On seed 0 Adam stands at 0.99 and 0.97 (steps 0.001 and 0.01).
    """

    def network() -> nn.Module:
        return RecordedTanhNetwork([1, WIDTH, WIDTH, 1], chebyshev, BETA2)

    def measure(solution: Solution) -> dict[str, float]:
        model = solution.model
        assert isinstance(model, RecordedTanhNetwork)
        hessian = Hessian(Network(model), solution.problem.train, half_squared_error_of_column)
        step, (beta1, beta2) = setting(solution, "lr"), solution.settings.get("betas", (0.9, BETA2))
        root = model.second_moment().sqrt() + setting(solution, "eps", 1e-8)
        diagonal = ((1 - beta1 ** float(model.calls)) * root).rsqrt()
        stream = torch_stream("lambda_max")
        top, preconditioned = (
            lanczos(matrix, 1, stream).values[0].item() for matrix in (hessian, Preconditioned(hessian, diagonal))
        )
        ratio = preconditioned * step * (1 - beta1) / (2 + 2 * beta1)
        return {
            "lambda_max": top,
            "step_size": step,
            "stability_ratio": top * step / 2,
            "preconditioned_ratio": ratio if beta2 == BETA2 else math.nan,
        }

    return Task(
        problem=polynomial_problem,
        model=lambda problem, seed: seeded(network, torch_stream("adam_edge", seed, "init"), torch.float64),
        loss=half_squared_error_of_column,
        target=ADAM_TARGET,
        batch_size=POINTS,
        measure=measure,
        selection="convergence",
        batched=False,
        reported=("preconditioned_ratio", "stability_ratio", "lambda_max"),
    )
