"""Linear regression: among infinitely many interpolators, which one, and does it predict well?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.models import LinearPredictor
from suite.oracles.interpolators import best_ridge, min_linf_interpolator, min_norm_interpolator
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import arrays, least_squares_lipschitz, normal, relative_distance, signs, tensors, weights
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task


def minimum_norm_oracle(problem: Problem, seed: int) -> Oracle:
    """The minimum-norm interpolator w+ as the solution `min_norm`, by the pseudo-inverse of the data."""
    return Oracle(tensors(min_norm=min_norm_interpolator(*arrays(problem.train))))


def excess_norm(solution: Solution) -> float:
    """|w - w+| / |w+|."""
    (w,) = weights(solution, "weight")
    return relative_distance(w, solution.oracle.solutions["min_norm"].to(w.device))


def _gaussian_teacher(task_name: str, seed: int, n: int, d: int) -> Problem:
    """``X ~ N(0, 1)`` [n, d] and ``y = X w*`` without noise, ``w* ~ N(0, I/d)``."""
    stream = torch_stream(task_name, seed, "data")
    x, teacher = normal(stream, n, d), normal(stream, d) / math.sqrt(d)
    return Problem(Split(x, x @ teacher), lipschitz=least_squares_lipschitz(x), ground_truth={"teacher": teacher})


@task
def min_norm_regression() -> Task:
    """Does the optimizer find the minimum-norm interpolator?

    Claim. From zero, gradient descent, SGD and momentum stay in the row space of the data and so reach the interpolator
    of least l2 norm; adaptive and sign methods leave it (Gunasekar et al. 2018, arXiv:1802.08246; Wilson et al. 2017,
    arXiv:1705.08292).

    Data. n = 50 samples, d = 200 features, X ~ N(0, 1), y = X w*, w* ~ N(0, I/d). Model: x @ w from w = 0. Loss: mean
    squared error over its Lipschitz constant, so that a step size of 1 is 1/L for every seed; the target loss is far
    below the scale of the distances that are measured.

    Oracle. The minimum-norm interpolator w+, by the pseudo-inverse.

    Norm axis. `excess_norm` = |w - w+| / |w+|; for interpolators |w|² = |w+|² + |w - w+|². Score 0: sqrt(d/n - 1), an
    interpolator with the teacher's norm (|w*|² is d/n times |w+|² on average). Score 1: what is closer counts as exact.
    """
    n, d = 50, 200

    def measure(solution: Solution) -> dict[str, float]:
        (w,), teacher = weights(solution, "weight"), solution.problem.ground_truth["teacher"]
        return {
            "excess_norm": excess_norm(solution),
            "l2_norm": torch.linalg.vector_norm(w).item(),
            "linf_norm": w.abs().max().item(),
            "excess_risk": (w - teacher).square().sum().item(),
        }

    return Task(
        problem=lambda seed: _gaussian_teacher("min_norm_regression", seed, n, d),
        model=lambda problem, seed: LinearPredictor(d),
        loss=mean_squared_error,
        target=Target(1e-10, budget=4_000),
        measure=measure,
        oracle=minimum_norm_oracle,
        axes=(Axis("norm", "excess_norm", "log", score_0=math.sqrt(d / n - 1), score_1=0.01, floor=0.01),),
    )


@task
def init_memory() -> Task:
    """Does the optimizer forget where it started?

    Claim. Gradient descent, SGD and momentum move in the row space of the data only. The component of the initial
    weights outside of it never changes, and they reach the interpolator nearest to those weights, w+ + P w0 with P the
    projection on the null space (Gunasekar et al. 2018, arXiv:1802.08246). `min_norm_regression` starts at zero, where
    weight decay is harmless and remembering costs nothing; here both have an effect.

    Data. n = 40 samples, d = 100 features, X ~ N(0, 1), y = X w*, w* ~ N(0, I/d). Model: x @ w from w0 ~ N(0, I/d).
    Loss: mean squared error over its Lipschitz constant.

    Oracle. The minimum-norm interpolator w+, and the gradient methods' limit w+ + P w0 in closed form.

    Reported, not scored. `memory` = <P w, P w0> / |P w0|²: 1 if the initial weights are remembered as by gradient
    descent, 0 if they are forgotten. `limit_distance` = |w - w+ - P w0| / |w+ + P w0|. `excess_norm` = |w - w+| / |w+|.
    A score would not measure implicit bias: every method whose updates stay in the row space remembers all, and weight
    decay multiplies the memory by (1 - step size * decay) in every step, so that more is forgotten the more steps a
    submission takes to the target loss, and a score would reward slowness.
    """
    n, d = 40, 100

    def model(problem: Problem, seed: int) -> LinearPredictor:
        return LinearPredictor(d, normal(torch_stream("init_memory", seed, "init"), d) / math.sqrt(d))

    def measure(solution: Solution) -> dict[str, float]:
        (w,), x = weights(solution, "weight"), solution.problem.train.x
        start = solution.initial["weight"].to(w.device)
        outside = start - torch.linalg.pinv(x) @ (x @ start)
        limit = solution.oracle.solutions["min_norm"].to(w.device) + outside
        return {
            "memory": (w @ outside / (outside @ outside)).item(),
            "limit_distance": relative_distance(w, limit),
            "excess_norm": excess_norm(solution),
        }

    return Task(
        problem=lambda seed: _gaussian_teacher("init_memory", seed, n, d),
        model=model,
        loss=mean_squared_error,
        target=Target(1e-10, budget=4_000),
        measure=measure,
        oracle=minimum_norm_oracle,
        reported=("memory", "limit_distance", "excess_norm"),
    )


@task
def adaptive_trap() -> Task:
    """Does the optimizer fall into the trap that was built for adaptive methods?

    Claim. There are separable data on which adaptive methods interpolate and then classify new points no better than
    chance, while SGD is perfect (Wilson et al. 2017, arXiv:1705.08292, section 3.3).

    Data. n = 60 samples of which 36 (a share of 0.6) have the label +1, in random order. Feature 1 is the label,
    features 2 and 3 are 1, and each sample has five features of its own: the first is 1 for label +1, all five are 1
    for label -1. So d = 3 + 5n. A test point (2,000, the same share) has a block of its own that no training point has:
    its prediction depends on the first three weights alone. Model: x @ w from w = 0. Loss: squared error to the label
    over its Lipschitz constant. The seed draws the order of the labels: the solution is the same up to a permutation.

    Oracle. The minimum-norm interpolator classifies every test point correctly. An adaptive method's first step is
    about sign(X'y), which treats all features of positive samples alike, so it always predicts the majority.

    Reported, not scored. `test_error`: on all shipped records it is that of predicting the majority, 0.4, or that of
    the oracle, 0, and nothing between. It is the one bit that `min_norm_regression` asks for already: does the update
    stay in the span of the data? `excess_norm` = |w - w+| / |w+|.
    """
    n, share = 60, 0.6

    def problem(seed: int) -> Problem:
        stream = torch_stream("adaptive_trap", seed, "data")
        y = torch.ones(n, dtype=torch.float64)
        y[torch.randperm(n, generator=stream)[: n - round(share * n)]] = -1
        x = torch.zeros(n, 3 + 5 * n, dtype=torch.float64)
        x[:, 0], x[:, 1:3] = y, 1
        for row in range(n):
            start = 3 + 5 * row
            x[row, start : start + (1 if y[row] > 0 else 5)] = 1
        test_y = torch.ones(2_000, dtype=torch.float64)
        test_y[round(share * len(test_y)) :] = -1
        test_x = torch.zeros(len(test_y), x.shape[1], dtype=torch.float64)
        test_x[:, 0], test_x[:, 1:3] = test_y, 1
        return Problem(Split(x, y), test=Split(test_x, test_y), lipschitz=least_squares_lipschitz(x))

    def measure(solution: Solution) -> dict[str, float]:
        (w,), test = weights(solution, "weight"), solution.problem.required_test
        shared = w[:3].tolist()
        return {
            "test_error": (torch.sign(test.x @ w) != test.y).double().mean().item(),
            "excess_norm": excess_norm(solution),
            "output_on_positive": sum(shared),
            "output_on_negative": shared[1] + shared[2] - shared[0],
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearPredictor(3 + 5 * n),
        loss=mean_squared_error,
        target=Target(1e-8, budget=4_000),
        measure=measure,
        oracle=minimum_norm_oracle,
        reported=("test_error", "excess_norm"),
    )


@task
def benign_overfitting() -> Task:
    """Does fitting noisy labels exactly do harm?

    Claim. The minimum-norm interpolator of noisy labels predicts nearly optimally when the spectrum of the inputs has a
    few strong directions and a long flat tail, in which the noise is spread thin (Bartlett et al. 2020,
    arXiv:1906.11300). Interpolators of other geometries fit the noise in directions where it harms the prediction.

    Data. n = 50 samples, d = 1,000 independent Gaussian features: five of variance 4, the rest of variance 0.02. The
    teacher w* is ±1/√5 on the five and 0 elsewhere; y = X w* + N(0, 0.5²). (Twice the size with variances of 100 and 1
    has the same contrast, 0.05 against 0.86, and takes four times as long.) Model: x @ w from w = 0. Loss: mean squared
    error over its Lipschitz constant; the target loss is far below the noise.

    Oracle. The minimum-norm interpolator w+, and the ridge regression of least risk for penalties of either sign above
    minus the least eigenvalue of X X'. No positive penalty lowers the risk of w+ by more than a percent. Negative ones,
    which leave the interpolators, do: 0.0144 against 0.0204 on seed 0, and 0 to 29 % less on the first eight seeds. For
    such spectra the best penalty can be negative (Kobak, Lomond and Sanchez 2020, arXiv:1805.10939).

    Generalization axis. `excess_risk` = (w - w*)' S (w - w*) over its value at w = 0, with S the covariance of the
    inputs. Score 0: predicting zero. Score 1: the best ridge regression, per data set; w+ scores 0.92 to 1.00.
    Reported: `min_norm_risk`, that of w+, and `excess_norm` = |w - w+| / |w+|.
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
        truth = problem.ground_truth
        best = best_ridge(*arrays(problem.train), truth["teacher"].cpu().numpy(), truth["variance"].cpu().numpy())
        named = {"min_norm": solutions["min_norm"], "best_ridge": torch.from_numpy(best)}
        return Oracle(named, {f"{name}_risk": relative_risk(w, problem) for name, w in named.items()})

    def measure(solution: Solution) -> dict[str, float]:
        (w,) = weights(solution, "weight")
        return {
            "excess_risk": relative_risk(w, solution.problem),
            "excess_norm": excess_norm(solution),
            "l2_norm": torch.linalg.vector_norm(w).item(),
            "min_norm_risk": solution.oracle.values["min_norm_risk"],
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearPredictor(d),
        loss=mean_squared_error,
        target=Target(1e-8, budget=2_500),
        measure=measure,
        oracle=oracle,
        axes=(Axis("generalization", "excess_risk", "log", score_0=1.0, score_1="best_ridge_risk"),),
        reported=("min_norm_risk", "excess_norm"),
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
    equidistant points over the target's variance there. Both: score 0 is the l_inf interpolator, score 1 is w+.
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
