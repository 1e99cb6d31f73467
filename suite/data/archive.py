"""Arrays from ``.npz`` files that anyone may have made. No torch import.

`numpy.load` allocates what a header declares, and reports damage by errors of many types. Here what is declared is
compared with the file's size before anything is allocated, and every fault is one sentence.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from suite.data.datasets_folder import folder_of, read_folder
from suite.errors import InputError, sentence

MAX_BYTES = 2**31
"""How much the arrays of an archive may come to, unless `MAX_BYTES_VARIABLE` says otherwise: 2 GiB."""

MAX_BYTES_VARIABLE = "LOWLANDS_MAX_BYTES"

DEFLATE_RATIO = 1032
"""One byte of a deflated stream stands for at most so many bytes (zlib's technical details)."""

KINDS = "biuf"
"""Kinds of numpy types that are read: truth values, integers, real numbers."""


def read_arrays(
    path: Path, choose: Callable[[list[str]], list[str]] = list, max_bytes: int | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file by name, in the machine's byte order; or of a folder of `datasets` in its place.

    Args:
        path: the file.
        choose: names that the file holds -> names of the arrays to read, all of them by default; may raise InputError.
        max_bytes: how many bytes the arrays may come to; None: ``$LOWLANDS_MAX_BYTES``, else 2 GiB.

    Raises:
        InputError: there is no such file, it is damaged or encrypted or no archive of numeric arrays, or it holds more.
    """
    if folder := folder_of(path):
        return read_folder(folder, choose, _limit() if max_bytes is None else max_bytes)
    if not path.is_file():
        raise InputError(f"{path} cannot be read (it is not a file)." if path.exists() else f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            return _read(file, path, choose, _limit() if max_bytes is None else max_bytes)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # numpy, zipfile and zlib report damage by errors of many types
        raise InputError(f"{path} is damaged or no .npz file of arrays ({sentence(error)}).") from error


def _limit() -> int:
    """The default of `max_bytes`; an InputError if the environment variable is no number."""
    text = os.environ.get(MAX_BYTES_VARIABLE) or str(MAX_BYTES)
    if not text.isdecimal():
        raise InputError(f"${MAX_BYTES_VARIABLE} must be a number of bytes, not {text!r}.")
    return int(text)


def _read(
    file: IO[bytes], path: Path, choose: Callable[[list[str]], list[str]], max_bytes: int
) -> dict[str, NDArray[Any]]:
    """The chosen arrays of the open archive; their declared sizes are checked before any is read."""
    magic = file.read(len(np.lib.format.MAGIC_PREFIX))
    if not magic:
        raise InputError(f"{path} is empty.")
    if magic == np.lib.format.MAGIC_PREFIX:
        raise InputError(f"{path} is no .npz file but a single array.")
    with zipfile.ZipFile(file) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            if members.setdefault(member.filename.removesuffix(".npy"), member) is not member:
                raise InputError(f"{path} holds {member.filename!r} twice.")
        wanted = {name: members[name] for name in choose(list(members))}
        for name, member in wanted.items():
            _check_member(member, name, path)
        total = sum(member.file_size for member in wanted.values())
        if total > max_bytes:
            raise InputError(
                f"{path} holds arrays of {total / 1e9:.3g} GB, more than the {max_bytes / 1e9:.3g} GB that are read "
                f"(--max-bytes or ${MAX_BYTES_VARIABLE})."
            )
        return {name: _array(archive, member, name, path) for name, member in wanted.items()}


def _check_member(member: zipfile.ZipInfo, name: str, path: Path) -> None:
    """Refuse what cannot be read, and a size that the compressed bytes cannot come to."""
    if member.flag_bits & 1:
        raise InputError(f"{path}: {name} is encrypted.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{path}: {name} is compressed in a way that numpy does not write.")
    ratio = 1 if member.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO
    if member.compress_size > path.stat().st_size or member.file_size > ratio * member.compress_size:
        raise InputError(f"{path} is damaged: {name} is declared larger than the file can hold.")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, path: Path) -> NDArray[Any]:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
        if dtype.kind not in KINDS or dtype.itemsize > 8:
            kind = "pickled objects" if dtype.hasobject else str(dtype)
            raise InputError(f"{path}: {name} must hold integers or real numbers, not {kind}.")
        data = stream.read()  # to its end, where the checksum is compared
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise InputError(f"{path} is damaged: {name} declares the shape {shape} and holds {len(data)} bytes.")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")  # a copy that may be written to
