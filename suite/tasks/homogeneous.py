"""Homogeneous networks: after separation the normalised margin grows. Towards which one?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from suite.models import TwoLayerReLU
from suite.oracles.margins import max_margin_l2, max_margin_layers, max_margin_linf
from suite.oracles.relu import variation_norm_margin
from suite.oracles.solvers import Array, OracleError
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import arrays, normal, on_circle, signs, tensors, uniform, weights
from suite.tasks.losses import log_exponential
from suite.tasks.registry import task

MAX_DRAWS = 1_000


def balanced_weights(width: int, inputs: int, stream: torch.Generator) -> dict[str, Tensor]:
    """Small hidden weights N(0, 0.05²) and output weights of the same lengths with random signs (Lyu and Li 2020)."""
    hidden = 0.05 * normal(stream, width, inputs)
    return {"hidden": hidden, "output": signs(stream, width) * torch.linalg.vector_norm(hidden, dim=1)}


def margin_measures(solution: Solution) -> dict[str, float]:
    """The least margin over sum_j |a_j| |w_j|, which rescaling neurons does not change, and over |theta|² / 2."""
    train = solution.problem.train
    hidden, output = weights(solution, "hidden", "output")
    with torch.no_grad():
        margin = (train.y * solution.model(train.x)).min()
    squares = hidden.square().sum() + output.square().sum()
    return {
        "path_margin": float(margin / (output.abs() @ torch.linalg.vector_norm(hidden, dim=1))),
        "normalised_margin": float(2 * margin / squares),
        "l2_norm": float(squares.sqrt()),
    }


def tangent_features(solution: Solution) -> Tensor:
    """The gradients of ``y_i f(x_i)`` in the hidden and the output weights, flattened: [n, m d + m]."""
    train = solution.problem.train
    hidden, output = weights(solution, "hidden", "output")
    pre = train.x @ hidden.T
    inner = ((pre > 0) * output)[:, :, None] * train.x[:, None, :]
    return train.y[:, None] * torch.cat([inner.flatten(1), torch.relu(pre)], dim=1)


def layer_norm(hidden: Tensor, output: Tensor) -> float:
    """The larger spectral norm of the two layers; that of the output weights, one row, is their l2 norm."""
    return float(torch.maximum(torch.linalg.matrix_norm(hidden, ord=2), torch.linalg.vector_norm(output)))


def kkt_residuals(solution: Solution) -> dict[str, float]:
    """How far separating weights are from a KKT point of the largest margin in a norm: 0 there, and nowhere else.

    Of a network of degree 2, ``<grad y_i f(x_i), theta> = 2 y_i f(x_i)``. So the weights meet the KKT conditions of
    ``min |theta|²/2 with y_i f(x_i) >= 1``, with the network's gradients at them, just if they separate these gradients
    as well as any weights of their norm do: the multipliers of both problems are the same. The residual is one less
    their margin on the gradients over the best one; NaN where that is not found.
    """
    hidden, output = weights(solution, "hidden", "output")
    width, inputs = hidden.shape
    theta, features = torch.cat([hidden.flatten(), output]).cpu().numpy(), tangent_features(solution).cpu().numpy()
    margin = (features @ theta).min()

    def layers(w: Array) -> float:
        both = torch.from_numpy(w)
        return layer_norm(both[:-width].reshape(width, inputs), both[-width:])

    norms: dict[str, tuple[Callable[[Array], float], Callable[[Array], Array]]] = {
        "l2": (lambda w: float(np.linalg.norm(w)), max_margin_l2),
        "linf": (lambda w: float(abs(w).max()), max_margin_linf),
        "spectral": (layers, lambda z: max_margin_layers(z, [(width, inputs), (width, 1)])),
    }
    residuals = {}
    for name, (norm, best_separator) in norms.items():
        scaled = features * norm(theta) / margin  # the weights' own margin is 1: the solvers meet no extreme scale
        try:
            best = best_separator(scaled)
            residuals[f"{name}_kkt_residual"] = 1 - norm(best) / float((scaled @ best).min())
        except OracleError:
            residuals[f"{name}_kkt_residual"] = math.nan
    return residuals


@task
def homogeneous_margin() -> Task:
    """Does a wide network find the largest margin that any network has?

    Claim. In homogeneous networks the normalised margin grows after separation, towards a KKT point of the max-margin
    problem (Lyu and Li 2020, arXiv:1906.05890); for two wide layers towards the max margin of the variation norm
    (Chizat and Bach 2020, arXiv:2002.04486).

    Data. n = 24 points of the plane, each in a random quadrant at a random angle, radius 0.7 to 1.3, labelled by the
    quadrant's colour on a chessboard that is turned by a random angle; no point lies within 0.04 rad of an edge of a
    colour. Draws are repeated, about twice, until the oracle's margin lies in [0.05, 0.1]: the time to the target loss
    is inversely proportional to the margin, and without this some seeds take three times as long as others. Model:
    sum_j a_j relu(w_j·x), width 100, w_j ~ N(0, 0.05²), |a_j| = |w_j|.

    Objective. log mean exp(-m_i) of the margins m_i, as in `max_margin`. Its curvature grows with the weights, from 0.4
    at the start to about 160 at the target loss, so it is divided by 8, in the middle of the two on a log scale: large
    steps soon become unstable (gradient descent with 0.24 undivided ends at 0.7 of the margin, with 0.01 at 0.98) and
    small ones spend the budget at the start. So every step size with which training reaches the target loss is scored.

    Oracle. The largest margin over networks of any width with sum_j |a_j| |w_j| <= 1, exactly, by a second-order cone
    program over the 48 cones of weights in which the same points are active (Pilanci and Ergen 2020, arXiv:2002.10553).
    Every network's margin over sum_j |a_j| |w_j| or over |theta|² / 2 is at most that.

    Norm axis. `path_margin_ratio` = margin over sum_j |a_j| |w_j|, over the oracle's. Score 0: a network whose features
    stay as they were drawn, that is, the l2 max margin of the output weights alone (lazy training), per data set, about
    0.83. Reported: `normalised_margin_ratio` with |theta|² / 2, which is lower where a method unbalances its layers.
    Only KKT points are guaranteed: differences among 0.95 and above are within the spread over seeds.

    Other norms. Steepest descent in any norm, with infinitesimal steps, increases the margin over |theta|² in that norm
    (Tsilivis et al. 2024, arXiv:2410.22069). By its reviews, which alone were read, that paper shows limits to be KKT
    points of the problem of largest margin in smooth norms, and to be so in a weaker, generalised sense in others, the
    l_inf norm among them. With momentum, the infinitesimal steps of a falling rate and a direction that is *assumed* to
    converge they are KKT points for Signum and for Adam without its epsilon (l_inf), and for Muon (the largest spectral
    norm among layers) on smooth homogeneous models (Gronich and Vardi 2026, arXiv:2602.16340, Theorem 3.3, Corollaries
    3.4 and 3.5 and Theorem 3.6, as notes by others number them). ReLU is not smooth, and Muon here steps the output
    weights by AdamW, which is steepest descent in another norm (Theorem 3.7 has the norm of the two). Reported:
    `l2_kkt_residual`, `linf_kkt_residual`, `spectral_kkt_residual`, which are 0 at KKT points (`kkt_residuals`);
    `linf_margin_ratio`, the margin over the largest weight squared, over the best of any 100 neurons or more than it (a
    linear program over the same cones); and `spectral_margin_ratio`, that over the larger spectral norm of the layers
    squared, over a bound that need not be attained, sqrt(2) times the oracle's margin. On seed 0 the l_inf residual is
    0.05 for sign descent and 0.04 for Adam, 0.53 for gradient descent with or without momentum; the l2 residual 0.005
    to 0.025 for all of them, 0.31 for Muon, whose spectral residual is 0.31 too, above everyone else's 0.10 to 0.13.
    """
    n, width, gap, quarter = 24, 100, 0.04, math.pi / 2

    def draw(stream: torch.Generator) -> Split:
        turn, quadrant = uniform(stream, 1, 0, 2 * math.pi), torch.randint(0, 4, (n,), generator=stream)
        angles = turn + quadrant * quarter + uniform(stream, n, gap, quarter - gap)
        x = on_circle(angles) * uniform(stream, n, 0.7, 1.3)[:, None]
        return Split(x, 1 - 2 * (quadrant % 2).double())

    def problem(seed: int) -> Problem:
        stream = torch_stream("homogeneous_margin", seed, "data")
        for _ in range(MAX_DRAWS):
            train = draw(stream)
            margin = variation_norm_margin(*arrays(train)).value
            if 0.05 <= margin <= 0.1:
                initial = balanced_weights(width, 2, torch_stream("homogeneous_margin", seed, "init"))
                return Problem(train, lipschitz=8.0, ground_truth=initial)
        raise OracleError(f"No margin in [0.05, 0.1] among {MAX_DRAWS} draws for seed {seed}.")

    def oracle(problem: Problem, seed: int) -> Oracle:
        x, y, hidden = (tensor.cpu() for tensor in (problem.train.x, problem.train.y, problem.ground_truth["hidden"]))
        widest = variation_norm_margin(x.numpy(), y.numpy())
        signed_features = y[:, None] * torch.relu(x @ hidden.T)
        lazy = torch.from_numpy(max_margin_l2(signed_features.numpy()))
        lazy_margin = (signed_features @ lazy).min() / (lazy.abs() @ torch.linalg.vector_norm(hidden, dim=1))
        values = {
            "margin": widest.value,
            "random_features_ratio": float(lazy_margin) / widest.value,
            "linf_margin": width * variation_norm_margin(x.numpy(), y.numpy(), largest=True).value,
            "spectral_margin": math.sqrt(2) * widest.value,
        }
        return Oracle(tensors(hidden=widest.hidden, output=widest.output), values)

    def measure(solution: Solution) -> dict[str, float]:
        measures, values = margin_measures(solution), solution.oracle.values
        ratios = {f"{name}_ratio": measures[name] / values["margin"] for name in ("path_margin", "normalised_margin")}
        hidden, output = weights(solution, "hidden", "output")
        margin = measures["normalised_margin"] * measures["l2_norm"] ** 2 / 2
        largest = max(float(hidden.abs().max()), float(output.abs().max()))
        others = {
            "linf_margin_ratio": margin / largest**2 / values["linf_margin"],
            "spectral_margin_ratio": margin / layer_norm(hidden, output) ** 2 / values["spectral_margin"],
        }
        return ratios | others | kkt_residuals(solution) | {"l2_norm": measures["l2_norm"]}

    return Task(
        problem=problem,
        model=lambda problem, seed: TwoLayerReLU(**problem.ground_truth),
        loss=log_exponential,
        target=Target(-40.0, budget=5_000),
        measure=measure,
        selection="convergence",
        oracle=oracle,
        axes=(Axis("norm", "path_margin_ratio", "linear", score_0="random_features_ratio", score_1=1.0, higher=True),),
        reported=(
            "normalised_margin_ratio",
            "linf_margin_ratio",
            "spectral_margin_ratio",
            *(f"{norm}_kkt_residual" for norm in ("l2", "linf", "spectral")),
        ),
    )


@task
def homogeneous_growth(log_loss: float = -14.0) -> Task:
    """Does the normalised margin grow after the data are separated?

    Claim. Once the loss is small the margin over |theta|² grows without end, towards a KKT point of the max-margin
    problem (Lyu and Li 2020, arXiv:1906.05890; Ji and Telgarsky 2020, arXiv:2006.06657).

    Data. n = 40 samples of N(0, I/20) in d = 20 dimensions, label +1 where |w·x| is above its mean, for a random unit
    vector w. Model: sum_j a_j relu(w_j·x), width 64, w_j ~ N(0, 0.05²), |a_j| = |w_j|. Objective: log mean exp(-m_i),
    divided by 0.7, the middle on a log scale between its curvature at the start and at the default target loss.

    Target. The growth is seen between variants: `[log_loss=-4.6]` (a mean exponential loss of 0.01), -14 (1e-6), -40.
    Every step size that reaches it is reported.

    Reported, not scored. `normalised_margin` = 2 margin / |theta|², and `path_margin` = margin / sum_j |a_j| |w_j|. The
    largest margin is not known: in more than two dimensions the cones of weights are too many.
    """
    n, d, width = 40, 20, 64
    if not -1_000 <= log_loss < 0:
        raise ValueError(f"log_loss must be negative and at least -1000, not {log_loss}.")

    def problem(seed: int) -> Problem:
        stream = torch_stream("homogeneous_growth", seed, "data")
        x = normal(stream, n, d) / math.sqrt(d)
        height = (x @ normal(stream, d)).abs()
        initial = balanced_weights(width, d, torch_stream("homogeneous_growth", seed, "init"))
        return Problem(Split(x, torch.sign(height - height.mean())), lipschitz=0.7, ground_truth=initial)

    return Task(
        problem=problem,
        model=lambda problem, seed: TwoLayerReLU(**problem.ground_truth),
        loss=log_exponential,
        target=Target(log_loss, budget=5_000),
        measure=margin_measures,
        selection="convergence",
        reported=("normalised_margin", "path_margin"),
    )
