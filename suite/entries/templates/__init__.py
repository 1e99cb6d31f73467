"""Templates of submissions: `lowlands new` writes one under a new name, and it runs without a change."""

from __future__ import annotations

import keyword
from pathlib import Path
from string import Template

from suite.errors import InputError

KINDS = ("optimizer", "architecture")


def write(kind: str, name: str, directory: Path) -> Path:
    """Write a template of a `kind` of `KINDS` to the new file ``NAME.py``, and return its path.

    Raises:
        InputError: `name` is no Python name, the file exists, or it cannot be written.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"{name!r} is no Python name: use letters, digits and underscores.")
    text = (Path(__file__).parent / f"{kind}.py.template").read_text(encoding="utf-8")
    title = "".join(part.capitalize() for part in name.split("_")) or name
    path = directory / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(Template(text).substitute(name=name, title=title))
    except FileExistsError:
        raise InputError(f"{path} is there already.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}).") from error
    return path
