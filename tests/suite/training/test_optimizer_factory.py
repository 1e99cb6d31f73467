"""Constructors that ask for more than parameters and hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_optimizer import SAM, AdaMuon, Lookahead
from torch import distributed, nn
from torch.optim import SGD, AdamW, Muon

from suite.signature import wants_model
from suite.training.optimizer_factory import Budget, OptimizerList, make_optimizer

NETWORK = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
BUDGET = Budget(steps=700, samples=50)


def built(make: Callable[..., Any], network: nn.Module = NETWORK, **settings: Any) -> Any:
    return make_optimizer(make, dict(network.named_parameters()), settings, BUDGET, network)


def held(optimizer: Any) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


EVERY = {id(p) for p in NETWORK.parameters()}


def test_what_a_signature_asks_for_is_given() -> None:
    asked: dict[str, Any] = {}

    def make(model_params: Any, num_training_steps: int, num_data: int, model: nn.Module, lr: float = 0.1) -> SGD:
        asked.update(steps=num_training_steps, samples=num_data, model=model, lr=lr)
        return SGD(model_params, lr=lr)

    assert held(built(make, lr=0.5)) == EVERY
    assert asked == {"steps": 700, "samples": 50, "model": NETWORK, "lr": 0.5}
    assert wants_model(make)
    built(make, num_data=7)
    assert asked["samples"] == 7


def test_defaults_are_never_touched() -> None:
    def make(weights: Any, total_steps: int = 3) -> SGD:
        assert total_steps == 3
        return SGD(weights)

    assert held(built(make)) == EVERY


def test_hidden_signatures_get_the_parameters() -> None:
    def make(*everything: Any, **options: Any) -> SGD:
        return SGD(*everything, **options)

    assert built(make, lr=0.5).param_groups[0]["lr"] == 0.5


def test_named_parameters() -> None:
    def make(named_parameters: Any) -> SGD:
        assert [name for name, _ in named_parameters] == [name for name, _ in NETWORK.named_parameters()]
        return SGD([p for _, p in named_parameters])

    assert held(built(make)) == EVERY


def test_wrappers_wrap_heavy_ball() -> None:
    sam = built(SAM, lr=0.3)
    assert type(sam.base_optimizer) is SGD
    assert sam.param_groups[0]["momentum"] == 0.9
    assert sam.param_groups[0]["lr"] == 0.3
    lookahead = built(Lookahead, lr=0.3)
    assert lookahead.param_groups[0]["lr"] == 0.3
    assert lookahead.param_groups[0]["momentum"] == 0.9
    assert type(built(SAM, base_optimizer=AdamW, lr=0.3).base_optimizer) is AdamW


def test_groups_flagged_for_muon() -> None:
    optimizer = built(AdaMuon, lr=0.1)
    dims = {group["use_muon"]: {p.dim() for p in group["params"]} for group in optimizer.param_groups}
    assert dims == {True: {2}, False: {1, 2}}  # the head is not hidden
    assert held(optimizer) == EVERY


def test_matrices_alone_with_adamw_for_the_rest() -> None:
    optimizer = built(Muon, lr=0.25)
    assert isinstance(optimizer, OptimizerList)
    assert [type(part) for part in optimizer.optimizers] == [Muon, AdamW]
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    assert held(optimizer) == EVERY
    vector = nn.Module()
    vector.weight = nn.Parameter(torch.zeros(5))
    assert [type(part) for part in built(Muon, vector).optimizers] == [AdamW]


def test_optimizers_for_many_machines_get_a_group_of_one() -> None:
    def make(params: Any) -> SGD:
        assert distributed.get_world_size() == 1
        return SGD(params, lr=0.1)

    assert not distributed.is_initialized()
    try:
        assert held(built(make)) == EVERY
    finally:
        distributed.destroy_process_group()


def test_what_is_unknown_is_named() -> None:
    def make(params: Any, secret: int) -> SGD:
        return SGD(params)

    with pytest.raises(TypeError, match="secret"):
        built(make)


def test_a_mistake_in_a_constructor_is_reported_as_it_is() -> None:
    def make(params: Any, lr: float) -> SGD:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        built(make, lr=1.0)


class RefusingDouble(SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        if any(p.dtype == torch.float64 for group in self.param_groups for p in group["params"]):
            raise RuntimeError("expected scalar type Float but found Double")
        super().step()


def test_adamw_does_not_train_alone_in_the_name_of_what_refuses_the_precision() -> None:
    """Where a task has no matrices AdamW would have all weights: the optimizer is tried on one of their precision."""

    def split(dtype: torch.dtype) -> Any:
        vector = nn.ParameterDict({"w": nn.Parameter(torch.ones(3, dtype=dtype))})
        parameters = dict(vector.named_parameters())
        return make_optimizer(RefusingDouble, parameters, {"lr": 0.1}, BUDGET, vector, splits_matrices=True)

    assert isinstance(split(torch.float32), OptimizerList)
    assert isinstance(split(torch.float64), RefusingDouble)  # whose own error a run then meets
