"""No symmetry of a network moves its function, nor a measure that declares it; raw measures it does move."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

from suite.measures import Estimate, measure, measure_all, measures
from suite.measures.norms import linear_predictor
from suite.measures.registry import CANONICAL, LINEAR_PAIR, LOGIT_SCALE, LOGIT_SHIFT
from suite.seeding import torch_stream
from suite.task import Split
from suite.tasks.images import IMAGE_AXES
from tests.suite.measures.symmetries import (
    CHANGES,
    LIKE_MLP,
    PERMUTATIONS,
    READS_TOKENS,
    changed,
    fitted,
    one_of_each,
)

CASES = [(name, kind) for name, changes in CHANGES.items() for kind in changes]
NIGHTLY = {*LIKE_MLP, *READS_TOKENS}
"""Architectures that are measured after every change in the nightly alone; the adversary has them always."""


def split(*cases: str | tuple[str, str]) -> list[Any]:
    """Cases by architecture, those of the nightly marked."""
    return [
        pytest.param(*parts, marks=[pytest.mark.slow] if parts[0] in NIGHTLY else [])
        for parts in ((case,) if isinstance(case, str) else case for case in cases)
    ]


FLATNESS = ("adaptive_sharpness", "canonical_sharpness")
SCORED = ("adaptive_sharpness", *(axis.measure for axis in IMAGE_AXES))
ALONG_SEGMENTS = {"derivative_variation", "linear_regions", "fourier_energy"}
"""Of 64 thousand outputs: only of networks that are cheap."""
CHEAP = ("mlp", "layernorm_mlp")
DECLARED = tuple(name for name, m in measures().items() if LINEAR_PAIR in m.invariances)
"""What declares more than rescalings, which `test_declared` has for all measures."""
RAW = ("elementwise_sharpness", "average_sharpness", "l2_norm")


@functools.cache
def network(name: str) -> tuple[nn.Module, Split]:
    return fitted(name)


def take(model: nn.Module, data: Split, names: tuple[str, ...]) -> dict[str, Estimate]:
    return measure(model, data, names, test=data)


def declared(name: str) -> tuple[str, ...]:
    """Those that can be taken of the network."""
    model, data = network(name)
    has_predictor = linear_predictor(model) is not None
    names = tuple(
        m for m in DECLARED
        if ("predictor" not in measures()[m].needs or has_predictor) and (m not in ALONG_SEGMENTS or name in CHEAP)
    )  # fmt: skip
    # Of tokens no derivatives are taken.
    return tuple(measure_all(model, data, names, test=data).values) if name in READS_TOKENS else names


@functools.cache
def taken(name: str) -> dict[str, Estimate]:
    return take(*network(name), (*declared(name), *RAW))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_symmetries_change_no_output(name: str, kind: str) -> None:
    model, data = network(name)
    other = one_of_each(name, kind, model)
    with torch.no_grad():
        before, after = model(data.x), other(data.x)
    if kind == LOGIT_SHIFT:
        before, after = before.softmax(1), after.softmax(1)
    if kind == LOGIT_SCALE:
        before, after = before / before.norm(), after / after.norm()
    assert float((before - after).abs().max()) <= 1e-10 * max(1.0, float(before.abs().max()))
    moved = [not torch.allclose(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)]
    assert any(moved)


@pytest.mark.parametrize(("name", "kind"), split(*CASES))
def test_what_is_declared_does_not_move(name: str, kind: str) -> None:
    model, data = network(name)
    names = tuple(m for m in declared(name) if kind in measures()[m].invariances)
    for key, value in take(one_of_each(name, kind, model), data, names).items():
        assert value == pytest.approx(taken(name)[key], rel=1e-5, abs=1e-12), key
        assert not value.note


@pytest.mark.parametrize(("name", "kind"), split(*CASES))
def test_raw_measures_move(name: str, kind: str) -> None:
    """So that the changes are no trifles."""
    model, data = network(name)
    after = take(one_of_each(name, kind, model), data, RAW)
    assert any(abs(value - taken(name)[key]) > 0.01 * abs(taken(name)[key]) for key, value in after.items())


@pytest.mark.parametrize("name", split(*PERMUTATIONS))
def test_orders_move_nothing(name: str) -> None:
    """The draws of noise follow the neurons, channels and heads."""
    model, data = network(name)
    other = changed(model, [PERMUTATIONS[name]], torch_stream("orders", name), 1.0)
    with torch.no_grad():
        assert float((model(data.x) - other(data.x)).abs().max()) <= 1e-10 * float(model(data.x).abs().max())
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    names = FLATNESS if name in READS_TOKENS else SCORED
    for key, value in take(other, data, names).items():
        assert value == pytest.approx(taken(name)[key], rel=1e-8), key


def test_what_is_scored_declares_every_symmetry() -> None:
    assert all(measures()[name].invariances >= CANONICAL for name in SCORED)
    assert all(LOGIT_SHIFT in measures()[axis.measure].invariances for axis in IMAGE_AXES)
