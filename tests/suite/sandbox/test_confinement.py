"""What a guest can see, do and use: each limit stops at 1.2 times what passes below it; each guard holds by itself."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from suite.sandbox import confinement, process
from suite.sandbox.confinement import BUBBLEWRAP, LIMITS_ONLY, gaps, isolation
from suite.sandbox.limits import OPEN_FILES, Limits
from suite.sandbox.process import SandboxError

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux")
confined = pytest.mark.skipif(isolation() != BUBBLEWRAP, reason="bubblewrap is not installed")

GUEST = """
import mmap, threading, time
from suite.sandbox.limits import Limits, apply

MB = 2**20

def say(text):
    os.write(answer, str(text).encode())

def fill(memory):
    for page in range(0, len(memory), 4096):
        memory[page] = 1

exec(sys.stdin.read())
"""
"""A guest without torch, which runs the Python text that is its job."""

LIMITS = Limits(seconds=30, memory=128 * 2**20, disk=8 * 2**20, processes=60, answer=2**20, output=2**20)


@pytest.fixture(autouse=True, params=["forked", pytest.param("executed", marks=pytest.mark.slow)])
def started(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How guests are started, and that they run their text without torch."""
    monkeypatch.setattr(process, "MAIN", GUEST)
    monkeypatch.setattr(process, "PRELOAD", {False: "", True: ""})
    if request.param == "executed":
        monkeypatch.setattr(process, "guests_are_forked", lambda: False)
    elif isolation() == BUBBLEWRAP and not process.guests_are_forked():
        pytest.skip("guests cannot be forked here")
    return str(request.param)


@pytest.fixture
def _forget() -> Iterator[None]:
    """What was found out of this machine is found anew, before and after."""
    for forget in (0, 1):
        confinement.confinement.cache_clear()
        confinement.filter_of_calls.cache_clear()
        if not forget:
            yield


def answer_to(text: str, limits: Limits = LIMITS, seconds: float = 60) -> str:
    """What a guest that runs `text` within `limits` answers."""
    return process.run(f"apply({limits})\n{text}".encode(), None, None, limits, seconds, "cpu").decode()


TOGETHER = "its processes used more than 134,217,728 bytes of memory together"
USES = {
    "memory of one process": ("block = bytearray(int(share * 128 * MB))", "MemoryError"),
    "memory of several processes": (
        """
for _ in range(4):
    if os.fork() == 0:
        block = bytearray(b"x") * int(share * 32 * MB)
        time.sleep(wait)
        os._exit(0)
""",
        TOGETHER,
    ),
    "shared memory": ("block = mmap.mmap(-1, int(share * 128 * MB)); fill(block)", TOGETHER),
    "shared memory, unmapped": (
        "block = mmap.mmap(-1, int(share * 128 * MB)); fill(block); block.madvise(mmap.MADV_DONTNEED)",
        TOGETHER,
    ),
    "a file": ("with open('file', 'wb') as file: file.write(bytes(int(share * 8 * MB)))", "File too large"),
    "several files": (
        """
for number in range(8):
    with open(str(number), "wb") as file:
        file.write(bytes(int(share * MB)))
""",
        "No space left",
    ),
    "many files": ("for number in range(int(share * 2048)): os.mkdir(str(number))", "made more than 2,048 files"),
    "processes": (
        """
for _ in range(int(share * 60)):
    if os.fork() == 0:
        time.sleep(wait)
        os._exit(0)
""",
        "Resource temporarily unavailable|started more than 60 processes and threads",
    ),
    "threads": (
        """
threading.stack_size(2**16)
for _ in range(int(share * 60)):
    threading.Thread(target=time.sleep, args=(wait,), daemon=True).start()
""",
        "can't start new thread|started more than 60 processes and threads",
    ),
    "the answer": ("say('x' * int(share * MB))", "answered more than 1,048,576 bytes"),
    "output": ("print('x' * int(share * MB), flush=True)", "printed more than 1,048,576 bytes"),
}
"""What is used so many times its limit, and the reason with which that ends."""


QUICK = ("memory of several processes", "shared memory, unmapped", "several files", "many files", "processes")


