"""Forks guests from a process that has torch and the suite already: importing them takes seconds, forking does not.

    host                            server, started once    its child                 the guest
    start bubblewrap, which makes
    the namespaces and waits
    send these, streams and text -> fork                 -> join the control group, if
                                                            any, enter the namespaces
                                                            fork                   -> give up every right
    read how it ended            <------------------------- wait, tell                run the text

The server is started in a cleared environment and runs the suite's code alone. It loads no data, opens no file for a
guest and has one socket, which no guest keeps. A guest finds in its memory what it could import. What confines it is
what confines a guest that bubblewrap executes: the same namespaces, user and filter; `_become_guest` checks that.
No torch import.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from suite.sandbox.confinement import INSIDE

if sys.platform == "linux":
    import fcntl

SCRIPT = """
import sys
socket, preload, *sys.path[:] = sys.argv[1:]
from suite.sandbox.forkserver import leave, serve
exec(serve(int(socket), preload))
leave()
"""
"""What the server runs. `serve` returns in guests only, which run its result as the interpreter runs any program."""

MOST_REQUEST = 2**17
MOST_FILES = 16

KINDS = ("mnt", "ipc", "uts", "net", "cgroup", "pid")
"""The namespaces that a guest enters, beside those of users."""

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 4, 22, 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
CAPABILITIES_VERSION = 0x20080522
NS_GET_USERNS = 0xB701
"""Constants of Linux: prctl.h, seccomp.h, capability.h, nsfs.h."""


class Request(msgspec.Struct, frozen=True):
    """What a guest is to be.

    Attributes:
        text: the program that it runs.
        arguments: its `sys.argv`.
        folder: where it begins.
        environment: all of its environment.
        filter: a program for the kernel that answers system calls; empty for none.
        grouped: whether a file comes by which a control group is joined.
    """

    text: str
    arguments: tuple[str, ...]
    folder: str
    environment: dict[str, str]
    filter: bytes
    grouped: bool = False


class ForkServer:
    """The server, seen from the process that starts it or from one that this process has forked."""

    def __init__(self, preload: str, path: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; `preload` is what it runs before it forks, with this `sys.path` and this environment.

        Raises:
            OSError: it cannot be started.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-I", "-c", SCRIPT, str(theirs.fileno()), preload, *path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=dict(environment),
                cwd="/",
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        if not self._socket.recv(1):
            raise OSError("the server of guests ended while it started")

    def alive(self) -> bool:
        """Whether it still serves."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def start(self, request: Request, files: Sequence[int]) -> None:
        """Start a guest.

        `files` are its standard streams, a pipe for `Report`, the file by which a control group is joined, if any, and
        what `namespaces` gives.
        """
        data = msgspec.msgpack.encode(request)
        if len(data) > MOST_REQUEST:
            raise OSError("a request to the server of guests is too long")
        socket.send_fds(self._socket, [data], list(files))


