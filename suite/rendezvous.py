"""Closures of many lanes meet for one batched gradient."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from torch import Tensor


class Rendezvous:
    """Steps lanes whose optimizers call closures.

    Every lane steps its own optimizer in a thread. A closure puts its lane among the waiting and sleeps; when no lane
    runs optimizer code any more, the last to arrive evaluates the waiting lanes in one batch and wakes them. So
    unequal numbers of closure calls work (LBFGS's line search), where a barrier would deadlock. Only one thread works
    at a time; the gain is the batched gradient.
    """

    def __init__(self, evaluate: Callable[[list[int]], Mapping[int, Tensor]]) -> None:
        """`evaluate(lanes)` computes and attaches the gradients of `lanes`; returns their losses."""
        self._evaluate = evaluate
        self._condition = threading.Condition()
        self._waiting: set[int] = set()
        self._busy: set[int] = set()
        self._losses: dict[int, Tensor] = {}
        self._error: BaseException | None = None

    def _serve(self) -> None:
        if self._busy or not self._waiting:
            return
        lanes = sorted(self._waiting)
        try:
            self._losses.update(self._evaluate(lanes))
        except BaseException as error:  # every sleeping lane must wake and see it
            self._error = error
        self._busy.update(lanes)
        self._waiting.clear()
        self._condition.notify_all()

    def closure(self, lane: int) -> Tensor:
        """Called by a lane's optimizer: its loss, with its gradients filled."""
        with self._condition:
            self._busy.discard(lane)
            self._waiting.add(lane)
            self._serve()
            self._condition.wait_for(lambda: lane in self._busy)
            if self._error is not None:
                raise self._error
            return self._losses[lane]

    def run(self, work: Mapping[int, Callable[[], None]]) -> None:
        """Run every lane's `work` to its end in its own thread; the first error is raised after all have ended."""
        errors: list[BaseException] = []
        self._busy = set(work)

        def body(lane: int) -> None:
            try:
                work[lane]()
            except BaseException as error:
                errors.append(error)
            finally:
                with self._condition:
                    self._busy.discard(lane)
                    self._waiting.discard(lane)
                    self._serve()

        threads = [threading.Thread(target=body, args=(lane,), daemon=True) for lane in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
