"""Downloads through torchvision that cannot hang.

A firewall that drops packets keeps a download waiting for ever, so it runs in a process of its own that is ended at a
time limit. It writes into a directory beside the target, which is renamed when it is whole: a download that is broken
off leaves nothing behind, and two at once do not disturb each other.
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

SECONDS = 600
"""Limit for a whole download: CIFAR-10 has 170 MB."""


SILENCE = 20
"""Seconds without a byte after which a connection counts as dead."""


CLASSES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}


def download(name: str, root: Path, seconds: float = SECONDS) -> None:
    """Download the published data set `name` into the directory `root`, as torchvision lays it out.

    Raises:
        InputError: no network, not within `seconds`, a wrong checksum, or `root` cannot be written.
    """
    advice = "put it there yourself, or name the directory that has it with --data or $LOWLANDS_DATA"
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".download-", dir=root))
    except OSError as error:
        raise InputError(f"{name} cannot be downloaded to {root} ({error.strerror}); {advice}.") from error
    try:
        subprocess.run(
            [sys.executable, "-m", "suite.data.download", name, str(scratch)],
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=Path(__file__).parents[2],
        )
        for made in filter(Path.is_dir, scratch.iterdir()):  # not the archive
            with contextlib.suppress(OSError):  # another process was faster
                made.rename(root / made.name)
    except subprocess.TimeoutExpired:
        raise InputError(f"{name} could not be downloaded to {root} within {seconds:g} s; {advice}.") from None
    except subprocess.CalledProcessError as error:
        why = (error.stderr or "").strip().splitlines()[-1:] or [f"exit status {error.returncode}"]
        raise InputError(f"{name} could not be downloaded to {root} ({why[0]}); {advice}.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fetch(name: str, root: Path) -> None:
    """Download `name` into `root` in this process, for as long as it takes."""
    import torchvision.datasets

    socket.setdefaulttimeout(SILENCE)
    getattr(torchvision.datasets, CLASSES[name])(root, download=True)


if __name__ == "__main__":
    fetch(sys.argv[1], Path(sys.argv[2]))