class Report:
    """What the process above a guest tells: its own number, and how the guest has ended."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self.pid = int.from_bytes(os.read(reader, 4), "little")
        if not self.pid:
            raise OSError("the server of guests has ended")
        os.set_blocking(reader, False)

    def poll(self) -> int | None:
        """The exit status of the guest, negative for a signal; None if it runs."""
        with contextlib.suppress(BlockingIOError):
            told = os.read(self._reader, 4)
            return int.from_bytes(told, "little", signed=True) if len(told) == 4 else -signal.SIGKILL
        return None


@contextlib.contextmanager
def namespaces(pid: int) -> Iterator[list[int]]:
    """The namespaces of process `pid` as open files, in the order in which they are entered.

    The user namespace that owns the others comes first, that of the process last, if it is another.
    """
    with contextlib.ExitStack() as stack:

        def opened(file: int) -> int:
            stack.callback(os.close, file)
            return file

        others = [opened(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)) for kind in KINDS]
        own = opened(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC))
        owner = opened(fcntl.ioctl(others[0], NS_GET_USERNS))
        yield [owner, *others, *([] if os.path.sameopenfile(owner, own) else [own])]


def serve(number: int, preload: str) -> str:
    """Fork a guest for every request that comes over the open socket `number`; returns the text of one in it.

    Ends this process when nobody can send a request any more.
    """
    exec(preload, {})
    gc.freeze()  # collecting garbage in a guest would copy what it shares with this process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(fileno=number) as channel:
        channel.send(b"r")
        while True:
            data, files, _, _ = socket.recv_fds(channel, MOST_REQUEST, MOST_FILES)
            if not data:
                os._exit(0)
            if not os.fork():
                channel.close()
                return _child(data, files)
            for file in files:
                os.close(file)


def _child(data: bytes, files: Sequence[int]) -> str:
    """Enter the namespaces and fork: returns in the guest, and ends the process above it as soon as it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, report = files[:4]
    os.write(report, os.getpid().to_bytes(4, "little"))
    status = 1
    try:
        request = msgspec.msgpack.decode(data, type=Request)
        os.setsid()
        namespaces = files[4:]
        if request.grouped:
            os.write(namespaces[0], b"0")
            namespaces = namespaces[1:]
        for namespace in namespaces:
            _enter(namespace)
        guest = os.fork()
        if not guest:
            return _become_guest(request, streams)
        os.closerange(0, report)
        os.closerange(report + 1, max(files) + 1)
        status = os.waitstatus_to_exitcode(os.waitpid(guest, 0)[1])
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(streams[2], f"{type(error).__name__}: {error}".encode())
    os.write(report, status.to_bytes(4, "little", signed=True))
    os._exit(0)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library; an `OSError` if it fails."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name} failed ({os.strerror(number)})")


def _enter(namespace: int) -> None:
    _call("setns", namespace, 0)


def _control(option: int, *arguments: int) -> None:
    _call("prctl", option, *(ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]))


def _become_guest(request: Request, streams: Sequence[int]) -> str:
    """Give up every right and become what `request` says, or end; returns the text to run."""
    try:
        os.setsid()
        for number, file in enumerate(streams):
            os.dup2(file, number)
        os.closerange(3, 2**16)
        _give_up_rights()
        if request.filter:
            _install(request.filter)
        _check(filtered=bool(request.filter))
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        sys.argv[:] = request.arguments
        importlib.invalidate_caches()
        return request.text
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"the guest cannot be confined ({error})".encode())
        os._exit(1)


def _give_up_rights() -> None:
    """Become `INSIDE`, who has no capability and can get none."""
    for capability in itertools.count():
        try:
            _control(PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the last
            break
    _control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    with contextlib.suppress(PermissionError):  # in an ordinary user's namespace nobody can change them
        os.setgroups([])
    os.setresgid(INSIDE, INSIDE, INSIDE)
    os.setresuid(INSIDE, INSIDE, INSIDE)
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())
    _control(PR_SET_NO_NEW_PRIVS, 1)
    _control(PR_SET_DUMPABLE, 1)  # as after an exec: files below /proc/self are its own


def leave() -> None:
    """End a guest as the interpreter ends, but for taking modules apart: that would copy what is shared, for 0.4 s."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _install(program: bytes) -> None:
    """Have the kernel answer system calls by `program`, for good."""
    instructions = ctypes.create_string_buffer(program, len(program))
    loaded = _Program(len(program) // 8, ctypes.addressof(instructions))
    _control(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(loaded))


def _check(filtered: bool) -> None:
    """Raise an error unless this process is nobody, without rights, in namespaces of its own, and stays so."""
    if os.getppid() != 0:  # it is forked into a namespace of processes, in which its parent is not
        raise PermissionError("it is not in a namespace of its own")
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    nobody, nothing = 4 * [str(INSIDE)], [16 * "0"]
    expected = {"Uid": nobody, "Gid": nobody, "NoNewPrivs": ["1"]}
    expected |= dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), nothing)
    if filtered:
        expected["Seccomp"] = ["2"]
    for name, value in expected.items():
        if found[name] != value:
            raise PermissionError(f"{name} is {' '.join(found[name])}")
