"""Matrix completion: what depth and initial scale decide."""

from __future__ import annotations

import pytest
import torch

from suite.curvature import Hessian, Network, lanczos
from suite.models import MatrixProduct
from suite.seeding import torch_stream
from suite.task import Solution
from suite.tasks import find_task
from tests.suite.tasks.helpers import oracle_of, trained


def test_deeper_factorisations_find_lower_rank() -> None:
    """Depth 1 leaves what it has not seen alone; depth 3 beats the nuclear norm where that fails."""
    one, two, three = (trained(find_task(f"matrix_completion[depth={depth}]"), "sgd", 1.0)[0] for depth in (1, 2, 3))
    assert one["unobserved_error"] == pytest.approx(1, abs=1e-3)
    assert one["nuclear_ratio"] == pytest.approx(
        oracle_of("matrix_completion", 0).values["zero_filled_ratio"], rel=0.01
    )
    assert one["effective_rank"] > 10 > two["effective_rank"] > three["effective_rank"]
    assert three["effective_rank"] == pytest.approx(2, abs=0.1)
    assert three["unobserved_error"] < min(0.01, two["unobserved_error"], three["oracle_error"])


def test_a_large_start_and_equal_singular_values_spoil_it() -> None:
    large = trained(find_task("matrix_completion[init=1]"), "sgd", 1.0, seeds=1)[0]
    muon = trained(find_task("matrix_completion"), "muon", 0.01, seeds=1)[0]
    assert large["effective_rank"] > 8
    assert large["unobserved_error"] > 0.3
    assert muon["effective_rank"] > 8
    assert muon["unobserved_error"] > 0.5


def test_references() -> None:
    """The truth scores 1 on both axes, the observed entries with zeros elsewhere score 0."""
    task, oracle = find_task("matrix_completion[depth=1]"), oracle_of("matrix_completion[depth=1]", 0)
    problem = task.problem(0)
    filled = torch.zeros(24, 24, dtype=torch.float64)
    filled[problem.train.x[:, 0], problem.train.x[:, 1]] = problem.train.y
    model = task.model(problem, 0)
    for matrix, ratio, error in (
        (oracle.solutions["matrix"], 1.0, 0.0),
        (filled, oracle.values["zero_filled_ratio"], 1.0),
        (oracle.solutions["nuclear"], None, oracle.values["oracle_error"]),
    ):
        model.load_state_dict({"factors.0": matrix})
        measures = task.measure(Solution(model, {}, problem, oracle, 0))
        if ratio is not None:
            assert measures["nuclear_ratio"] == pytest.approx(ratio)
        assert measures["unobserved_error"] == pytest.approx(error, abs=1e-12)


def test_observed_and_unobserved_are_the_whole_matrix() -> None:
    problem = find_task("matrix_completion").problem(0)
    assert problem.test is not None
    cells = torch.cat([problem.train.x, problem.test.x])
    assert len(problem.train) == 230
    assert len({tuple(cell) for cell in cells.tolist()}) == 24 * 24
    matrix = problem.ground_truth["matrix"]
    assert torch.linalg.matrix_rank(matrix) == 2
    assert torch.linalg.matrix_norm(matrix).item() == pytest.approx(24)
    assert torch.equal(torch.cat([problem.train.y, problem.test.y]), matrix[cells[:, 0], cells[:, 1]])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_smoothness_bounds_the_curvature_at_a_balanced_solution(depth: int) -> None:
    task = find_task(f"matrix_completion[depth={depth}]")
    problem = task.problem(0)
    u, s, vt = torch.linalg.svd(problem.ground_truth["matrix"])
    root = torch.diag(s ** (1 / depth))
    model = task.model(problem, 0)
    assert isinstance(model, MatrixProduct)
    with torch.no_grad():
        for factor in model.factors:
            factor.copy_(root)
        model.factors[0].copy_(root @ vt)
        model.factors[-1].copy_(u @ (model.factors[-1] if depth > 1 else root @ vt))
    hessian = Hessian(Network(model), problem.train, task.loss)
    top = lanczos(hessian, 1, torch_stream("test")).values[0]
    assert 0.3 * problem.lipschitz < top <= problem.lipschitz * (1 + 1e-6)
