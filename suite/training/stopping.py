"""The stopping criterion: when a run ends, and how. Fixed in advance and equal for all.

At each check, with the loss on the whole training data:

    loss <= target loss                                   -> converged (tasks with `at_end`: only at the budget's end;
                                                             with `annealing`: only at its end)
    loss not finite, or far above the initial one         -> diverged
    the budget of gradient evaluations is spent           -> budget
    too far from the target for its share of the budget   -> stalled

A lane that ends is frozen at that moment. While hyper-parameters are tuned, the lanes of a trial that cannot be
selected any more end as well (raced).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from suite.storage.record import Status
from suite.task import ROUNDING, Target

DIVERGENCE_FACTOR = 1e3
"""A run has diverged when its loss exceeds the initial loss by this multiple of |initial loss - target loss|."""

STALL_MARKS = ((0.5, 0.5), (0.75, 0.8))
"""(share of the budget, share of the decrease from the initial to the target loss that a run must have made by then).

At half of the budget the step size begins to fall, at three quarters 91 % of all the travel it allows is spent. A run
that misses a mark does not reach the target loss; most of a tuning sweep's time would go to such runs.
"""

HISTORY_GROWTH = 1.1
"""The training curve keeps a point each time the gradient evaluations have grown by this factor: some 80 of 4,000."""


class StoppingRule:
    """The losses of every lane, and how it ended; `target_evaluations` and `history` as in `TrainingResult`.

    Attributes:
        status: of the lanes that have ended; a lane that is not in it goes on.
        loss: every lane's last loss (NaN before the first check).
        limit: gradient evaluations after which a lane that goes on has lost a race, if there is one.
    """

    def __init__(self, target: Target, evaluations: Sequence[int]) -> None:
        """Begin with all lanes active; `evaluations` are their gradient evaluations, a list that the caller updates."""
        self._target, self._evaluations = target, evaluations
        self.status: dict[int, Status] = {}
        self.limit: int | None = None
        self.loss, self._initial_loss = ([math.nan for _ in evaluations] for _ in range(2))
        self.target_evaluations: list[int | None] = [None for _ in evaluations]
        self.history: list[list[tuple[int, float]]] = [[] for _ in evaluations]
        self._annealed_from: list[int | None] = [None for _ in evaluations]
        self._active = list(range(len(evaluations)))
        self._quiet_until, self._quiet_below = 0.0, -math.inf

    def active(self) -> list[int]:
        """The lanes that go on."""
        if len(self._active) + len(self.status) > len(self.loss):
            self._active = [lane for lane in range(len(self.loss)) if lane not in self.status]
        return self._active

    def progress(self, lane: int, ahead: int = 0) -> float:
        """The share of its budget that a lane has spent, or will have after so many more gradient evaluations."""
        return (self._evaluations[lane] + ahead) / self._target.budget

    def annealing(self, lane: int) -> float:
        """The step size's factor beside the schedule: it falls from 1 to 0 once a lane has reached the target loss."""
        begin = self._annealed_from[lane]
        return 1.0 if begin is None else max(0.0, 1.0 - (self._evaluations[lane] - begin) / self._target.annealing)

    def _holds(self, lane: int, loss: float) -> bool:
        """Whether a lane's loss is at the target loss after annealing; begins or ends the annealing."""
        met, begin, spent = loss <= self._target.loss, self._annealed_from[lane], self._evaluations[lane]
        if not self._target.annealing:
            return met
        if begin is not None and spent < begin + self._target.annealing:
            return False
        self._annealed_from[lane] = spent if met and begin is None else None
        return met and begin is not None

    def needs_exact_loss(self) -> bool:
        """Whether the next check needs more than whether a loss is above the target: it is the first, or may stall."""
        return not all(0 < self.progress(lane) < STALL_MARKS[0][0] for lane in self.active())

    def update(self, lanes: Sequence[int], losses: Sequence[float]) -> list[int]:
        """Record the training losses of the active `lanes`; returns those that end with them."""
        if self._nothing_happens(lanes, losses):
            for lane, loss in zip(lanes, losses, strict=True):
                self._note(lane, loss)
            return []
        ended = []
        for lane, loss in zip(lanes, losses, strict=True):
            self._record(lane, loss)
            if verdict := self._verdict(lane, loss):
                self.status[lane] = verdict
                ended.append(lane)
        self._look_ahead()
        return ended

    def _look_ahead(self) -> None:
        """Find until when, and up to which loss, no active lane's update has anything to do."""
        lanes, target = self.active(), self._target
        spent = max((self._evaluations[lane] for lane in lanes), default=0)
        marks = () if target.at_end else STALL_MARKS
        events = [share * target.budget for share, _ in (*marks, (1.0, 0.0)) if share * target.budget > spent]
        events += [HISTORY_GROWTH * self.history[lane][-1][0] for lane in lanes]
        self._quiet_until = min([math.inf if self.limit is None else self.limit, *events])
        # Half of the rise that is divergence, so that rounding does not matter; and what a mark in the past asks for.
        bounds = [(0.0, DIVERGENCE_FACTOR / 2), *((s * target.budget, -(d + ROUNDING)) for s, d in marks)]
        self._quiet_below = min(
            (
                self._initial_loss[lane] + rise * abs(self._initial_loss[lane] - target.loss)
                for lane in lanes
                for begin, rise in bounds
                if spent >= begin
            ),
            default=-math.inf,
        )

    def _nothing_happens(self, lanes: Sequence[int], losses: Sequence[float]) -> bool:
        """Whether no loss ends a lane, as the target or divergence does, and no lane is at a mark of its budget.

        So it is at nearly every step of a full batch, and the full rule takes as long as a step of ten lanes.
        """
        return (
            not self._target.annealing
            and max(map(self._evaluations.__getitem__, lanes), default=0) < self._quiet_until
            and math.isfinite(sum(losses))
            and (self._target.at_end or self._target.loss < min(losses))
            and max(losses) < self._quiet_below
        )

    def race(self, trials: Collection[range]) -> list[int]:
        """End the lanes of `trials` that can no longer have the fewest gradient evaluations; returns these lanes."""
        if Status.CONVERGED not in self.status.values():
            return []
        spent = {trial: sum(self._evaluations[lane] for lane in trial) for trial in trials}
        ends = {trial: {self.status.get(lane) for lane in trial} for trial in trials}
        complete = [spent[trial] for trial in trials if ends[trial] == {Status.CONVERGED}]
        ended = [
            lane
            for trial in (trials if complete else ())
            if ends[trial] - {None, Status.CONVERGED} or spent[trial] >= min(complete)
            for lane in trial
            if lane not in self.status
        ]
        self.status |= dict.fromkeys(ended, Status.RACED)
        return ended

    def _record(self, lane: int, loss: float) -> None:
        spent, history = self._evaluations[lane], self.history[lane]
        if math.isnan(self._initial_loss[lane]):
            self._initial_loss[lane] = loss
        if not history or spent >= HISTORY_GROWTH * history[-1][0]:
            history.append((spent, loss))
        self._note(lane, loss)

    def _note(self, lane: int, loss: float) -> None:
        """Keep a lane's loss, and since when it has been at or below the target loss."""
        self.loss[lane] = loss
        if loss > self._target.loss or math.isnan(loss):
            self.target_evaluations[lane] = None
        elif self.target_evaluations[lane] is None:
            self.target_evaluations[lane] = self._evaluations[lane]

    def _verdict(self, lane: int, loss: float) -> Status | None:
        """How a lane ends with this loss; None if it goes on."""
        progress, initial = self.progress(lane), self._initial_loss[lane]
        distance = initial - self._target.loss
        if self._holds(lane, loss) and not self._target.at_end:
            return Status.CONVERGED
        if loss <= self._target.loss and progress >= 1:
            return Status.CONVERGED
        if not math.isfinite(loss) or loss - initial > DIVERGENCE_FACTOR * abs(distance):
            return Status.DIVERGED
        if progress >= 1:
            return Status.BUDGET
        if self.limit is not None and self._evaluations[lane] >= self.limit:
            return Status.RACED
        stalled = any(progress >= share and initial - loss < decrease * distance for share, decrease in STALL_MARKS)
        return Status.STALLED if stalled and not self._target.at_end else None
