"""The simulated schedule against what must hold of any schedule, and against cases by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.schedule import Chain, bounds, makespan

seconds = st.lists(st.integers(1, 20).map(float), min_size=1, max_size=5).map(tuple)
chains = st.lists(st.builds(Chain, st.just(()) | seconds, seconds), min_size=1, max_size=8)


@given(chains, st.integers(1, 12))
def test_between_the_bounds(made: list[Chain], workers: int) -> None:
    least, most = bounds(made, workers)
    assert least <= makespan(made, workers) <= most + 1e-9


@given(chains)
def test_one_worker_does_all_and_enough_workers_take_the_longest_chain(made: list[Chain]) -> None:
    assert makespan(made, 1) == sum(chain.work() for chain in made)
    assert makespan(made, sum(chain.units() for chain in made)) == max(chain.length() for chain in made)


@given(chains, st.integers(1, 12))
def test_the_drivers_time_adds_up(made: list[Chain], workers: int) -> None:
    units = sum(chain.units() for chain in made)
    assert makespan(made, workers, 100.0) >= max(makespan(made, workers), units * 100.0)
    assert makespan(made, 1, 0.5) == makespan(made, 1) + 0.5 * units


@pytest.mark.parametrize(("workers", "expected"), [(1, 24.0), (2, 12.0), (3, 12.0)])
def test_by_hand(workers: int, expected: float) -> None:
    # The long chain first: 8 + 4 on one worker, 3 + 3 + 3 + 2 + 1 on the other.
    made = [Chain((2.0,), (1.0,)), Chain((), (3.0, 3.0, 3.0)), Chain((8.0,), (4.0,))]
    assert makespan(made, workers) == expected


def test_scoring_waits_for_all_tuning() -> None:
    assert makespan([Chain((5.0, 1.0), (2.0, 2.0))], 2) == 7.0
