"""Calibration and margins in the input, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from suite.measures import measure
from suite.measures.generalization import CHUNK
from suite.models import initialize, mlp
from suite.seeding import torch_stream
from suite.task import Split


def _linear(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
    layer.weight.data.copy_(weight)
    return layer


def test_calibration_error_bin_by_bin() -> None:
    stream = torch_stream("calibration")
    x = torch.randn(500, 4, generator=stream, dtype=torch.float64)
    y = torch.randint(0, 4, (500,), generator=stream)
    found = measure(_linear(2 * torch.eye(4)), Split(x, y), ["calibration_error"], test=Split(x, y))
    probabilities = np.exp(2 * x.numpy())
    probabilities /= probabilities.sum(1, keepdims=True)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == y.numpy()
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert found["calibration_error"] == pytest.approx(expected, rel=1e-9)


def test_certain_and_right_is_calibrated() -> None:
    data = Split(100 * torch.eye(3).double(), torch.arange(3))
    assert measure(_linear(torch.eye(3)), data, ["calibration_error"], test=data)["calibration_error"] < 1e-12


def test_input_margin_of_a_linear_network_is_the_distance_to_the_boundary() -> None:
    stream = torch_stream("margin")
    w = torch.randn(5, generator=stream, dtype=torch.float64)
    x = torch.randn(CHUNK + 7, 5, generator=stream, dtype=torch.float64)
    y = (x @ w > 0).long()
    found = measure(_linear(torch.stack([-3 * w, 3 * w])), Split(x, y), ["input_margin", "margin_distribution"])
    distances = (x @ w).abs() / w.norm()
    assert found["input_margin"] == pytest.approx(torch.quantile(distances, 0.1).item(), rel=1e-9)
    assert found["margin_distribution/q50"] == pytest.approx(distances.median().item(), rel=1e-2)
    assert found["input_margin"] < found["margin_distribution/q25"] < found["margin_distribution/q75"]


def test_no_step_shorter_than_the_input_margin_changes_a_decision_of_a_piecewise_linear_network_much() -> None:
    """Along its gradient each sample crosses the boundary at its margin, up to the bends on the way."""
    model = initialize(mlp((6,), 3, widths=(20,)).double(), torch_stream("net"))
    x = torch.randn(400, 6, generator=torch_stream("x"), dtype=torch.float64)
    y = model(x).argmax(1)
    margin = measure(model, Split(x, y), ["input_margin"], matched_loss=0.5)["input_margin"]
    directions = torch.randn(400, 6, generator=torch_stream("d"), dtype=torch.float64)
    moved = x + 0.9 * margin * directions / directions.norm(dim=1, keepdim=True)
    assert (model(moved).argmax(1) != y).double().mean() < 0.1


def test_a_constant_network_has_no_boundary() -> None:
    model = _linear(torch.zeros(2, 3))
    data = Split(torch.randn(6, 3, dtype=torch.float64), torch.arange(6) % 2)
    assert measure(model, data, ["input_margin"], matched_loss=0.7)["input_margin"] == 0
