"""Starts a guest process, confined as `confinement` says, watches it, and ends it. No torch import.

Where bubblewrap confines guests, they are forked from a process that has imported torch (`suite.sandbox.forkserver`);
elsewhere each is a Python of its own.

Everything passes through three streams: the job is the guest's standard input, its answer the standard output, what it
prints the standard error. The standard input of a guest that trains is a socket, on which it asks for gradients and is
told (`suite.sandbox.service`). The host opens no file that a guest could have made, so no link, pipe or device that it
leaves is ever followed; it reads so many bytes, for so long, and no more.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from suite.errors import sentence
from suite.sandbox import cgroup
from suite.sandbox.confinement import (
    SHARED,
    SUITE,
    Confinement,
    confined,
    confinement,
    filter_of_calls,
    package_path,
    sealed,
    site_packages,
)
from suite.sandbox.forkserver import ForkServer, Report, Request, namespaces
from suite.sandbox.limits import Limits
from suite.sandbox.usage import Usage

START = """
import os, sys
os.closerange(3, 2**16)  # what bubblewrap inherited
answer = os.dup(1)
os.dup2(2, 1)  # what is printed is no answer
sys.path[:] = sys.argv[1:]
"""
MAIN = """
from suite.sandbox.guest import main
main(answer)
"""
PRELOAD = {False: "import suite.sandbox.guest", True: "from suite.sandbox.guest import prepare; prepare()"}
"""What the process that guests are forked from runs first: whether they train."""

HOLDER = ("sh", "-c", "echo ready; read -r end")
"""Keeps the namespaces of a forked guest until its standard input ends."""

OUTPUT_TAIL = 2_000
"""Bytes at the end of the guest's output in which its last line is looked for."""

END_SECONDS = 10.0
"""How long processes that were killed may take to be gone."""

START_SECONDS = 60.0
"""How long a guest that does nothing may take."""

TICK = 0.05
"""Seconds after which the host looks at a guest again."""


class SandboxError(Exception):
    """A guest gave no answer; says why."""


class Service(Protocol):
    """What a guest may ask while it works, as `suite.sandbox.service.GradientService`."""

    def read(self, data: bytearray) -> tuple[Any, int] | None:
        """The request with which `data` begins, and how many bytes it has in all; None if that cannot be told yet."""

    def reply(self, request: Any, data: bytearray) -> bytes:
        """What is answered to `request`, of which all bytes are `data`."""


