"""Functions of one variable: how smooth is the learned one, and in which order are its frequencies learned?"""

from __future__ import annotations

import math

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from suite.models import balance, relu_network, spread_knots
from suite.oracles.functions import frozen_features_interpolant, last_centroid, least_variation
from suite.seeding import torch_stream
from suite.task import Axis, Curve, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import adam_interface, arrays, hessian_norm, normal, total_slope_variation
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task

EDGE = 1.2
"""Curves and kinks of `univariate_relu` are on [-EDGE, EDGE]."""

FREQUENCIES = (1, 3, 5, 7, 9)
"""Of the target of `spectral_bias`."""


@task
def univariate_relu(depth: int = 2, scale: float = 1.0) -> Task:
    """Which curve does a ReLU network draw through few points?

    Claim. Networks of two layers with small weights interpolate with little variation of the derivative, the integral
    of |f''| (Savarese et al. 2019, arXiv:1902.05040); from a small initial scale gradient descent finds piecewise
    linear curves with few kinks, from a large one it stays near the function it started from (Williams et al. 2019,
    arXiv:1906.07842; Chizat et al. 2019, arXiv:1812.07956). The variants and submitted architectures test whether
    deeper networks learn smoother functions.

    Data. n = 6 points on a grid in [-1, 1] jittered by a fifth of its spacing, y = sin(4x) + 0.15 N(0, 1), centred.
    With ten points, or more noise, neighbouring chords differ so much that gradient descent with steps of 1/L does not
    reach the target loss on many seeds. Model: `depth` layers of weights, width 100. He's initialization times `scale`,
    then rescaled to layers of equal Frobenius norm: gradient flow conserves the differences of these norms (Du et al.
    2018, arXiv:1806.00900), and He's ratio, which is 14 to 1 here, would turn every scale into nearly a kernel method.
    The kinks of the first layer start uniform in [-1.2, 1.2]. Loss: mean squared error, divided by the Hessian's
    largest eigenvalue at the start, so that gradient descent's stability limit is a step of 2 there.

    Target. The mean square of y is about 0.5. A residual of 0.01 changes a chord's slope by some 0.06 and the
    variation, near 20, by less than 1 %.

    Oracle. The least variation of any interpolant: that of the piecewise linear one, since the mean of f' between
    neighbours is their chord's slope. A linear program over kinks agrees (see the tests).

    Norm axis. `variation_ratio` = integral of |f''| over [-1.2, 1.2] over the oracle's. It is measured from the
    function's values, so it depends neither on rescaling nor on the architecture. Score 0: the regime of random
    features, exactly and per data set: the hidden layer of the two-layer network frozen at scale 3, the output layer
    changed as little as interpolation needs; the same for every depth, scale and architecture. (The tangent kernel of a
    balanced network has a part of equal size from the hidden layer, so lazy training differs: runs at `scale=3` end at
    about 6 where this reference is 5.7.) Values below 1 come from the remaining loss.
    """
    n, width, noise = 6, 100, 0.15
    if not (2 <= depth <= 10 and 0.01 <= scale <= 10):
        raise ValueError(f"depth must be 2 to 10 and scale 0.01 to 10, not {depth} and {scale}.")

    def initial_network(seed: int, depth: int, scale: float) -> nn.Sequential:
        stream = torch_stream("univariate_relu", seed, "init")
        network = balance(relu_network(1, [width] * (depth - 1), stream, scale))
        return spread_knots(network, EDGE, stream)

    def problem(seed: int) -> Problem:
        stream = torch_stream("univariate_relu", seed, "data")
        place = torch.arange(n, dtype=torch.float64) + 0.3 + 0.4 * torch.rand(n, generator=stream, dtype=torch.float64)
        x = (2 * place / n - 1)[:, None]
        y = torch.sin(4 * x) + noise * normal(stream, n, 1)
        train = Split(x, y - y.mean())
        lipschitz = hessian_norm(initial_network(seed, depth, scale), train, mean_squared_error)
        # Nothing reads the seed; it is part of the fingerprint that shipped records hold.
        return Problem(train, lipschitz=lipschitz, ground_truth={"seed": torch.tensor(seed)})

    def oracle(problem: Problem, seed: int) -> Oracle:
        train = problem.to("cpu").train
        x, y = arrays(train)
        least = least_variation(x[:, 0], y[:, 0])
        kernel = frozen_features_interpolant(initial_network(seed, depth=2, scale=3.0), train.x, train.y)
        kernel_variation = total_slope_variation(kernel, -EDGE, EDGE)
        return Oracle(values={"least_variation": least, "kernel_ratio": kernel_variation / least})

    def measure(solution: Solution) -> dict[str, float]:
        variation = total_slope_variation(solution.model, -EDGE, EDGE)
        least, kernel = (solution.oracle.values[name] for name in ("least_variation", "kernel_ratio"))
        return {"variation_ratio": variation / least, "derivative_variation": variation, "kernel_ratio": kernel}

    return Task(
        problem=problem,
        model=lambda problem, seed: initial_network(seed, depth, scale),
        loss=mean_squared_error,
        target=Target(1e-4, budget=10_000),
        measure=measure,
        oracle=oracle,
        axes=(Axis("norm", "variation_ratio", "log", score_0="kernel_ratio", score_1=1.0),),
        reported=("derivative_variation", "kernel_ratio"),
        interface=adam_interface(1),
        curves=_learned_curve,
    )


