"""Closures of many lanes meet for one batched gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor


class ClosureBarrier:
    """Steps lanes whose optimizers call closures.

    Every lane steps its own optimizer in a coroutine. A closure puts its lane among the waiting; when no lane has
    optimizer code to run any more, the waiting lanes are evaluated in one batch and go on, one after another. So
    unequal numbers of closure calls work (LBFGS's line search), where a barrier would deadlock.

    Not threads, of which only one could run at a time anyway: handing over between them took a third of a run with SAM.
    """

    def __init__(self, evaluate: Callable[[list[int]], Mapping[int, Tensor]]) -> None:
        """`evaluate(lanes)` computes and attaches the gradients of `lanes`; returns their losses."""
        self._evaluate = evaluate
        self._waiting: list[int] = []

    def closure(self, lane: int) -> Tensor:
        """Called by a lane's optimizer: its loss, with its gradients filled."""
        self._waiting.append(lane)
        loss: Tensor = _switch(getcurrent().parent.switch)
        return loss

    def run(self, work: Mapping[int, Callable[[], None]]) -> None:
        """Run every lane's `work` to its end; the first error is raised after all have ended."""
        errors: list[BaseException] = []

        def body(lane: int) -> None:
            try:
                work[lane]()
            except BaseException as error:
                errors.append(error)

        lanes = {lane: greenlet(body) for lane in work}
        for lane, coroutine in lanes.items():
            _switch(coroutine.switch, lane)
        while self._waiting:
            met, self._waiting = sorted(self._waiting), []
            try:
                losses = self._evaluate(met)
            except BaseException as error:  # every waiting lane must see it
                for lane in met:
                    _switch(lanes[lane].throw, error)
            else:
                for lane in met:
                    _switch(lanes[lane].switch, losses[lane])
        if errors:
            raise errors[0]


def _switch(enter: Callable[..., Any], *values: object) -> Any:
    """Enter another coroutine; whether gradients are enabled belongs to the thread, and each finds it as it was."""
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        return enter(*values)