@pytest.mark.parametrize(
    "what", [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in USES]
)
def test_a_limit_holds(what: str) -> None:
    text, reason = USES[what]
    if isolation() == LIMITS_ONLY and "file" in what and what != "a file":
        pytest.skip("without bubblewrap each file is limited by itself")
    below = answer_to(f"share, wait = 0.6, 0.6\n{text}\ntime.sleep(0.5); say('done')")
    assert below.endswith("done")
    with pytest.raises(SandboxError, match=reason):
        answer_to(f"share, wait = 1.2, 60\n{text}\ntime.sleep(60)")


@pytest.mark.slow
def test_the_wall_time_is_a_limit() -> None:
    assert answer_to("time.sleep(2); say('done')", seconds=10) == "done"
    with pytest.raises(SandboxError, match="stopped by the time limit of 10 s"):
        answer_to("time.sleep(12); say('done')", seconds=10)


HANGS = {
    "a signal that it ignores": "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)",
    "its own end": "import atexit; atexit.register(time.sleep, 60); say('done')",
    "a pipe that it left": "os.mkfifo('answer.json'); open('answer.json')",
    "a process that keeps its answer open": "os.fork() or time.sleep(60); os.wait()",
}


@pytest.mark.parametrize("what", HANGS)
def test_nothing_makes_the_host_wait(what: str) -> None:
    with pytest.raises(SandboxError, match="stopped by the time limit of 2 s"):
        answer_to(HANGS[what], seconds=2)


@pytest.mark.parametrize("status", [0, 7])
def test_the_end_of_a_guest_is_its_exit_status(status: int) -> None:
    """Also if it leaves at its very end, when its answer is there."""
    text = f"import atexit; atexit.register(os._exit, {status}); say('done')"
    if not status:
        assert answer_to(text) == "done"
        return
    with pytest.raises(SandboxError, match="exit status 7"):
        answer_to(text)


def test_a_guest_ends_with_its_last_thread() -> None:
    text = """
def late():
    time.sleep(0.2)
    say("late ")

import atexit
atexit.register(say, "at its end")
threading.Thread(target=late).start()
print("unflushed", end="")
"""
    assert answer_to(text) == "late at its end"


def test_the_hosts_folder_of_temporary_files_may_be_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/proc")
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert answer_to("say('done')") == "done"


def test_shared_memory_counts_once() -> None:
    """Five processes that map the same 60 MB use 60 MB, not 300."""
    assert answer_to(
        """
block = mmap.mmap(-1, 60 * MB)
fill(block)
for _ in range(4):
    if os.fork() == 0:
        fill(block)
        time.sleep(1)
        os._exit(0)
time.sleep(1)
say("done")
"""
    ).endswith("done")


def _running(word: bytes) -> bool:
    """Whether the command line of some process has `word` in it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if word in path.read_bytes():
                return True
    return False


def _ends(word: bytes, within: float = 10.0) -> bool:
    """Whether no process with `word` in its command line is left in so many seconds: the killed take a moment to go."""
    deadline = time.monotonic() + within
    while _running(word):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_limit_ends_all_processes() -> None:
    """One that left its session, and its parent, ends too."""
    text = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "87654"])
    os._exit(0)
os.wait()
block = mmap.mmap(-1, 200 * MB)
time.sleep(60)
"""
    if isolation() == LIMITS_ONLY:
        pytest.skip("without bubblewrap it goes on")
    with pytest.raises(SandboxError, match=TOGETHER):
        answer_to(text)
    assert _ends(b"87654")


STATUS = "say(open('/proc/self/status').read())"


def _status(text: str) -> dict[str, list[str]]:
    return {name: value.split() for name, value in (line.split(":", 1) for line in text.splitlines())}


def test_the_guest_has_three_streams_and_its_answer() -> None:
    assert answer_to("say(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])") == "[0, 1, 2, 3]"


