"""The command while it starts: Ctrl-C at any import, and help without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "module", ["leaderboard.cli", "leaderboard.commands.run", "torch", "torch.nn", "suite.engine.plan"]
)
def test_ctrl_c_while_a_module_is_loaded_is_one_sentence(tmp_path: Path, module: str) -> None:
    code = f"""
import os, signal, sys
from leaderboard.__main__ import main

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.killpg(0, signal.SIGINT)  # as a terminal does: to the workers too

os.setpgrp()
sys.meta_path.insert(0, Interrupting())
sys.argv[1:] = ["run", "sgd", "--track", "smoke", "--task", "min_norm_regression", "--engine", "local:1"]
main()
"""
    result = python(code, tmp_path)
    assert result.returncode == 130
    assert result.stderr == "Stopped.\n"
    assert result.stdout == ""


def test_the_first_worker_too_is_started_without_interrupts(tmp_path: Path) -> None:
    code = """
import signal
from multiprocessing import resource_tracker
from suite.engine.worker import _interrupts_blocked

with _interrupts_blocked():
    resource_tracker.ensure_running()  # as the start of a process does
    assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""
    result = python(code, tmp_path)
    assert result.returncode == 0, result.stderr


def test_help_loads_nothing_that_is_slow(tmp_path: Path) -> None:
    code = """
import sys
from click.testing import CliRunner
from leaderboard.cli import main

for arguments in ([], *([name] for name in main.commands)):
    assert CliRunner().invoke(main, [*arguments, "--help"]).exit_code == 0
print(*({"torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "cvxpy"} & set(sys.modules)))
"""
    result = python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
