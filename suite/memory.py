"""How a process keeps the memory that it frees. No torch import."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt` (malloc.h)."""


def keep_freed_memory() -> bool:
    """Tell glibc not to give freed memory back to the system; False where the allocator is another.

    By default every block of more than 32 MiB at most is mapped when it is allocated and unmapped when it is freed, and
    the system clears its pages anew: 2,000 page faults in every step of a small convolutional network, a fifth of its
    time. Kept memory is used again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # macOS, musl
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, -1))
