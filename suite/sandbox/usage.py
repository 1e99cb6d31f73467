"""What a guest uses together with all that it started: memory, threads and files. No torch import.

The kernel binds each process by itself (`suite.sandbox.limits`). The host adds up, several times a second, what no
limit of a single process can bind. Shared memory is counted once and in full: its pages stay when they are unmapped.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from suite.sandbox.limits import Limits

EVERY = 0.25
"""Seconds between two looks, at least."""

SHARE = 0.1
"""The share of the time that looking may take on a machine with many processes."""

OWN_THREADS = 8
"""The most threads that a guest has before the submission's code runs, those of bubblewrap included."""

SMALLEST_FILE = 4096
"""Bytes that a file takes at least, as on a disk."""

SHARED_MEMORY = ("/dev/zero (deleted)", "/memfd:", "/SYSV")
"""How the kernel names memory that several processes may map."""


class Usage:
    """Looks at the trees of processes below some processes."""

    def __init__(self, pids: Sequence[int], limits: Limits, folders: Sequence[str]) -> None:
        """`folders` are file systems in memory that the guest has for itself, by their paths inside."""
        self._roots = []
        for pid in pids:
            with contextlib.suppress(psutil.Error):  # it has ended already
                self._roots.append(psutil.Process(pid))
        self._limits = limits
        self._folders = folders
        self._next = 0.0

    def excess(self) -> str | None:
        """What the guest uses too much of, as the end of a sentence; None if nothing, or if it is too soon to look."""
        begin = time.monotonic()
        if begin < self._next:
            return None
        processes = self._processes()
        limits = self._limits
        if _memory(processes, limits.memory) > limits.memory:
            reason = f"its processes used more than {limits.memory:,} bytes of memory together"
        elif sum(map(_threads, processes)) > limits.processes + OWN_THREADS:
            reason = f"it started more than {limits.processes:,} processes and threads"
        elif self._files(processes) * SMALLEST_FILE > limits.disk:
            reason = f"it made more than {limits.disk // SMALLEST_FILE:,} files"
        else:
            reason = None
        end = time.monotonic()
        self._next = end + max(EVERY, (end - begin) / SHARE)
        return reason

    def kill(self) -> list[psutil.Process]:
        """Kill all of it; returns what was killed."""
        processes = self._processes()
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return processes

    def _processes(self) -> list[psutil.Process]:
        found = []
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                found += [root, *root.children(recursive=True)]
        return found

    def _files(self, processes: Sequence[psutil.Process]) -> int:
        """How many files, folders and links there are; what the last of `processes` sees is what the guest sees."""
        for process in reversed(processes):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                root = f"/proc/{process.pid}/root"
                if not os.path.samefile(root, "/"):  # bubblewrap has left the host's tree
                    sizes = [os.statvfs(f"{root}{folder}") for folder in self._folders]
                    return sum(size.f_files - size.f_ffree for size in sizes)
        return 0


def _threads(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.num_threads())
    return 0


def _memory(processes: Sequence[psutil.Process], limit: int) -> int:
    """Bytes of memory that `processes` use together: exact if more than `limit`, else an upper bound."""
    shared: dict[str, int] = {}
    resident = 0
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            resident += process.memory_info().rss
            shared |= _shared(process.pid)
    bound = resident + sum(shared.values())
    if bound <= limit:
        return bound
    return sum(_own_share(process.pid) for process in processes) + sum(shared.values())


def _shared(pid: int) -> dict[str, int]:
    """The size of each piece of shared memory that a process maps, by its number, mapped or not."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
        # first-last permissions offset device number [path]
        addresses, permissions, offset, _, number, *path = line.split(maxsplit=5)
        if "s" in permissions and path and path[0].startswith(SHARED_MEMORY):
            first, last = (int(address, 16) for address in addresses.split("-"))
            sizes[number] = max(sizes.get(number, 0), int(offset, 16) + last - first)
    return sizes


def _own_share(pid: int) -> int:
    """Bytes that a process has for itself, and its share of the files that it maps with others; 0 if it has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) for name, size in (line.split(":") for line in lines)}
        return 1024 * (sizes["Pss"] - sizes.get("Pss_Shmem", 0))
    return 0
