"""When a lane ends, and how: the rules of the protocol, fixed in advance and equal for all.

A lane is frozen at the moment it meets the stop; lanes that cannot meet it any more end early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from suite.task import Target

DIVERGED = 1e3
"""A lane has diverged when its loss is not finite, or above the initial one by this multiple of the way to the stop."""


STALLED = ((0.5, 0.5), (0.75, 0.8))
"""(share of the budget, share of the way from the initial loss to the stop that must lie behind a lane by then).

At half of the budget the step size begins to fall, at three quarters 91 % of all the travel it allows is spent. A lane
that is behind these marks by then does not reach the stop; most of a tuning sweep's time would go to such lanes.
"""


HISTORY_STEP = 1.1
"""The training curve keeps a point each time the gradient evaluations have grown by this factor: some 80 of 4,000."""


class StoppingRule:
    """What is known of every lane's losses, and how it ended: ``status`` is None while a lane goes on."""

    def __init__(self, stop: Target, evaluations: Sequence[int]) -> None:
        """evaluations: every lane's gradient evaluations, as they grow."""
        self._stop, self._evaluations = stop, evaluations
        count = len(evaluations)
        self.status: list[str | None] = [None] * count
        self.loss = [math.nan] * count
        self.target_evaluations: list[int | None] = [None] * count
        self.history: list[list[tuple[int, float]]] = [[] for _ in range(count)]
        self._first = [math.nan] * count

    def active(self) -> list[int]:
        """The lanes that go on."""
        return [lane for lane, status in enumerate(self.status) if status is None]

    def progress(self, lane: int) -> float:
        """The share of its budget that a lane has spent."""
        return self._evaluations[lane] / self._stop.budget

    def may_fall_behind(self) -> bool:
        """Whether a lane that goes on may end by its loss without having met the stop, at the next judgement."""
        return not all(0 < self.progress(lane) < STALLED[0][0] for lane in self.active())

    def judge(self, lanes: Sequence[int], losses: Sequence[float]) -> list[int]:
        """Take in the training losses of `lanes`; returns those that end: at the stop, or without a way to it."""
        for lane, loss in zip(lanes, losses, strict=True):
            self._take_in(lane, loss)
            self.status[lane] = self._verdict(lane, loss)
        return [lane for lane in lanes if self.status[lane] is not None]

    def race(self, trials: Sequence[range]) -> list[int]:
        """End the lanes of trials that cannot be those with the fewest gradient evaluations any more; returns them."""

        def spent(trial: range) -> int:
            return sum(self._evaluations[lane] for lane in trial)

        ended = []
        complete = [spent(t) for t in trials if all(self.status[lane] == "converged" for lane in t)]
        for trial in trials if complete else ():
            missed = any(self.status[lane] not in (None, "converged") for lane in trial)
            for lane in trial:
                if self.status[lane] is None and (missed or spent(trial) >= min(complete)):
                    self.status[lane] = "raced"
                    ended.append(lane)
        return ended

    def _take_in(self, lane: int, loss: float) -> None:
        spent, history = self._evaluations[lane], self.history[lane]
        self.loss[lane] = loss
        if math.isnan(self._first[lane]):
            self._first[lane] = loss
        if not history or spent >= HISTORY_STEP * history[-1][0]:
            history.append((spent, loss))
        if loss > self._stop.loss or math.isnan(loss):
            self.target_evaluations[lane] = None
        elif self.target_evaluations[lane] is None:
            self.target_evaluations[lane] = spent

    def _verdict(self, lane: int, loss: float) -> str | None:
        over = self.progress(lane) >= 1
        first, way = self._first[lane], self._first[lane] - self._stop.loss
        if loss <= self._stop.loss and (over or not self._stop.at_end):
            return "converged"
        if not math.isfinite(loss) or loss - first > DIVERGED * abs(way):
            return "diverged"
        if over:
            return "budget"
        stalled = any(self.progress(lane) >= share and first - loss < least * way for share, least in STALLED)
        return "stalled" if stalled and not self._stop.at_end else None
