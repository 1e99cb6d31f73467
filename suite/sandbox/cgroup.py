"""A control group of the kernel's for each guest, where one can be had (version 2): binds all its processes together.

It is used beside `suite.sandbox.usage`, which adds up several times a second: a group is bound at once, and also counts
what the kernel holds for it, such as buffers of sockets. It takes a folder of the kernel's tree, this process's own or
one above, that this user may write to and whose controllers are on: as root under systemd, in a user's session, or in a
container that was given one. Nothing of the tree is changed but for the guest's own folder. No torch import.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from suite.sandbox.confinement import SCRATCH, SHARED
from suite.sandbox.limits import Limits
from suite.sandbox.usage import OWN_THREADS

CONTROLLERS = ("memory", "pids")

END_SECONDS = 10.0
"""How long the kernel may take to empty a group that was killed."""


class Group:
    """A control group; `joins` is an open file to which a process writes 0 to join it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Set its limits.

        Raises:
            OSError: the kernel does not take them.
        """
        self._folder, self._limits = folder, limits
        # Files in memory count as memory here, and have a limit of their own.
        memory = limits.memory + limits.disk + len(SHARED) * SCRATCH
        for name, value in (("memory.max", memory), ("pids.max", limits.processes + OWN_THREADS)):
            self._write(name, str(value))
        for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):  # not of every kernel
            with contextlib.suppress(OSError):
                self._write(name, str(value))
        self.joins = os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def _write(self, name: str, text: str) -> None:
        file = os.open(self._folder / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)

    def excess(self) -> str | None:
        """What the kernel has ended the guest for, as the end of a sentence; None if it has not."""
        with contextlib.suppress(OSError):
            events = dict(line.split() for line in (self._folder / "memory.events").read_text().splitlines())
            if int(events.get("oom_kill", 0)):
                return f"its processes used more than {self._limits.memory:,} bytes of memory together"
        return None

    def end(self) -> None:
        """Kill all that is in it, and remove it."""
        os.close(self.joins)
        until = time.monotonic() + END_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                self._write("cgroup.kill", "1")
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                return
            if not self._folder.is_dir():
                return
            time.sleep(0.005)


@contextlib.contextmanager
def group(limits: Limits) -> Iterator[Group | None]:
    """A control group with these limits; None where there is none to be had."""
    above = parent()
    made = None if above is None else _made(above, limits)
    try:
        yield made
    finally:
        if made is not None:
            made.end()


def _made(above: Path, limits: Limits) -> Group | None:
    with contextlib.suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix="lowlands-", dir=above))
        try:
            return Group(folder, limits)
        except OSError:
            folder.rmdir()
    return None


@functools.cache
def parent() -> Path | None:
    """The nearest folder, from this process's own upwards, in which groups can be made and joined; this is tried."""
    root, *between = _tree()
    return next((folder for folder in (*reversed(between), root) if folder is not None and _is_usable(folder)), None)


def _tree() -> list[Path | None]:
    """The folders of the kernel's tree from its root to the group of this process; [None] where there is none."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        root = Path(next(where for _, where, kind, *_ in mounts if kind == "cgroup2"))
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        names = next(line for line in lines if line.startswith("0::/")).removeprefix("0::/").split("/")
        return [root.joinpath(*names[:count]) for count in range(len(list(filter(None, names))) + 1)]
    return [None]


def _is_usable(folder: Path) -> bool:
    """Whether a group below `folder` has the controllers, and a process can join it."""
    try:
        if not set(CONTROLLERS) <= set((folder / "cgroup.subtree_control").read_text().split()):
            return False
    except OSError:
        return False
    made = _made(folder, Limits())
    if made is None:
        return False
    try:
        command = joining(made, ["true"])
        return not subprocess.run(command, pass_fds=(made.joins,), stderr=subprocess.DEVNULL, timeout=60).returncode
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        made.end()


def joining(made: Group, command: Sequence[str]) -> list[str]:
    """`command`, which joins the group before it begins; it must inherit `made.joins`."""
    return ["sh", "-c", f'echo 0 > /proc/self/fd/{made.joins} || exit 1; exec "$0" "$@"', *command]
