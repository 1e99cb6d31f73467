"""Regression by linear networks: does the parametrisation find a signal of few frequencies?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import SGD

from suite.models.linear_networks import NETWORKS, LinearNetwork, steepness
from suite.oracles.fourier import fourier_l1_norm, min_fourier_l1_interpolator
from suite.oracles.interpolators import min_norm_interpolator
from suite.seeding import torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Axis, Curve, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import relative_distance
from suite.tasks.geometry import draw_teacher, linear_part
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task


@task
def linear_convolution(network: str = "convolutional", depth: int = 2, scale: float = 1e-3) -> Task:
    """Does a convolutional parametrisation recover a signal of few frequencies?

    Claim. From small initialisation gradient flow on a linear network of depth 2 and full-width circular convolutions
    finds the interpolator whose Fourier transform has the least l1 norm, where a fully connected network finds that of
    least l2 norm and a diagonal one that of least l1 norm (Gunasekar et al. 2018, arXiv:1806.00468; Yun et al. 2021,
    arXiv:2010.02501). All three compute the same linear functions.

    Data. n = 24 samples, d = 64 features, X ~ N(0, 1), y = X w* with w* a sum of two cosines of random frequencies and
    phases, |w*| = 1. Loss: mean squared error, over the Hessian's largest eigenvalue at w* in the parameters of the
    balanced network. Model (of optimizers): `network=convolutional` (default), `full` or `diagonal`, `depth` 1 to 4
    (default 2), layers Gaussian so that the predictor's norm is about `scale` (default 1e-3; 0.1 is already far from
    the limit). Architectures enter by a slot, 64 inputs and 1 output, in which all are trained by plain gradient
    descent, which is what the theory is about: momentum and large steps jump off the path from small initialisation.

    Target. Training loss <= 1e-6 (the targets' variance is 1) within 10,000 gradient evaluations.

    Oracle. The interpolator of least Fourier l1 norm, by a cone program that is certified by duality; it recovers w*
    here. The minimum-l2-norm interpolator, which does not.

    Norm axis. `fourier_l1_ratio`: the Fourier l1 norm over the oracle's, log. Ideal: 1. Null: the minimum-l2-norm
    interpolator's, per data set. Generalization axis. `recovery_error` = |w - w*| / |w*|, log. Ideal and floor: 0.01.
    Null: the minimum-l2-norm interpolator's, per data set. Of a network that is not linear the nearest affine function
    on 1,000 fresh inputs is measured.
    """
    n, d, held_out = 24, 64, 1_000
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, not {network!r}.")
    if not (1 <= depth <= 4 and 1e-8 <= scale <= 10):
        raise ValueError(f"depth must be 1 to 4 and scale 1e-8 to 10, not {depth} and {scale}.")

    def problem(seed: int) -> Problem:
        stream = torch_stream("linear_convolution", seed, "data")
        teacher = draw_teacher("frequency", d, stream)
        x = torch.randn(n + held_out, d, generator=stream, dtype=torch.float64)
        y = (x @ teacher)[:, None]
        curvature = steepness(network, depth, teacher, 2 / n * x[:n].T @ x[:n])
        return Problem(
            Split(x[:n], y[:n]),
            test=Split(x[n:], y[n:]),
            lipschitz=curvature,
            ground_truth={"teacher": teacher},
        )

    def oracle(problem: Problem, seed: int) -> Oracle:
        x, y = problem.train.x.cpu().numpy(), problem.train.y[:, 0].cpu().numpy()
        teacher = problem.ground_truth["teacher"].cpu()
        found = {"fourier_l1": min_fourier_l1_interpolator(x, y), "l2": min_norm_interpolator(x, y)}
        norms = {name: fourier_l1_norm(w) for name, w in found.items()}
        solutions = {name: torch.from_numpy(w) for name, w in found.items()}
        return Oracle(
            solutions,
            {
                "fourier_l1_norm": norms["fourier_l1"],
                "l2_fourier_l1_ratio": norms["l2"] / norms["fourier_l1"],
                "l2_recovery_error": relative_distance(solutions["l2"], teacher),
            },
        )

    def predictor(solution: Solution) -> Tensor:
        test = solution.problem.test
        assert test is not None
        return linear_part(solution.model, test.x)

    def measure(solution: Solution) -> dict[str, float]:
        w, test = predictor(solution), solution.problem.test
        assert test is not None
        with torch.no_grad():
            error = mean_squared_error(solution.model(test.x), test.y) / test.y.var(correction=0)
        return {
            "fourier_l1_ratio": fourier_l1_norm(w.cpu().numpy()) / solution.oracle.values["fourier_l1_norm"],
            "recovery_error": relative_distance(w, solution.problem.ground_truth["teacher"]),
            "test_error": error.item(),
        }

    def curves(solution: Solution) -> dict[str, Curve]:
        def spectrum(w: Tensor) -> list[float]:
            return [float(modulus) for modulus in torch.fft.rfft(w.cpu(), norm="ortho").abs()]

        found, best = spectrum(predictor(solution)), spectrum(solution.oracle.solutions["fourier_l1"])
        frequencies = [float(k) for k in range(len(found))]
        return {"spectrum": Curve(frequencies, found, "frequency", "modulus", oracle=best)}

    def model(problem: Problem, seed: int) -> LinearNetwork:
        return NETWORKS[network](d, 1, depth, scale, torch_stream("linear_convolution", network, depth, seed, "init"))

    return Task(
        family="geometry",
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
        papers=("Gunasekar et al. 2018, arXiv:1806.00468", "Yun et al. 2021, arXiv:2010.02501"),
    )
