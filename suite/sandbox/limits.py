"""What a guest process may use. No torch import."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path

OPEN_FILES = 1024
"""Files that a process may have open: each may hold memory of the kernel's, which nothing counts."""


@dataclass(frozen=True)
class Limits:
    """What a guest process may use.

    Attributes:
        seconds: wall clock of one trial, start included.
        memory: bytes that one process may allocate, and that all processes of the guest may use together.
        disk: bytes that may be written into the private folder, in all. A file counts as 4 KiB at least.
        processes: how many processes and threads there may be beyond those that run already.
        answer, output: bytes that may be answered, and printed.
    """

    seconds: float = 600.0
    memory: int = 4 * 1024**3
    disk: int = 512 * 1024**2
    processes: int = 256
    answer: int = 512 * 1024**2
    output: int = 64 * 1024**2


def apply(limits: Limits) -> None:
    """Bind the calling process to `limits`, for good: hard limits cannot be raised again."""
    limit_memory(limits.memory)
    _limit("FSIZE", limits.disk)
    _limit("CPU", int(limits.seconds) + 60)
    _limit("CORE", 0)
    _limit("NOFILE", OPEN_FILES)
    _limit("NPROC", _threads_of_user() + limits.processes)


def limit_memory(size: int) -> None:
    """Let the calling process allocate no more than `size` bytes, for good."""
    _limit("DATA", size)  # the data segment: a limit on the address space would break torch's import


def _limit(name: str, bound: int) -> None:
    import resource  # not on Windows, where plans with limits can still be described

    kind = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(kind)[1]
    value = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    resource.setrlimit(kind, (value, value))


def _threads_of_user() -> int:
    """How many threads of the user are visible: a limit on processes counts those of other programs too."""
    count = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if process.stat().st_uid == os.getuid():
                    count += sum(1 for _ in (process / "task").iterdir())
    return count


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
