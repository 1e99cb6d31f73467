"""A process that keeps what it frees asks the system for it once; data go back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from suite.memory import keep_freed_memory

PROGRAM = """
import resource
import torch
from pathlib import Path
from suite.memory import keep_freed_memory

if KEEP:
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def step():
    return [torch.ones(2**22) for _ in range(8)]  # 16 MiB each

# Where the heap puts them settles first: an aligned block that does not fit beside its neighbours, for a few bytes, is
# taken anew, up to five times.
for _ in range(20):
    step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)

before, kept = resident(), []
for _ in range(8):
    data = torch.ones(2**25)  # 128 MiB
    del data
    kept.append(torch.ones(6 * 2**20))
print((resident() - before) / 2**20)
"""


def measured(keep: bool) -> tuple[float, float]:
    """Page faults of 20 steps, and the MiB by which the process grew while data came and went and 192 MiB stayed."""
    program = PROGRAM.replace("KEEP", str(keep))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    faults, growth = map(float, run.stdout.split())
    return faults, growth


def test_freed_memory_is_used_again_and_data_go_back() -> None:
    if not keep_freed_memory():
        pytest.skip("this allocator cannot be told")
    faults, growth = measured(keep=True)
    # 32,768 pages a step, or 64 of huge pages.
    assert faults * 5 < measured(keep=False)[0]
    assert growth < 400
