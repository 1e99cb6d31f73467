"""Image data sets by name: where they are searched, and what they must be.

A data set is searched in ``$LOWLANDS_DATA`` (the command's ``--data``), then in torchvision's own directory
(``$TORCH_HOME/datasets/vision``), each time in torchvision's layout and as ``<name>.npz``; then it is downloaded.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import torch

from suite.data.image_set import PUBLISHED, ImageSet
from suite.data.npz import read_npz
from suite.data.torchvision_files import LAYOUTS
from suite.errors import InputError


def load_images(name: str) -> ImageSet:
    """A published data set, or that of a ``<name>.npz``; the last two are cached.

    Raises:
        InputError: it is nowhere and cannot be downloaded; or it is damaged or cannot be read; or it has a published
            name and other shapes.
    """
    downloads = Path(torch.hub.get_dir()).parent / "datasets" / "vision"  # torchvision's default directory
    return _load(name, os.environ.get("LOWLANDS_DATA") or None, downloads)


@functools.lru_cache(maxsize=2)
def _load(name: str, directory: str | None, downloads: Path) -> ImageSet:
    if directory is not None and not Path(directory).is_dir():
        raise InputError(f"There is no directory {directory} ($LOWLANDS_DATA or --data).")
    images = _search(name, [Path(root) for root in (directory, downloads) if root is not None])
    if images is None and name in PUBLISHED:
        _download_once(name, downloads)
        images = _search(name, [downloads])
    if images is None:
        where = f"{directory} holds no {name}.npz" if directory else "no directory is given (--data or $LOWLANDS_DATA)"
        raise InputError(f"There is no data set {name!r}: {where}; published ones are {', '.join(PUBLISHED)}.")
    published = PUBLISHED.get(name)
    shape = tuple(images.train.x.shape[1:])
    if published is not None and (shape, images.classes) != (published.shape, published.classes):
        raise InputError(
            f"{name} must have images of {published.shape} (channels, height, width) in {published.classes} classes, "
            f"not {shape} in {images.classes}."
        )
    return images


_failed_downloads: dict[tuple[str, Path], str] = {}
"""Downloads that failed, and why: they are tried once in a process, not once in every run."""


def _download_once(name: str, root: Path) -> None:
    """Download, or raise the error of the first attempt."""
    from suite.data.download import download  # which runs as a program: its package must not import it

    if (name, root) not in _failed_downloads:
        try:
            return download(name, root)
        except InputError as error:
            _failed_downloads[name, root] = str(error)
    raise InputError(_failed_downloads[name, root])


def _search(name: str, roots: list[Path]) -> ImageSet | None:
    """The data set in the first of `roots` that has it; None if none has."""
    readers: list[Callable[[Path], ImageSet | None]] = [LAYOUTS[name]] if name in LAYOUTS else []
    readers.append(lambda root: read_npz(root / f"{name}.npz", name))
    for root, reader in itertools.product(roots, readers):
        try:
            images = reader(root)
        except OSError as error:
            raise InputError(f"{name} in {root} cannot be read ({error.strerror or error}).") from error
        if images is not None:
            return images
    return None
