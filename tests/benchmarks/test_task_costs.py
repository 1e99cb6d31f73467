"""The table of what tasks cost."""

from __future__ import annotations

from benchmarks.task_costs import BOUND, Cost, cost, table


def test_a_task_is_measured_with_the_longest_step_that_trains() -> None:
    found = cost("adaptive_trap")
    assert found.solutions == 3
    assert 0 < found.seconds < BOUND
    assert found.steps > 3


def test_a_task_beyond_its_bound_is_marked() -> None:
    rows = table(
        [Cost("cheap", 0.5, 3, 3), Cost("dear[a=1]", 12.0, 300, 0), Cost("adam_epsilon[epsilon=0.1]", 50, 1, 3)]
    )
    assert rows.splitlines()[2:] == [
        "| `adam_epsilon[epsilon=0.1]` | 50.0 | 60 | 1 | 3/3 |",
        "| `dear[a=1]` | 12.0 (over) | 10 | 300 | 0/3 |",
        "| `cheap` | 0.5 | 10 | 3 | 3/3 |",
    ]
