"""Image data sets by name: found in order, read right, refused with one sentence when they are damaged."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import socket
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from suite.data import ImageSet, load_images
from suite.data import download as downloading
from suite.data.lookup import _load, _search
from suite.errors import InputError

Arrays = dict[str, Any]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's directory is empty and no data set is cached; returns it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("LOWLANDS_DATA", raising=False)
    monkeypatch.setattr(downloading, "download", _no_network)
    _load.cache_clear()
    return tmp_path / "torch" / "datasets" / "vision"


def _no_network(name: str, root: Path) -> None:
    raise InputError("no network")


def _arrays(samples: int = 12, test: int = 6, classes: int = 3) -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (samples, 4, 5, 3), dtype=np.uint8),
        "y_train": np.arange(samples) % classes,
        "x_test": rng.integers(0, 256, (test, 4, 5, 3), dtype=np.uint8),
        "y_test": np.arange(test) % classes,
    }


def _load_from(directory: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    monkeypatch.setenv("LOWLANDS_DATA", str(directory))
    return load_images(name)


# -- custom data sets ---------------------------------------------------------------------------------------------


def test_npz_channels_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = _arrays()
    np.savez_compressed(tmp_path / "mine.npz", **arrays, classes=np.array(["a", "b", "c"]))
    images = _load_from(tmp_path, "mine", monkeypatch)
    assert (images.name, images.classes) == ("mine", 3)
    assert images.train.x.dtype == torch.uint8
    np.testing.assert_array_equal(images.train.x.permute(0, 2, 3, 1).numpy(), arrays["x_train"])
    np.testing.assert_array_equal(images.test.y.numpy(), arrays["y_test"])


def test_npz_grey_floats_and_keras_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = _arrays()
    for part in ("train", "test"):
        arrays[f"x_{part}"] = arrays[f"x_{part}"][..., 0] / 255  # float64
        arrays[f"y_{part}"] = arrays[f"y_{part}"][:, None].astype(np.uint8)
    np.savez(tmp_path / "mine.npz", **arrays)
    images = _load_from(tmp_path, "mine", monkeypatch)
    assert images.train.x.shape == (12, 1, 4, 5)
    assert images.train.x.dtype == torch.float32
    assert images.train.y.dtype == torch.int64


def _changed(**new: Callable[[Any], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {key: change(arrays[key]) for key, change in new.items()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda a: {k: v for k, v in a.items() if k != "y_test"}, r"lacks y_test; it needs x_train, y_train, x_test"),
        (_changed(x_train=lambda x: x.astype(np.int64)), "x_train must be uint8 or floating point, not int64"),
        (_changed(x_train=lambda x: x * np.float32(np.nan)), "x_train holds values that are not finite"),
        (_changed(x_train=lambda x: x.reshape(12, -1)), r"x_train must be \[n, height, width\].*not \[12, 60\]"),
        (
            _changed(x_test=lambda x: x.transpose(0, 3, 1, 2)),
            r"x_test must be .* at most 4 channels, not \[6, 3, 4, 5\]",
        ),
        (_changed(x_test=lambda x: x[:, :3]), r"differ in shape \(\(4, 5, 3\) and \(3, 5, 3\)\)"),
        (_changed(x_test=lambda x: x[:0], y_test=lambda y: y[:0]), "x_test must be"),
        (_changed(y_train=lambda y: y.astype(float)), "y_train must hold integers, not float64"),
        (_changed(y_train=lambda y: y[:-1]), r"y_train must have one label for each of the 12 images, not \(11,\)"),
        (_changed(y_train=lambda y: y + 1), "the 3 classes in y_train must be labelled 0 to 2, not 1 to 3"),
        (_changed(y_train=lambda y: y - 1), "must be labelled 0 to 2, not -1 to 1"),
        (_changed(y_train=lambda y: y * 2), "must be labelled 0 to 2, not 0 to 4"),
        (_changed(y_train=lambda y: y * 0), "one class only"),
        (_changed(y_test=lambda y: y + 1), "y_test has labels from 1 to 3, y_train from 0 to 2"),
        (_changed(x_train=lambda x: np.array([object()])), "x_train must hold integers or real numbers, not pickled"),
        (_changed(y_train=lambda y: y.astype(object)), "y_train must hold integers or real numbers, not pickled"),
        (lambda a: a | {"x_train": np.array(None)}, "x_train must hold integers or real numbers, not pickled"),
        (_changed(y_train=lambda y: y > 0), "y_train must hold integers, not bool"),
        (_changed(y_train=lambda y: y.astype(str)), "y_train must hold integers or real numbers"),
        (_changed(y_train=lambda y: y + 10**12), "the 3 classes in y_train must be labelled 0 to 2"),
        (_changed(x_train=lambda x: np.full(x.shape, np.inf)), "x_train holds values that are not finite"),
        (_changed(x_train=lambda x: x * 1e300), "x_train holds values that are not finite"),
        (_changed(x_train=lambda x: x + 1j), "x_train must hold integers or real numbers, not complex128"),
        (_changed(x_train=lambda x: np.float32(3)), r"x_train must be \[n, height, width\]"),
        (_changed(x_train=lambda x: x[:, 0, 0]), r"x_train must be \[n, height, width\]"),
        (_changed(x_train=lambda x: x[..., None]), r"x_train must be \[n, height, width\]"),
        (_changed(x_train=lambda x: x[:0], y_train=lambda y: y[:0]), "x_train must be"),
        (_changed(x_train=lambda x: np.zeros(12, "u1,u1")), "x_train must hold integers or real numbers"),
    ],
)
def test_npz_that_are_not_images(
    change: Callable[[Arrays], Arrays], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "mine.npz", **change(_arrays()))
    with pytest.raises(InputError, match=sentence):
        _load_from(tmp_path, "mine", monkeypatch)


def test_harmless_oddities_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are all alike, members that are never read, and one whose name leads elsewhere."""
    arrays = _arrays() | {"x_train": np.full((12, 4, 5, 3), 7, np.uint8)}
    np.savez(tmp_path / "mine.npz", **arrays, more=np.array([object()]), texts=np.array(["a"]))
    with zipfile.ZipFile(tmp_path / "mine.npz", "a") as archive:
        archive.writestr("../outside.npy", b"x")
    images = _load_from(tmp_path, "mine", monkeypatch)
    assert images.train.x.unique().tolist() == [7]
    assert not (tmp_path.parent / "outside.npy").exists()


