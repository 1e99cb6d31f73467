"""Archives that anyone may have made: the arrays as numpy reads them, or one sentence."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from suite.data.archive import MAX_BYTES_VARIABLE, read_arrays
from suite.errors import InputError

quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
X = np.arange(24.0).reshape(4, 6) / 7
Y = np.array([0, 1, 2, 1])


def packed(compress: bool = False) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(stream, x=X, y=Y)
    return stream.getvalue()


def member(header: bytes, body: bytes, name: str = "x.npy") -> bytes:
    """An archive of one array with this header."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)
    return stream.getvalue()


def patched(offset: int, value: bytes) -> bytes:
    """The archive with a field of the central directory's first entry replaced."""
    whole = bytearray(packed())
    start = whole.index(b"PK\x01\x02") + offset
    whole[start : start + len(value)] = value
    return bytes(whole)


def shaped(shape: str, descr: str = "<f8") -> bytes:
    return b"{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (descr.encode(), shape.encode())


FAULTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "0 bytes": (lambda: b"", "is empty"),
    "text": (lambda: b"x,y\n1,2\n", "is damaged or no .npz file"),
    "a bare array": (lambda: _bare(), "is no .npz file but a single array"),
    "truncated": (lambda: packed()[:-30], "is damaged or no .npz file"),
    "a flipped bit": (lambda: packed().replace(Y.tobytes(), (Y ^ 1).tobytes()), "Bad CRC-32"),
    "broken deflate": (lambda: _broken_deflate(), "is damaged or no .npz file"),
    "encrypted": (lambda: patched(8, b"\x01\x00"), "x is encrypted"),
    "another compression": (lambda: patched(10, b"\x0c\x00"), "is compressed in a way that numpy does not write"),
    "a size that the file cannot hold": (lambda: patched(24, b"\xff\xff\xff\x7f"), "declared larger than the file"),
    "10^12 rows": (lambda: member(shaped("(1000000000000,)"), bytes(80)), "declares the shape"),
    "a negative shape": (lambda: member(shaped("(-10, -1)"), bytes(80)), "declares the shape"),
    "a shape beyond integers": (lambda: member(shaped("(" + "9" * 400 + ",)"), bytes(80)), "declares the shape"),
    "no shape": (lambda: member(b"{'descr': '<f8'}", bytes(80)), "is damaged or no .npz file"),
    "a header that is code": (lambda: member(b"print(1)", bytes(80)), "is damaged or no .npz file"),
    "a long header": (lambda: member(b"[" * 30_000, b""), "is damaged or no .npz file"),
    "texts": (lambda: member(shaped("(10,)", "<U2"), bytes(80)), "must hold integers or real numbers, not <U2"),
    "dates": (lambda: member(shaped("(10,)", "<M8[s]"), bytes(80)), "must hold integers or real numbers"),
    "pickled objects": (lambda: member(shaped("(10,)", "|O"), bytes(80)), "not pickled objects"),
    "long doubles": (lambda: member(shaped("(5,)", "<f16"), bytes(80)), "must hold integers or real numbers"),
    "complex numbers": (lambda: member(shaped("(5,)", "<c16"), bytes(80)), "must hold integers or real numbers"),
    "a name twice": (lambda: _twice(), "twice"),
}


def _bare() -> bytes:
    stream = io.BytesIO()
    np.save(stream, X)
    return stream.getvalue()


def _broken_deflate() -> bytes:
    whole = bytearray(packed(compress=True))
    whole[60:80] = b"\xff" * 20
    return bytes(whole)


def _twice() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", _bare())
        archive.writestr("x", _bare())
    return stream.getvalue()


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_archive_of_numbers_is_one_sentence_and_no_memory(tmp_path: Path, fault: str) -> None:
    make, message = FAULTS[fault]
    path = tmp_path / "data.npz"
    path.write_bytes(make())
    tracemalloc.start()
    with pytest.raises(InputError) as caught:
        read_arrays(path)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert used < 10_000_000


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_arrays(tmp_path / "none.npz")
    with pytest.raises(InputError, match="cannot be read"):
        read_arrays(tmp_path)


def test_larger_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(packed())
    size = sum(info.file_size for info in zipfile.ZipFile(path).infolist())
    assert set(read_arrays(path, max_bytes=size)) == {"x", "y"}
    with pytest.raises(InputError, match="more than the"):
        read_arrays(path, max_bytes=size - 1)
    assert set(read_arrays(path, lambda names: names[:1], max_bytes=size - 1)) == {"x"}
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "10")
    with pytest.raises(InputError, match="more than the 1e-08 GB"):
        read_arrays(path)
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "much")
    with pytest.raises(InputError, match="must be a number of bytes"):
        read_arrays(path)


numeric = st.one_of(
    arrays_of.boolean_dtypes(), arrays_of.integer_dtypes(), arrays_of.floating_dtypes(sizes=(16, 32, 64))
)
shapes = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0)


@quiet
@given(
    array=numeric.flatmap(lambda dtype: arrays_of.arrays(dtype, shapes)), fortran=st.booleans(), compress=st.booleans()
)
def test_every_array_of_numbers_is_read_as_numpy_reads_it(
    tmp_path: Path, array: np.ndarray, fortran: bool, compress: bool
) -> None:
    path = tmp_path / "data.npz"
    (np.savez_compressed if compress else np.savez)(path, a=np.asarray(array, order="F" if fortran else "C"))
    read = read_arrays(path)["a"]
    with np.load(path) as file:
        np.testing.assert_array_equal(read, file["a"])
    assert read.shape == array.shape
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.dtype.isnative
    assert read.flags.writeable


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid archive with bytes changed, cut out or put in."""
    whole = bytearray(packed(draw(st.booleans())))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(whole)))
        stop = start + draw(st.integers(0, 8))
        whole[start:stop] = draw(st.binary(max_size=8))
    return bytes(whole)


@quiet
@given(content=mutated())
def test_a_damaged_archive_gives_the_arrays_that_went_in_or_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    try:
        read = read_arrays(path)
    except InputError:
        return
    for name, array in read.items():  # what lies outside the checksum is names alone
        assert any(np.array_equal(array, whole) for whole in (X, Y)), name
