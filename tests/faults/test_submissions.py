"""Submissions that hang, leak, or crash the interpreter, through the command and beside one that does none of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.storage.log import read

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """import ctypes, os, signal, subprocess, sys, threading, time
import torch
from suite import Submission

KEPT = []

class Bad(torch.optim.SGD):
    def step(self, closure=None):
        {body}

submission = Submission(name="bad", optimizer=Bad, space={{"lr": 0.1}})
"""
HANG = "stopped by the time limit of 30 s"
BODIES = {
    "sleeps": ("time.sleep(3_600)", HANG),
    "loops": ("while True: pass", HANG),
    "holds the interpreter's lock": ("ctypes.PyDLL(None).pause()", HANG),
    "ignores signals": ("[signal.signal(s, signal.SIG_IGN) for s in (2, 15)]; time.sleep(3_600)", HANG),
    "waits for a thread that does not end": (
        "t = threading.Thread(target=time.sleep, args=(3_600,)); t.start(); t.join()",
        HANG,
    ),
    "leaks": ("while True: KEPT.append(bytearray(b'x') * 10**8)", "MemoryError"),
    "leaks tensors": ("while True: KEPT.append(torch.ones(25_000_000))", "can't allocate memory"),
    "leaves the interpreter": ("os._exit(0)", "ended with exit status 0"),
    "calls sys.exit": ("sys.exit(3)", "SystemExit: 3"),
    "breaks memory": ("ctypes.string_at(0)", "killed by SIGSEGV"),
    "aborts": ("os.abort()", "killed by SIGABRT"),
    "kills itself": ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    "recurses": ("self.step()", "RecursionError"),
    "leaves a process behind": (
        "subprocess.Popen(['sleep', '60'], close_fds=False); os._exit(1)",
        "ended with exit status 1",
    ),
}


@pytest.mark.parametrize("what", BODIES)
def test_the_run_goes_on(tmp_path: Path, what: str, report: Callable[[str, str], None]) -> None:
    body, reason = BODIES[what]
    limit = "30s" if reason == HANG else "5m"  # filling the memory takes a busy machine its time
    (tmp_path / "bad.py").write_text(SOURCE.format(body=body))
    result = subprocess.run(
        [
            sys.executable, "-m", "leaderboard", "run", "bad.py", "sgd", "--track", "smoke", "--trials", "1",
            "--task", "adaptive_trap", "--engine", "local:2", "--trial-time-limit", limit,
            "--memory-limit", "3GB",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    records = read(tmp_path / "results" / "smoke.jsonl").records
    bad = [record for record in records if record["submission"] == "bad"]
    assert len(bad) == 2
    assert all(record["status"] == "failed" and reason in record["reason"] for record in bad)
    assert all(record["converged"] for record in records if record["submission"] == "sgd")
    report(f"a submission that {what}", f"failed: {bad[0]['reason'][:70]}; its neighbour untouched")