def test_a_link_to_itself_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.npz").symlink_to(tmp_path / "mine.npz")
    with pytest.raises(InputError, match="There is no data set 'mine'"):
        _load_from(tmp_path, "mine", monkeypatch)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_npz(share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "whole.npz", **_arrays())
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "mine.npz").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"mine\.npz is (empty|damaged or no \.npz file)"):
        _load_from(tmp_path, "mine", monkeypatch)


def test_npz_with_a_flipped_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "mine.npz", **_arrays())
    content = bytearray((tmp_path / "mine.npz").read_bytes())
    content[400] ^= 1
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        _load_from(tmp_path, "mine", monkeypatch)


def test_a_single_array_or_a_directory_is_no_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match=r"is no \.npz file but a single array"):
        _load_from(tmp_path, "single", monkeypatch)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        _load_from(tmp_path, "folder", monkeypatch)


def test_no_permission() -> None:
    """In a process without privileges: root may read everything."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.npz"
        np.savez(path, **_arrays())
        path.parent.chmod(0o755)
        path.chmod(0)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                _search("mine", [path.parent])
            except InputError as error:
                os.write(write, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.set_blocking(read, False)
        assert os.read(read, 1000).decode().endswith("cannot be read (Permission denied).")


def test_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no data set 'mine': no directory is given"):
        load_images("mine")
    with pytest.raises(InputError, match=r"holds no mine\.npz; published ones are mnist"):
        _load_from(tmp_path, "mine", monkeypatch)
    with pytest.raises(InputError, match="There is no directory"):
        _load_from(tmp_path / "nowhere", "mine", monkeypatch)


def test_a_published_name_must_hold_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "mnist.npz", **_arrays())
    with pytest.raises(
        InputError, match=r"mnist must have images of \(1, 28, 28\).* in 10 classes, not \(3, 4, 5\) in 3"
    ):
        _load_from(tmp_path, "mnist", monkeypatch)


# -- published data sets ------------------------------------------------------------------------------------------


def test_mnist_is_torchvisions(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _load_from(real_data, "mnist", monkeypatch)
    for train, part in ((True, images.train), (False, images.test)):
        reference = torchvision.datasets.MNIST(real_data, train=train)
        assert torch.equal(part.x[:, 0], reference.data)
        assert torch.equal(part.y, reference.targets)


def test_cifar10_from_npz(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (real_data / "cifar10.npz").is_file():
        pytest.skip("no cifar10.npz among the real data")
    images = _load_from(real_data, "cifar10", monkeypatch)
    assert images.train.x.shape[1:] == (3, 32, 32)
    assert images.classes == 10


def _raw_copy(real_data: Path, target: Path) -> Path:
    raw = target / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (real_data / "MNIST" / "raw").glob("*ubyte"):
        (raw / path.name).symlink_to(path)
    return raw


def _rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:100] + b"\x01" + b[101:], lambda b: b""])
def test_damaged_mnist(
    damage: Callable[[bytes], bytes], real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _raw_copy(real_data, tmp_path) / "t10k-images-idx3-ubyte"
    _rewrite(path, damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte is damaged: its MD5 is \w+, not 2646ac647ad5339d"):
        _load_from(tmp_path, "mnist", monkeypatch)


def test_packed_and_missing_mnist_files(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = _raw_copy(real_data, tmp_path)
    labels = raw / "t10k-labels-idx1-ubyte"
    packed = labels.with_name(f"{labels.name}.gz")
    packed.write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert len(_load_from(tmp_path, "mnist", monkeypatch).test) == 10_000
    _load.cache_clear()
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
        load_images("mnist")
    packed.unlink()
    with pytest.raises(InputError, match="raw lacks t10k-labels-idx1-ubyte"):
        load_images("mnist")


def _cifar_batches(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """torchvision's CIFAR-10 files in small, with checksums that fit; returns the pixels of the first batch."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    cls = torchvision.datasets.CIFAR10
    first = None
    sums = {}
    for name, _ in cls.train_list + cls.test_list:
        data = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        first = data if first is None else first
        content = pickle.dumps({"data": data, "labels": [i % 10 for i in range(20)]})
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    meta = pickle.dumps({"label_names": list("abcdefghij")})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(cls, "train_list", [[name, sums[name]] for name, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [[name, sums[name]] for name, _ in cls.test_list])
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": hashlib.md5(meta).hexdigest()})
    assert first is not None
    return first


def test_cifar10_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = _cifar_batches(tmp_path, monkeypatch)
    images = _load_from(tmp_path, "cifar10", monkeypatch)
    assert images.train.x.shape == (100, 3, 32, 32)
    np.testing.assert_array_equal(images.train.x[:20].numpy(), pixels.reshape(20, 3, 32, 32))
    _load.cache_clear()
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"torn")
    with pytest.raises(InputError, match="cifar-10-batches-py is damaged or incomplete"):
        load_images("cifar10")


