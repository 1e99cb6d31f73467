"""A process that keeps what it frees asks the system for it once; data go back. Huge pages hold what small ones did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from suite.kernels import malloc
from suite.kernels.malloc import collapse, disable_trim

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


COLLAPSING = """
import os
import torch
from pathlib import Path
from suite.kernels.malloc import collapse

numbers = torch.arange(2**23)  # 64 MiB
kept = numbers.clone()
done = collapse()
reader, writer = os.pipe()
child = os.fork()
if not child:  # what a child writes is its own
    numbers += 1
    os.write(writer, b"1" if torch.equal(numbers, kept + 1) else b"0")
    os._exit(0)
os.waitpid(child, 0)
rollup = Path("/proc/self/smaps_rollup").read_text()
held = int(rollup.partition("AnonHugePages:")[2].split()[0]) * 1024
print(done, held, int(os.read(reader, 1)), int(torch.equal(numbers, kept)))
"""


def test_memory_in_huge_pages_holds_what_it_held_here_and_in_a_child() -> None:
    if not collapse():
        pytest.skip("this system has no huge pages, or cannot make them of small ones")
    run = subprocess.run([sys.executable, "-c", COLLAPSING], capture_output=True, text=True, check=True)
    done, held, in_child, here = map(int, run.stdout.split())
    assert in_child
    assert here
    assert done >= 2 * 60 * 2**20  # both tensors
    assert held >= 2 * 60 * 2**20 / 2  # as far as nobody wrote to them


def test_a_system_that_was_told_never_to_use_huge_pages_keeps_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "enabled").write_text("always madvise [never]")
    (tmp_path / "hpage_pmd_size").write_text(str(2**21))
    monkeypatch.setattr(malloc, "HUGE_PAGES", tmp_path)
    assert malloc.collapse() == 0
