"""Planted differences of two versions of an optimizer are named: the step, the tensor, and by how much."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from suite.commands.updates import (
    ADDED_AT,
    HALVED_AT,
    RELOADED_AT,
    Outcome,
    Plan,
    Trajectories,
    UpdateDifference,
    compare_updates,
    make_plan,
    read,
    save,
    trajectories,
)
from suite.errors import InputError
from suite.submission import LogUniform, Submission


class HeavyBall(torch.optim.Optimizer):
    """``b <- momentum b + g + decay w``, ``w <- w - lr b``: torch's SGD, written once more."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        foreach: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "foreach": foreach})

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group

    def buffer(self, buffer: Tensor) -> Tensor:
        return buffer

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in map(self.options, self.param_groups):
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                gradient = weights.grad + group["weight_decay"] * weights
                old = self.state[weights].get("buffer", torch.zeros_like(weights))
                buffer = self.buffer(group["momentum"] * old + gradient)
                self.state[weights]["buffer"] = buffer
                weights.sub_(group["lr"] * buffer)


class OtherGroupsRate(HeavyBall):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group | {"lr": self.param_groups[0]["lr"]}


class OtherGroupsRateInForeach(OtherGroupsRate):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return super().options(group) if group["foreach"] else group


class ConstantRate(HeavyBall):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group | {"lr": group.setdefault("first_lr", group["lr"])}


class Forgetful(HeavyBall):
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"state": {}}


class Bfloat16(HeavyBall):
    def buffer(self, buffer: Tensor) -> Tensor:
        return buffer.bfloat16().to(buffer.dtype)


class SkipsZeros(HeavyBall):
    """A parameter whose gradient is exactly 0 is left where it is, though its buffer is not 0."""

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None and not weights.grad.any():
                    weights.grad = None
        super().step()


class FirstGroups(HeavyBall):
    """Steps the groups that it was made with alone."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        every = self.param_groups
        self.param_groups = every[: self.__dict__.setdefault("number", len(every))]
        super().step()
        self.param_groups = every


class CountsInByte(HeavyBall):
    """The step size is divided by the number of steps, which is counted in eight bits in `bits` and up to 255 fits."""

    bits = torch.uint8

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        self.count = self.__dict__.get("count", torch.zeros((), dtype=self.bits)) + 1
        super().step()

    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group | {"lr": group["lr"] / (1 + int(self.count))}


class CountsInLong(CountsInByte):
    bits = torch.int64


class WithoutDecay(HeavyBall):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        return group | {"weight_decay": 0.0}


class Refuses(HeavyBall):
    def options(self, group: dict[str, Any]) -> dict[str, Any]:
        if any(weights.dim() == 4 for weights in group["params"]):
            raise ValueError("no kernels")
        return group


class Ascends(HeavyBall):
    """SAM's gradient, at ``w + rho g / |g|``."""

    rho = 0.1

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> None:  # type: ignore[override]
        with torch.enable_grad():
            closure()
        weights = [w for group in self.param_groups for w in group["params"]]
        moves = [self.rho * w.grad / w.grad.norm() for w in weights]
        torch._foreach_add_(weights, moves)
        with torch.enable_grad():
            closure()
        torch._foreach_sub_(weights, moves)
        super().step()


class AscendsLess(Ascends):
    rho = 0.05


def _submission(optimizer: Callable[..., Any], **space: Any) -> Submission:
    return Submission("under_test", optimizer, space=space)


@functools.cache
def _base(optimizer: Callable[..., Any], space: tuple[tuple[str, Any], ...]) -> tuple[Plan, Trajectories]:
    submission = _submission(optimizer, **dict(space))
    plan = make_plan(submission)
    return plan, trajectories(submission, plan)


def _compared(base: Submission, new: Submission) -> dict[str, UpdateDifference]:
    plan, found = _base(base.factory, tuple(base.space.items()))
    return {one.scenario: one for one in compare_updates(plan, found, trajectories(new, plan))}


def _differing(optimizer: Callable[..., Any], base: Callable[..., Any] = HeavyBall) -> dict[str, UpdateDifference]:
    found = _compared(_submission(base), _submission(optimizer))
    return {name: one for name, one in found.items() if one.differs}


def test_a_version_is_identical_with_itself() -> None:
    found = _compared(_submission(HeavyBall), _submission(HeavyBall))
    assert {one.outcome for one in found.values()} == {Outcome.IDENTICAL}
    assert {name.rpartition(",")[2] for name in found} == {" float32", " float64"}


def test_the_same_formula_in_other_code_differs_by_rounding() -> None:
    found = _compared(_submission(torch.optim.SGD, lr=0.1), _submission(HeavyBall, lr=0.1, momentum=0.0))
    known = {name: one.outcome for name, one in found.items() if not name.startswith(("nesterov", "maximize"))}
    assert not {name for name, outcome in known.items() if outcome is Outcome.DIFFERENT}
    assert Outcome.ROUNDING in known.values()


def test_a_wrong_second_group_is_named_with_the_ratio_of_the_step_sizes() -> None:
    differing = _differing(OtherGroupsRate)
    assert len(differing) == len(_base(HeavyBall, ())[0].scenarios)
    for name, one in differing.items():
        assert one.step == (ADDED_AT if name.startswith("a group added later") else 1)
        assert "(group 2)" in one.parameter
        assert one.ratio == pytest.approx(2.0, rel=1e-3)  # the second group has half the step size
        assert one.relative == pytest.approx(1.0, rel=1e-3)