def test_order_of_places(real_data: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The given directory, then torchvision's; there its own layout, then the npz; then the download."""
    with pytest.raises(InputError, match="no network"):
        load_images("mnist")
    _raw_copy(real_data, empty_cache)
    assert len(load_images("mnist").train) == 60_000
    monkeypatch.setenv("LOWLANDS_DATA", str(tmp_path))
    assert len(load_images("mnist").train) == 60_000
    small = load_images("mnist").test
    arrays = {"x": small.x[:100, 0].numpy(), "y": small.y[:100].numpy()}
    np.savez(tmp_path / "mnist.npz", **{f"{k}_{part}": v for k, v in arrays.items() for part in ("train", "test")})
    _load.cache_clear()
    assert len(load_images("mnist").train) == 100


def test_a_download_that_failed_is_not_tried_for_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def fail(name: str, root: Path) -> None:
        tried.append(name)
        raise InputError("no network")

    monkeypatch.setattr(downloading, "download", fail)
    for name in ("mnist", "mnist", "cifar10", "mnist"):
        with pytest.raises(InputError, match="no network"):
            load_images(name)
    assert tried == ["mnist", "cifar10"]


# -- downloads ----------------------------------------------------------------------------------------------------

_download = downloading.download


@pytest.fixture
def silent_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A firewall that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{server.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield


@pytest.mark.usefixtures("silent_proxy")
def test_a_download_does_not_hang(tmp_path: Path) -> None:
    root = tmp_path / "vision"
    with pytest.raises(InputError, match=r"mnist could not be downloaded to .* within 6 s; put it there yourself"):
        _download("mnist", root, seconds=6)
    assert list(root.iterdir()) == []


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"mnist could not be downloaded to .* \(.*refused.*\); put it there"):
        _download("mnist", tmp_path / "vision")


def test_nowhere_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="mnist cannot be downloaded to"):
        _download("mnist", tmp_path / "file" / "vision")


def test_a_download_is_found(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server of our own, through torchvision, in this process: only the address and the checksums differ."""
    packed = {
        f"{path.name}.gz": gzip.compress(path.read_bytes(), 1) for path in (real_data / "MNIST" / "raw").glob("*ubyte")
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = packed[self.path.strip("/")]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    cls = torchvision.datasets.MNIST
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(cls, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(cls, "resources", sums)
        monkeypatch.setattr(socket, "setdefaulttimeout", lambda seconds: None)
        downloading.fetch("mnist", tmp_path)
        server.shutdown()
    assert len(_load_from(tmp_path, "mnist", monkeypatch).train) == 60_000