@torch.no_grad()
def _learned_curve(solution: Solution) -> dict[str, Curve]:
    """The learned function and the piecewise linear interpolant."""
    x, y = (part.cpu()[:, 0].double() for part in (solution.problem.train.x, solution.problem.train.y))
    grid = torch.linspace(-EDGE, EDGE, 193, dtype=torch.float64)
    learned = solution.model(grid[:, None].to(solution.problem.train.x))[:, 0].cpu()
    right = torch.searchsorted(x, grid).clamp(1, len(x) - 1)
    slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1])
    chords = y[right - 1] + slope * (grid - x[right - 1])
    return {"function": Curve(grid.tolist(), learned.tolist(), "x", "f(x)", oracle=chords.tolist())}


def residual_energies(residual: Tensor, target: Tensor) -> list[float]:
    """``|F_k(residual)|² / |F_k(target)|²`` at the frequencies of `spectral_bias`; both [n], one period."""
    spectra = [torch.fft.rfft(signal.double())[list(FREQUENCIES)].abs().square() for signal in (residual, target)]
    return (spectra[0] / spectra[1]).tolist()


@task
def spectral_bias() -> Task:
    """Are low frequencies learned first?

    Claim. ReLU networks learn low frequencies first (Rahaman et al. 2019, arXiv:1806.08734; Xu et al. 2020,
    arXiv:1901.06523). Networks of sines or on Fourier features lose this bias (Tancik et al. 2020, arXiv:2006.10739).

    Data. 128 points z of one period, y = sum of sin(2 pi k z + phase_k) for k = 1, 3, 5, 7, 9 with random phases; the
    input is x = 2z - 1. Model: ReLU network with three hidden layers of 64, He's initialization with the kinks of the
    first layer uniform in [-1, 1] (with biases of zero all would lie at 0). Loss: mean squared error over the mean
    square of y, over its Lipschitz constant at the start. Float32: no oracle needs more.

    Target. 35 % of the variance is left: the fit is in progress on purpose, so that all are compared at the same loss.

    Oracle. Let e_k be the share of frequency k's energy that is left. At 35 %, a fit that learns one frequency after
    the other leaves all of k = 9 and three quarters of k = 7; one without preference leaves 35 % of each.

    Norm axis. `residual_frequency` = sum of k e_k over sum of e_k. Score 0: no preference. Score 1: strictly in order.
    (The rank correlation of k and e_k is reported only: it is 1 for nearly every ReLU network and has steps of 0.1.)
    """
    n, width, share = 128, 64, 0.35
    no_preference, in_order = sum(FREQUENCIES) / len(FREQUENCIES), last_centroid(FREQUENCIES, share)

    def initial_network(seed: int) -> nn.Sequential:
        stream = torch_stream("spectral_bias", seed, "init")
        return spread_knots(relu_network(1, [width] * 3, stream, dtype=torch.float32), 1.0, stream)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return mean_squared_error(outputs, targets) / targets.square().mean()

    def problem(seed: int) -> Problem:
        stream = torch_stream("spectral_bias", seed, "data")
        phases = 2 * math.pi * torch.rand(len(FREQUENCIES), generator=stream, dtype=torch.float64)
        z = torch.arange(n, dtype=torch.float64)[:, None] / n
        y = torch.sin(2 * math.pi * z * torch.tensor(FREQUENCIES) + phases).sum(1, keepdim=True)
        train = Split((2 * z - 1).float(), y.float())
        return Problem(train, lipschitz=hessian_norm(initial_network(seed), train, loss))

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        train = solution.problem.train
        energies = residual_energies((solution.model(train.x) - train.y)[:, 0], train.y[:, 0])
        centroid = sum(k * e for k, e in zip(FREQUENCIES, energies, strict=True)) / sum(energies)
        return {
            "residual_frequency": centroid,
            "rank_correlation": float(spearmanr(FREQUENCIES, energies).statistic),
            **{f"residual_energy_{k}": e for k, e in zip(FREQUENCIES, energies, strict=True)},
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: initial_network(seed),
        loss=loss,
        target=Target(share, budget=8_000),
        measure=measure,
        axes=(Axis("norm", "residual_frequency", "linear", no_preference, in_order, higher=True),),
        dtype=torch.float32,
        reported=("rank_correlation", *(f"residual_energy_{k}" for k in FREQUENCIES)),
        interface=adam_interface(1),
    )
