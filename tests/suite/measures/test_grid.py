"""Every number of `measure` against dense Hessians, Jacobians and per-sample gradients in float64, on a grid."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.suite.measures.grid import LAYOUTS, LOSSES, NETWORKS, compare

SAMPLE = random.Random(0).sample([*itertools.product(NETWORKS, LOSSES, LAYOUTS)], 16)


def test_the_grid_is_as_large_as_stated() -> None:
    assert len(NETWORKS) >= 40
    assert (len(LOSSES), len(LAYOUTS)) == (8, 4)


@pytest.mark.parametrize(("network", "loss", "layout"), SAMPLE, ids=[" | ".join(case) for case in SAMPLE])
def test_a_sample_of_the_grid(network: str, loss: str, layout: str) -> None:
    assert not compare(network, loss, layout)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_the_whole_grid(network: str) -> None:
    failures = {
        f"{loss} | {layout}": found
        for loss in LOSSES
        for layout in LAYOUTS
        if (found := compare(network, loss, layout))
    }
    assert not failures
