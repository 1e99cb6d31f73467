"""The tables on pages of the docs, which cog prints into README.md, docs/results.md and docs/predictions.md."""

from __future__ import annotations

import contextlib
import io

from leaderboard.commands.show import table


def printed(*options: str) -> str:
    """What ``lowlands table --format markdown`` prints with further `options`, between empty lines.

    Raises:
        InputError: a results file or an option's value cannot be used.
        click.UsageError: there is no such option.
    """
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        table.main(["--format", "markdown", *options], prog_name="lowlands table", standalone_mode=False)
    return f"\n{output.getvalue()}"
