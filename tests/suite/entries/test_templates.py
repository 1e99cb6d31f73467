"""Templates give submissions that work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from suite.entries.loading import load
from suite.entries.templates import KINDS, write
from suite.errors import InputError
from suite.training import TrainingRun, train
from tests.suite.toys import regression, toy


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_loads_under_its_name(kind: str, tmp_path: Path) -> None:
    submission = load(str(write(kind, "my_own", tmp_path))).submission
    assert (submission.name, submission.kind) == ("my_own", kind)
    assert submission.description


def test_the_optimizer_is_heavy_ball(tmp_path: Path) -> None:
    optimizer = load(str(write("optimizer", "my_own", tmp_path))).submission.optimizer
    settings = {"lr": 0.1, "momentum": 0.9}
    runs = [TrainingRun(regression(seed), seed, 0, settings) for seed in range(2)]
    results, expected = (
        train(toy(None), runs, make, batched=True)  # type: ignore[arg-type]
        for make in (optimizer, torch.optim.SGD)
    )
    for one, other in zip(results, expected, strict=True):
        assert one.stepping == "per lane"
        for name, weight in one.weights.items():
            torch.testing.assert_close(weight, other.weights[name], rtol=1e-10, atol=1e-12)


def test_the_architecture_maps_what_it_is_asked_for(tmp_path: Path) -> None:
    architecture = load(str(write("architecture", "my_own", tmp_path))).submission.architecture
    assert architecture is not None
    assert architecture((1, 5, 5), 3)(torch.zeros(7, 1, 5, 5)).shape == (7, 3)


@pytest.mark.parametrize("name", ["my own", "class", "1st", ""])
def test_a_name_that_python_has_no_use_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no Python name"):
        write("optimizer", name, tmp_path)
