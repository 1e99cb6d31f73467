"""How a process keeps the memory that it frees. No torch import."""

from __future__ import annotations

import ctypes
from pathlib import Path

MADV_COLLAPSE = 25
"""Advice of Linux 6.1 and later (asm-generic/mman-common.h): make a huge page of what is in small ones, now."""

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")

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


def collapse() -> int:
    """Have the system hold this process's memory in huge pages, and return how many bytes it does.

    To fork, a process copies an entry for each of its pages, and its child gives all of them back when it ends: of
    400 MB in small pages that is 20 to 30 ms. What parent or child then write to is copied in small pages, as ever. 0
    where the system cannot, or was told never to.
    """
    try:
        if "[never]" in (HUGE_PAGES / "enabled").read_text():
            return 0
        size = int((HUGE_PAGES / "hpage_pmd_size").read_text())
        mappings = Path("/proc/self/maps").read_text().splitlines()
    except (OSError, ValueError):
        return 0
    madvise, done = ctypes.CDLL(None).madvise, 0
    for mapping in mappings:
        addresses, access, _, _, inode, *name = mapping.split()
        if inode != "0" or access != "rw-p" or name not in ([], ["[heap]"]):
            continue
        first, last = (int(address, 16) for address in addresses.split("-"))
        for page in range(-(-first // size) * size, last - size + 1, size):  # one at a time: those without memory fail
            done += size * (madvise(ctypes.c_void_p(page), ctypes.c_size_t(size), MADV_COLLAPSE) == 0)
    return done
