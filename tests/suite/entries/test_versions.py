"""Two folders with a package of the same name, in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from suite.entries.versions import Version, version
from suite.errors import InputError

OPTIMIZER = """
import torch

class Descent(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        from toy_library.factor import FACTOR  # found when it is called
        return FACTOR
"""


def _library(folder: Path, factor: int, inside: str = "") -> Path:
    package = folder / inside / "toy_library"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from toy_library.optimizer import Descent\n")
    (package / "optimizer.py").write_text(OPTIMIZER)
    (package / "factor.py").write_text(f"FACTOR = {factor}\n")
    return folder


def _factor(one: Version) -> int:
    submission = one.load("toy_library:Descent")
    with one.active():
        import torch

        return int(submission.factory([torch.nn.Parameter(torch.ones(1))]).step())


def test_each_version_runs_its_own_code(tmp_path: Path) -> None:
    before, search = set(sys.modules), list(sys.path)
    old = Version(_library(tmp_path / "old", 1))
    new = Version(_library(tmp_path / "new", 2, inside="src"))
    assert [_factor(old), _factor(new), _factor(old)] == [1, 2, 1]
    assert sys.path == search
    assert not [name for name in set(sys.modules) - before if name.startswith("toy_library")]


def test_files_are_those_of_the_folder(tmp_path: Path) -> None:
    text = "from toy_library import Descent\nfrom suite import Submission\nsubmission = Submission('x', Descent)\n"
    versions = []
    for name, factor in (("old", 1), ("new", 2)):
        folder = _library(tmp_path / name, factor)
        (folder / "mine.py").write_text(text)
        versions.append(Version(folder))
    factories = [one.load("mine.py").factory for one in versions]
    assert factories[0] is not factories[1]
    assert [factory.__module__ for factory in factories] == 2 * ["toy_library.optimizer"]


def test_a_revision_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = _library(tmp_path, 1)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    (repository / "toy_library" / "factor.py").write_text("FACTOR = 2\n")
    monkeypatch.chdir(repository)
    with version("HEAD") as committed, version(".") as here:
        assert [_factor(committed), _factor(here)] == [1, 2]
        assert committed.folder is not None
        exported = committed.folder
    assert not exported.exists()


def test_what_is_no_version(tmp_path: Path) -> None:
    for text in ("no_such_revision", "--output=x"):
        with pytest.raises(InputError, match="neither a folder nor a revision"), version(text):
            pass
    with pytest.raises(InputError, match="does not hold the module"):
        Version(tmp_path).load("torch.optim:SGD")
    with pytest.raises(InputError, match="is an architecture"):
        Version().load("mlp")
