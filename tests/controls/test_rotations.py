"""Which built-in methods know no coordinates, and which know those of matrices alone, is measured as theory has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.behavior import Invariance, invariance
from suite.entries.loading import load
from suite.training.behavior_probe import rotations
from tests.controls.test_behavior import probe

ANY = ("sgd", "momentum", "nesterov", "normalized", "normalized_momentum", "sam")
SHORT = 1
"""A seed with which the probe follows 16 steps."""

NONE = ("adam", "adamw", "sign", "lion", "adagrad", "rmsprop", "lamb")


@pytest.mark.parametrize("name", [*ANY, *NONE, "muon"])
@pytest.mark.parametrize("task", ["spectral_margin", "min_norm_regression"])
def test_built_in_methods(name: str, task: str) -> None:
    submission = load(name).submission
    found = probe(submission.factory, submission.settings(1)[0], task, SHORT, submission)
    expected = Invariance.ANY if name in ANY else Invariance.NONE
    if name == "muon" and task == "spectral_margin":
        expected = Invariance.SIDES  # vectors are left to AdamW
    assert invariance(found.rotated, found.turned) is expected
    if expected is Invariance.ANY:
        assert found.rotated is not None
        assert found.rotated < 1e-9
    if expected is Invariance.NONE:
        assert found.rotated is not None
        assert found.rotated > 0.1
    assert (found.turned is None) == (task == "min_norm_regression")


def test_what_rounding_decides_is_left_open() -> None:
    """SOAP's path depends on the ninth digit of gradients of low rank."""
    soap = load("soap").submission
    found = probe(soap.factory, soap.settings(1)[0], "spectral_margin", SHORT, soap)
    assert found.jittered > 1e-3
    assert found.rotated is None
    assert found.turned is None
    assert invariance(found.rotated, found.turned) is None


def test_rotations_are_orthogonal_and_mix_everything() -> None:
    parameters = [torch.zeros(4, 6, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)]
    found = rotations(parameters, seed=3)
    assert list(found) == ["rotated", "turned"]
    for name, turns in found.items():
        for turn, parameter in zip(turns, parameters, strict=True):
            basis = torch.eye(parameter.numel(), dtype=torch.float64)
            matrix = torch.stack([turn(row) for row in basis]).numpy()
            np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)
            if name == "rotated":
                assert np.abs(matrix).max() < 0.8
    matrix = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sides = found["turned"][0](matrix.reshape(-1)).view(4, 6)
    np.testing.assert_allclose(np.linalg.svd(sides)[1], np.linalg.svd(matrix)[1], rtol=1e-12)
    np.testing.assert_array_equal(found["turned"][1](matrix[0]), matrix[0])
    assert list(rotations(parameters[1:], seed=3)) == ["rotated"]
