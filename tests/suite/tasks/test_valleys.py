"""Valleys: curvatures by the Hessian itself, and where theory says that each method comes to rest."""

from __future__ import annotations

import pytest
import torch

from suite.curvature import Hessian, Network
from suite.curvature.operators import dense
from suite.models import DiagonalNetwork, InnerProduct
from suite.task import Solution
from suite.tasks import find_task
from tests.suite.tasks.helpers import oracle_of, trained


def _hessian(task_name: str, model: torch.nn.Module) -> torch.Tensor:
    task = find_task(task_name)
    train = task.problem(0).train
    return dense(Hessian(Network(model), train, task.loss))


def test_scalar_measure_is_the_curvature_of_the_loss() -> None:
    task = find_task("valley_scalar")
    problem = task.problem(0)
    u = torch.tensor([2.0, 0, 0, 0, 1.0], dtype=torch.float64)
    v = torch.tensor([0.25, 0.3, 0, 0, 0.5], dtype=torch.float64)  # u·v = 1
    model = InnerProduct(u, v)
    measures = task.measure(Solution(model, {}, problem, oracle_of("valley_scalar", 0), 0))
    values = torch.linalg.eigvalsh(_hessian("valley_scalar", model))
    assert 2 * measures["curvature_ratio"] == pytest.approx(values[-1].item())
    assert values[:-1].abs().max() < 1e-12


def test_sparse_measures_are_trace_and_eigenvalue_of_the_hessian() -> None:
    """At an interpolator, however u and v split the predictor."""
    task, oracle = find_task("valley_sparse"), oracle_of("valley_sparse", 0)
    problem = task.problem(0)
    teacher, extra = problem.ground_truth["teacher"], torch.linspace(0, 0.1, 100, dtype=torch.float64)
    model = DiagonalNetwork(100, 0.1)
    with torch.no_grad():
        model.u.copy_((teacher.clamp(min=0) + extra).sqrt())
        model.v.copy_(((-teacher).clamp(min=0) + extra).sqrt())
    measures = task.measure(Solution(model, {}, problem, oracle, 0))
    hessian = _hessian("valley_sparse", model)
    assert measures["trace_ratio"] * oracle.values["trace"] == pytest.approx(hessian.trace().item())
    top = torch.linalg.eigvalsh(hessian)[-1].item()
    assert measures["lambda_max_ratio"] * oracle.values["lambda_max"] == pytest.approx(top)
    roots = hessian.diagonal().clamp(min=0).sqrt().sum().item()
    assert measures["root_trace_ratio"] * oracle.values["root_trace"] == pytest.approx(roots)
    assert measures["recovery_error"] == pytest.approx(0, abs=1e-12)
    assert measures["trace_ratio"] > 1
    # Both have their least value at the sparse teacher.
    for name in ("least_trace", "low_root_trace"):
        torch.testing.assert_close(oracle.solutions[name], teacher, atol=1e-9, rtol=0)


def test_flow_stays_where_it_lands_and_the_rest_walk() -> None:
    task = find_task("valley_scalar")
    assert task.target.at_end
    for m in trained(task, "sgd", 0.1, seeds=1):
        assert m["curvature_ratio"] == pytest.approx(m["flow_ratio"], rel=0.01)
    assert all(m["curvature_ratio"] < 1.05 for m in trained(task, "sam", 0.05, seeds=1, rho=0.3))
    assert all(m["curvature_ratio"] < 1.05 for m in trained(task, "normalized", 0.1, seeds=1))
    assert all(m["curvature_ratio"] > 4 for m in trained(task, "sign", 0.003, seeds=1))


def test_label_noise_walks_to_the_flattest_point() -> None:
    for m in trained(find_task("valley_scalar[noise=0.5]"), "sgd", 1.0, seeds=1):
        assert m["curvature_ratio"] == pytest.approx(1, abs=0.01)
    task = find_task("valley_sparse")
    for m in trained(task, "sgd", 0.5, seeds=1):
        assert m["trace_ratio"] == pytest.approx(1, abs=0.01)
        assert m["recovery_error"] < 0.1
        assert m["lambda_max_ratio"] > 1.5
    # A step of constant sign takes no notice of how large the noise is.
    assert all(m["trace_ratio"] > 1.5 for m in trained(task, "sign", 1e-3, seeds=1))


def test_full_batch_sam_lowers_the_other_flatness_and_predicts_worse() -> None:
    task = find_task("valley_sparse[noise=0]")
    assert not task.axes
    (flow,), (sam,) = trained(task, "sgd", 0.1, seeds=1), trained(task, "sam", 0.1, seeds=1, rho=0.3)
    assert flow["trace_ratio"] == pytest.approx(flow["flow_trace_ratio"], rel=0.02)
    assert flow["lambda_max_ratio"] == pytest.approx(flow["flow_lambda_max_ratio"], rel=0.02)
    assert flow["root_trace_ratio"] == pytest.approx(flow["flow_root_trace_ratio"], rel=0.02)
    assert sam["lambda_max_ratio"] < 1.2 < flow["lambda_max_ratio"]
    assert sam["recovery_error"] > flow["recovery_error"] + 0.2
