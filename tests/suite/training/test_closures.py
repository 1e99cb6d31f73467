"""The closure barrier: lanes that wait are evaluated together, and no lane sees another's gradient mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from suite.training.closures import ClosureBarrier


def _run(calls: Mapping[int, int], enabled: Mapping[int, bool]) -> tuple[list[list[int]], list[tuple[int, bool]]]:
    """Lanes that call closures `calls` times under the gradient mode `enabled`: the batches, and what each lane saw."""
    batches: list[list[int]] = []
    seen: list[tuple[int, bool]] = []

    def evaluate(lanes: list[int]) -> dict[int, Tensor]:
        batches.append(lanes)
        return {lane: torch.tensor(float(lane)) for lane in lanes}

    barrier = ClosureBarrier(evaluate)

    def work(lane: int) -> Callable[[], None]:
        def body() -> None:
            with torch.set_grad_enabled(enabled[lane]):
                for _ in range(calls[lane]):
                    assert barrier.closure(lane).item() == lane
                    seen.append((lane, torch.is_grad_enabled()))

        return body

    barrier.run({lane: work(lane) for lane in calls})
    return batches, seen


def test_lanes_share_gradients_as_long_as_they_call() -> None:
    batches, _ = _run({0: 1, 1: 3, 2: 2, 3: 0}, dict.fromkeys(range(4), True))
    assert batches == [[0, 1, 2], [1, 2], [1]]


@pytest.mark.parametrize("outside", [True, False])
def test_every_lane_keeps_its_gradient_mode(outside: bool) -> None:
    enabled = {0: True, 1: False, 2: True}
    with torch.set_grad_enabled(outside):
        _, seen = _run({0: 2, 1: 3, 2: 1}, enabled)
        assert torch.is_grad_enabled() is outside
    assert len(seen) == 6
    assert all(mode is enabled[lane] for lane, mode in seen)


def test_an_error_of_the_gradient_reaches_every_waiting_lane() -> None:
    def evaluate(lanes: list[int]) -> dict[int, Tensor]:
        raise ValueError("no gradient")

    barrier, ended = ClosureBarrier(evaluate), []

    def work(lane: int) -> Callable[[], None]:
        def body() -> None:
            try:
                barrier.closure(lane)
            finally:
                ended.append(lane)

        return body

    with pytest.raises(ValueError, match="no gradient"):
        barrier.run({lane: work(lane) for lane in range(3)})
    assert ended == [0, 1, 2]
