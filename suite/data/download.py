"""Downloads through torchvision that cannot hang.

A firewall that drops packets would let a download wait for ever, so it runs in a process of its own with a time limit.
It writes into a temporary directory next to the target, whose content is moved when it is complete: an interrupted
download leaves nothing behind, and two at once do not disturb each other.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from suite.errors import InputError

TIME_LIMIT = 600
"""Seconds for a whole download: CIFAR-10 has 170 MB."""
SOCKET_TIMEOUT = 20
"""Seconds without a byte after which a connection counts as dead."""
TORCHVISION_CLASSES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}


def download(name: str, root: Path, seconds: float = TIME_LIMIT) -> None:
    """Download a published data set, in torchvision's layout, into the directory `root`, created if need be.

    Raises:
        InputError: there is no network, the time limit was reached, a checksum is wrong, or `root` cannot be written.
    """
    advice = "put it there yourself, or name the directory that has it with --data or $LOWLANDS_DATA"
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".download-", dir=root))
    except OSError as error:
        raise InputError(f"{name} cannot be downloaded to {root} ({error.strerror}); {advice}.") from error
    try:
        command = [sys.executable, "-m", "suite.data.download", name, str(scratch)]
        root_of_source = Path(__file__).parents[2]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds, cwd=root_of_source)
        for folder in filter(Path.is_dir, scratch.iterdir()):  # not the archive
            with contextlib.suppress(OSError):  # another process was faster
                folder.rename(root / folder.name)
    except subprocess.TimeoutExpired:
        raise InputError(f"{name} could not be downloaded to {root} within {seconds:g} s; {advice}.") from None
    except subprocess.CalledProcessError as error:
        *_, reason = (error.stderr or "").strip().splitlines() or [f"exit status {error.returncode}"]
        raise InputError(f"{name} could not be downloaded to {root} ({reason}); {advice}.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fetch(name: str, root: Path) -> None:
    """Download the published data set `name` into the directory `root` in this process, without a time limit."""
    import torchvision.datasets

    socket.setdefaulttimeout(SOCKET_TIMEOUT)
    getattr(torchvision.datasets, TORCHVISION_CLASSES[name])(root, download=True)


if __name__ == "__main__":
    fetch(sys.argv[1], Path(sys.argv[2]))
