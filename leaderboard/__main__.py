"""The `lowlands` command, also as `python -m leaderboard`."""

from __future__ import annotations

import os
import signal

STOPPED = 128 + signal.SIGINT


def main() -> None:
    """Run the command. Ctrl-C ends it with one sentence; once a run has begun, `execution.execute` does more."""
    signal.signal(signal.SIGINT, _stop)
    from leaderboard.cli import main as command

    command(prog_name="lowlands")


def _stop(number: int, _: object) -> None:
    # Not by an exception: one that is raised while torch is loaded aborts the process. Workers end with their driver.
    os.write(2, b"Stopped.\n")
    os._exit(STOPPED)


if __name__ == "__main__":
    main()