def test_what_is_wrong_behind_a_switch_shows_with_the_switch_alone() -> None:
    assert {name.partition(",")[0] for name in _differing(OtherGroupsRateInForeach)} == {"foreach=True"}


def test_a_changed_default_shows_where_the_default_is_used() -> None:
    def other(params: Any, lr: float = 0.11, **options: Any) -> HeavyBall:
        return HeavyBall(params, lr=lr, **options)

    rates = {"lr": LogUniform(0.01, 1.0)}
    found = _compared(_submission(HeavyBall, **rates), _submission(other, **rates))
    differing = {name: one for name, one in found.items() if one.differs}
    assert {name.partition(",")[0] for name in differing} == {"default settings"}
    assert all(one.ratio == pytest.approx(1.1, rel=1e-3) for one in differing.values())


def test_a_step_size_that_is_no_longer_scheduled() -> None:
    differing = _differing(ConstantRate)
    assert {one.step for one in differing.values()} == {HALVED_AT}
    assert all(one.ratio == pytest.approx(2.0, rel=1e-3) for one in differing.values())


def test_state_that_is_lost_on_reload() -> None:
    differing = _differing(Forgetful)
    assert {name.partition(",")[0] for name in differing} == {"saved and reloaded"}
    assert {one.step for one in differing.values()} == {RELOADED_AT}


@pytest.mark.parametrize(
    ("planted", "base", "scenario", "step"),
    [
        (SkipsZeros, HeavyBall, "a gradient of zero", 2),
        (FirstGroups, HeavyBall, "a group added later", ADDED_AT),
        (CountsInByte, CountsInLong, "300 steps", 256),
    ],
)
def test_what_one_scenario_alone_shows(planted: type, base: type, scenario: str, step: int) -> None:
    differing = _differing(planted, base)
    assert {name.partition(",")[0] for name in differing} == {scenario}
    assert {one.step for one in differing.values()} == {step}


def test_a_group_that_is_added_later_has_hyper_parameters_of_its_own() -> None:
    found = _base(HeavyBall, ())[1]["a group added later, float64"].weights
    # Linear(6, 5), Linear(5, 4) and Linear(4, 3): the second layer is the second group.
    still = (found[1:ADDED_AT] == found[0]).all(dim=0)
    assert still.tolist() == [False] * 35 + [True] * 24 + [False] * 15
    assert bool((found[ADDED_AT] != found[0]).all())


def test_a_buffer_in_bfloat16_differs_by_its_rounding() -> None:
    differing = _differing(Bfloat16)
    assert differing
    for one in differing.values():
        assert one.step == 1
        assert 2**-12 < one.relative <= 2**-8  # eight digits of a binary fraction, rounded
        assert one.cosine > 0.999


def test_a_lost_decay_shows_where_there_is_decay() -> None:
    differing = _differing(WithoutDecay)
    assert "weight_decay=0.1, float64" in differing
    assert "weight_decay=0, float64" not in differing


def test_a_halved_radius_shows() -> None:
    differing = _differing(AscendsLess, base=Ascends)
    assert all(one.step == 1 for one in differing.values())
    # Curvature 1: the gradient g of a tensor becomes (1 + rho / |g|) g.
    one = differing["as it is, float64"]
    assert one.cosine == pytest.approx(1.0)
    assert 0.5 < one.ratio < 1


def test_what_raises_is_told_apart() -> None:
    differing = _differing(Refuses)
    assert {name.partition(",")[0] for name in differing} == {"a kernel and a scalar"}
    assert {(one.outcome, one.error) for one in differing.values()} == {(Outcome.REFUSED, "ValueError: no kernels")}
    other_way = _compared(_submission(Refuses), _submission(HeavyBall))
    assert other_way["a kernel and a scalar, float64"].outcome is Outcome.UNAVAILABLE
    assert not any(one.differs for one in other_way.values())


def test_the_first_update_of_adam_against_adamw_is_the_decay() -> None:
    """Coupled decay turns the first step, whose entries are lr times a sign; decoupled decay adds lr decay w."""
    found = _compared(_submission(torch.optim.AdamW), _submission(torch.optim.Adam, weight_decay=0.01))
    assert found["weight_decay=0, float64"].outcome is Outcome.IDENTICAL
    assert found["weight_decay=0.1, float64"].step == 1


def test_saved_updates_are_what_they_were(tmp_path: Path) -> None:
    submission = _submission(HeavyBall, lr=LogUniform(0.01, 1.0), momentum=0.5)
    plan = make_plan(submission)
    found = trajectories(submission, plan)
    save(tmp_path / "updates.safetensors", plan, found)
    again, read_back = read(tmp_path / "updates.safetensors")
    assert again == plan
    assert all(torch.equal(found[name].weights, read_back[name].weights) for name in found)
    (tmp_path / "other.safetensors").write_bytes(b"no updates")
    with pytest.raises(InputError, match="cannot be read as saved updates"):
        read(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="cannot be written"):
        save(tmp_path / "missing" / "updates.safetensors", plan, found)


def test_an_optimizer_that_takes_no_step() -> None:
    class Still(HeavyBall):
        def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
            pass

    with pytest.raises(InputError, match="do not move the weights"):
        make_plan(_submission(Still))
    assert math.isnan(UpdateDifference("x", Outcome.IDENTICAL).ratio)
