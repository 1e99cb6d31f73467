"""The study's task: its losses are comparable, its factors change what they say they change."""

from __future__ import annotations

import math

import pytest
import torch

from suite.errors import InputError
from suite.tasks import find_task
from suite.tasks.factorial import FIT, LOSSES, classifier
from tests.suite.tasks.helpers import trained


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_fit_has_no_loss_and_the_target_is_a_share_of_the_uninformed_loss(loss: str) -> None:
    labels = torch.tensor([0, 2, 1])
    flat = torch.zeros(3, 4) if loss != "squared" else torch.full((3, 4), 0.25)
    perfect = {
        "cross_entropy": torch.nn.functional.one_hot(labels, 4) * 60.0,
        "squared": torch.nn.functional.one_hot(labels, 4).float(),
        "smoothed": torch.log(torch.nn.functional.one_hot(labels, 4) * 0.9 + 0.1 / 4),
    }[loss]
    assert LOSSES[loss](perfect, labels).item() == pytest.approx(0, abs=1e-6)
    target_loss = find_task(f"factorial[data=teacher,loss={loss}]").target.loss
    assert target_loss == pytest.approx(FIT * LOSSES[loss](flat, labels).item(), rel=1e-6)
    # Nothing that ignores the input does better than the uninformed prediction.
    generator = torch.Generator().manual_seed(0)
    balanced = torch.arange(4)
    for _ in range(20):
        constant = torch.randn(4, generator=generator).expand(4, 4)
        assert LOSSES[loss](constant, balanced).item() >= target_loss / FIT - 1e-6


def test_squared_loss_is_scaled_to_the_cross_entropys_curvature() -> None:
    labels = torch.tensor([1])
    largest = {}
    for loss in ("cross_entropy", "squared"):
        task = find_task(f"factorial[data=teacher,loss={loss}]")

        def objective(logits: torch.Tensor, loss: str = loss, scale: float = task.problem(0).lipschitz) -> torch.Tensor:
            return LOSSES[loss](logits[None], labels) / scale

        # The cross-entropy's is largest between two equal logits.
        logits = torch.tensor([0.0, 0.0, -60.0, -60.0])
        largest[loss] = torch.linalg.eigvalsh(torch.autograd.functional.hessian(objective, logits))[-1].item()
    assert largest["squared"] == pytest.approx(largest["cross_entropy"]) == pytest.approx(0.5)


def test_factors_change_the_network() -> None:
    def parameters(**changed: object) -> int:
        options = {"depth": 2, "width": 16, "normalisation": "none", "scale": 1.0} | changed
        network = classifier(5, 3, *options.values(), torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        return sum(p.numel() for p in network.parameters())

    assert parameters(depth=3) - parameters() == 16 * 16 + 16
    assert parameters(width=32) > parameters()
    assert parameters(normalisation="layer") == parameters()
    small, large = (
        torch.cat(
            [p.flatten() for p in classifier(5, 3, 2, 16, "none", s, torch.Generator().manual_seed(0)).parameters()]
        )
        for s in (0.5, 2.0)
    )
    torch.testing.assert_close(large, 4 * small)


def test_measures_are_at_matched_training_loss() -> None:
    for measures in trained(find_task("factorial[data=teacher,batch=200]"), "adam", 0.004):
        assert 0.2 < measures["test_error"] < 0.6
        assert measures["temperature"] == pytest.approx(1, abs=0.4)
        assert math.isfinite(measures["adaptive_sharpness"])


@pytest.mark.parametrize("variant", ["data=imagenet", "loss=hinge", "normalisation=batch", "depth=0", "batch=201"])
def test_unknown_levels(variant: str) -> None:
    with pytest.raises(InputError, match="must be"):
        find_task(f"factorial[{variant}]")
