"""The valley of a ReLU network: the Hessian itself, and who walks down."""

from __future__ import annotations

import pytest
import torch

from suite.curvature import Hessian, Network
from suite.curvature.operators import dense
from suite.models import TwoLayerReLU
from suite.task import Solution, Split
from suite.tasks import find_task
from suite.tasks.valleys import hessian_parts
from tests.suite.tasks.helpers import oracle_of, trained


def test_parts_are_those_of_the_hessian_at_an_interpolator() -> None:
    task = find_task("valley_relu")
    problem = task.problem(0)
    x = problem.train.x
    model = task.model(problem, 0)
    with torch.no_grad():
        targets = model(x)
    hessian = dense(Hessian(Network(model), Split(x, targets), task.loss))
    twin, outer, inner = hessian_parts(x, problem.ground_truth["hidden"], problem.ground_truth["output"])
    values = torch.linalg.eigvalsh(hessian)
    torch.testing.assert_close(values[-len(x) :], torch.linalg.eigvalsh(twin), rtol=1e-9, atol=1e-9)
    assert values[: -len(x)].abs().max() < 1e-9
    assert (outer.sum() + inner.sum()).item() == pytest.approx(hessian.trace().item())
    assert problem.lipschitz == pytest.approx(values[-1].item())


def test_least_trace_over_rescalings_is_reached_by_rescaling() -> None:
    task, oracle = find_task("valley_relu"), oracle_of("valley_relu", 0)
    problem = task.problem(0)
    hidden, output = problem.ground_truth["hidden"], problem.ground_truth["output"]

    def measured(factor: torch.Tensor) -> dict[str, float]:
        model = TwoLayerReLU(hidden * factor[:, None], output / factor)
        return task.measure(Solution(model, {}, problem, oracle, 0))

    ones = torch.ones(len(output), dtype=torch.float64)
    _, outer, inner = hessian_parts(problem.train.x, hidden, output)
    # Neurons that no sample activates have no part in the trace.
    best = torch.where(outer > 0, (inner / outer.clamp(min=1e-30)) ** 0.25, ones)
    plain, rescaled = measured(ones), measured(best)
    assert rescaled["trace_ratio"] == pytest.approx(plain["rescaled_trace_ratio"])
    assert rescaled["rescaled_trace_ratio"] == pytest.approx(plain["rescaled_trace_ratio"])
    assert rescaled["test_error"] == pytest.approx(plain["test_error"])
    assert plain["trace_ratio"] > plain["rescaled_trace_ratio"] > 1


def test_gradient_descent_stays_where_flow_lands_and_sam_walks_on() -> None:
    task = find_task("valley_relu")
    flow_ratio = oracle_of("valley_relu", 0).values["flow_trace_ratio"]
    (flow,), (sam,) = trained(task, "sgd", 0.5, seeds=1), trained(task, "sam", 0.1, seeds=1, rho=0.3)
    assert flow["trace_ratio"] == pytest.approx(flow_ratio, rel=0.01)
    assert sam["trace_ratio"] < flow_ratio / 3
    assert sam["rescaled_trace_ratio"] > 0.95  # no interpolator lies below 1; the loss is not quite 0


def test_label_noise_walks_too() -> None:
    (noisy,) = trained(find_task("valley_relu[noise=1]"), "sgd", 1.0, seeds=1)
    assert noisy["trace_ratio"] < 0.7 * oracle_of("valley_relu", 0).values["flow_trace_ratio"]
