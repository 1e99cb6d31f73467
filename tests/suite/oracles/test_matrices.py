"""Matrix completion against a solver that is not ours, and against the dual certificate."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from suite.oracles.interpolators import nuclear_norm_completion
from suite.oracles.solvers import OracleError

SEEDS = range(3)


def observed(seed: int, d: int = 9, e: int = 11, rank: int = 2, share: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of low rank, zero where it is not seen, and the seen cells."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(d, rank)) @ rng.normal(size=(rank, e))
    cells = np.argwhere(rng.random((d, e)) < share)
    filled = np.zeros((d, e))
    filled[cells[:, 0], cells[:, 1]] = matrix[cells[:, 0], cells[:, 1]]
    return filled, cells


def thresholding(filled: np.ndarray, cells: np.ndarray, steps: int = 4_000) -> np.ndarray:
    """ADMM with singular value thresholding (Cai, Candès and Shen 2010, arXiv:0810.3286)."""
    seen = np.zeros(filled.shape, dtype=bool)
    seen[cells[:, 0], cells[:, 1]] = True
    low, multiplier = np.zeros_like(filled), np.zeros_like(filled)
    for _ in range(steps):
        agreeing = np.where(seen, filled, low - multiplier)
        u, s, vt = np.linalg.svd(agreeing + multiplier, full_matrices=False)
        low = (u * np.maximum(s - 0.05, 0)) @ vt
        multiplier += agreeing - low
    return np.where(seen, filled, low)


@pytest.mark.parametrize("seed", SEEDS)
def test_completion_against_singular_value_thresholding(seed: int) -> None:
    filled, cells = observed(seed)
    ours = nuclear_norm_completion(filled, cells)
    assert_allclose(ours[cells[:, 0], cells[:, 1]], filled[cells[:, 0], cells[:, 1]], atol=1e-9)
    theirs = thresholding(filled, cells)
    norms = [np.linalg.norm(matrix, "nuc") for matrix in (ours, theirs)]
    assert norms[0] <= norms[1] * (1 + 1e-8)
    assert norms[0] == pytest.approx(norms[1], rel=1e-8)
    assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_completion_against_the_primal_program(seed: int) -> None:
    filled, cells = observed(seed, d=6, e=7)
    matrix = cp.Variable(filled.shape)
    agree = [matrix[i, j] == filled[i, j] for i, j in cells]
    problem = cp.Problem(cp.Minimize(cp.normNuc(matrix)), agree)
    problem.solve(solver=cp.SCS, eps=1e-9)
    assert np.linalg.norm(nuclear_norm_completion(filled, cells), "nuc") == pytest.approx(problem.value, rel=1e-6)


def test_two_by_two_by_brute_force() -> None:
    """One entry is not seen: every value of it is tried."""
    for corner in (-0.5, 0.0, 0.9):
        filled = np.array([[1.0, corner], [0.0, 1.0]])
        best = nuclear_norm_completion(filled, np.array([[0, 0], [0, 1], [1, 1]]))
        grid = np.linspace(-2, 2, 8_001)
        brute = [np.linalg.norm([[1.0, corner], [x, 1.0]], "nuc") for x in grid]
        assert np.linalg.norm(best, "nuc") == pytest.approx(min(brute), abs=1e-6)


def test_everything_seen_is_returned() -> None:
    filled, _ = observed(0, share=1.1)
    cells = np.argwhere(np.ones_like(filled))
    assert_allclose(nuclear_norm_completion(filled, cells), filled, atol=1e-7)


def test_a_solver_that_fails_names_itself() -> None:
    with pytest.raises(OracleError, match="Clarabel did not solve the nuclear norm problem"):
        nuclear_norm_completion(np.full((2, 2), np.nan), np.array([[0, 0]]))
