"""The stopping criterion, rule by rule."""

from __future__ import annotations

import math
import random

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


def _end(target: Target, seed: int, looks_at_every_lane: bool, monkeypatch: pytest.MonkeyPatch) -> StoppingRule:
    """Three lanes whose losses fall, jump, rise or are no numbers, checked at unequal numbers of evaluations."""
    rng = random.Random(seed)
    spent = [0, 0, 0]
    with monkeypatch.context() as patch:
        if looks_at_every_lane:
            patch.setattr(StoppingRule, "_nothing_happens", lambda *_: False)
        rule = StoppingRule(target, spent)
        rule.limit = rng.choice([None, 0, 70])
        speed = [rng.choice([-0.05, -0.01, 0.0, 0.02, 0.4]) for _ in spent]
        loss = [1.0] * 3
        while rule.active() and max(spent) < 2 * target.budget:
            for lane in rule.active():
                loss[lane] *= math.exp(speed[lane] * rng.random())
                if rng.random() < 0.002:
                    loss[lane] = rng.choice([math.nan, math.inf, 0.05, 1e9])
            rule.update(rule.active(), [loss[lane] for lane in rule.active()])
            for lane in rule.active():
                spent[lane] += rng.choice([1, 1, 2])
    return rule


@pytest.mark.parametrize("target", [Target(0.1, 100), Target(0.1, 100, at_end=True), Target(0.1, 100, annealing=9)])
def test_what_is_skipped_where_nothing_happens_changes_nothing(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = set()
    for seed in range(150):
        one, other = (_end(target, seed, full, monkeypatch) for full in (False, True))
        for name in ("status", "history", "target_evaluations"):
            assert getattr(one, name) == getattr(other, name), (seed, name)
        assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one.loss, other.loss, strict=True))
        statuses |= set(one.status.values())
    assert len(statuses) >= 3
