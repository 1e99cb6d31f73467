"""Direct steps of torch's optimizers are their steps, to the last bit, whatever happens to the optimizer meanwhile."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.training.direct_steps import DirectSteps
from suite.training.groups import ENTRYWISE

Change = Callable[[Any, Any], None]

OPTIONS: dict[type, list[dict[str, Any]]] = {
    torch.optim.SGD: [
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"momentum": 0.5, "dampening": 0.3, "maximize": True},
    ],
    torch.optim.Adam: [{"weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True, "betas": (0.5, 0.9)}],
    torch.optim.AdamW: [{"weight_decay": 0.3}, {"lr": torch.tensor(0.1)}],
    torch.optim.RMSprop: [{"momentum": 0.9, "centered": True, "weight_decay": 0.1}],
    torch.optim.NAdam: [{"decoupled_weight_decay": True, "weight_decay": 0.1}],
    torch.optim.RAdam: [{"weight_decay": 0.1}],
}
CASES = [
    (kind, more) for kind in sorted(ENTRYWISE, key=lambda kind: kind.__name__) for more in [{}, *OPTIONS.get(kind, [])]
]


def start() -> list[nn.Parameter]:
    stream = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(*shape, generator=stream)) for shape in ((3, 5, 7), (3, 1))]


def gradients(step: int) -> list[Tensor]:
    stream = torch.Generator().manual_seed(1 + step)
    return [torch.randn(*p.shape, generator=stream) for p in start()]


def build(kind: type, more: dict[str, Any], groups: bool = False) -> Any:
    parameters = start()
    given: Any = [{"params": [p]} for p in parameters] if groups else parameters
    return kind(given, **{"lr": 0.1, **copy.deepcopy(more)})


def parameters_of(optimizer: Any) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def follow(direct: Any, ordinary: Any, changes: dict[int, Change], steps: int = 12) -> list[bool]:
    """Step both with the same gradients and compare them; whether `direct` was stepped directly, from the second on."""
    attach(direct, 0), attach(ordinary, 0)
    taken = DirectSteps(direct, {id(p): str(n) for n, p in enumerate(parameters_of(direct))})
    ordinary.step()
    found = []
    for step in range(1, steps):
        for optimizer in (direct, ordinary):
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * 0.9
            changes.get(step, lambda *_: None)(optimizer, step)
        new = gradients(step)
        found.append(taken.take(lambda name, new=new: new[int(name)]))
        if not found[-1]:
            attach(direct, step)
            direct.step()
        attach(ordinary, step)
        ordinary.step()
        assert all(map(torch.equal, parameters_of(direct), parameters_of(ordinary)))
    return found


def attach(optimizer: Any, step: int) -> None:
    for parameter, gradient in zip(parameters_of(optimizer), gradients(step), strict=True):
        parameter.grad = gradient


@pytest.mark.parametrize(("kind", "more"), CASES)
@pytest.mark.parametrize("groups", [False, True])
def test_every_class_steps_as_ever(kind: type, more: dict[str, Any], groups: bool) -> None:
    """Rprop reads its step size in the first step alone, and is stepped as usual."""
    found = follow(build(kind, more, groups), build(kind, more, groups), {})
    assert set(found) == {kind is not torch.optim.Rprop}


def set_option(name: str, value: Any, optimizer: Any, step: int) -> None:
    optimizer.param_groups[0][name] = value


def forget_state(optimizer: Any, step: int) -> None:
    optimizer.state.clear()


def replace_moment(optimizer: Any, step: int) -> None:
    for state in optimizer.state.values():
        state["exp_avg"] = torch.zeros_like(state["exp_avg"])


@pytest.mark.parametrize(
    "change",
    [
        functools.partial(set_option, "weight_decay", 0.5),
        functools.partial(set_option, "betas", (0.1, 0.2)),
        functools.partial(set_option, "maximize", True),
        forget_state,
        replace_moment,
    ],
)
def test_what_changes_the_optimizer_ends_direct_steps(change: Change) -> None:
    direct, ordinary = build(torch.optim.AdamW, {}), build(torch.optim.AdamW, {})
    assert follow(direct, ordinary, {5: change}) == [True] * 4 + [False] * 7


def test_a_missing_gradient_is_left_to_the_optimizer() -> None:
    optimizer = build(torch.optim.Adam, {})
    attach(optimizer, 0)
    taken = DirectSteps(optimizer, {id(p): str(n) for n, p in enumerate(parameters_of(optimizer))})
    before = [p.detach().clone() for p in parameters_of(optimizer)]
    assert not taken.take(lambda name: None if name == "1" else gradients(1)[0])
    assert all(map(torch.equal, before, parameters_of(optimizer)))


def test_a_function_that_steps_otherwise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called directly it goes elsewhere: the step of the copy counts, and then those of the optimizer itself."""
    module = sys.modules["torch.optim.sgd"]
    function = vars(module)["_single_tensor_sgd"]
    given: list[list[Tensor]] = []

    def fickle(params: list[Tensor], *args: Any, **kwargs: Any) -> None:
        function(params, *args, **kwargs)
        if any(params is before for before in given):  # the very list once more: called directly
            with torch.no_grad():
                params[0] += 1
        given.append(params)

    monkeypatch.setattr(module, "_single_tensor_sgd", fickle)
    more = {"momentum": 0.9}
    assert follow(build(torch.optim.SGD, more), build(torch.optim.SGD, more), {}) == [True] + [False] * 10


class Elsewhere(torch.optim.SGD):
    """Its module has no function of the name that torch's modules have."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def test_where_the_function_has_another_name_steps_are_the_optimizers() -> None:
    before = {*globals()}
    assert follow(build(Elsewhere, {}), build(torch.optim.SGD, {}), {}) == [False] * 11
    assert {*globals()} == before
