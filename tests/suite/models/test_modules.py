"""Initial weights: the same for equal streams, in either precision, whatever torch's global generator holds."""

from __future__ import annotations

import pytest
import torch

from suite.models import initialize, mlp, seeded
from suite.seeding import torch_stream


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_seeded_model_depends_on_its_stream_alone(dtype: torch.dtype) -> None:
    def weights(number: int) -> list[torch.Tensor]:
        return list(seeded(lambda: mlp((5,), 3, (4,)), torch_stream("seeded", number), dtype).parameters())

    first = weights(0)
    torch.manual_seed(123)
    assert all(weight.dtype == dtype for weight in first)
    assert all(torch.equal(one, other) for one, other in zip(first, weights(0), strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(first, weights(1), strict=True))


def test_a_seeded_model_leaves_the_global_generator_as_it_was() -> None:
    before = torch.random.get_rng_state()
    seeded(lambda: mlp((5,), 3), torch_stream("seeded"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_draws_are_in_the_precision_that_is_asked_for() -> None:
    single = initialize(mlp((5,), 3).double(), torch_stream("seeded"))
    double = initialize(mlp((5,), 3).double(), torch_stream("seeded"), torch.float64)
    for one, other in zip(single.parameters(), double.parameters(), strict=True):
        assert torch.equal(one, one.float().double())
        assert not torch.equal(other, other.float().double())
        bound = 1 / (5 if one.shape[-1] == 5 else 128) ** 0.5 if one.dim() == 2 else 1.0
        assert other.abs().max() <= bound
