"""Other checkouts of this code, each in a process of its own that measures when it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Checkout:
    """The code of a checkout: a program of this one runs on it, and answers questions, a line of JSON each."""

    def __init__(self, path: Path, program: str) -> None:
        """Start ``program --answer`` on the code in `path`."""
        environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", program, "--answer"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, cwd=path, stdin=pipe, stdout=pipe, text=True)

    def ask(self, question: object) -> Any:
        """The answer, as JSON has it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def before_and_now(program: str, other: Path) -> list[Checkout]:
    """The `other` checkout and this one, both answering by the file `program`."""
    return [Checkout(path, program) for path in (other.resolve(), Path(__file__).resolve().parents[1])]
