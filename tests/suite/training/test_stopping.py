"""The stopping criterion, rule by rule."""

from __future__ import annotations

import math

import pytest

from suite.storage.record import Status
from suite.task import Target
from suite.training.stopping import StoppingRule


@pytest.mark.parametrize(
    ("loss", "evaluations", "status", "status_at_end"),
    [
        (0.1, 1, Status.CONVERGED, None),
        (0.1, 100, Status.CONVERGED, Status.CONVERGED),
        (0.11, 100, Status.BUDGET, Status.BUDGET),
        (math.nan, 1, Status.DIVERGED, Status.DIVERGED),
        (902.0, 1, Status.DIVERGED, Status.DIVERGED),
        (900.0, 1, None, None),
        (0.6, 49, None, None),
        (0.6, 50, Status.STALLED, None),
        (0.5, 50, None, None),
        (0.3, 75, Status.STALLED, None),
        (0.2, 75, None, None),
    ],
)
def test_every_rule(loss: float, evaluations: int, status: Status | None, status_at_end: Status | None) -> None:
    """From an initial loss of 1 to a target loss of 0.1 within 100 evaluations."""
    for at_end, expected in ((False, status), (True, status_at_end)):
        spent = [0, 0]
        rule = StoppingRule(Target(0.1, 100, at_end=at_end), spent)
        assert rule.update([0, 1], [1.0, 1.0]) == []
        spent[1] = evaluations
        assert rule.update([1], [loss]) == ([] if expected is None else [1])
        assert rule.status.get(1) is expected
        assert rule.active() == ([0, 1] if expected is None else [0])


def test_a_trial_that_cannot_win_is_raced() -> None:
    spent = [10, 10, 15, 15, 8, 9]
    rule = StoppingRule(Target(0.1, 100), spent)
    rule.update([0, 1, 2, 3, 4, 5], [1.0] * 6)
    trials = [range(2), range(2, 4), range(4, 6)]
    assert rule.race(trials) == []
    rule.update([0, 1], [0.0, 0.0])
    assert rule.race(trials) == [2, 3]
    ended = {0: Status.CONVERGED, 1: Status.CONVERGED, 2: Status.RACED, 3: Status.RACED}
    assert rule.status == ended
    assert rule.active() == [4, 5]


def test_a_loss_must_hold_while_the_step_size_decays() -> None:
    spent = [0, 0]
    rule = StoppingRule(Target(0.1, 100, annealing=20), spent)

    def check(evaluations: int, *losses: float) -> list[int]:
        spent[:] = [evaluations] * 2
        return rule.update(rule.active(), losses)

    assert check(0, 1.0, 1.0) == []
    assert check(10, 0.09, 0.5) == []
    assert [rule.annealing(lane) for lane in (0, 1)] == [1.0, 1.0]
    assert check(20, 0.3, 0.08) == []  # the first lane was a lucky dip; in between its loss is not judged
    assert [rule.annealing(lane) for lane in (0, 1)] == [0.5, 1.0]
    assert check(30, 0.11, 0.12) == []
    assert [rule.annealing(lane) for lane in (0, 1)] == [1.0, 0.5]  # it goes on at its full step
    assert check(40, 0.05, 0.1) == [1]
    assert rule.status == {1: Status.CONVERGED}
    assert check(99, 0.12) == []
    spent[0] = 100
    assert rule.update([0], [0.05]) == [0]  # at the end of the budget the schedule itself has ended
    assert rule.status[0] is Status.CONVERGED
