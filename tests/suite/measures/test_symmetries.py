"""No symmetry of a network moves its function, nor a measure that declares it; raw measures it does move."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from suite.measures import Estimate, measure, measures
from suite.measures.registry import CANONICAL, LOGIT_SHIFT
from suite.task import Split
from tests.suite.measures.symmetries import CHANGES, fitted, one_of_each

CASES = [(name, kind) for name, changes in CHANGES.items() for kind in changes]
SCORED = ("adaptive_sharpness", "input_margin", "test_error")
RAW = ("elementwise_sharpness", "average_sharpness", "l2_norm")


@functools.cache
def network(name: str) -> tuple[nn.Module, Split]:
    return fitted(name)


def take(model: nn.Module, data: Split, names: tuple[str, ...]) -> dict[str, Estimate]:
    return measure(model, data, names, test=data)


@functools.cache
def taken(name: str) -> dict[str, Estimate]:
    return take(*network(name), (*SCORED, "canonical_sharpness", *RAW))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_symmetries_change_no_output(name: str, kind: str) -> None:
    model, data = network(name)
    other = one_of_each(name, kind, model)
    with torch.no_grad():
        before, after = model(data.x), other(data.x)
    if kind == LOGIT_SHIFT:
        before, after = before.softmax(1), after.softmax(1)
    assert float((before - after).abs().max()) <= 1e-10 * max(1.0, float(before.abs().max()))
    moved = [not torch.allclose(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)]
    assert any(moved)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_is_declared_does_not_move(name: str, kind: str) -> None:
    model, data = network(name)
    names = tuple(m for m in (*SCORED, "canonical_sharpness") if kind in measures()[m].invariances)
    for key, value in take(one_of_each(name, kind, model), data, names).items():
        assert value == pytest.approx(taken(name)[key], rel=1e-5, abs=1e-12), key
        assert not value.note


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_raw_measures_move(name: str, kind: str) -> None:
    """So that the changes are no trifles."""
    model, data = network(name)
    after = take(one_of_each(name, kind, model), data, RAW)
    assert any(abs(value - taken(name)[key]) > 0.01 * abs(taken(name)[key]) for key, value in after.items())


def test_what_is_scored_declares_every_symmetry() -> None:
    assert all(measures()[name].invariances >= CANONICAL for name in SCORED)
    assert LOGIT_SHIFT in measures()["canonical_sharpness"].invariances
