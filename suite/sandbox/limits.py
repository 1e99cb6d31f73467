"""What a jailed process may use. No torch import."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

MEMORY = 4 * 1024**3


SECONDS = 600.0


FILE = 512 * 1024**2


PROCESSES = 256


@dataclass(frozen=True)
class Limits:
    """seconds: wall clock of one trial, start included. memory, file: bytes that may be allocated, and written to one
    file. processes: how many processes and threads the user may have beyond those that run already (not for root).
    """

    seconds: float = SECONDS
    memory: int = MEMORY
    file: int = FILE
    processes: int = PROCESSES


def apply(limits: Limits) -> None:
    """Bind the calling process to `limits`, for good: hard limits cannot be raised again."""
    import resource

    cpu = int(limits.seconds) + 60
    for name, bound in (
        # The data segment: a limit on the address space would break torch's import.
        (resource.RLIMIT_DATA, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, _threads_of_user() + limits.processes),
    ):
        hard = resource.getrlimit(name)[1]
        bounded = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(name, (bounded, bounded))


def _threads_of_user() -> int:
    """How many threads run in sight: limits on processes count those of other programs of the user too."""
    import os
    from pathlib import Path

    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == os.getuid():
                    count += sum(1 for _ in (entry / "task").iterdir())
    return count


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends."""
    import ctypes
    import signal

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
