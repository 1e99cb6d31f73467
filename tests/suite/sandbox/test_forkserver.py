"""The process that guests are forked from: what it holds, who keeps it, and that a guest with rights does not run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from suite.sandbox import forkserver, process
from suite.sandbox.forkserver import ForkServer
from suite.sandbox.limits import Limits
from suite.sandbox.process import SandboxError

pytestmark = pytest.mark.skipif(
    not Path("/proc").is_dir() or not process.guests_are_forked(), reason="guests are not forked here"
)

MAIN = "import suite\nos.write(answer, str(eval(sys.stdin.read())).encode())"
LIMITS = Limits(seconds=60)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests evaluate their job, and no torch is imported for them."""
    monkeypatch.setattr(process, "MAIN", MAIN)
    monkeypatch.setattr(process, "PRELOAD", {False: "", True: ""})
    monkeypatch.setattr(process, "_servers", {})


def answer_to(text: str) -> str:
    return process.run(text.encode(), None, None, LIMITS, 60, "cpu").decode()


@pytest.fixture
def server(plain: None) -> psutil.Process:
    """The only server of this process."""
    before = {child.pid for child in psutil.Process().children()}
    process.fork_server(trains=False)
    (found,) = (
        child
        for child in psutil.Process().children()
        if child.pid not in before and forkserver.SCRIPT in child.cmdline()
    )
    return found


def test_guests_of_one_server_share_nothing(server: psutil.Process) -> None:
    assert answer_to("[setattr(suite, 'mine', 1), open('mine', 'w').close(), os.listdir()]").endswith("['mine']]")
    assert answer_to("(hasattr(suite, 'mine'), os.listdir())") == "(False, [])"
    assert not server.children()


@pytest.mark.usefixtures("plain")
def test_nothing_of_the_hosts_environment_is_in_a_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "token")
    assert "token" not in answer_to("(dict(os.environ), open('/proc/self/environ').read())")


def test_a_server_that_died_is_replaced(server: psutil.Process) -> None:
    server.kill()
    server.wait()
    assert answer_to("1 + 1") == "2"


RIGHTS = {
    "_give_up_rights": "Uid is 0 0 0 0|Cap",
    "_install": "Seccomp is 0",
    "_enter": "it is not in a namespace of its own|Uid is|failed",
}


@pytest.mark.parametrize("step", RIGHTS)
def test_a_guest_that_kept_a_right_does_not_run(plain: None, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Each step of its confinement is left out once."""
    if os.geteuid() != 0 and step == "_give_up_rights":
        pytest.skip("an ordinary user's guest has the right number without it")
    without = f"import suite.sandbox.forkserver as f; f.{step} = lambda *_: None"
    monkeypatch.setattr(process, "PRELOAD", {False: without, True: without})
    with pytest.raises(SandboxError, match=rf"exit status 1 \(the guest cannot be confined \(({RIGHTS[step]})"):
        answer_to("open('/etc/hostname').read()")


KINDS_OF_DATA = (".npz", ".npy", ".gz", ".csv", ".pt", ".pkl", ".safetensors", ".jsonl", ".bin", "-ubyte")


@pytest.mark.slow  # that no data are in sight is tried in a guest: `tests.suite.sandbox.test_host`
def test_what_guests_share_reads_no_data() -> None:
    """The server opens no file of data while it imports the suite and torch, and stays one thread."""
    script = f"""
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
exec({process.PRELOAD[True]!r})
import os
print(len(opened) > 100, [name for name in opened if name.endswith({KINDS_OF_DATA})], os.listdir("/proc/self/task"))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert re.fullmatch(r"True \[\] \['\d+'\]", done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_it_ends_with_whoever_started_it() -> None:
    """Also if that one is killed."""
    script = """
import os, time
from suite.sandbox import process
process.ForkServer("", process._search_path(None), dict(os.environ))
print("here", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "here\n"
        (server,) = psutil.Process(started.pid).children()
        os.kill(started.pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.02)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_a_server_that_cannot_start_is_an_error() -> None:
    with pytest.raises(OSError, match="ended while it started"):
        ForkServer("raise SystemExit", [str(Path(process.SUITE).parent), *sys.path[1:]], dict(os.environ))
