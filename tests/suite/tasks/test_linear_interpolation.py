"""Interpolators that predict: what theory says of them, and the oracles against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct
from sklearn.linear_model import Ridge

from suite.oracles.interpolators import best_ridge
from suite.tasks import find_task
from suite.tasks.linear import fourier_features
from tests.suite.tasks.helpers import oracle_of, trained


def test_benign_overfitting() -> None:
    task = find_task("benign_overfitting")
    for seed, measures in enumerate(trained(task, "sgd", 0.7)):
        exact = task.oracle(task.problem(seed), seed).values["min_norm_risk"]  # type: ignore[misc]
        assert measures["excess_risk"] == pytest.approx(exact, rel=0.01)
        assert exact < 0.05
    assert all(0.5 < m["excess_risk"] < 0.8 for m in trained(task, "adam", 0.01))


def test_no_ridge_regression_beats_the_benign_interpolator() -> None:
    task = find_task("benign_overfitting")
    problem = task.problem(0)
    x, y = problem.train.x.numpy(), problem.train.y.numpy()
    teacher, variance = problem.ground_truth["teacher"].numpy(), problem.ground_truth["variance"].numpy()
    new = np.random.default_rng(0).normal(size=(5_000, len(teacher))) * np.sqrt(variance)

    def risk(w: np.ndarray) -> float:
        """By new inputs, not by the covariance."""
        return float(((new @ (w - teacher)) ** 2).mean() / ((new @ teacher) ** 2).mean())

    exact = task.oracle(problem, 0).values["min_norm_risk"]  # type: ignore[misc]
    assert risk(np.linalg.lstsq(x, y, rcond=None)[0]) == pytest.approx(exact, rel=0.1)
    best = min(risk(Ridge(alpha, fit_intercept=False).fit(x, y).coef_) for alpha in (0.1, 1.0, 3.0, 10.0, 100.0))
    assert exact < 1.1 * best


def test_the_best_ridge_penalty_may_be_negative() -> None:
    """Against a fine grid of penalties and the normal equations in d dimensions."""
    rng = np.random.default_rng(0)
    variance = np.array([4.0] * 3 + [0.05] * 57)
    gains = []
    for _ in range(5):
        x = rng.normal(size=(20, 60)) * np.sqrt(variance)
        teacher = np.array([1.0] * 3 + [0.0] * 57)
        y = x @ teacher + 0.2 * rng.normal(size=20)

        def solution(penalty: float, x: np.ndarray = x, y: np.ndarray = y) -> np.ndarray:
            return np.linalg.solve(x.T @ x + penalty * np.eye(60), x.T @ y)

        def risk(w: np.ndarray, teacher: np.ndarray = teacher) -> float:
            return float(variance @ (w - teacher) ** 2)

        least = np.linalg.eigvalsh(x @ x.T)[0]
        penalties = np.concatenate([np.linspace(-0.99 * least, -1e-4, 1_000), np.geomspace(1e-3, 100, 500)])
        brute = min(map(risk, map(solution, penalties)))
        best = risk(best_ridge(x, y, teacher, variance))
        assert best <= brute * (1 + 1e-9)
        assert best == pytest.approx(brute, rel=0.01)
        gains.append(risk(np.linalg.pinv(x) @ y) / best)
    assert min(gains) > 1 - 1e-9
    assert max(gains) > 1.05


def test_the_interpolator_is_nearly_the_best_ridge_regression() -> None:
    values = oracle_of("benign_overfitting", 0).values
    assert values["best_ridge_risk"] == pytest.approx(0.014434, rel=1e-3)
    assert values["min_norm_risk"] == pytest.approx(0.020384, rel=1e-3)


def test_sobolev_interpolation() -> None:
    task = find_task("sobolev_interpolation")
    smooth, wiggly = trained(task, "sgd", 0.7), trained(task, "adam", 0.01)
    for gradient, adam in zip(smooth, wiggly, strict=True):
        assert gradient["excess_norm"] < 1e-3
        assert adam["excess_norm"] > 1
        assert gradient["test_error"] < adam["test_error"]


def test_sobolev_oracle_is_the_conditional_mean_of_the_target() -> None:
    """The minimum-norm interpolator against Gaussian process regression with the prior that the weights have."""
    task = find_task("sobolev_interpolation")
    problem = task.problem(0)
    assert problem.test is not None
    process = GaussianProcessRegressor(DotProduct(sigma_0=0.0, sigma_0_bounds="fixed"), alpha=1e-10, optimizer=None)
    process.fit(problem.train.x.numpy(), problem.train.y.numpy())
    ours = problem.test.x @ task.oracle(problem, 0).solutions["min_norm"]  # type: ignore[misc]
    assert_allclose(ours, process.predict(problem.test.x.numpy()), atol=1e-6)


def test_fourier_features_carry_the_sobolev_norm() -> None:
    """The squared norm of the weights is that of the mean plus that of the derivative over (2π)², by quadrature."""
    points = torch.arange(4_096, dtype=torch.float64) / 4_096
    w = torch.randn(129, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    curve = fourier_features(points) @ w
    slope = torch.fft.irfft(torch.fft.rfft(curve) * 2j * torch.pi * torch.arange(2_049))
    energy = curve.mean().square() + (slope / (2 * torch.pi)).square().mean()
    assert float(energy) == pytest.approx(float(w.square().sum()), rel=1e-9)


def test_four_harmonics_are_recovered_by_sparsity() -> None:
    """Why the default draws all frequencies: the prototype's smoother target favours another geometry."""
    from suite.oracles.interpolators import basis_pursuit

    problem = find_task("sobolev_interpolation[harmonics=4]").problem(0)
    sparse = basis_pursuit(problem.train.x.numpy(), problem.train.y.numpy())
    assert_allclose(sparse, problem.ground_truth["teacher"], atol=1e-7)
