"""Regression by linear networks: does the parametrisation find a signal of few frequencies?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import SGD

from suite.models import NETWORKS, LinearNetwork, steepness
from suite.oracles.fourier import fourier_l1_norm, min_fourier_l1_interpolator
from suite.oracles.interpolators import min_norm_interpolator
from suite.seeding import torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Axis, Curve, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import arrays, normal, relative_distance, require_choice, tensors
from suite.tasks.geometry import draw_teacher, linear_part
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task


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
