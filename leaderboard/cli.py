"""The `lowlands` command: a group of the commands in `leaderboard.commands`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import leaderboard
import suite
from leaderboard.commands.claims import claims
from leaderboard.commands.compare import bench, compare
from leaderboard.commands.landscape import landscape
from leaderboard.commands.lists import measure, measures, new, submissions, tasks
from leaderboard.commands.namesakes import namesakes
from leaderboard.commands.references import references
from leaderboard.commands.run import run, study
from leaderboard.commands.show import agreement, export, figure, publish, table
from leaderboard.commands.verify import verify
from suite.errors import InputError, sentence

if sys.platform != "win32":
    import resource


class Lowlands(click.Group):
    """A group whose commands report a mistake of the user as one sentence, with exit status 2."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what no path and no name can hold."""
        if any("\0" in argument for argument in args):
            raise click.UsageError("An argument holds the character NUL.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command; an InputError becomes click's own kind of error."""
        try:
            _check_modules()
            return super().invoke(ctx)
        except InputError as error:
            raise click.UsageError(str(error)) from error
        except (ImportError, MemoryError) as error:
            if (limit := _address_space()) is None:
                raise
            raise click.UsageError(
                f"Torch cannot be loaded within the {limit / 1e9:g} GB of address space that this process may use "
                f"(`ulimit -v`): {sentence(error)}."
            ) from error


def _address_space() -> int | None:
    """The bytes of address space that this process may use; None for no limit."""
    if sys.platform == "win32":
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _check_modules() -> None:
    """PyPI has unrelated packages that install modules of the same names: name the culprit."""
    here = Path(__file__).resolve().parents[1]
    for module in (leaderboard, suite):
        root = Path(module.__file__ or "").resolve().parents[1]
        if root != here:
            raise InputError(
                f"The module {module.__name__!r} comes from {root}, not from Lowlands: uninstall the other package "
                f"or use a fresh virtual environment."
            )


@click.group(cls=Lowlands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(suite.__version__, prog_name="lowlands")
def main() -> None:
    """Which of the infinitely many solutions does your optimizer find? Score it.

    \b
    lowlands run                     eight well-known optimizers on the quick track: a table in minutes
    lowlands run my_optimizer.py     yours, from a five-line file
    lowlands run torch.optim:RAdam   any optimizer, without a file
    """


COMMANDS = (
    run, tasks, submissions, references, measures, measure, new, table, figure, export, landscape, compare, bench,
    publish, agreement, study, verify, namesakes, claims,
)  # fmt: skip

for command in COMMANDS:
    main.add_command(command)
