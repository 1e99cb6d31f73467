"""Next-token oracles against a solver that is not ours, and against what they must satisfy."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax

from suite.oracles.next_token import finite_component, next_token_margins, next_token_rows, outside_of
from suite.oracles.solvers import OracleError


def contexts(seed: int, n: int = 5, d: int = 7, tokens: int = 5, following: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.zeros((n, tokens))
    for row in y:
        row[rng.choice(tokens, following, replace=False)] = rng.dirichlet(np.ones(following))
    return rng.normal(size=(n, d)), y


@pytest.mark.parametrize("seed", range(3))
def test_the_finite_component_gives_the_probabilities_among_the_tokens_that_follow(seed: int) -> None:
    x, y = contexts(seed, following=3)
    rows = next_token_rows(x, y)
    w = finite_component(rows)
    logits = np.where(y > 0, x @ w.reshape(5, 7).T, -np.inf)
    assert_allclose(softmax(logits, axis=1), y, atol=1e-10)
    assert_allclose(outside_of(rows, w), 0, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_margins_against_another_conic_solver(seed: int) -> None:
    """SCS (operator splitting), with equal logits of the tokens that follow written out context by context."""
    x, y = contexts(seed)
    rows = next_token_rows(x, y)
    ours = next_token_margins(rows, (5, 7))
    norms = {"frobenius": lambda m: cp.norm(m, "fro"), "spectral": cp.sigma_max, "max": lambda m: cp.max(cp.abs(m))}
    lengths = {"frobenius": np.linalg.norm, "spectral": lambda m: np.linalg.norm(m, 2), "max": lambda m: abs(m).max()}
    for name, norm in norms.items():
        w, t = cp.Variable((5, 7)), cp.Variable()
        logits = x @ w.T
        constraints = [norm(w) <= 1]
        for context, probabilities in enumerate(y):
            follow, never = np.flatnonzero(probabilities), np.flatnonzero(probabilities == 0)
            constraints += [logits[context, a] == logits[context, b] for a in follow for b in follow if a < b]
            constraints += [logits[context, a] - logits[context, b] >= t for a in follow for b in never]
        problem = cp.Problem(cp.Maximize(t), constraints)
        problem.solve(solver=cp.SCS, eps=1e-7)
        assert_allclose(rows.equal @ ours[name], 0, atol=1e-6)
        margin = (rows.apart @ ours[name]).min() / lengths[name](ours[name].reshape(5, 7))
        assert margin == pytest.approx(problem.value, rel=1e-4)


def test_contexts_that_cannot_be_told_apart_are_an_error() -> None:
    """The same context followed by one token and by another: no logits separate."""
    x = np.array([[1.0, 0.0], [1.0, 0.0]])
    rows = next_token_rows(x, np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]))
    with pytest.raises(OracleError, match="not separable"):
        next_token_margins(rows, (3, 2))
