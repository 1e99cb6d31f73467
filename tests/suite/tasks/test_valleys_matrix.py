"""The valley of a factored matrix: curvatures by the Hessian itself, and oracles by another solver."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from suite.curvature import Hessian, Network
from suite.curvature.operators import dense
from suite.estimate import uncertainties
from suite.models import FactoredPredictor
from suite.oracles.flat_minima import least_trace_factorization, root_trace_of_svd
from suite.task import Oracle, Solution
from suite.tasks import find_task
from suite.tasks.common import arrays
from tests.suite.tasks.helpers import oracle_of


def test_measures_are_those_of_the_dense_hessian() -> None:
    """At the teacher, which interpolates, in another basis than that of its singular vectors."""
    task, oracle = find_task("valley_matrix"), oracle_of("valley_matrix", 0)
    problem = task.problem(0)
    teacher = problem.ground_truth["teacher"]
    mixing = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    left, values, right = torch.linalg.svd(teacher)
    model = FactoredPredictor(left * values.clamp(min=0).sqrt() @ mixing, right.T * values.clamp(min=0).sqrt() @ mixing)
    measures = task.measure(Solution(model, {}, problem, oracle, 0))
    hessian = dense(Hessian(Network(model), problem.train, task.loss))
    assert measures["trace_ratio"] * oracle.values["trace"] == pytest.approx(hessian.trace().item())
    roots = hessian.diagonal().clamp(min=0).sqrt().sum().item()
    assert measures["root_trace_ratio"] * oracle.values["root_trace"] == pytest.approx(roots)
    assert measures["recovery_error"] == pytest.approx(0, abs=1e-9)
    assert measures["trace_ratio"] >= 1 - 1e-6
    assert measures["root_trace_ratio"] > 1
    assert uncertainties(measures).keys() == {"root_trace_ratio"}
    assert str(measures["root_trace_ratio"]).startswith("≥ ")


def test_least_trace_against_the_factors_themselves() -> None:
    """SCS on the semidefinite form: W is the corner of a matrix whose other two blocks are U U' and V V'."""
    x, y = arrays(find_task("valley_matrix").problem(1).train)
    w, trace = least_trace_factorization(x, y)
    np.testing.assert_allclose((x * w).sum((1, 2)), y, atol=1e-6)
    both = cp.Variable((16, 16), PSD=True)
    inner, outer = sum(a.T @ a for a in x) / len(x), sum(a @ a.T for a in x) / len(x)
    cost = cp.trace(outer @ both[:8, :8]) + cp.trace(inner @ both[8:, 8:])
    problem = cp.Problem(
        cp.Minimize(cost), [cp.sum(cp.multiply(a, both[:8, 8:])) == b for a, b in zip(x, y, strict=True)]
    )
    problem.solve(solver=cp.SCS, eps=1e-7)
    assert trace == pytest.approx(problem.value, rel=1e-4)


def test_root_trace_of_a_matrix_of_rank_one_is_least_in_its_scale() -> None:
    task = find_task("valley_matrix")
    problem = task.problem(0)
    x, teacher = problem.train.x.numpy(), problem.ground_truth["teacher"].numpy()
    left, _, right = np.linalg.svd(teacher)
    p, q = left[:, :1], right[:1].T

    def of(scale: float) -> float:
        model = FactoredPredictor(torch.from_numpy(scale * p), torch.from_numpy(q / scale))
        oracle = Oracle(oracle_of("valley_matrix", 0).solutions, {"trace": 1.0, "root_trace": 1.0, "between": 0.0})
        return task.measure(Solution(model, {}, problem, oracle, 0))["root_trace_ratio"]

    values = [of(scale) for scale in np.geomspace(0.3, 3, 2_001)]
    assert root_trace_of_svd(x, teacher) == pytest.approx(min(values), rel=1e-5)


def test_the_two_predictions_part() -> None:
    """On most seeds the W of least trace is not the teacher, and has the larger root trace."""
    apart = 0
    for seed in range(4):
        x, y = arrays(find_task("valley_matrix").problem(seed).train)
        teacher = find_task("valley_matrix").problem(seed).ground_truth["teacher"].numpy()
        flattest, _ = least_trace_factorization(x, y)
        apart += np.linalg.norm(flattest - teacher) > 0.05 and root_trace_of_svd(x, flattest) > root_trace_of_svd(
            x, teacher
        )
    assert apart >= 2