def run(
    job: bytes,
    source: Path | None,
    package: str | None,
    limits: Limits,
    seconds: float,
    device: str,
    service: Service | None = None,
) -> bytes:
    """What `suite.sandbox.guest` answers to `job`, within `limits` and for `seconds` at most.

    `source` is the submission's file, or `package` the top-level package of its import path.

    Raises:
        SandboxError: the guest was stopped, it died, or it answered too much.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder())
        channel: socket.socket | None = None
        if service is None:
            stdin = stack.enter_context(sealed(job))
        else:
            channel, theirs = (stack.enter_context(end) for end in socket.socketpair())
            stdin = theirs.fileno()
        command, files = stack.enter_context(confined(confinement(), folder, source, package, limits, device))
        control = stack.enter_context(cgroup.group(limits)) if command else None
        started: contextlib.AbstractContextManager[_Guest]
        if command and device == "cpu" and guests_are_forked():
            server = fork_server(service is not None)
            started = _forked(command, files, stdin, folder, _search_path(package), server, MAIN, control)
        else:
            started = _executed(command, files, stdin, folder, _search_path(package), control)
        guest = stack.enter_context(started)
        if channel is not None:
            theirs.close()
        streams = _Streams(guest, limits, channel, service, job)
        usage = Usage(guest.pids, limits, (str(folder), *SHARED) if command else ())
        try:
            status = _wait(guest, streams, usage, seconds)
            if status and control is not None and (excess := control.excess()) is not None:
                raise SandboxError(f"stopped: {excess}")
        finally:
            # Whatever it started ends with it; bubblewrap's namespace ends those that left the session too.
            killed = usage.kill()
            guest.end()
            streams.close()
            ended = _wait_for_end(killed) if guest.namespace is None else guest.namespace.wait()
    if not ended:
        raise SandboxError(f"its processes did not end within {END_SECONDS:g} s of being killed")
    if (reason := _failure(status, bytes(streams.tail))) is not None:
        raise SandboxError(reason)
    return bytes(streams.answer)


@dataclass
class _Guest:
    """A guest, however it was started.

    Attributes:
        pids: the processes above which nothing is the guest's.
        stdout, stderr: where it answers and prints, as open files that `_Streams` closes.
        poll: its exit status, None as long as it runs.
        end: end the processes `pids`, and wait for them.
    """

    pids: tuple[int, ...]
    stdout: int
    stderr: int
    poll: Callable[[], int | None]
    end: Callable[[], None]
    namespace: _Namespace | None


@contextlib.contextmanager
def _executed(
    command: list[str],
    files: tuple[int, ...],
    stdin: int,
    folder: Path,
    path: Sequence[str],
    control: cgroup.Group | None,
) -> Iterator[_Guest]:
    """A Python of its own, below `command`."""
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(_Namespace()) if command else None
        if namespace is not None:
            command, files = [command[0], *namespace.options, *command[1:]], (*files, namespace.file)
        if control is not None:
            command, files = cgroup.joining(control, command), (*files, control.joins)
        started = subprocess.Popen(
            [*command, sys.executable, "-I", "-c", START + MAIN, *path],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(folder),
            cwd=folder,
            start_new_session=True,
            pass_fds=files,
        )
        if namespace is not None:
            namespace.started()
        assert started.stdout is not None
        assert started.stderr is not None
        stdout, stderr = (os.dup(stream.fileno()) for stream in (started.stdout, started.stderr))
        started.stdout.close()
        started.stderr.close()
        yield _Guest((started.pid,), stdout, stderr, started.poll, lambda: _end(started), namespace)


def _end(started: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


@contextlib.contextmanager
def _forked(
    command: list[str],
    files: tuple[int, ...],
    stdin: int,
    folder: Path,
    path: Sequence[str],
    server: ForkServer,
    main: str,
    control: cgroup.Group | None = None,
) -> Iterator[_Guest]:
    """A child of `server` that runs `main`, in the namespaces that `command` makes."""
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(_Namespace())
        holder = subprocess.Popen(
            [command[0], *namespace.options, *command[1:], *HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(folder),
            cwd=folder,
            start_new_session=True,
            pass_fds=(*files, namespace.file),
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        stack.enter_context(holder.stdin)
        stack.enter_context(holder.stdout)
        stack.callback(_end, holder)
        namespace.started()
        line = holder.stdout.readline()
        if line != b"ready\n" or namespace.first is None:
            raise SandboxError(f"its namespaces cannot be made ({line.decode(errors='replace').strip()})")
        joins = [] if control is None else [control.joins]
        program = filter_of_calls() if confinement().filtered else None
        request = Request(
            START + main, ("-c", *path), str(folder), _environment(folder), program or b"", control is not None
        )
        try:
            (inside,) = psutil.Process(namespace.first).children()
            readers, writers = zip(*(os.pipe() for _ in range(3)), strict=True)
            stack.callback(os.close, readers[2])
            try:
                with namespaces(inside.pid) as entered:
                    server.start(request, [stdin, *writers, *joins, *entered])
            finally:
                for writer in writers:
                    os.close(writer)
            report = Report(readers[2])
        except (OSError, ValueError, psutil.Error) as error:
            raise SandboxError(f"it cannot be started ({sentence(error)})") from error
        yield _Guest((holder.pid, report.pid), readers[0], readers[1], report.poll, lambda: _end(holder), namespace)


_servers: dict[str, ForkServer] = {}


def fork_server(trains: bool) -> ForkServer:
    """The process that guests are forked from: that of this process, or of the one that has forked it.

    Raises:
        SandboxError: it does not start.
    """
    preload = PRELOAD[trains]
    server = _servers.get(preload)
    if server is None or not server.alive():
        try:
            server = _servers[preload] = ForkServer(preload, _search_path(None), _environment(Path("/")))
        except OSError as error:
            raise SandboxError(sentence(error)) from error
    return server


def prepare_to_fork(trains: bool) -> None:
    """Start what guests are forked from, where they are: children of this process then need none of their own."""
    if guests_are_forked():
        fork_server(trains)


def guests_are_forked() -> bool:
    """Whether guests are forked from a process that has imported torch, which is tried."""
    return _forks(confinement())


@functools.cache
def _forks(how: Confinement) -> bool:
    # A forked process can open the file of its program as the host has it: it must not be its own to write.
    if not how.own_user or (os.geteuid() != 0 and os.access(os.path.realpath(sys.executable), os.W_OK)):
        return False
    with contextlib.suppress(OSError, SandboxError), contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder())
        command, files = stack.enter_context(confined(how, folder, None, None, Limits(), "cpu"))
        path = _search_path(None)
        server = ForkServer("", path, _environment(Path("/")))
        with open(os.devnull, "rb") as nothing:
            guest = stack.enter_context(_forked(command, files, nothing.fileno(), folder, path, server, ""))
        end = time.monotonic() + START_SECONDS
        while (status := guest.poll()) is None and time.monotonic() < end:
            time.sleep(0.001)
        os.close(guest.stdout)
        os.close(guest.stderr)
        return status == 0
    return False


class _Namespace:
    """The namespace of processes that bubblewrap makes: its first process ends when all others are gone.

    bubblewrap itself ends before them, and says at the start which process that is.
    """

    first: int | None = None
    """Its number here."""

    _ended: int | None = None

    def __enter__(self) -> _Namespace:
        self._reader, self.file = os.pipe()
        self.options = ["--info-fd", str(self.file)]
        return self

    def started(self) -> None:
        """To be called when bubblewrap has been started, which gets `file`."""
        os.close(self.file)
        self.file = -1
        found = re.search(rb'"child-pid": (\d+)', os.read(self._reader, 4096))
        if found is not None:
            self.first = int(found[1])
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                self._ended = os.pidfd_open(self.first)

    def wait(self) -> bool:
        """Whether nothing of it runs any more, after a moment."""
        return self._ended is None or bool(select.select([self._ended], [], [], END_SECONDS)[0])

    def __exit__(self, *_: object) -> None:
        for file in (self._reader, self.file, self._ended):
            if file is not None and file >= 0:
                os.close(file)


def _wait_for_end(processes: Sequence[psutil.Process]) -> bool:
    """Whether none of `processes`, which were killed, runs any more, after a moment."""
    end = time.monotonic() + END_SECONDS
    while any(map(_runs, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


class _Streams:
    """What a guest has written so far: its answer, and the end of what it printed."""

    def __init__(
        self,
        guest: _Guest,
        limits: Limits,
        channel: socket.socket | None,
        service: Service | None,
        job: bytes,
    ) -> None:
        self.answer, self.tail, self.printed = bytearray(), bytearray(), 0
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._service, self._channel, self._asked, self._told = service, channel, bytearray(), bytearray(job)
        self._waits = selectors.EVENT_WRITE
        if channel is not None:
            channel.setblocking(False)
            self._selector.register(channel, self._waits, "channel")
        self._files = (guest.stdout, guest.stderr)
        for file, kind in zip(self._files, ("answer", "output"), strict=True):
            os.set_blocking(file, False)
            self._selector.register(file, selectors.EVENT_READ, kind)

    def read(self, seconds: float) -> bool:
        """Take what comes within `seconds`; whether anything did. A `SandboxError` says that it is too much."""
        events = self._selector.select(seconds)  # an empty selector waits too
        for key, _ in events:
            if key.data == "channel":
                self._converse()
                continue
            try:
                data = os.read(key.fd, 2**20)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(key.fd)
            elif key.data == "answer":
                self.answer += data
            else:
                self.printed += len(data)
                self.tail = (self.tail + data)[-OUTPUT_TAIL:]
        if len(self.answer) > self._limits.answer:
            raise SandboxError(f"stopped: it answered more than {self._limits.answer:,} bytes")
        if self.printed > self._limits.output:
            raise SandboxError(f"stopped: it printed more than {self._limits.output:,} bytes")
        return bool(events)

    def _converse(self) -> None:
        """Read requests, and answer those that are whole. Nothing is computed for a guest that does not listen."""
        assert self._channel is not None
        assert self._service is not None
        try:
            if not self._told:
                data = self._channel.recv(2**20)
                if not data:
                    raise ConnectionError
                self._asked += data
                while not self._told and (found := self._service.read(self._asked)) and len(self._asked) >= found[1]:
                    request, size = found
                    self._told += self._service.reply(request, self._asked[:size])
                    del self._asked[:size]
            if self._told:
                del self._told[: self._channel.send(self._told)]
            waits = selectors.EVENT_WRITE if self._told else selectors.EVENT_READ
            if waits != self._waits:
                self._waits = waits
                self._selector.modify(self._channel, waits, "channel")
        except BlockingIOError:
            pass
        except OSError:  # the guest has closed it
            self._selector.unregister(self._channel)

    def close(self) -> None:
        self._selector.close()
        for file in self._files:
            os.close(file)


def _wait(guest: _Guest, streams: _Streams, usage: Usage, seconds: float) -> int:
    """The exit status of `guest`, whose streams are read meanwhile; a `SandboxError` if it exceeds a limit."""
    end = time.monotonic() + seconds
    while (status := guest.poll()) is None:
        if time.monotonic() > end:
            raise SandboxError(f"stopped by the time limit of {seconds:g} s")
        streams.read(TICK)
        if (excess := usage.excess()) is not None:
            raise SandboxError(f"stopped: {excess}")
    while time.monotonic() <= end and streams.read(0):  # what a process that it left behind would write does not count
        pass
    return status


def _failure(status: int, output: bytes) -> str | None:
    """What an exit status means, with the last line of the output; None for 0."""
    if status == 0:
        return None
    number = -status if status < 0 else status - 128  # bubblewrap reports a signal as a shell does
    with contextlib.suppress(ValueError):
        if number > 0:
            return f"the submission's process was killed by {signal.Signals(number).name}"
    lines = output.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"the submission's process ended with exit status {status}" + (f" ({printable(last)[:300]})" if last else "")


def printable(text: str) -> str:
    """`text` from a guest, without characters that would steer a terminal or turn the direction of writing."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """The folder in which a guest starts; under bubblewrap another of this name, in memory, lies over it."""
    with tempfile.TemporaryDirectory(prefix="lowlands-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def _environment(folder: Path) -> dict[str, str]:
    """All that a guest gets of the environment."""
    visible = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES",) if name in os.environ}
    return visible | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "TORCHDYNAMO_DISABLE": "1",
    }


def _search_path(package: str | None) -> list[str]:
    """The guest's `sys.path`: the standard library, what is installed, the suite, and the submission's package."""
    standard = [path for path in sys.path if path.startswith((sys.base_prefix, sys.base_exec_prefix))]
    path = package_path(package)
    submitted = [] if path is None else [str(path.parent)]
    return list(dict.fromkeys([*standard, *site_packages(), str(SUITE.parent), *submitted]))
