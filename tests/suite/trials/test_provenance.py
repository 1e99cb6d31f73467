"""The hash of the suite: what decides numbers changes it, and nothing else does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import suite
from suite.trials.provenance import hash_of_source, suite_hash

ROOT = Path(suite.__file__).parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def copy(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the suite's source that a test may change; what other tests have parsed is cached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return Path(shutil.copytree(ROOT, tmp_path / "suite", ignore=shutil.ignore_patterns("__pycache__", "_submissions")))


def append(name: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / name).open("a") as file:
            file.write(text)

    return change


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return change


def test_a_copy_has_the_same_hash(copy: Path) -> None:
    assert hash_of_source(copy) == suite_hash()
    assert len(suite_hash()) == 16


@pytest.mark.parametrize(
    "change",
    [
        append("tasks/linear.py", "\n# A comment.\n"),
        replace("tasks/linear.py", '"""', '"""Another first sentence. '),
        replace("trials/provenance.py", '"""The files', '"""A docstring of a constant: the files'),
        replace(
            "trials/selection.py", "return [min(trials, key=key)]", "return [\n        min(trials, key=key)\n    ]"
        ),
        append("engine/driver.py", "\nX = 1\n"),
        append("storage/log.py", "\nX = 1\n"),
        append("commands/verification.py", "\nX = 1\n"),
        append("sandbox/limits.py", "\nX = 1\n"),
        append("entries/templates/__init__.py", "\nX = 1\n"),
        append("tracks.py", "\nX = 1\n"),
    ],
)
def test_what_decides_no_number_leaves_it(copy: Path, change: Callable[[Path], None]) -> None:
    change(copy)
    assert hash_of_source(copy) == suite_hash()


@pytest.mark.parametrize(
    "change",
    [
        append("tasks/linear.py", "\nX = 1\n"),
        append("tasks/references.json", " "),
        append("seeding.py", "\nX = 1\n"),
        append("training/another.py", "X = 1\n"),
        append("entries/entry.py", "\nX = 1\n"),
        append("measures/registry.py", "\nX = 'text'\n"),
        replace("trials/selection.py", "return 0, sum", "return 1, sum"),
        replace("trials/selection.py", "return 0, sum", "return 0.0, sum"),
    ],
)
def test_what_may_decide_a_number_changes_it(copy: Path, change: Callable[[Path], None]) -> None:
    change(copy)
    assert hash_of_source(copy) != suite_hash()


def test_a_renamed_file_changes_it(copy: Path) -> None:
    (copy / "tasks" / "linear.py").rename(copy / "tasks" / "linear_tasks.py")
    assert hash_of_source(copy) != suite_hash()


def test_it_does_not_depend_on_the_cache(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert hash_of_source(copy) == suite_hash()
    assert len(list((tmp_path / "empty" / "lowlands" / "source").iterdir())) == 1
    assert hash_of_source(copy) == suite_hash()
