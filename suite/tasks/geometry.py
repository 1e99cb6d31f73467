"""Linear networks: one class of functions in several parametrisations, each with a geometry of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD

from suite.models import NETWORKS, Diagonal, FullyConnected, LinearNetwork, steepness
from suite.optimizers import NormalizedGD
from suite.oracles.fourier import fourier_l1_norm, max_margin_fourier_l1, min_fourier_l1_interpolator
from suite.oracles.interpolators import min_norm_interpolator
from suite.oracles.margins import max_margin_l1, max_margin_l2
from suite.oracles.solvers import Array
from suite.seeding import torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Axis, Curve, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import (
    arrays,
    margin_oracle,
    margin_ratios,
    normal,
    relative_distance,
    require_choice,
    signed_inputs,
    signs,
    tensors,
)
from suite.tasks.losses import log_exponential, mean_squared_error
from suite.tasks.registry import task


@torch.no_grad()
def linear_part(model: nn.Module, inputs: Tensor) -> Tensor:
    """Linear weights [d] of the affine function nearest to the network on `inputs` [n, d]; a linear network's own."""
    with_bias = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    return torch.linalg.lstsq(with_bias, model(inputs)).solution[:-1, 0]


def native_geometry(model: nn.Module) -> str | None:
    """The norm that the squared norm of the parameters bounds: ``|w| <= (|theta|²/L)^(L/2)``; None if not convex."""
    if isinstance(model, FullyConnected) or (isinstance(model, LinearNetwork) and not len(model.layers)):
        return "l2"
    if isinstance(model, LinearNetwork) and len(model.layers) == 1:
        return "l1" if isinstance(model, Diagonal) else "fourier_l1"
    return None


@torch.no_grad()
def parameter_measures(model: nn.Module, margin: float, oracle: Oracle) -> dict[str, float]:
    """Measures of the weights themselves, for the networks of `suite.models.linear_networks`; none for others."""
    measures = {}
    if (geometry := native_geometry(model)) is not None:
        depth = len(list(model.parameters()))
        squared = sum(float(p.square().sum()) for p in model.parameters())
        best = oracle.values[f"{geometry}_margin"]
        measures["parameter_margin_ratio"] = margin / (squared / depth) ** (depth / 2) / best
    if isinstance(model, FullyConnected) and len(model.layers):
        factors = [torch.linalg.svd(matrix, full_matrices=False) for matrix in (*model.layers, model.head)]
        inner = [(low[0][:, 0] @ high[2][0]).abs() for low, high in itertools.pairwise(factors)]
        measures["alignment"] = torch.stack(inner).mean().item()
    return measures


MATCHING_TEACHER = {"full": "gaussian", "diagonal": "sparse", "convolutional": "frequency"}
"""Per network the teacher that its geometry suits."""

GEOMETRY = {"gaussian": "l2", "sparse": "l1", "frequency": "fourier_l1"}
"""Per teacher the norm whose max-margin separator predicts it best."""

NORMS: dict[str, Callable[[Array], float]] = {
    "l2": lambda w: float(np.linalg.norm(w)),
    "l1": lambda w: float(abs(w).sum()),
    "fourier_l1": fourier_l1_norm,
}

SOLVERS = {"l2": max_margin_l2, "l1": max_margin_l1, "fourier_l1": max_margin_fourier_l1}


