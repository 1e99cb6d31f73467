"""What a command printed before of the shipped results is printed again, while neither they nor the code have changed.

A table of 7,850 records takes two seconds to compute. Its text lies in the cache of `suite.storage.cache`, named by all
that it depends on: the log, the options, the terminal, and the files of both packages.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import click
from rich.console import Console

import leaderboard
import suite
from leaderboard.commands.console import output

Note = Callable[[str], None]
"""Takes what the user should know beside what was asked for."""

to_stderr: Note = partial(click.echo, err=True)


def print_kept(log: Path, options: Mapping[str, object], show: Callable[[Console, Note], None]) -> None:
    """Print what `show` prints of a shipped log, by `show` itself if it has not been printed before.

    Args:
        log: its file.
        options: those of the command, which decide what is printed.
        show: prints on a console, and hands notes on.
    """
    import numpy as np

    from suite.storage.cache import cached_on_disk

    console = output()
    terminal = (console.width, console.color_system, console.is_terminal, console.encoding, console.legacy_windows)
    content = hashlib.sha256(log.read_bytes()).hexdigest()

    def computed() -> dict[str, np.ndarray]:
        notes: list[str] = []
        with console.capture() as captured:
            show(console, notes.append)
        return {"notes": np.array(notes, dtype=np.str_), "text": np.array(captured.get())}

    key = repr((sorted(options.items()), terminal, content, sys.version, sorted(_files())))
    printed = cached_on_disk("tables", hashlib.sha256(key.encode()).hexdigest(), computed)
    for note in printed["notes"]:
        to_stderr(str(note))
    click.echo(str(printed["text"]), nl=False, color=True)


def _files() -> Iterator[tuple[str, int, int]]:
    """Every file of code or references of both packages, with its size and when it was changed."""
    for package in (leaderboard, suite):
        for folder, _, names in os.walk(os.path.dirname(package.__file__ or "")):
            for name in names:
                if name.endswith((".py", ".json")):
                    found = os.stat(os.path.join(folder, name))
                    yield os.path.join(folder, name), found.st_size, found.st_mtime_ns
