"""The gate on runtime: ``python -m benchmarks.gate BASE HEAD``, from the repository's root.

It tells three ends apart by its exit status: 0, no regression; 1, a regression that showed twice; 2, asv itself broke,
and nothing is known. asv alone cannot: its status 1 is a regression as well as a mistake in the configuration.

Counts (gradient evaluations, floating-point operations, bytes of state) are the same in every run and are compared
exactly. Times and peak memory on a shared machine are not: they count from a factor of 1.25, rounds of the two commits
take turns, and only what a second look with more rounds finds again is a regression. `benchmarks.sensitivity` says what
that finds.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FINE, REGRESSION, BROKEN = 0, 1, 2
COUNTS, TIMES = r"Counts\.track_|\.track_state_bytes", r"\.(time|peakmem)_"
EXACT, FACTOR = 1.000001, 1.25

Run = Callable[[Sequence[str]], tuple[int, str]]


class AsvBrokeError(Exception):
    """asv ended without saying whether anything became slower."""


@dataclass(frozen=True)
class Verdict:
    """How it ended: the exit status, and the lines that say why."""

    status: int
    lines: list[str]


def asv(arguments: Sequence[str]) -> tuple[int, str]:
    """Run asv; its exit status and everything it said, which is also passed on as it comes."""
    command = [sys.executable, "-m", "asv", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(line)
        said.append(line)
    return process.wait(), "".join(said)


def slower(run: Run, base: str, head: str, pattern: str, factor: float, *more: str) -> list[str]:
    """The benchmarks (with their parameters) that match `pattern` and are worse in `head` by more than `factor`.

    Raises:
        AsvBrokeError: asv did not come to a result.
    """
    options = ("--factor", str(factor), "--interleave-rounds", "--split", "--show-stderr", "--bench", pattern)
    status, said = run(["continuous", *options, *more, base, head])
    if status == 0:
        return []
    worse = _worse(said)
    if status == 1 and "PERFORMANCE DECREASED" in said and worse:
        return worse
    raise AsvBrokeError(f"asv continuous ended with status {status} and without a result for {pattern!r}.")


def _worse(said: str) -> list[str]:
    """The names in the table under the heading of what has got worse; their rows are marked with a plus."""
    rows = (re.fullmatch(r"\|\s*\+\s*\|.*\|\s*(\S.*?)\s*\|", line) for line in said.splitlines())
    return [row[1] for row in rows if row]


def judge(run: Run, base: str, head: str, exact: str = COUNTS, timed: str = TIMES) -> Verdict:
    """Compare two commits: counts once and exactly, times twice where the first look finds something.

    exact, timed: patterns of the benchmarks that are looked at.
    """
    try:
        status, _ = run(["machine", "--yes"])
        if status:
            raise AsvBrokeError(f"asv machine ended with status {status}.")
        counts = slower(run, base, head, exact, EXACT)
        suspects = slower(run, base, head, timed, FACTOR)
        confirmed = []
        if suspects:
            names = "|".join(f"^{re.escape(name)}$" for name in suspects)
            again = slower(run, base, head, names, FACTOR, "--attribute", "rounds=4")
            confirmed = [name for name in suspects if name in again]
    except AsvBrokeError as error:
        return Verdict(BROKEN, [f"Broken: {error}"])
    lines = [f"More work: {name}" for name in counts] + [f"Slower, twice: {name}" for name in confirmed]
    lines += [f"Slower once, not again: {name}" for name in suspects if name not in confirmed]
    return Verdict(REGRESSION if counts or confirmed else FINE, lines or ["No regression."])


def main(arguments: Sequence[str]) -> int:
    """Judge the two commits that are given (default: main and HEAD) and say how it ended."""
    base, head = (*arguments, "main", "HEAD")[:2] if len(arguments) != 1 else (arguments[0], "HEAD")
    verdict = judge(asv, base, head)
    sys.stdout.write("\n".join(["", *verdict.lines, ""]))
    return verdict.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
