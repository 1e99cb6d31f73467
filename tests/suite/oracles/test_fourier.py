"""Fourier oracles against a linear program over atoms and iteratively reweighted least squares."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from suite.oracles.fourier import fourier_l1_norm, max_margin_fourier_l1, min_fourier_l1_interpolator
from suite.oracles.solvers import OracleError

SEEDS = range(3)
PHASES = 256


def atoms(d: int) -> np.ndarray:
    """Unit vectors of the Fourier l1 ball [d, atoms]: cosines of every frequency at many phases."""
    waves = []
    for frequency in range(d // 2 + 1):
        for phase in 2 * np.pi * np.arange(PHASES) / PHASES:
            wave = np.cos(2 * np.pi * frequency * np.arange(d) / d + phase)
            if fourier_l1_norm(wave) > 1e-6:
                waves.append(wave / fourier_l1_norm(wave))
    return np.array(waves).T


@pytest.mark.parametrize("d", [8, 9])
@pytest.mark.parametrize("seed", SEEDS)
def test_margin_against_a_linear_program_over_atoms(seed: int, d: int) -> None:
    z = np.random.default_rng(seed).normal(size=(12, d))
    z *= np.sign(z @ np.ones(d))[:, None]
    products = z @ atoms(d)
    count = products.shape[1]
    program = linprog(
        np.append(np.zeros(count), -1.0),
        A_ub=np.vstack([np.hstack([-products, np.ones((12, 1))]), np.append(np.ones(count), 0.0)]),
        b_ub=np.append(np.zeros(12), 1.0),
    )
    ours = max_margin_fourier_l1(z)
    assert fourier_l1_norm(ours) == pytest.approx(1)
    # The polygon of 256 phases lies inside the disc, by at most 1 - cos(pi / 256) = 7.5e-5.
    assert -program.fun <= (z @ ours).min() * (1 + 2e-6)
    assert (z @ ours).min() == pytest.approx(-program.fun, rel=2e-4)


def reweighted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Iteratively reweighted least squares (Daubechies et al. 2010) in the Fourier basis."""
    transform = np.fft.fft(np.eye(x.shape[1]), norm="ortho")
    w, epsilon = np.linalg.pinv(x) @ y, 1.0
    for _ in range(400):
        weights = np.sqrt(abs(transform @ w) ** 2 + epsilon**2)
        metric = (transform.conj().T @ (weights[:, None] * transform)).real
        w = metric @ x.T @ np.linalg.solve(x @ metric @ x.T, y)
        epsilon = max(0.95 * epsilon, 1e-8)
    return w


@pytest.mark.parametrize("seed", SEEDS)
def test_interpolator_against_reweighted_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(24, 64))
    w = np.cos(2 * np.pi * 5 * np.arange(64) / 64 + 1) + np.cos(2 * np.pi * 17 * np.arange(64) / 64 + seed)
    ours = min_fourier_l1_interpolator(x, x @ w)
    assert_allclose(x @ ours, x @ w, atol=1e-9)
    assert_allclose(ours, w, atol=1e-5)
    dense = rng.normal(size=24)
    ours = min_fourier_l1_interpolator(x, dense)
    assert fourier_l1_norm(ours) == pytest.approx(fourier_l1_norm(reweighted(x, dense)), rel=1e-5)


def test_what_cannot_be_solved_is_an_error() -> None:
    with pytest.raises(OracleError, match="Clarabel did not solve the Fourier l1 margin problem: status infeasible"):
        max_margin_fourier_l1(np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
    with pytest.raises(OracleError, match="Fourier l1 interpolation"):
        min_fourier_l1_interpolator(np.zeros((1, 4)), np.ones(1))
