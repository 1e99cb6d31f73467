"""Control groups: what is written where, on a tree of plain files, and on the kernel's own where it can be had."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.sandbox import cgroup, process
from suite.sandbox.cgroup import Group, group, joining, parent
from suite.sandbox.confinement import BUBBLEWRAP, isolation
from suite.sandbox.limits import Limits
from suite.sandbox.process import SandboxError

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux")

LIMITS = Limits(memory=10**9, disk=10**8, processes=50)
FILES = (
    "memory.max",
    "memory.swap.max",
    "memory.oom.group",
    "memory.events",
    "pids.max",
    "cgroup.procs",
    "cgroup.kill",
)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    parent.cache_clear()
    yield
    parent.cache_clear()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plain files: the controllers are on in `user`, and this process is in `user/app/own`."""
    folders = [tmp_path, tmp_path / "user", tmp_path / "user" / "app", tmp_path / "user" / "app" / "own"]
    folders[-1].mkdir(parents=True)
    for folder, controllers in zip(folders, ("cpu memory pids", "memory pids", "pids", ""), strict=True):
        (folder / "cgroup.subtree_control").write_text(controllers)
    monkeypatch.setattr(cgroup, "_tree", lambda: folders)
    make = tempfile.mkdtemp

    def mkdtemp(prefix: str, dir: Path) -> str:
        made = make(prefix=prefix, dir=dir)
        for name in FILES:  # the kernel's files are there as soon as the folder is
            (Path(made) / name).touch()
        return made

    def rmdir(folder: Path) -> None:  # and are no obstacle to its end
        subprocess.run(["rm", "-r", str(folder)], check=True)

    monkeypatch.setattr(cgroup.tempfile, "mkdtemp", mkdtemp)
    monkeypatch.setattr(Path, "rmdir", rmdir)
    return tmp_path


def test_the_nearest_folder_whose_controllers_are_on_is_taken(tree: Path) -> None:
    assert parent() == tree / "user"
    assert not list(tree.rglob("lowlands-*"))


def test_limits_are_written_and_what_the_kernel_did_is_read(tree: Path) -> None:
    with group(LIMITS) as made:
        assert made is not None
        (folder,) = (tree / "user").glob("lowlands-*")
        written = {name: (folder / name).read_text() for name in FILES}
        assert written["memory.max"] == str(10**9 + 10**8 + 2 * 2**24)  # and the files in memory
        assert written["pids.max"] == "58"  # and those of bubblewrap
        assert (written["memory.swap.max"], written["memory.oom.group"]) == ("0", "1")
        assert made.excess() is None
        (folder / "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 0\noom_group_kill 0\n")
        assert made.excess() is None
        (folder / "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 3\noom_group_kill 1\n")
        assert made.excess() == "its processes used more than 1,000,000,000 bytes of memory together"
        done = subprocess.run(joining(made, ["echo", "a b"]), pass_fds=(made.joins,), capture_output=True, check=True)
        assert done.stdout == b"a b\n"
        assert (folder / "cgroup.procs").read_text() == "0\n"
    assert not folder.exists()


@pytest.mark.parametrize("lacks", ["memory.max", "pids.max", "cgroup.procs"])
def test_without_a_limit_there_is_no_group(tree: Path, monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    monkeypatch.setattr("tests.suite.sandbox.test_cgroup.FILES", tuple(name for name in FILES if name != lacks))
    assert parent() is None
    with group(LIMITS) as made:
        assert made is None
    assert not list(tree.rglob("lowlands-*"))


def test_without_a_tree_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_tree", lambda: [None])
    with group(LIMITS) as made:
        assert made is None


def _kernels_tree() -> Path | None:
    """The group of this process, if groups can be made in it; the controllers may be off."""
    own = cgroup._tree()[-1]
    try:
        if own is not None:
            Path(tempfile.mkdtemp(dir=own)).rmdir()
            return own
    except OSError:
        pass
    return None


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's tree, with whatever limits it has."""
    own = _kernels_tree()
    if own is None or isolation() != BUBBLEWRAP:
        pytest.skip("no control group can be made here")
    write = Group._write

    def written(self: Group, name: str, text: str) -> None:
        if (self._folder / name).exists():
            write(self, name, text)

    monkeypatch.setattr(Group, "_write", written)
    monkeypatch.setattr(cgroup, "CONTROLLERS", ())
    monkeypatch.setattr(process, "MAIN", "import time\nexec(sys.stdin.read())")
    monkeypatch.setattr(process, "PRELOAD", {False: "", True: ""})
    return own


@pytest.mark.parametrize("forked", [True, False])
def test_all_of_a_guest_is_in_its_group_and_ends_with_it(
    real: Path, monkeypatch: pytest.MonkeyPatch, forked: bool
) -> None:
    if not forked:
        monkeypatch.setattr(process, "guests_are_forked", lambda: False)
    assert parent() == real
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            for procs in real.glob("lowlands-*/cgroup.procs"):
                with contextlib.suppress(OSError):
                    most = max(most, len(procs.read_text().split()))
            time.sleep(0.01)

    watching = threading.Thread(target=watch)
    watching.start()
    text = (
        b"for _ in range(4):\n    if os.fork() == 0:\n        time.sleep(60)\ntime.sleep(1); os.write(answer, b'done')"
    )
    try:
        assert process.run(text, None, None, LIMITS, 60, "cpu") == b"done"
    finally:
        done.set()
        watching.join()
    assert most >= 5
    assert not list(real.glob("lowlands-*"))
    with pytest.raises(SandboxError, match="exit status 3"):
        process.run(b"os._exit(3)", None, None, LIMITS, 60, "cpu")
    assert not list(real.glob("lowlands-*"))
