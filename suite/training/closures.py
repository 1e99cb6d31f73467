"""A cooperative barrier: the closures of many lanes wait for each other and share one batched gradient.

Every lane steps its own optimizer in a coroutine (greenlet):

    start every coroutine; it runs until its optimizer calls the closure, or to its end
    while coroutines wait in a closure:                    # no lane has optimizer code left to run
        losses, gradients = evaluate(all waiting lanes)    # one batched program
        resume them one after another, each with its loss, until it calls the closure again or ends

The barrier is for the lanes that wait just then, so unequal numbers of closure calls work (LBFGS's line search), where
a barrier for all lanes would deadlock. Threads would do the same, one at a time: switching between them took a third
of a run with SAM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor


class ClosureBarrier:
    """Steps lanes whose optimizers call closures, with one batched gradient for all that wait."""

    def __init__(self, evaluate: Callable[[list[int]], Mapping[int, Tensor]]) -> None:
        """`evaluate(lanes)` computes and attaches the gradients of `lanes`; returns their losses."""
        self._evaluate = evaluate
        self._waiting: list[int] = []

    def closure(self, lane: int) -> Tensor:
        """Called by a lane's optimizer: its loss, with its gradients filled."""
        self._waiting.append(lane)
        return _switch(getcurrent().parent.switch)

    def run(self, work: Mapping[int, Callable[[], None]]) -> None:
        """Run every lane's `work` to its end; then raise the first error of any."""
        errors: list[BaseException] = []

        def body(lane: int) -> None:
            try:
                work[lane]()
            except BaseException as error:
                errors.append(error)

        coroutines = {lane: greenlet(body) for lane in work}
        for lane, coroutine in coroutines.items():
            _switch(coroutine.switch, lane)
        while self._waiting:
            waiting, self._waiting = sorted(self._waiting), []
            try:
                losses = self._evaluate(waiting)
            except BaseException as error:  # every waiting lane must see it
                for lane in waiting:
                    _switch(coroutines[lane].throw, error)
            else:
                for lane in waiting:
                    _switch(coroutines[lane].switch, losses[lane])
        if errors:
            raise errors[0]


def _switch(enter: Callable[..., Any], *values: object) -> Any:
    """Enter another coroutine, and restore the gradient mode, which belongs to the thread, on return."""
    enabled = torch.is_grad_enabled()
    try:
        return enter(*values)
    finally:
        if torch.is_grad_enabled() is not enabled:
            torch.set_grad_enabled(enabled)
