"""Linear regression where the minimum-norm interpolator predicts well, and others do not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.models import LinearPredictor
from suite.oracles.interpolators import min_linf_interpolator, min_norm_interpolator
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import arrays, least_squares_lipschitz, normal, relative_distance, signs, weights
from suite.tasks.linear import excess_norm, minimum_norm_oracle
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task


@task
def benign_overfitting() -> Task:
    """Does fitting noisy labels exactly do harm?

    Claim. The minimum-norm interpolator of noisy labels predicts nearly optimally when the spectrum of the inputs has a
    few strong directions and a long flat tail, in which the noise is spread thin (Bartlett et al. 2020,
    arXiv:1906.11300). Interpolators of other geometries fit the noise in directions where it harms the prediction.

    Data. n = 50 samples, d = 1,000 independent Gaussian features: five of variance 4, the rest of variance 0.02. The
    teacher w* is ±1/√5 on the five and 0 elsewhere; y = X w* + N(0, 0.5²). (Twice the size with variances of 100 and 1
    has the same contrast, 0.05 against 0.86, and takes four times as long.) Model: x @ w from w = 0. Loss: mean squared
    error over its Lipschitz constant.

    Target. The loss is far below the noise.

    Oracle. The minimum-norm interpolator w+. Its risk is that of the best ridge regression to within a percent.

    Generalization axis. `excess_risk` = (w - w*)' S (w - w*) over its value at w = 0, with S the covariance of the
    inputs. Score 0: predicting zero. Score 1: w+, per data set. Reported: `excess_norm` = |w - w+| / |w+|.
    """
    n, d, strong, noise = 50, 1_000, 5, 0.5

    def problem(seed: int) -> Problem:
        stream = torch_stream("benign_overfitting", seed, "data")
        variance = torch.full((d,), 0.02, dtype=torch.float64)
        variance[:strong] = 4.0
        x = normal(stream, n, d) * variance.sqrt()
        teacher = torch.zeros(d, dtype=torch.float64)
        teacher[:strong] = signs(stream, strong) / math.sqrt(strong)
        train = Split(x, x @ teacher + noise * normal(stream, n))
        truth = {"teacher": teacher, "variance": variance}
        return Problem(train, lipschitz=least_squares_lipschitz(x), ground_truth=truth)

    def relative_risk(w: Tensor, problem: Problem) -> float:
        teacher, variance = problem.ground_truth["teacher"], problem.ground_truth["variance"]
        return float(variance @ (w - teacher).square() / (variance @ teacher.square()))

    def oracle(problem: Problem, seed: int) -> Oracle:
        solutions = minimum_norm_oracle(problem, seed).solutions
        return Oracle(solutions, {"min_norm_risk": relative_risk(solutions["min_norm"], problem)})

    def measure(solution: Solution) -> dict[str, float]:
        (w,) = weights(solution, "weight")
        return {
            "excess_risk": relative_risk(w, solution.problem),
            "excess_norm": excess_norm(solution),
            "l2_norm": torch.linalg.vector_norm(w).item(),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearPredictor(d),
        loss=mean_squared_error,
        target=Target(1e-8, budget=2_500),
        measure=measure,
        oracle=oracle,
        axes=(Axis("generalization", "excess_risk", "log", score_0=1.0, score_1="min_norm_risk"),),
        reported=("excess_norm",),
    )


FREQUENCIES = 64


def fourier_features(points: Tensor) -> Tensor:
    """``[1, √2 cos(2πkx) / k, √2 sin(2πkx) / k]`` for k = 1 … 64: points [n] -> [n, 129].

    The l2 norm of weights on these features is the Sobolev norm of the function: its square is the squared mean plus
    the mean square of the derivative over (2π)².
    """
    k = torch.arange(1, FREQUENCIES + 1, dtype=points.dtype)
    angles = 2 * math.pi * points[:, None] * k
    waves = torch.cat([angles.cos(), angles.sin()], dim=1) * math.sqrt(2) / k.repeat(2)
    return torch.cat([torch.ones_like(points)[:, None], waves], dim=1)


@task
def sobolev_interpolation(harmonics: int = 64) -> Task:
    """Does the optimizer draw a smooth curve through the points?

    Claim. On Fourier features that are scaled by 1/frequency the l2 norm of the weights is the Sobolev norm of the
    function, so the bias of gradient descent to the minimum-norm interpolator is a bias to the smoothest curve; methods
    that scale their steps entry by entry raise the high frequencies and wiggle between the points (Gunasekar et al.
    2018, arXiv:1802.08246; Wilson et al. 2017, arXiv:1705.08292).

    Data. n = 16 points (i + 0.6 u_i) / n, u ~ U(0, 1), on the circle [0, 1). Features: 1 and √2 cos(2πkx) / k, √2
    sin(2πkx) / k for k = 1 … 64, d = 129. The target is a function of the same features with weights N(0, 1/d) on the
    first `harmonics` frequencies. With all 64 the weights' prior is isotropic and the minimum-norm interpolator is the
    conditional mean of the function given the points: no predictor has less expected error. With `harmonics=4` the
    target is smoother and the gap wider (0.008 against 0.27), but it is also sparse, so that the least l1 norm recovers
    it exactly and would be the better answer. Model: x @ w from w = 0. Loss: mean squared error over its Lipschitz
    constant; the target's variance is about 0.03.

    Oracle. The minimum-norm interpolator w+, which is the smoothest interpolant, and the interpolator of least l_inf
    norm (a linear program), near which entrywise methods end.

    Norm axis. `excess_norm` = |w - w+| / |w+|. Generalization axis. `test_error` = mean squared error on 1,000
    equidistant points over the target's variance there. Both: score 0 is the l_inf interpolator, score 1 is w+ (on the
    norm axis: close enough to count as exact).
    """
    n, grid = 16, 1_000
    if not 1 <= harmonics <= FREQUENCIES:
        raise ValueError(f"harmonics must be between 1 and {FREQUENCIES}, not {harmonics}.")

    def problem(seed: int) -> Problem:
        stream = torch_stream("sobolev_interpolation", seed, "data")
        jitter = torch.rand(n, generator=stream, dtype=torch.float64)
        x = fourier_features((torch.arange(n) + 0.6 * jitter) / n)
        teacher = normal(stream, x.shape[1]) / math.sqrt(x.shape[1])
        teacher *= torch.cat([torch.zeros(1), torch.arange(1, FREQUENCIES + 1).repeat(2)]) <= harmonics
        test = fourier_features(torch.arange(grid, dtype=torch.float64) / grid)
        return Problem(
            Split(x, x @ teacher),
            test=Split(test, test @ teacher),
            lipschitz=least_squares_lipschitz(x),
            ground_truth={"teacher": teacher},
        )

    def test_error(w: Tensor, problem: Problem) -> float:
        test = problem.required_test
        return float((test.x @ w - test.y).square().mean() / test.y.var(correction=0))

    def oracle(problem: Problem, seed: int) -> Oracle:
        data = arrays(problem.train)
        smooth, linf = (torch.from_numpy(solve(*data)) for solve in (min_norm_interpolator, min_linf_interpolator))
        values = {
            "linf_excess_norm": relative_distance(linf, smooth),
            "linf_test_error": test_error(linf, problem),
            "min_norm_test_error": test_error(smooth, problem),
        }
        return Oracle({"min_norm": smooth, "linf": linf}, values)

    def measure(solution: Solution) -> dict[str, float]:
        (w,) = weights(solution, "weight")
        return {"excess_norm": excess_norm(solution), "test_error": test_error(w, solution.problem)}

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearPredictor(2 * FREQUENCIES + 1),
        loss=mean_squared_error,
        target=Target(1e-10, budget=4_000),
        measure=measure,
        oracle=oracle,
        axes=(
            Axis("norm", "excess_norm", "log", score_0="linf_excess_norm", score_1=0.01, floor=0.01),
            Axis("generalization", "test_error", "log", score_0="linf_test_error", score_1="min_norm_test_error"),
        ),
    )
