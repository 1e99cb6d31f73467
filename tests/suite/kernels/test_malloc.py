"""A process that keeps what it frees asks the system for it once; data go back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from suite.kernels.malloc import disable_trim

PROGRAM = """
import resource
import torch
from pathlib import Path
from suite.kernels.malloc import disable_trim

disable_trim()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def step():
    return [torch.ones(2**22) for _ in range(8)]  # 16 MiB each

# Where the heap puts them settles first: an aligned block that does not fit between its neighbours, for a few bytes, is
# taken anew, up to five times.
for _ in range(20):
    step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)

before, blocks = resident(), []
for _ in range(8):
    data = torch.ones(2**25)  # 128 MiB
    del data
    blocks.append(torch.ones(6 * 2**20))
print((resident() - before) / 2**20)
"""


def test_freed_memory_is_used_again_and_data_go_back() -> None:
    if not disable_trim():
        pytest.skip("this allocator has no such setting")
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    faults, growth = map(float, run.stdout.split())
    # By default most processes take all 20 x 32,768 pages anew (or huge pages, a 512th), some by luck none.
    assert faults < 20 * 64 / 5
    # 192 MiB stay. Where small blocks fill the holes that data leave in the heap, the next data need new memory: 880.
    assert growth < 400
