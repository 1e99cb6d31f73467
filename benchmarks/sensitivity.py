"""What the gate on runtime finds on this machine: ``python -m benchmarks.sensitivity [SAME [SLOW]]``, from the root.

In a temporary clone the newest commit gets two children: one that changes nothing, and one whose training loop takes
1.5 times as long. The gate judges the first `SAME` times (10) and the second `SLOW` times (3) with a few benchmarks, as
it would in CI. The status is 1 if unchanged code raised an alarm or the slowdown was missed.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gate import FINE, REGRESSION, asv, judge

TIMES = r"TrainingLoop\.time_train\('(linear|factorised|features)', 'sgd', 8\)"
COUNTS = r"TrainingCounts\.track_.*\('linear', 'sgd'\)"
"""Three training loops and two counts: a run of the gate takes a minute or two."""

PLANTED = """

def _half_as_long_again(function):
    def slower(*arguments, **named):
        import time

        start = time.process_time()
        result = function(*arguments, **named)
        until = time.process_time() + 0.5 * (time.process_time() - start)
        while time.process_time() < until:
            pass
        return result

    return slower


train = _half_as_long_again(train)
"""
"""Appended to ``suite/training/loop.py``: exactly 1.5 times the time, whatever the task."""


def _git(clone: Path, *arguments: str) -> None:
    who = ("-c", "user.name=sensitivity", "-c", "user.email=sensitivity@localhost")
    subprocess.run(["git", *who, *arguments], cwd=clone, check=True, capture_output=True)


def _plant(clone: Path) -> None:
    """The branches ``base``, ``same`` and ``slow`` in a clone of this repository."""
    subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
    _git(clone, "branch", "base")
    _git(clone, "checkout", "-b", "same")
    _git(clone, "commit", "--allow-empty", "-m", "Change nothing")
    _git(clone, "checkout", "-b", "slow", "base")
    path = clone / "suite" / "training" / "loop.py"
    path.write_text(path.read_text(encoding="utf-8") + PLANTED, encoding="utf-8")
    _git(clone, "commit", "-am", "Train 1.5 times as long")


def main(arguments: list[str]) -> int:
    """Judge both commits as often as `arguments` say, and print how often there was an alarm."""
    given = [int(argument) for argument in arguments]
    runs = dict(zip(("same", "slow"), given + [10, 3][len(given) :], strict=True))
    alarms = dict.fromkeys(runs, 0)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        _plant(clone)
        with contextlib.chdir(clone):
            for branch, count in runs.items():
                for _ in range(count):
                    start = time.monotonic()
                    verdict = judge(asv, "base", branch, COUNTS, TIMES)
                    sys.stdout.write(f"{branch}, {time.monotonic() - start:.0f} s: {'; '.join(verdict.lines)}\n")
                    if verdict.status not in (FINE, REGRESSION):
                        return verdict.status
                    alarms[branch] += verdict.status == REGRESSION
    sys.stdout.write(f"\nUnchanged code: {alarms['same']} alarms in {runs['same']} runs.\n")
    sys.stdout.write(f"1.5 times as slow: {alarms['slow']} alarms in {runs['slow']} runs.\n")
    return int(alarms["same"] > 0 or alarms["slow"] < runs["slow"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
