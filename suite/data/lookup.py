"""Image data sets by name: where they are looked for, and what they must be.

A data set is looked for in ``$LOWLANDS_DATA`` (the command's ``--data``), then where torchvision keeps its data sets
(``$TORCH_HOME/datasets/vision``), each as torchvision lays it out or as ``<name>.npz``; then it is downloaded.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from suite.data.image_set import PUBLISHED, ImageSet
from suite.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def torchvision_directory() -> Path:
    """Where torchvision's data sets lie when nothing else is said; downloads go there."""
    import torch

    return Path(torch.hub.get_dir()).parent / "datasets" / "vision"


def load_images(name: str) -> ImageSet:
    """The data set `name`: a published one, or ``<name>.npz`` with x_train, y_train, x_test and y_test.

    Raises:
        InputError: it is nowhere and cannot be downloaded, or what is there is damaged.
    """
    return _load(name, os.environ.get("LOWLANDS_DATA") or None, torchvision_directory())


@functools.lru_cache(maxsize=2)
def _load(name: str, given: str | None, cache: Path) -> ImageSet:
    if given is not None and not Path(given).is_dir():
        raise InputError(f"There is no directory {given} ($LOWLANDS_DATA or --data).")
    found = _look(name, ([Path(given)] if given is not None else []) + [cache])
    if found is None and name in PUBLISHED:
        _fetch(name, cache)
        found = _look(name, [cache])
    if found is None:
        where = f"{given} holds no {name}.npz" if given else "no directory is given (--data or $LOWLANDS_DATA)"
        raise InputError(f"There is no data set {name!r}: {where}; published ones are {', '.join(PUBLISHED)}.")
    return _as_published(found)


_refused: dict[tuple[str, Path], str] = {}
"""Downloads that failed, and why: they are tried once in a process, not once in every lane."""


def _fetch(name: str, cache: Path) -> None:
    from suite.data.download import download

    if (name, cache) not in _refused:
        try:
            return download(name, cache)
        except InputError as error:
            _refused[name, cache] = str(error)
    raise InputError(_refused[name, cache])


def _look(name: str, roots: list[Path]) -> ImageSet | None:
    """The data set in the first of `roots` that has it."""
    from suite.data.npz import read_npz
    from suite.data.torchvision_files import LAYOUTS

    readers: list[Callable[[Path], ImageSet | None]] = [
        *([LAYOUTS[name]] if name in LAYOUTS else []),
        lambda root: read_npz(root / f"{name}.npz", name),
    ]
    for root in roots:
        for reader in readers:
            try:
                found = reader(root)
            except OSError as error:
                raise InputError(f"{name} in {root} cannot be read ({error.strerror or error}).") from error
            if found is not None:
                return found
    return None


def _as_published(images: ImageSet) -> ImageSet:
    known = PUBLISHED.get(images.name)
    shape = tuple(images.train.x.shape[1:])
    if known is not None and (shape, images.classes) != (known.shape, known.classes):
        raise InputError(
            f"{images.name} must have images of {known.shape} (channels, height, width) in {known.classes} classes, "
            f"not {shape} in {images.classes}."
        )
    return images
