"""How a process keeps the memory that it frees. No torch import."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt` (malloc.h)."""

MMAP_BYTES = 32 * 2**20
"""Blocks from this size on get a mapping of their own: the largest threshold that glibc accepts."""


def disable_trim() -> bool:
    """Tell glibc to keep freed blocks of up to `MMAP_BYTES` bytes for reuse.

    By default glibc returns the end of the heap to the system whenever it is free, and the system clears its pages
    again: 4,000 page faults in every step of a small convolutional network, a fifth of its time. Larger blocks are
    data: if the heap kept them too, small blocks would fill the holes that they leave, and every run of `mnist_mlp`
    would need 160 MB more. (Setting one threshold stops glibc from adapting the other.) False if the allocator is not
    glibc's, which then stays as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # macOS, musl
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