@confined
def test_the_guest_is_nobody() -> None:
    status = _status(answer_to(STATUS))
    assert status["Uid"] == status["Gid"] == 4 * ["65534"]
    assert {status[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {16 * "0"}
    assert status["NoNewPrivs"] == ["1"]
    # Whom the guest is outside: started by root, nobody who owns anything.
    ids = [tuple(map(int, line.split())) for line in answer_to("say(open('/proc/self/uid_map').read())").splitlines()]
    outside = next(outside for inside, outside, _ in ids if inside == 65534)
    if os.geteuid() == 0:
        assert outside not in {0, *(int(line.split(":")[2]) for line in Path("/etc/passwd").read_text().splitlines())}


@confined
@pytest.mark.usefixtures("_forget")
def test_settings_of_the_kernel_are_not_the_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where nothing hides them. They are opened only, never written."""
    monkeypatch.setattr(confinement, "MASKED", ())
    text = """
opened = []
for folder, _, files in os.walk("/proc/sys"):
    for name in set(files) - {"ns_last_pid"}:  # of its own namespace, and for others than the guest to set
        try:
            os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
        except OSError:
            continue
        opened.append(os.path.join(folder, name))
say((len(os.listdir("/proc/sys/kernel")) > 10, opened))
"""
    assert answer_to(text) == "(True, [])"


@confined
def test_no_namespace_can_be_made() -> None:
    text = "import ctypes; c = ctypes.CDLL(None, use_errno=True); say((c.unshare(0x10000000), ctypes.get_errno()))"
    result, number = map(int, answer_to(text).strip("()").split(","))
    assert result == -1
    assert number in (errno.EPERM, errno.ENOSPC)


CALLS = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)

def tried(name, *arguments):
    result = getattr(libc, name)(*arguments)
    return 0 if result >= 0 else ctypes.get_errno()

say([tried("ptrace", 0, 0, 0, 0), tried("personality", 0xffffffff), tried("memfd_create", b"x", 0),
     tried("shmget", 0, 4096, 0o600), tried("socket", 40, 1, 0), tried("socket", 38, 5, 0),
     tried("socket", socket.AF_UNIX, 1, 0), tried("socket", socket.AF_INET, 1, 0)])
"""
"""A process asks to be traced, asks for its personality, makes memory without an owner and sockets of several kinds."""


@confined
def test_system_calls_are_filtered() -> None:
    pytest.importorskip("pyseccomp")
    refused, absent = errno.EPERM, errno.ENOSYS
    assert answer_to(CALLS) == str([refused, refused, absent, absent, refused, refused, 0, 0])
    assert _status(answer_to(STATUS))["Seccomp"] == ["2"]
    assert not gaps()


@confined
@pytest.mark.usefixtures("_forget")
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    assert confinement.confinement().own_user
    (sentence,) = gaps()
    assert "system calls are not filtered" in sentence
    assert _status(answer_to(STATUS))["Seccomp"] == ["0"]
    assert answer_to(CALLS).startswith("[0, 0, 0, 0,")

    # Without the tools of util-linux root is still root outside.
    (tmp_path / "bwrap").symlink_to(str(shutil.which("bwrap")))
    monkeypatch.setenv("PATH", str(tmp_path))
    confinement.confinement.cache_clear()
    if os.geteuid() == 0:
        assert not confinement.confinement().own_user
        assert "root to the kernel" in gaps()[0]
        assert _status(answer_to(STATUS))["CapEff"] == [16 * "0"]


@pytest.mark.usefixtures("_forget")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'bwrap: Unknown option --size' >&2; exit 1", r"it fails here \(bwrap: Unknown option --size\)"),
        (None, "it is not installed"),
    ],
)
def test_bubblewrap_is_tried(script: str | None, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is there but lacks an option is none, and the guest runs with limits."""
    if script is not None:
        (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    assert isolation() == LIMITS_ONLY
    (sentence,) = gaps()
    assert sentence.startswith("Not isolated: ")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(sentence)
    text = "import resource; say([resource.getrlimit(r)[1] for r in (resource.RLIMIT_DATA, resource.RLIMIT_NOFILE)])"
    assert answer_to(text) == str([LIMITS.memory, OPEN_FILES])
    with pytest.raises(SandboxError, match=TOGETHER):
        answer_to("block = mmap.mmap(-1, 200 * MB); time.sleep(60)")


@confined
def test_nothing_of_the_host_is_in_sight(started: str) -> None:
    places = ["/etc/passwd", "/etc/shadow", "/home", "/root/.bashrc", "/opt", "/var", "/sys/kernel", "/dev/sda"]
    assert answer_to(f"say([place for place in {places} if os.path.exists(place)])") == "[]"
    assert answer_to("say(sorted(set(os.environ) - {'LC_CTYPE', 'PWD'}))") == str(
        ["HOME", "LANG", "OMP_NUM_THREADS", "PATH", "TMPDIR", "TORCHDYNAMO_DISABLE"]
    )
    # Itself, and the process of bubblewrap's that ends the namespace; of a forked one also that which keeps it.
    processes = {"executed": "2", "forked": "3"}
    assert answer_to("say(sum(name.isdigit() for name in os.listdir('/proc')))") == processes[started]


@confined
def test_nothing_of_the_host_can_be_reached(tmp_path: Path) -> None:
    """Its processes, its loopback, its abstract sockets, and sockets among its files."""
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        name = f"lowlands-{os.getpid()}"
        addresses = [f"\0{name}", str(tmp_path / "socket")]
        for address in addresses:
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(address)
        text = f"""
import socket
def tried(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return type(error).__name__
    return "reached"
say([
    tried(os.kill, {os.getpid()}, 0), tried(os.kill, {os.getppid()}, 0),
    tried(socket.create_connection, {network.getsockname()}, 1),
    *(tried(socket.socket(socket.AF_UNIX).connect, address) for address in {addresses}),
])
"""
        assert answer_to(text) == str(
            [*2 * ["ProcessLookupError"], *2 * ["ConnectionRefusedError"], "FileNotFoundError"]
        )


@confined
def test_the_guest_cannot_change_its_confinement() -> None:
    text = """
import ctypes
libc = ctypes.CDLL(None)
open("inside", "w").close()
folder = os.getcwd().encode()
say([
    libc.mount(b"none", folder, b"tmpfs", 0, None), libc.umount2(b"/proc/sys", 2), libc.chroot(folder),
    libc.mount(None, b"/", None, 4096 | 32, None), libc.sethostname(b"x", 1), libc.setuid(0), libc.setgroups(0, None),
    os.path.exists("inside"),
])
"""
    assert answer_to(text) == str([*7 * [-1], True])


@confined
@pytest.mark.parametrize("place", ["/", "/dev", "/usr", "/proc", "/proc/sys", "/etc", str(Path(torch.__file__).parent)])
def test_nothing_can_be_written_elsewhere(place: str) -> None:
    with pytest.raises(SandboxError, match="Error"):
        answer_to(f"open({str(Path(place) / 'lowlands-mine')!r}, 'w')")
    assert not (Path(place) / "lowlands-mine").exists()


LEFT = """
import signal
for number, name in enumerate(("answer", "answer.json", "answer.safetensors", "output", "job", "core")):
    [lambda: os.symlink("/etc/hostname", name), lambda: os.mkfifo(name), lambda: os.mkdir(name)][number % 3]()
"""


def test_what_the_guest_leaves_is_never_followed() -> None:
    """Links, pipes and folders under names that a host might open; and its output is a link, or is gone."""
    assert answer_to(LEFT + "say('done')") == "done"
    for end in (
        "os.close(2)",
        "os.dup2(os.open('answer', os.O_RDONLY | os.O_NOFOLLOW | os.O_PATH), 2)",
        "print('a line')",
    ):
        with pytest.raises(SandboxError) as raised:
            answer_to(f"{LEFT}\n{end}\nsys.stdout.flush(); os._exit(3)")
        line = " (a line)" if "print" in end else ""
        assert str(raised.value) == f"the submission's process ended with exit status 3{line}"


def test_nothing_runs_when_the_answer_is_there() -> None:
    """The host waits: fifty processes take a moment to go."""
    text = """
for number in range(50):
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "65432"])
time.sleep(0.5)
say("done")
"""
    if isolation() == LIMITS_ONLY:
        pytest.skip("without bubblewrap what the guest leaves behind goes on")
    assert answer_to(text) == "done"
    assert not _running(b"65432")
    with pytest.raises(SandboxError, match=TOGETHER):
        answer_to(text.replace('say("done")', "block = mmap.mmap(-1, 200 * MB); time.sleep(60)"))
    assert not _running(b"65432")


def test_what_the_guest_started_ends_with_it() -> None:
    """Also what left its session and its parent."""
    text = """
for number in range(2):
    if os.fork() == 0:
        if number:
            os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "76543"])
        os._exit(0)
    os.wait()
say("done")
"""
    if isolation() == LIMITS_ONLY:
        text = text.replace("if number:", "if False:")
    assert answer_to(text) == "done"
    assert _ends(b"76543")
