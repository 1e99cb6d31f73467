"""Sessions, and what workers are asked to do. No torch import: a worker that prepares nothing starts at once."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.engine.worker import POOL, Call, Session, run_in_worker
from suite.errors import InputError


def nothing() -> None:
    """Prepare nothing: such a worker starts in a fraction of a second."""


def without_forks() -> None:
    """Prepare a worker to be as on a system that cannot fork."""
    import suite.engine.worker
    import suite.sandbox.child
    from suite.engine.executors import _warm_up

    suite.sandbox.child.FORKS = suite.engine.worker.FORKS = False
    _warm_up()


def session(token: str, prepare: Callable[[], None] = nothing, memory: int | None = None) -> Session:
    return Session(token, prepare, os.getcwd(), memory=memory)


def call(function: Callable[[Any], Any], argument: Any = None, prepare: Callable[[Any], Any] | None = None) -> bytes:
    return pickle.dumps(Call(function, argument, prepare))


# -- what workers are asked to do ------------------------------------------------------------------------------


def pid(_: object) -> int:
    return os.getpid()


def parent(_: object) -> int:
    return os.getppid()


def double(number: int) -> int:
    return 2 * number


def refuse(text: str) -> None:
    raise InputError(text)


def divide(_: object) -> float:
    return 1 / 0


def leave(status: int) -> None:
    sys.exit(status)


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def exit_hard(status: int) -> None:
    os._exit(status)


def segfault(_: object) -> None:
    ctypes.string_at(0)


def kill_itself(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(_: object) -> None:
    while True:
        time.sleep(1)


def hang_and_tell(path: str) -> None:
    """Hang, after the numbers of the worker and of its child are in the file `path`."""
    Path(f"{path}.part").write_text(f"{os.getppid()} {os.getpid()}")
    Path(f"{path}.part").rename(path)
    hang(None)


def hang_holding_everything(_: object) -> None:
    """No signal handler, no other thread and no exception gets through."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ctypes.PyDLL(None).pause()  # PyDLL keeps the interpreter's lock


def allocate(size: int) -> int:
    return len(bytearray(size))


def leak(size: int) -> int:
    LEAKED.append(bytearray(b"x") * size)
    return sum(map(len, LEAKED))


LEAKED: list[bytearray] = []


def die_and_leave_a_process(_: object) -> None:
    """A process that it started holds every file that it had open."""
    subprocess.Popen(["sleep", "60"], close_fds=False)
    os._exit(7)


def print_much(text: str) -> None:
    print(text)


def torch_threads(_: object) -> int:
    import torch

    return torch.get_num_threads()


def leave_a_hanging_worker() -> None:
    """Go on, with a busy worker and an idle one."""
    one = session("left")
    POOL.start(one, 2)
    threading.Thread(target=run_in_worker, args=(one, call(hang), None, ""), daemon=True).start()
    run_in_worker(one, call(double, 1), None, "")
