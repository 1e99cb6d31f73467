"""How a process keeps the memory that it frees. No torch import."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt` (malloc.h)."""


MAPPED = 32 * 2**20
"""Bytes from which a block is mapped by itself: the most that glibc takes."""


def disable_trim() -> bool:
    """Tell glibc to keep freed blocks of up to `MAPPED` bytes; False where the allocator is another.

    By default the end of the heap goes back to the system whenever it is free, and the system clears its pages anew:
    4,000 page faults in every step of a small convolutional network, a fifth of its time. Kept memory is used again.
    Larger blocks are data: in a heap that keeps everything, small ones would settle in the holes that they leave, and
    every lane of `mnist_mlp` would need 160 MB more. (To set one threshold stops glibc from adapting the other.)
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # macOS, musl
        return False
    return bool(mallopt(MMAP_THRESHOLD, MAPPED)) and bool(mallopt(TRIM_THRESHOLD, -1))
