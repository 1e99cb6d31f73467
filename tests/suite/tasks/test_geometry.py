"""Linear networks on separable data: the architecture picks the geometry, the prior says which one is right."""

from __future__ import annotations

import pytest
import torch

from suite.errors import InputError
from suite.tasks import find_task
from suite.tasks.geometry import GEOMETRY, linear_part, log_loss_hessian
from tests.suite.tasks.helpers import trained

RATIOS = ("l2_margin_ratio", "l1_margin_ratio", "fourier_l1_margin_ratio")


@pytest.mark.parametrize(("network", "geometry"), [("full", "l2"), ("diagonal", "l1"), ("convolutional", "fourier_l1")])
def test_each_network_has_the_largest_margin_in_its_own_geometry(network: str, geometry: str) -> None:
    task = find_task(f"linear_geometry[network={network},teacher=gaussian,log_loss=-100]")
    for measures in trained(task, "normalized", 0.05):
        assert all(measures[ratio] <= 1 + 1e-6 for ratio in (*RATIOS, "parameter_margin_ratio"))
        assert measures[f"{geometry}_margin_ratio"] == max(measures[ratio] for ratio in RATIOS) > 0.92
        # The parameters are nearly the fewest that represent the predictor.
        assert measures["parameter_margin_ratio"] > 0.95 * measures[f"{geometry}_margin_ratio"]


def test_the_layers_of_a_deep_linear_network_align() -> None:
    for measures in trained(find_task("linear_geometry[depth=3]"), "normalized", 0.05):
        assert measures["alignment"] > 0.999
        assert measures["l2_margin_ratio"] > 0.95
    assert all(m["parameter_margin_ratio"] < 0.5 for m in trained(find_task("linear_geometry[depth=3]"), "adam", 0.01))


def test_adam_overrules_the_diagonal_network() -> None:
    task = find_task("linear_geometry[network=diagonal]")
    for gradient, adam in zip(trained(task, "normalized", 0.05), trained(task, "adam", 0.01), strict=True):
        assert gradient["l1_margin_ratio"] > 0.88 > 0.8 > adam["l1_margin_ratio"]
        assert gradient["test_error"] < adam["test_error"]


@pytest.mark.parametrize("teacher", GEOMETRY)
def test_the_scored_geometry_predicts_best(teacher: str) -> None:
    task = find_task(f"linear_geometry[teacher={teacher}]")
    errors = dict.fromkeys(GEOMETRY.values(), 0.0)
    for seed in range(6):
        problem = task.problem(seed)
        assert problem.test is not None
        for name, w in task.oracle(problem, seed).solutions.items():  # type: ignore[misc]
            errors[name] += float(((problem.test.x @ w) * problem.test.y[:, 0] <= 0).double().mean())
    assert min(errors, key=errors.__getitem__) == GEOMETRY[teacher]
    assert task.axes[0].measure == f"{GEOMETRY[teacher]}_margin_ratio"


def test_hessian_of_the_log_loss() -> None:
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = torch.randn(4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = torch.func.hessian(lambda v: torch.logsumexp(-z @ v, dim=0))(w)
    assert torch.allclose(log_loss_hessian(z, w), exact)


def test_linear_part_of_a_network_that_is_not_linear() -> None:
    """The odd part of |x_1| + 3 x_2 + 1 is 3 x_2, and Gaussian inputs are symmetric."""
    x = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Bent(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[:, 0].abs() + 3 * x[:, 1] + 1)[:, None]

    assert torch.allclose(linear_part(Bent(), x), torch.tensor([0.0, 3, 0, 0], dtype=torch.float64), atol=0.02)


@pytest.mark.parametrize("variant", ["network=round", "teacher=strict", "depth=0", "log_loss=-1"])
def test_unknown_variants(variant: str) -> None:
    with pytest.raises(InputError, match=variant.split("=")[0]):
        find_task(f"linear_geometry[{variant}]")
