"""What is found when optimizers of one name are stepped side by side, on what the plain install has."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch

from suite.errors import InputError
from suite.namesakes import comparison
from suite.namesakes.algorithms import Algorithm, Member, algorithm, algorithms
from suite.namesakes.collections import COLLECTIONS, find, installed, module_of
from suite.namesakes.comparison import (
    CASES,
    SHAPES,
    STEPS,
    Case,
    Path,
    compare,
    distance,
    gradient,
    grouped,
    path,
    start,
)
from suite.namesakes.formulas import FORMULAS

PLAIN = ("torch.optim", "pytorch_optimizer")
"""The collections of the plain install."""


def _only(name: str, *uses: str) -> Algorithm:
    """An algorithm with some of its members."""
    whole = algorithm(name)
    members = tuple(one for one in whole.members if one.use in uses)
    return Algorithm(whole.name, whole.title, whole.settings, members, whole.note)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_gradient_is_autograds(shape: tuple[int, ...]) -> None:
    weights = start(shape).requires_grad_()
    _, inputs, targets = comparison._regression(shape)
    loss = ((torch.tanh(inputs @ weights.flatten()) - targets) ** 2).sum()
    (expected,) = torch.autograd.grad(loss, weights)
    torch.testing.assert_close(gradient(weights.detach()), expected, rtol=1e-12, atol=1e-14)


def _path(*updates: float) -> Path:
    zero = torch.zeros(2, dtype=torch.float64)
    return Path({0: zero} | {step: zero + update for step, update in zip(STEPS, updates, strict=True)})


def test_distances_are_shares_of_the_longer_way() -> None:
    assert distance(_path(0, 1, 3), _path(0, 1, 3), 30) == 0
    assert distance(_path(0, 1, 3), _path(0, 1, 4), 30) == pytest.approx(0.25)
    assert distance(_path(0, 1, 3), _path(0, 1, -3), 30) == pytest.approx(2.0)
    assert distance(_path(0, 1, 3), _path(1, 1, 3), 1) == pytest.approx(1.0)  # one stands still
    assert distance(_path(0, 1, 3), _path(0, 1, 3), 1) == 0.0  # both do


def test_groups_hold_what_agrees_in_every_case_that_both_run() -> None:
    one, two = Case("tall"), Case("vector")
    members = [
        {one: _path(1, 2, 3), two: _path(1, 2, 3)},
        {one: _path(1, 2, 3), two: _path(1, 2, 3.1)},  # apart in a case
        {one: _path(1, 2, 3 + 1e-7), two: Path({}, "no vectors")},  # rounding, and refuses the other case
        {one: Path({}, "no"), two: Path({}, "no")},  # in no group
    ]
    assert grouped(members) == [[0, 2], [1]]


def test_a_second_step_alone_parts_two() -> None:
    case = Case("tall")
    assert grouped([{case: _path(1, 2, 3)}, {case: _path(1, 2.1, 3)}]) == [[0], [1]]


def test_torchs_adam_follows_the_paper_in_every_case() -> None:
    found = compare(_only("adamw", "adam", "torch.optim:AdamW"))
    paper, torchs = found.rows
    assert (paper.group, torchs.group) == ("A", "A")
    assert torchs.differences.keys() == set(CASES)
    assert all(one.agrees(case.dtype) for case, one in torchs.differences.items())
    assert torchs.version == installed("torch.optim")


def test_radam_that_stands_still_is_seen() -> None:
    found = compare(_only("radam", "radam", "pytorch_optimizer:RAdam"))
    standing = next(row for row in found.rows if row.member.use == "pytorch_optimizer:RAdam" and not row.member.own)
    assert standing.group != "A"
    for shape in SHAPES:
        assert standing.differences[Case(shape)].length == 0.0
        assert standing.differences[Case(shape)].distances[0] == 1.0


def test_lambs_first_step_is_as_long_as_its_correction_says() -> None:
    """pytorch_optimizer corrects outside the trust ratio: its first step is 1 / (1 - 0.9) times as long."""
    found = compare(_only("lamb", "lamb", "pytorch_optimizer:Lamb"))
    for shape in SHAPES:
        assert found.rows[1].differences[Case(shape)].length == pytest.approx(10.0, rel=1e-6)


def test_what_an_optimizer_refuses_is_a_sentence() -> None:
    found = compare(_only("muon", "muon", "torch.optim:Muon"))
    refused = found.rows[1].differences
    assert "2D" in refused[Case("vector")].error
    assert not refused[Case("tall")].error


def test_members_that_end_in_nothing_finite_are_refused() -> None:
    member = Member("torch.optim:SGD", {"lr": math.inf})
    assert path(member, Case("tall")).error == "its weights are not finite"


def test_random_numbers_of_a_member_are_its_own() -> None:
    before = torch.get_rng_state()
    one, other = (path(Member("pytorch_optimizer:Gravity", {"lr": 0.1}), Case("tall")) for _ in range(2))
    assert not one.error
    assert distance(one, other, 30) == 0.0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_reason_is_shown_for_its_version_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = _only("lamb", "lamb", "pytorch_optimizer:Lamb")
    reason = chosen.members[1].reason
    assert reason is not None
    for version, shown in ((reason.version, True), ("99.0", False)):
        monkeypatch.setattr(comparison, "installed", lambda module, version=version: version)
        row = compare(chosen).rows[1]
        assert (row.reason is not None) is shown
        assert (row.outdated == reason.version) is not shown


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "installed", lambda module: None if module == "pytorch_optimizer" else "1.0")
    found = compare(_only("lion", "lion", "pytorch_optimizer:Lion"))
    assert found.missing == ("pytorch_optimizer",)
    assert [row.member.use for row in found.rows] == ["lion"]


def test_names_are_found_as_people_write_them() -> None:
    assert algorithm("AdamW") is algorithm("adamw")
    assert algorithm("schedule-free AdamW") is algorithm("schedule_free_adamw")
    with pytest.raises(InputError, match="did you mean 'muon'"):
        algorithm("muonn")


def test_the_file_names_what_exists() -> None:
    assert sum(any(member.formula for member in one.members) for one in algorithms().values()) >= 20
    for one in algorithms().values():
        collections = {COLLECTIONS[module_of(member.use)] for member in one.members if not member.formula}
        assert len(collections) >= 2, one.name
        for member in one.members:
            if member.formula:
                assert member.use in FORMULAS
            elif module_of(member.use) in PLAIN:
                assert callable(find(member.use))


def _plain_members() -> list[Any]:
    members = [member for one in algorithms().values() for member in one.members if module_of(member.use) in PLAIN]
    return [pytest.param(member, id=member.label) for member in members]


@pytest.mark.parametrize("member", _plain_members())
def test_the_settings_of_the_file_are_taken(member: Member) -> None:
    """pytorch_optimizer takes names that it does not know, without a word: they must be among its own."""
    assert not path(member, Case("tall")).error
    if module_of(member.use) == "pytorch_optimizer":
        known = inspect.signature(find(member.use)).parameters
        assert {*member.settings, *(member.decay or {})} <= known.keys()


def test_lengths_are_nan_where_the_reference_stands_still() -> None:
    found = compare(_only("adopt", "adopt", "pytorch_optimizer:ADOPT"))
    assert math.isnan(found.rows[1].differences[Case("tall")].length)
