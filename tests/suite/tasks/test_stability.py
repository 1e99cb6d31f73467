"""Gradient descent trains at the edge of stability."""

from __future__ import annotations

import math

import pytest
import torch

from suite.curvature import Hessian, Network, lanczos
from suite.curvature.operators import dense
from suite.models import RecordedTanhNetwork
from suite.seeding import torch_stream
from suite.task import Oracle, Solution, Split
from suite.tasks import find_task
from suite.tasks.stability import batch_sharpness
from tests.suite.tasks.helpers import trained


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.05, 0.1])
def test_gradient_descent_ends_at_the_limit(step: float) -> None:
    for measures in trained(find_task("edge_of_stability"), "sgd", step):
        assert measures["step_size"] == step
        assert measures["stability_ratio"] == measures["heavy_ball_ratio"] == pytest.approx(1, abs=0.06)


@pytest.mark.slow
def test_heavy_ball_ends_at_a_limit_of_its_own() -> None:
    (measures,) = trained(find_task("edge_of_stability"), "momentum", 0.15, seeds=1)
    assert measures["stability_ratio"] > 1.7
    assert measures["heavy_ball_ratio"] == pytest.approx(1, abs=0.06)


def test_heavy_ball_is_thrown_back_from_its_edge() -> None:
    """So the curvature at the end may lie far below the edge, although it was there."""
    task, edge = find_task("edge_of_stability"), (2 + 2 * 0.9) / 0.1
    data = task.problem(0).train
    model = task.model(task.problem(0), 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses, tops = [], []
    for step in range(301):
        loss = task.loss(model(data.x), data.y)
        if step in (0, 250, 300):
            hessian = Hessian(Network(model), data, task.loss)
            losses.append(loss.item())
            tops.append(lanczos(hessian, 1, torch_stream("test")).values[0].item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert tops[0] < edge / 2
    assert edge < tops[1] < 1.1 * edge
    assert tops[2] < edge / 2
    assert losses[2] > 5 * losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.001, 0.01])
def test_adam_ends_at_the_limit_of_the_preconditioned_hessian(step: float) -> None:
    (measures,) = trained(find_task("adam_edge"), "adam", step, seeds=1)
    assert measures["stability_ratio"] < 0.2
    assert measures["preconditioned_ratio"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_the_limits_are_those_of_quadratic_losses(share: float) -> None:
    """On curvature h x²/2 just below and above them, with torch's momentum and with Adam's preconditioner p frozen."""
    step, momentum, beta1, p = 0.1, 0.9, 0.8, 3.0
    limits = {"momentum": (2 + 2 * momentum) / step, "adam": p * (2 + 2 * beta1) / ((1 - beta1) * step)}
    ball = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([ball], lr=step, momentum=momentum)
    x, average = 1.0, 0.0
    for _ in range(2_000):
        optimizer.zero_grad()
        (share * limits["momentum"] / 2 * ball.square()).sum().backward()
        optimizer.step()
        average = beta1 * average + (1 - beta1) * share * limits["adam"] * x
        x -= step * average / p
    for end in (abs(ball.item()), abs(x)):
        assert end < 1e-3 if share < 1 else end > 1e3


def test_the_network_records_what_adam_does() -> None:
    task = find_task("adam_edge")
    data = task.problem(0).train
    model = task.model(task.problem(0), 0)
    assert isinstance(model, RecordedTanhNetwork)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        adam.zero_grad()
        task.loss(model(data.x), data.y).backward()
        adam.step()
    states = [adam.state[parameter] for parameter in model.parameters()]
    expected = torch.cat([state["exp_avg_sq"].flatten() for state in states]) / (1 - 0.999**30)
    assert model.calls == 30
    torch.testing.assert_close(model.second_moment(), expected, rtol=1e-9, atol=0)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()(data.x)
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


def test_the_preconditioned_eigenvalue_is_the_dense_matrix_s() -> None:
    task = find_task("adam_edge")
    problem = task.problem(0)
    model = task.model(problem, 0)
    for _ in range(3):
        model(problem.train.x)
    model.eval()
    settings = {"lr": 0.01, "betas": (0.8, 0.999), "eps": 1e-3}
    measures = task.measure(Solution(model, {}, problem, Oracle(), 0, settings))
    hessian = dense(Hessian(Network(model), problem.train, task.loss))
    p = (1 - 0.8**3) * (model.second_moment().sqrt() + 1e-3)
    top = torch.linalg.eigvals(hessian / p[:, None]).real.max().item()
    assert measures["preconditioned_ratio"] == pytest.approx(top * 0.01 * 0.2 / 3.6, rel=1e-3)
    settings["betas"] = (0.8, 0.99)
    assert math.isnan(task.measure(Solution(model, {}, problem, Oracle(), 0, settings))["preconditioned_ratio"])


def test_batch_sharpness_of_a_linear_model() -> None:
    stream = torch.Generator().manual_seed(0)
    x, y = (torch.randn(6, *shape, generator=stream, dtype=torch.float64) for shape in ((3,), ()))
    model = torch.nn.Linear(3, 1, bias=False).double()
    quotients = []
    order = torch_stream("batch_sharpness")
    for _ in range(400):
        rows = torch.randperm(6, generator=order)[:2]
        hessian = x[rows].T @ x[rows] / 2
        gradient = x[rows].T @ (x[rows] @ model.weight.detach()[0] - y[rows]) / 2
        quotients.append(float(gradient @ hessian @ gradient / (gradient @ gradient)))
    assert batch_sharpness(model, Split(x, y), 2) == pytest.approx(sum(quotients) / 400)


def test_the_measured_curvature_is_the_dense_hessians() -> None:
    task = find_task("edge_of_stability")
    problem = task.problem(0)
    model = task.model(problem, 0)
    hessian = Hessian(Network(model), problem.train, task.loss)
    exact = torch.linalg.eigvalsh(dense(hessian))[-1].item()
    assert lanczos(hessian, 1, torch_stream("test")).values[0] == pytest.approx(exact, rel=1e-3)
