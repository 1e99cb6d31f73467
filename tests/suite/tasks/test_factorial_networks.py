"""The second edition's task: networks of every kind and choice, and data that teach what they say they teach."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from suite.errors import InputError
from suite.models.blocks import KINDS, block_network
from suite.tasks import find_task
from tests.suite.tasks.helpers import trained


@pytest.mark.parametrize(("kind", "shape"), [*itertools.product(KINDS, ((1, 7, 7), (1, 5, 4), (3, 8, 8), (5, 8, 1)))])
def test_every_kind_reads_every_kind_of_data(kind: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *shape, generator=generator)
    counts = {}
    for depth, norm, shortcut in itertools.product((1, 2), (False, True), (False, True)):
        torch.manual_seed(0)
        network = block_network(kind, shape, 4, depth, 32, norm, shortcut)
        assert network(x).shape == (3, 4)
        assert (network(x) - network(x[:1].expand_as(x))).abs().max() > 0
        counts[depth, norm, shortcut] = sum(parameter.numel() for parameter in network.parameters())
    assert len(set(counts.values())) == 2  # depth adds parameters, norm and shortcut do not
    assert counts[2, False, False] > counts[1, False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_norm_takes_the_stems_scale_out_and_a_shortcut_lets_the_input_pass(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 1, 5, 4)
    block = next(m for m in block_network(kind, (1, 5, 4), 4, 1, 32, True, True) if type(m).__name__ == "Block")
    h = (
        torch.randn(3, 8, 3, 2)
        if kind == "cnn"
        else torch.randn(3, 5, 16)
        if kind == "transformer"
        else x.new_ones(3, 32).cumsum(1)
    )
    torch.testing.assert_close(block(10 * h) - 10 * h, block(h) - h, rtol=1e-3, atol=1e-4)


def test_a_sequences_class_is_the_letter_after_the_marker() -> None:
    problem = find_task("factorial_networks[data=sequence]").problem(0)
    x, y = problem.train.x[..., 0].argmax(1), problem.train.y
    for letters, label in zip(x.tolist(), y.tolist(), strict=True):
        assert letters.count(4) == 1
        assert letters[letters.index(4) + 1] == label


def test_the_teacher_is_the_first_editions() -> None:
    first = find_task("factorial[data=teacher]").problem(3).train
    second = find_task("factorial_networks[data=teacher]").problem(3).train
    assert torch.equal(first.x, second.x.flatten(1))
    assert torch.equal(first.y, second.y)


@pytest.mark.parametrize("kind", KINDS)
def test_three_measures_of_flatness_at_matched_training_loss(kind: str) -> None:
    task = find_task(f"factorial_networks[data=sequence,network={kind},normalisation=layer,batch=100]")
    (measures,) = trained(task, "adam", 0.005, seeds=1)
    assert measures["temperature"] == pytest.approx(1, abs=0.5)
    assert 0 <= measures["test_error"] < 0.75
    for name in ("canonical_sharpness", "adaptive_sharpness", "hessian_trace", "input_gradient_norm"):
        assert math.isfinite(measures[name])
        assert measures[name] > 0


@pytest.mark.parametrize("variant", ["data=imagenet", "network=gru", "width=12", "shortcut=yes", "depth=0"])
def test_unknown_levels(variant: str) -> None:
    with pytest.raises(InputError, match="must be"):
        find_task(f"factorial_networks[{variant}]")
