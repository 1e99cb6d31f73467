"""Excludes a second run on the same results directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from suite.errors import InputError

LOCK = ".lock"
"""The file of the lock in a results directory."""


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the results directory for one run. The lock is the operating system's: it ends with the process."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / LOCK).acquire(timeout=0)
    except Timeout:
        raise InputError(f"Another run is writing to {directory}; give this one --results elsewhere.") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"The results directory {directory} cannot be written ({reason}).") from error
    with lock:
        yield
