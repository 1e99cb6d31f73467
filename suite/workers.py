"""Worker processes, one thread each.

On a CPU one process per core with one thread is worth 1.46 times one process with as many threads. This file imports no
torch, so that the workers can start while the driver is still importing it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

T = TypeVar("T")


def _begin_worker() -> None:
    def watch() -> None:
        # A driver that is killed cannot stop its workers: they end themselves.
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _warm_up() -> None:
    """Import what every unit needs; building the first optimizer of a process takes another second and a half."""
    import torch

    import suite.trial  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


class Workers:
    """Worker processes that are replaced when they die; or this process itself, for `count=0`."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        self._all: list[ProcessPoolExecutor] = []

    def __enter__(self) -> Workers:
        if self._count:
            self._pool = self._new(self._count)
            for _ in range(self._count):
                self._pool.submit(_warm_up)
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._all:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run ``function(*arguments)`` on a worker."""
        if not self._count:
            future: Future[T] = Future()
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)
            return future
        try:
            if self._pool is None:
                self._pool = self._new(self._count)
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool:
            self._pool = self._new(self._count)
            return self._pool.submit(function, *arguments)

    def submit_alone(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run ``function(*arguments)`` in a process that runs nothing else."""
        return self._new(1).submit(function, *arguments)

    def _new(self, count: int) -> ProcessPoolExecutor:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("spawn")
        self._all.append(ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker))
        return self._all[-1]
