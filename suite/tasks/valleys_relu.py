"""The valley of a ReLU network: its flattest interpolator is known exactly on the plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.models import TwoLayerReLU
from suite.oracles.relu import flattest_interpolator, gradient_flow
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import arrays, normal, on_circle, tensors, uniform, weights
from suite.tasks.losses import half_squared_error
from suite.tasks.registry import task
from suite.tasks.valleys import label_noise

TARGET_LOSS = 5e-4


def hessian_parts(x: Tensor, hidden: Tensor, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Hessian J'J / n at an interpolator, by the Gram matrix JJ' / n, which has the same eigenvalues other than 0.

    From inputs [n, d] and weights [m, d] and [m]: the Gram matrix [n, n], and the parts of its trace that are due to
    each neuron's output weight and to its hidden weights, [m] each.
    """
    pre = x @ hidden.T
    features, active = torch.relu(pre), (pre > 0).to(x.dtype)
    gram = features @ features.T + ((active * output) @ (active * output).T) * (x @ x.T)
    return (
        gram / len(x),
        features.square().mean(0),
        output.square() * (active * x.square().sum(1, keepdim=True)).mean(0),
    )


@task
def valley_relu(noise: float = 0.0) -> Task:
    """Which interpolator in the valley of a ReLU network does the optimizer end at?

    Claim. The minima of a network form a valley. Gradient flow stays where it lands; SAM, label noise and steps of
    constant length move on to flatter minima (Damian et al. 2021, arXiv:2106.06530; Li, Wang and Arora 2022,
    arXiv:2110.06914; Wen et al. 2023, arXiv:2211.05729; Arora, Li and Panigrahi 2022, arXiv:2205.09745). On two-layer
    ReLU networks a flat minimum has little weighted variation (Nacson et al. 2023, arXiv:2306.17499); whether it
    generalizes depends on the data (Wen, Li and Ma 2023, arXiv:2307.11007).

    Data. n = 6 points of the upper half plane on a jittered grid of angles, radius 0.7 to 1.3, targets by a teacher of
    three ReLU neurons whose kinks lie in the three thirds of the half circle. This is univariate regression with
    biases, in homogeneous coordinates. (Points all around would be ill-conditioned: without biases f(x) - f(-x) is
    linear.) Model: sum_j a_j relu(w_j·x), width 40, He's initialization in both layers. Loss: mean squared error over
    2, divided by the largest eigenvalue of J'J / n at the initial weights.

    Target. About 0.1 % of the loss of predicting 0, at the end of the whole budget. Variant `valley_relu[noise=1]`:
    targets y ± 1 for the first 70 % of the budget.

    Oracle. The exact infimum of the Hessian's trace over all interpolators of any width, by a second-order cone program
    with one neuron for each of the ways in which a line through 0 can divide the points (Pilanci and Ergen 2020,
    arXiv:2002.10553); width 40 is enough for it. Any network that interpolates has at least that trace.

    Flatness axis. `trace_ratio` = trace over the least possible. Score 0: gradient flow from the same initial weights
    to the target loss, integrated with a tenth of the stable step; about 10. Rescaling neurons changes the trace: it is
    one of the movements along the valley that the claim predicts. Reported: `rescaled_trace_ratio`, the least trace
    that rescaling the solution's neurons can reach, over the least possible; `lambda_max`; and `test_error`, the
    squared error on 200 points of the half circle over the variance there.
    """
    n, width, points = 6, 40, 200

    def problem(seed: int) -> Problem:
        stream = torch_stream("valley_relu", seed, "data")
        angles = (torch.arange(n) + uniform(stream, n, 0.2, 0.8)) * math.pi / n
        x = on_circle(angles) * uniform(stream, n, 0.7, 1.3)[:, None]
        kinks = (torch.arange(3) + uniform(stream, 3, 0.2, 0.8)) * math.pi / 3
        sides, signs = (torch.tensor(values, dtype=torch.float64) for values in ((1, -1, 1), (1, 1, -1)))
        teacher = TwoLayerReLU(on_circle(kinks + sides * math.pi / 2), signs)
        grid = on_circle((torch.arange(points, dtype=torch.float64) + 0.5) * math.pi / points)
        init_stream = torch_stream("valley_relu", seed, "init")
        hidden, output = normal(init_stream, width, 2), normal(init_stream, width) * math.sqrt(2 / width)
        with torch.no_grad():
            return Problem(
                Split(x, teacher(x)),
                test=Split(grid, teacher(grid)),
                lipschitz=float(torch.linalg.eigvalsh(hessian_parts(x, hidden, output)[0])[-1]),
                ground_truth={"hidden": hidden, "output": output},
            )

    def oracle(problem: Problem, seed: int) -> Oracle:
        x, y = arrays(problem.train)
        hidden, output = (problem.ground_truth[name].cpu().numpy() for name in ("hidden", "output"))
        flattest = flattest_interpolator(x, y)
        flow = gradient_flow(x, y, hidden, output, TARGET_LOSS, step=0.1 / problem.lipschitz)
        gram, _, _ = hessian_parts(*map(torch.from_numpy, (x, flow.hidden, flow.output)))
        values = {"trace": flattest.value, "flow_trace_ratio": float(gram.trace()) / flattest.value}
        return Oracle(tensors(hidden=flattest.hidden, output=flattest.output), values)

    def measure(solution: Solution) -> dict[str, float]:
        train, test = solution.problem.train, solution.problem.required_test
        gram, outer, inner = hessian_parts(train.x, *weights(solution, "hidden", "output"))
        with torch.no_grad():
            error = (solution.model(test.x) - test.y).square().mean() / test.y.var(correction=0)
        least = solution.oracle.values["trace"]
        return {
            "trace_ratio": float(gram.trace()) / least,
            # The two parts scale as a² and |w|²: with their product unchanged, the sum is least where they are equal.
            "rescaled_trace_ratio": float(2 * (outer * inner).sqrt().sum()) / least,
            "lambda_max": float(torch.linalg.eigvalsh(gram)[-1]),
            "test_error": float(error),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: TwoLayerReLU(**problem.ground_truth),
        loss=half_squared_error,
        target=Target(TARGET_LOSS, budget=4_000, at_end=True),
        measure=measure,
        oracle=oracle,
        label_noise=label_noise(noise),
        axes=(Axis("flatness", "trace_ratio", "log", score_0="flow_trace_ratio", score_1=1.0),),
        reported=("rescaled_trace_ratio", "lambda_max", "test_error"),
    )
