"""A process that keeps what it frees asks the system for it once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from suite.memory import keep_freed_memory

PROGRAM = """
import resource
import torch
from suite.memory import keep_freed_memory

if KEEP:
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

# 64 MiB each. Where the heap puts them settles first: an aligned block that does not fit beside its neighbours, for a
# few bytes, is taken anew, up to five times.
for _ in range(20):
    torch.ones(2**24)
before = faults()
for _ in range(20):
    torch.ones(2**24)
print(faults() - before)
"""


def faults(keep: bool) -> int:
    program = PROGRAM.replace("KEEP", str(keep))
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def test_freed_memory_is_used_again() -> None:
    if not keep_freed_memory():
        pytest.skip("this allocator cannot be told")
    # 16,384 pages a time, or 32 of huge pages.
    assert faults(keep=True) * 5 < faults(keep=False)
