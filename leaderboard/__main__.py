"""`python -m leaderboard` is the `lowlands` command."""

from __future__ import annotations

from leaderboard.cli import main

if __name__ == "__main__":
    main(prog_name="lowlands")
