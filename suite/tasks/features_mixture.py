"""Rich or simple: does a network use the feature that a linear predictor cannot?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from suite.oracles.mixtures import ThreeClusters
from suite.seeding import torch_stream
from suite.task import Axis, Curve, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import adam_interface, hessian_norm, normal, signs
from suite.tasks.losses import logistic
from suite.tasks.registry import task

CLUSTERS = ThreeClusters(near=2 / 3, far=2.0, behind=math.hypot(2 / 3, 2.0))
"""The Bayes boundary passes by the origin, at a distance of log(2) over the sum of `near` and `behind`."""

EXCESS = 1.05
"""The target loss over the least logistic loss of a linear predictor."""


class HiddenLayer(nn.Module):
    """``(sum of relu(w_j·x) over the first half of the neurons - that over the second) / sqrt(m)`` for even m.

    Only the weights hidden [m, d] are trained. x [n, d] -> [n, 1].
    """

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = nn.Parameter(hidden.clone())

    def forward(self, x: Tensor) -> Tensor:
        positive, negative = torch.relu(x @ self.hidden.T).chunk(2, dim=1)
        return (positive - negative).sum(1, keepdim=True) / math.sqrt(len(self.hidden))


def turn(degrees: float) -> Tensor:
    """The rotation of the plane by so many degrees, [2, 2]."""
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)


def affine_share(values: Tensor, x: Tensor) -> float:
    """The share of the variance of `values` [n] that the best affine function of x [n, d] explains."""
    design = torch.column_stack([x, torch.ones_like(x[:, :1])])
    residual = values - design @ torch.linalg.lstsq(design, values[:, None]).solution[:, 0]
    return float(1 - residual.var(correction=0) / values.var(correction=0).clamp_min(1e-300))


@task
def rich_mixture(rotation: float = 0.0) -> Task:
    """Does the network use the feature that a linear predictor cannot?

    Claim. On Gaussian clusters where a line separates the classes tolerably and a curve does better, gradient descent
    on a two-layer ReLU network finds the line, while Adam uses the other feature too and comes closer to the Bayes
    classifier (Vasudeva et al. 2025, arXiv:2505.24022). Proved is, for isotropic clusters, population gradients of the
    linear loss and distances of the means between constants that are not stated, that gradient flow aligns every neuron
    with the first coordinate (Theorem 1), that sign descent, which is Adam with both betas 0, does not from small
    weights (Theorem 2), and that its piecewise linear limit errs less (Theorem 3); of Adam with betas near 1 only where
    the clusters are points (Theorem 4). Turning the inputs takes this advantage from Adam, or reverses it (DePavia et
    al. 2025, arXiv:2510.23804, of which only the abstract is known here), as entrywise methods depend on the
    coordinates (Maes et al. 2024, arXiv:2410.19964); for gradient descent from isotropic initial weights nothing
    changes.

    Data. Class -1 is N((-2.1, 0), I), class +1 an equal mixture of N((2/3, 2), I) and N((2/3, -2), I), turned by
    `rotation` degrees: the log-odds are 2.8 x_1 + log cosh(2 x_2), which a homogeneous network can follow nearly. 1,000
    points for training, 20,000 for the test. Model, as in the paper's experiments: two-layer ReLU network of width 100
    without biases, whose output weights are ±1/10 and stay so, w_j ~ N(0, 0.05²). The theorems have the linear loss -y
    f on the whole distribution; here it is the logistic loss of the 1,000 points, over its Hessian's largest eigenvalue
    at the start or at two neurons that compute the first coordinate, whichever is larger. `rich_mixture[rotation=45]`
    has both features in both coordinates.

    Target. 5 % above the least logistic loss of a linear predictor without an intercept, 0.302: a line suffices, and a
    curve passes by. The networks could reach lower losses with a curve alone.

    Oracle. The Bayes classifier and its error, one integral (0.057). The best line errs with probability 0.135.

    Generalization axis. `test_error`. Score 0: the best line. Score 1: the Bayes classifier. Reported:
    `bayes_disagreement`, the share of test points where network and Bayes classifier differ, and `affine_share`, the
    share of the variance of the outputs that the best affine function of the inputs explains: 1 for a line.
    """
    n, width, tests = 1_000, 100, 20_000
    if not -360 <= rotation <= 360:
        raise ValueError(f"rotation must be between -360 and 360 degrees, not {rotation}.")
    rotate = turn(rotation)

    def problem(seed: int) -> Problem:
        stream = torch_stream("rich_mixture", seed, "data")
        y = signs(stream, n + tests)
        first = torch.where(y > 0, CLUSTERS.near, -CLUSTERS.behind)
        centres = torch.column_stack([first, CLUSTERS.far * signs(stream, n + tests) * (y > 0)])
        plane = centres + normal(stream, n + tests, 2)
        x = plane @ rotate.T
        y = y[:, None]
        train = Split(x[:n], y[:n])
        hidden = 0.05 * normal(torch_stream("rich_mixture", seed, "init"), width, 2)
        networks = (HiddenLayer(hidden), HiddenLayer(math.sqrt(2) * torch.stack([rotate[:, 0], -rotate[:, 0]])))
        lipschitz = max(hessian_norm(network, train, logistic) for network in networks)
        return Problem(train, test=Split(x[n:], y[n:]), lipschitz=lipschitz, ground_truth={"hidden": hidden})

    def bayes_sign(x: Tensor) -> Tensor:
        plane = (x.cpu() @ rotate).numpy()
        return torch.from_numpy(CLUSTERS.log_odds(plane)).sign()[:, None].to(x)

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        test = solution.problem.required_test
        outputs = solution.model(test.x)
        return {
            "test_error": float((outputs * test.y <= 0).double().mean()),
            "bayes_disagreement": float((outputs * bayes_sign(test.x) <= 0).double().mean()),
            "affine_share": affine_share(outputs[:, 0], test.x),
        }

    @torch.no_grad()
    def curves(solution: Solution) -> dict[str, Curve]:
        """The boundary where the rotated first coordinate meets it, over the second."""
        heights = torch.linspace(-6, 6, 121, dtype=torch.float64)
        firsts = torch.linspace(-12, 12, 481, dtype=torch.float64)
        grid = torch.cartesian_prod(heights, firsts).flip(1)
        positive = solution.model((grid @ rotate.T).to(solution.problem.train.x)).cpu().view(len(heights), -1) > 0
        exact = -CLUSTERS.log_odds(torch.column_stack([torch.zeros_like(heights), heights]).numpy())
        exact /= CLUSTERS.near + CLUSTERS.behind
        learned = firsts[positive.double().argmax(1)]
        labels = ("second coordinate", "first coordinate at the boundary")
        return {"boundary": Curve(heights.tolist(), learned.tolist(), *labels, oracle=exact.tolist())}

    return Task(
        problem=problem,
        model=lambda problem, seed: HiddenLayer(problem.ground_truth["hidden"]),
        loss=logistic,
        target=Target(round(EXCESS * CLUSTERS.linear_loss, 6), budget=5_000),
        measure=measure,
        oracle=lambda problem, seed: Oracle(values={"bayes_error": CLUSTERS.bayes_error}),
        axes=(
            Axis("generalization", "test_error", "linear", score_0=CLUSTERS.linear_error, score_1=CLUSTERS.bayes_error),
        ),
        reported=("bayes_disagreement", "affine_share"),
        interface=adam_interface(2),
        curves=curves,
    )
