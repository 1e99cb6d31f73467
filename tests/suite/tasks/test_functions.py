"""Functions of one variable: what theory says of their smoothness, and of the order in which they are learned."""

from __future__ import annotations

from suite.tasks import find_task
from tests.suite.tasks.helpers import trained


def test_small_scale_draws_straight_lines_and_large_scale_does_not() -> None:
    rich = trained(find_task("univariate_relu"), "adam", 0.01)
    kernel = trained(find_task("univariate_relu[scale=3]"), "adam", 0.01)
    assert all(0.9 < m["variation_ratio"] < 1.5 for m in rich)
    assert min(m["variation_ratio"] for m in kernel) > max(m["variation_ratio"] for m in rich)


def test_low_frequencies_are_learned_first() -> None:
    task = find_task("spectral_bias")
    (axis,) = task.axes
    for measures in trained(task, "momentum", 0.05):
        # 5 is no preference, 8.14 strictly one after the other.
        assert 6.5 < measures[axis.measure] < 8.3