def draw_teacher(kind: str, d: int, stream: torch.Generator) -> Tensor:
    """A linear teacher [d] of l2 norm 1: isotropic, with three entries, or with two frequencies."""
    if kind == "gaussian":
        teacher = normal(stream, d)
    elif kind == "sparse":
        teacher = torch.zeros(d, dtype=torch.float64)
        values = signs(stream, 3)
        teacher[torch.randperm(d, generator=stream)[:3]] = values
    else:
        frequencies = 1 + torch.randperm(d // 2 - 1, generator=stream)[:2, None]
        phases = 2 * math.pi * torch.rand(2, 1, generator=stream, dtype=torch.float64)
        teacher = torch.cos(2 * math.pi * frequencies * torch.arange(d) / d + phases).sum(0)
    return torch.nn.functional.normalize(teacher, dim=0)


def log_loss_hessian(z: Tensor, w: Tensor) -> Tensor:
    """The Hessian in `w` [d] of log mean exp(-z w): the covariance [d, d] of the rows of z [n, d] under the softmax."""
    weights = torch.softmax(-z @ w, dim=0)
    centred = z - weights @ z
    return centred.T @ (weights[:, None] * centred)


@task
def linear_geometry(network: str = "full", depth: int = 2, teacher: str = "matching", log_loss: float = -60.0) -> Task:
    """In which geometry does the network maximize its margin, and does the optimizer overrule it?

    Claim. Networks that compute the same linear functions x·w are biased differently under gradient descent on
    separable data: fully connected ones of any depth to the l2 margin, diagonal ones of depth L to the margin in the
    l_{2/L} quasi-norm, convolutional ones of full width and depth L to that of the Fourier transform (Gunasekar et al.
    2018, arXiv:1806.00468; Lyu and Li 2020, arXiv:1906.05890). The layers of a fully connected network align (Ji and
    Telgarsky 2019, arXiv:1810.02032). The larger the initial scale, the later the bias appears (Moroshko et al. 2020,
    arXiv:2007.06738).

    Data. n = 30 samples, d = 32 features, X ~ N(0, 1), labels by a linear teacher without noise; 2,000 test samples.
    The teacher's prior decides which geometry is right: `teacher=gaussian` (l2 margin), `sparse` (three entries; l1),
    `frequency` (two frequencies; Fourier l1). `matching` takes for each network the teacher that its geometry is right
    for. Of the three oracles that of the right geometry predicts best: 0.26 against 0.31 and 0.27 of wrong signs for
    Gaussian teachers, 0.17 against 0.25 and 0.28 for sparse, 0.17 against 0.28 and 0.30 for frequencies. Solutions
    outside the three can do better: with frequencies Adam and sign descent have less of that margin (0.89) and err less
    (0.16 and 0.17) than the oracle (0.19; three seeds).

    Model (of optimizers). `network` is `full`, `diagonal` or `convolutional`, of `depth` 1 to 6, all layers Gaussian so
    that the predictor's norm is about 0.1. Architectures enter with 32 inputs and 1 output; all are trained by
    normalised gradient descent. Its steps have the same length in every parametrisation, where a gradient is
    vanishingly small at the small initial weights of a deep network and huge at its final ones, and within its space of
    step sizes the result depends on the step size by no more than a few percent.

    Objective. log mean exp(-y x·w), which does not saturate, over the Hessian's largest eigenvalue in the parameters of
    the balanced network that represents the oracle at the target loss: a step size of 1 is 1/L there.

    Target. Margins come closer to their limits with `log_loss=-300` (full 0.995, diagonal 0.97, convolutional 0.99 of
    what theory says), at several times the steps.

    Oracle. Max-margin separators in the l2 norm (least-distance programming), the l1 norm (a linear program) and the l1
    norm of the unitary Fourier transform (a cone program, certified by duality). For diagonal and convolutional
    networks deeper than 2 the quasi-norm is not convex and there is no exact oracle: only the ratios are measured.

    Norm axis. The margin ratio in the teacher's geometry (`l2_margin_ratio`, `l1_margin_ratio` or
    `fourier_l1_margin_ratio`): smallest margin over the norm of the end-to-end predictor, over the best possible. Score
    0: the lowest ratio among the other two geometries' oracles, per data set. For a network that is not linear the
    nearest affine function on the test inputs is measured. Generalization axis. `test_error`. Score 0: chance.

    Reported. The other two ratios; `alignment` of the top singular vectors of adjacent layers; `parameter_margin_ratio`
    = margin over (|theta|²/L)^(L/2), over the oracle's margin in the network's own norm: 1 for the least parameters
    that represent the oracle. Rescaling layers changes the last two: they are not scored.
    """
    n, d, scale, held_out = 30, 32, 0.1, 2_000
    require_choice("network", network, NETWORKS)
    if teacher not in (*GEOMETRY, "matching"):
        raise ValueError(f"teacher must be one of {', '.join(GEOMETRY)} or matching, not {teacher!r}.")
    if not 1 <= depth <= 6:
        raise ValueError(f"depth must be between 1 and 6, not {depth}.")
    if not -1_000 <= log_loss <= -10:
        raise ValueError(f"log_loss must be between -1000 and -10, not {log_loss}.")
    kind = MATCHING_TEACHER[network] if teacher == "matching" else teacher
    scored = GEOMETRY[kind]

    def problem(seed: int) -> Problem:
        stream = torch_stream("linear_geometry", kind, seed, "data")
        w = draw_teacher(kind, d, stream)
        x = normal(stream, n + held_out, d)
        y = torch.sign(x @ w)[:, None]
        z = (y * x)[:n]
        separator = torch.from_numpy(SOLVERS[GEOMETRY[MATCHING_TEACHER[network]]](z.numpy()))
        at_target = separator * -log_loss / (z @ separator).min()
        lipschitz = steepness(network, depth, at_target, log_loss_hessian(z, at_target))
        return Problem(Split(x[:n], y[:n]), test=Split(x[n:], y[n:]), lipschitz=lipschitz)

    def oracle(problem: Problem, seed: int) -> Oracle:
        z = signed_inputs(problem)
        test_x, test_y = arrays(problem.required_test)
        separators = {name: solve(z) for name, solve in SOLVERS.items()}
        oracle, norm = margin_oracle(z, separators, NORMS), {scored: NORMS[scored]}
        ratios = [margin_ratios((z @ w).min(), w, norm, oracle)[f"{scored}_margin_ratio"] for w in separators.values()]
        wrong = test_y[:, 0] * (test_x @ separators[scored]) <= 0
        values = {"worst_ratio": min(ratios), "oracle_test_error": float(wrong.mean())}
        return Oracle(oracle.solutions, {**oracle.values, **values})

    def measure(solution: Solution) -> dict[str, float]:
        test = solution.problem.required_test
        w = linear_part(solution.model, test.x).cpu().numpy()
        margin = float((signed_inputs(solution.problem) @ w).min())
        ratios = margin_ratios(margin, w, NORMS, solution.oracle)
        with torch.no_grad():
            wrong = (test.y * solution.model(test.x) <= 0).double().mean().item()
        return ratios | {"test_error": wrong} | parameter_measures(solution.model, margin, solution.oracle)

    def model(problem: Problem, seed: int) -> LinearNetwork:
        return NETWORKS[network](d, 1, depth, scale, torch_stream("linear_geometry", network, depth, seed, "init"))

    return Task(
        problem=problem,
        model=model,
        loss=log_exponential,
        target=Target(log_loss, budget=15_000),
        measure=measure,
        oracle=oracle,
        axes=(
            Axis("norm", f"{scored}_margin_ratio", "linear", score_0="worst_ratio", score_1=1.0, higher=True),
            Axis("generalization", "test_error", "linear", score_0=0.5, score_1="oracle_test_error"),
        ),
        reported=tuple(f"{name}_margin_ratio" for name in NORMS if name != scored),
        interface=ArchitectureInterface((d,), 1, NormalizedGD, {"lr": LogUniform(0.01, 0.1)}),
    )


@task
def linear_convolution(network: str = "convolutional", depth: int = 2, scale: float = 1e-3) -> Task:
    """Does a convolutional parametrisation recover a signal of few frequencies?

    Claim. From small initialization gradient flow on a linear network of depth 2 and full-width circular convolutions
    finds the interpolator whose Fourier transform has the least l1 norm, where a fully connected network finds that of
    least l2 norm and a diagonal one that of least l1 norm (Gunasekar et al. 2018, arXiv:1806.00468; Yun et al. 2021,
    arXiv:2010.02501). All three compute the same linear functions.

    Data. n = 24 samples, d = 64 features, X ~ N(0, 1), y = X w* with w* a sum of two cosines of random frequencies and
    phases, |w*| = 1, so that the targets' variance is 1. Loss: mean squared error, over the Hessian's largest
    eigenvalue at w* in the parameters of the balanced network.

    Model (of optimizers). `network` is `convolutional`, `full` or `diagonal`, of `depth` 1 to 4, layers Gaussian so
    that the predictor's norm is about `scale` (0.1 is already far from the limit of small initialization).
    Architectures enter with 64 inputs and 1 output; all are trained by plain gradient descent, which is what the theory
    is about: momentum and large steps leave the path from small initialization.

    Oracle. The interpolator of least Fourier l1 norm, by a cone program that is certified by duality; it recovers w*
    here. The minimum-l2-norm interpolator, which does not.

    Norm axis. `fourier_l1_ratio`: the Fourier l1 norm over the oracle's. Generalization axis. `recovery_error` = |w -
    w*| / |w*|. Both: score 0 is the minimum-l2-norm interpolator, per data set; score 1 is w*. For a network that is
    not linear the nearest affine function on 1,000 fresh inputs is measured.
    """
    n, d, held_out = 24, 64, 1_000
    require_choice("network", network, NETWORKS)
    if not (1 <= depth <= 4 and 1e-8 <= scale <= 10):
        raise ValueError(f"depth must be 1 to 4 and scale 1e-8 to 10, not {depth} and {scale}.")

    def problem(seed: int) -> Problem:
        stream = torch_stream("linear_convolution", seed, "data")
        teacher = draw_teacher("frequency", d, stream)
        x = normal(stream, n + held_out, d)
        y = (x @ teacher)[:, None]
        lipschitz = steepness(network, depth, teacher, 2 / n * x[:n].T @ x[:n])
        train, test = Split(x[:n], y[:n]), Split(x[n:], y[n:])
        return Problem(train, test=test, lipschitz=lipschitz, ground_truth={"teacher": teacher})

    def oracle(problem: Problem, seed: int) -> Oracle:
        x, y = arrays(problem.train)
        sparsest, shortest = min_fourier_l1_interpolator(x, y[:, 0]), min_norm_interpolator(x, y[:, 0])
        solutions, norm = tensors(fourier_l1=sparsest, l2=shortest), fourier_l1_norm(sparsest)
        values = {
            "fourier_l1_norm": norm,
            "l2_fourier_l1_ratio": fourier_l1_norm(shortest) / norm,
            "l2_recovery_error": relative_distance(solutions["l2"], problem.ground_truth["teacher"].cpu()),
        }
        return Oracle(solutions, values)

    def measure(solution: Solution) -> dict[str, float]:
        test = solution.problem.required_test
        w = linear_part(solution.model, test.x)
        with torch.no_grad():
            error = mean_squared_error(solution.model(test.x), test.y) / test.y.var(correction=0)
        return {
            "fourier_l1_ratio": fourier_l1_norm(w.cpu().numpy()) / solution.oracle.values["fourier_l1_norm"],
            "recovery_error": relative_distance(w, solution.problem.ground_truth["teacher"]),
            "test_error": error.item(),
        }

    def curves(solution: Solution) -> dict[str, Curve]:
        def spectrum(w: Tensor) -> list[float]:
            return torch.fft.rfft(w.cpu(), norm="ortho").abs().tolist()

        learned = spectrum(linear_part(solution.model, solution.problem.required_test.x))
        exact = spectrum(solution.oracle.solutions["fourier_l1"])
        frequencies = [float(k) for k in range(len(learned))]
        return {"spectrum": Curve(frequencies, learned, "frequency", "modulus", oracle=exact)}

    def model(problem: Problem, seed: int) -> LinearNetwork:
        return NETWORKS[network](d, 1, depth, scale, torch_stream("linear_convolution", network, depth, seed, "init"))

    return Task(
        problem=problem,
        model=model,
        loss=mean_squared_error,
        target=Target(1e-6, budget=10_000),
        measure=measure,
        oracle=oracle,
        axes=(
            Axis("norm", "fourier_l1_ratio", "log", score_0="l2_fourier_l1_ratio", score_1=1.0),
            Axis("generalization", "recovery_error", "log", score_0="l2_recovery_error", score_1=0.01, floor=0.01),
        ),
        reported=("test_error",),
        interface=ArchitectureInterface((d,), 1, SGD, {"lr": LogUniform(0.05, 0.5)}),
        curves=curves,
    )
