"""Two versions of one library in one process: submissions as the code in a folder gives them.

A version owns the modules that its folder provides. While it is active they are the ones that `import` finds; between,
they are set aside, so that two folders with a package of the same name do not meet. Compiled extensions work where they
bear to be loaded twice. Versions that need other dependencies need another environment, and so another process.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from suite.entries.loading import builtin_files, load, source_of
from suite.errors import InputError
from suite.submission import Submission

KEPT = frozenset({"suite", "leaderboard", "torch", "numpy", *sys.stdlib_module_names})
"""Packages that are the same in every version, whatever its folder holds."""


class Version:
    """The code in a folder, or what is installed where there is no `folder`.

    Attributes:
        paths: where `import` looks first: the folder, and `src` in it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.paths = [] if folder is None else [path for path in (folder / "src", folder) if path.is_dir()]
        self._modules: dict[str, ModuleType] = {}
        self._names: frozenset[str] = frozenset()
        self.folder = folder

    def load(self, text: str) -> Submission:
        """The optimizer that `text` names in this version; the path of a file is relative to the folder.

        Raises:
            InputError: as `suite.entries.loading.load` does; or it is no optimizer; or the module of an import path
                lies elsewhere, so that it would be the same in every version.
        """
        path = source_of(text)
        if self.folder is not None:
            if path is None:
                own = {text.partition(":")[0].partition(".")[0]}
            else:
                own = {f"lowlands_submission_{path.stem}"}
                if text not in builtin_files() and not path.is_absolute():
                    text = str(self.folder / text)
            provided = {module.name for module in pkgutil.iter_modules(map(str, self.paths))}
            self._names = frozenset(own | provided) - KEPT
        with self.active():
            submission = load(text).submission
            if self.folder is not None and path is None:
                self._check_place(text)
        if submission.optimizer is None:
            raise InputError(f"{text!r} is an architecture; updates and steps are those of optimizers.")
        return submission

    def _check_place(self, text: str) -> None:
        module = sys.modules[text.partition(":")[0]]
        places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
        roots = [root.resolve() for root in self.paths]
        if not any(Path(place).resolve().is_relative_to(root) for place in places if place for root in roots):
            raise InputError(f"The folder {self.folder} does not hold the module of {text!r}: it was found elsewhere.")

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Let `import` find this version's modules; what runs its code must do so in here."""
        if not self._names:
            yield
            return
        aside, search = _take(self._names), list(sys.path)
        sys.modules.update(self._modules)
        sys.path[:0] = map(str, self.paths)
        importlib.invalidate_caches()
        load.cache_clear()
        try:
            yield
        finally:
            self._modules = _take(self._names)
            sys.modules.update(aside)
            sys.path[:] = search
            load.cache_clear()


def _take(names: frozenset[str]) -> dict[str, ModuleType]:
    """The modules of the packages `names`, which are taken out of `sys.modules`."""
    own = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in own}


@contextlib.contextmanager
def version(text: str) -> Iterator[Version]:
    """The version that `text` names: a folder, or a revision of the git repository that we stand in.

    Raises:
        InputError: it is neither.
    """
    if Path(text).is_dir():
        yield Version(Path(text).resolve())
        return
    with tempfile.TemporaryDirectory(prefix="lowlands-") as folder:
        _export(text, Path(folder))
        yield Version(Path(folder).resolve())


def _export(revision: str, folder: Path) -> None:
    """Write the files of a git revision to `folder`."""
    # No text of a user is taken for an option.
    resolve = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    try:
        commit = subprocess.run(resolve, capture_output=True, text=True, check=True).stdout.strip()
        top = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        archive = subprocess.run(
            ["git", "-C", top.stdout.strip(), "archive", "--format=tar", commit], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        raise InputError(f"{revision!r} is neither a folder nor a revision of a git repository here.") from None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter=_within)


def _within(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """A file of an archive as it is safe to write; links that lead elsewhere are left out."""
    try:
        return tarfile.data_filter(member, folder)
    except tarfile.FilterError:
        return None
