"""The lock on a results directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from suite.engine.lock import locked
from suite.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from suite.engine.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_living_process_keeps_others_out_and_a_killed_one_does_not(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "results")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="Another run is writing to"), locked(tmp_path / "results"):
        pass
    holder.kill()
    holder.wait()
    assert (tmp_path / "results" / ".lock").exists()
    with locked(tmp_path / "results"):
        pass


def test_it_is_free_after_use_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path), pytest.raises(InputError, match="Another run"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), locked(tmp_path / "file" / "below"):
        pass
