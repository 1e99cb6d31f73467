"""An asv environment that borrows the installed torch: made in seconds instead of 5 GB.

A virtual environment without packages of its own but Lowlands, with a `.pth` file to the site-packages of the Python
that runs asv: every commit is measured by its own wheel, everything else is borrowed. asv's own `virtualenv` works too
(`asv run -E virtualenv`), and installs torch once more.
"""

from __future__ import annotations

import sys
import sysconfig
import venv
from pathlib import Path

from asv import environment
from asv.plugins.virtualenv import Virtualenv


class Borrowed(Virtualenv):
    """`environment_type: borrowed`."""

    tool_name = "borrowed"

    def __init__(self, conf, python, requirements, tagged_env_vars):
        if python != f"{sys.version_info.major}.{sys.version_info.minor}":
            raise environment.EnvironmentUnavailable(f"The Python that runs asv is not {python}.")
        self._executable = sys.executable
        self._python = python
        self._requirements = requirements
        environment.Environment.__init__(self, conf, python, requirements, tagged_env_vars)

    @classmethod
    def matches(cls, python):
        """Only by name, never chosen automatically."""
        return False

    def _setup(self):
        venv.EnvBuilder(with_pip=False, symlinks=True).create(self._path)
        own = Path(sysconfig.get_path("purelib", "venv", vars={"base": self._path, "platbase": self._path}))
        borrowed = Path(sysconfig.get_path("purelib"))
        (own / "borrowed.pth").write_text(f"{borrowed}\n")
