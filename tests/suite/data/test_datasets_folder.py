"""Folders of Hugging Face's `datasets`, written by that library, against the arrays that it was given."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suite.data.npz import read_npz
from suite.data.tables import read_samples
from suite.errors import InputError

datasets: Any = pytest.importorskip("datasets", reason="the library `datasets` is not installed")

IMAGES, LABELS = np.random.default_rng(0).integers(0, 256, (12, 5, 5), dtype="u1"), np.arange(12) % 3
ROWS, VALUES = np.random.default_rng(1).normal(size=(20, 3)), np.random.default_rng(2).normal(size=20)


def test_images_of_two_splits(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=3)})

    def part(rows: slice) -> Any:
        return datasets.Dataset.from_dict({"image": list(IMAGES[rows]), "label": LABELS[rows].tolist()}, features)

    datasets.DatasetDict(train=part(slice(9)), test=part(slice(9, 12))).save_to_disk(str(tmp_path / "mine"))
    images = read_npz(tmp_path / "mine.npz", "mine")
    assert images is not None
    assert images.classes == 3
    assert torch.equal(images.train.x, torch.from_numpy(IMAGES[:9, None]))
    assert torch.equal(images.test.y, torch.from_numpy(LABELS[9:]))


@pytest.mark.parametrize("columns", ["x", "one by one"])
def test_rows_of_one_split(columns: str, tmp_path: Path) -> None:
    inputs = {"x": ROWS.tolist()} if columns == "x" else {f"feature {k}": ROWS[:, k].tolist() for k in range(3)}
    datasets.Dataset.from_dict({**inputs, "target": VALUES.tolist()}).save_to_disk(str(tmp_path / "mine"))
    train, test = read_samples(tmp_path / "mine.npz")
    assert test is None
    torch.testing.assert_close(train.x.double(), torch.from_numpy(ROWS), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(train.y.double(), torch.from_numpy(VALUES), rtol=1e-6, atol=1e-7)


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.Dataset.from_dict({"x": [[1.0], [2.0]], "text": ["a", "b"]}).save_to_disk(str(tmp_path / "mine"))
    with pytest.raises(InputError, match=r"has the columns x, text; it needs one of y, label, labels, target"):
        read_samples(tmp_path / "mine.npz")
    datasets.Dataset.from_dict({"x": [[1.0], [2.0]], "y": ["a", "b"]}).save_to_disk(str(tmp_path / "words"))
    with pytest.raises(InputError, match="y must hold numbers"):
        read_samples(tmp_path / "words.npz")
    with pytest.raises(InputError, match="bytes, more than the 3"):
        read_samples(tmp_path / "words.npz", max_bytes=3)
    for file in (tmp_path / "mine").glob("*.arrow"):
        file.write_bytes(b"no table")
    with pytest.raises(InputError, match="is damaged or no folder of a data set"):
        read_samples(tmp_path / "mine.npz")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="which is not installed"):
        read_samples(tmp_path / "mine.npz")
