"""Images that are harder than the test data, against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn

from suite.errors import InputError
from suite.measures import measure
from suite.measures.corruption import _moved, blurred, faint, noisy, rotated, translated
from suite.seeding import torch_stream
from suite.task import Split


def images(height: int = 9, width: int = 12) -> Tensor:
    return torch.randn(4, 2, height, width, generator=torch_stream("test"), dtype=torch.float64)


def test_blur_is_scipys() -> None:
    expected = [
        [scipy.ndimage.gaussian_filter(channel, 1.0, mode="nearest", truncate=3) for channel in image]
        for image in images().numpy()
    ]
    np.testing.assert_allclose(blurred(images()).numpy(), expected, rtol=1e-12)


def test_a_translation_by_whole_pixels_repeats_the_edge() -> None:
    pixels = torch.tensor([[2.0, 0.0], [0.0, -1.0], [0.0, 0.0], [-3.0, 2.0]])
    moved = _moved(images(), torch.zeros(4), pixels)
    for image, result, (right, down) in zip(images(), moved, pixels.tolist(), strict=True):
        expected = scipy.ndimage.shift(image.numpy(), (0, down, right), order=1, mode="nearest")
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


def test_a_quarter_turn_of_a_square() -> None:
    square = images(8, 8)
    turned = _moved(square, torch.full((4,), math.pi / 2), torch.zeros(4, 2))
    torch.testing.assert_close(turned, torch.rot90(square, 1, (2, 3)), atol=1e-5, rtol=0)


def test_a_turned_oblong_keeps_its_shapes() -> None:
    """A disc is turned onto itself, whatever the sides of the image are."""
    y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(61) - 30.0, indexing="ij")
    disc = torch.exp(-(x.square() + y.square()) / 50).double()[None, None]
    turned = _moved(disc, torch.tensor([0.7]), torch.zeros(1, 2))
    torch.testing.assert_close(turned, disc, atol=0.01, rtol=0)


def test_every_change_is_the_same_for_every_solution_and_a_change() -> None:
    for change in (noisy, blurred, faint, translated, rotated):
        changed = change(images(), torch_stream("change"))
        assert torch.equal(changed, change(images(), torch_stream("change")))
        assert changed.shape == images().shape
        assert (changed - images()).abs().mean() > 0.05
    assert (noisy(images(), torch_stream("change")) - images()).std().item() == pytest.approx(0.5, rel=0.1)
    torch.testing.assert_close(faint(images()).mean((1, 2, 3)), images().mean((1, 2, 3)))


def test_errors_of_a_network_that_looks_at_one_pixel() -> None:
    """The class is whether the middle is bright: a translation by two pixels moves it away, low contrast does not."""
    x = torch.full((40, 1, 7, 7), -1.0)
    y = torch.arange(40) % 2
    x[:, 0, 3, 3] = torch.where(y == 1, 1.0, -1.0)

    class Middle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, inputs: Tensor) -> Tensor:
            brightness = self.scale * inputs[:, 0, 3, 3]
            return torch.stack([-brightness, brightness], 1)

    data = Split(x, y)
    found = measure(Middle(), data, ["test_error", "corruption_error", "shift_error"], test=data)
    assert found["test_error"] == 0
    assert found["corruption_error/contrast"] == 0.5  # the mean is dark, so every middle becomes dark
    assert found["shift_error/translation"] == 0.5
    assert found["shift_error/rotation"] == 0
    assert 0 < found["corruption_error/noise"] < 0.1
    for name in ("corruption_error/noise", "shift_error/translation"):
        share = found[name]
        assert share.kind == "estimate"
        assert share.error == pytest.approx(math.sqrt(share * (1 - share) / 40))
    for name in ("corruption_error/blur", "corruption_error/contrast", "test_error"):
        assert found[name].kind == "exact"


def test_vectors_are_no_images() -> None:
    data = Split(torch.randn(4, 6), torch.arange(4) % 2)
    with pytest.raises(InputError, match="'shift_error' needs images"):
        measure(nn.Linear(6, 2), data, ["shift_error"], test=data, matched_loss=0.7)
