"""A network's state: held, put back into another network, copied; outputs are equal to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.errors import InputError
from suite.measures import measure, measure_all
from suite.models import call_with, copy_of, hold, in_double, materialize, restore
from suite.storage import solutions
from suite.training.lanes import SingleModel

from .networks import NETWORKS, Body, KeepsActivations, NonPersistent, PlainAttribute, Tied

SHAPE, OUTPUTS = (2, 3), 3
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
every_network = pytest.mark.parametrize("name", NETWORKS)


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, *SHAPE, generator=generator)
    return x, torch.arange(24) % OUTPUTS


def build(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = NETWORKS[name](SHAPE, OUTPUTS)
    materialize(model, SHAPE)
    return model


def train(model: nn.Module, steps: int = 4) -> None:
    x, y = data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def outputs(model: nn.Module) -> Tensor:
    return model.eval()(data()[0]).clone()


@every_network
def test_a_state_is_put_back_into_a_network_with_other_weights(name: str, tmp_path: Path) -> None:
    names = list(hold(build(name)))
    trained = build(name)
    train(trained)
    state = hold(trained, names)
    solutions.save(tmp_path, state)
    stored = solutions.load(tmp_path, solutions.solution_hash(state))
    expected = outputs(trained)
    assert stored is not None
    for weights in (state, stored):
        other = build(name, seed=1)
        assert not torch.equal(outputs(other), expected)
        restore(other, weights)
        assert torch.equal(outputs(other), expected)
        train(trained)  # what is held does not change with the network
        restore(trained, weights)
        assert torch.equal(outputs(trained), expected)
        train(other)
        assert not torch.equal(outputs(other), expected)


@every_network
def test_a_copy_is_equal_and_changes_by_itself(name: str) -> None:
    model = build(name)
    train(model)
    expected = outputs(model)
    duplicate = copy_of(model)
    assert [p.requires_grad for p in duplicate.parameters()] == [p.requires_grad for p in model.parameters()]
    assert torch.equal(outputs(duplicate), expected)
    train(duplicate)
    assert not torch.equal(outputs(duplicate), expected)
    assert torch.equal(outputs(model), expected)


@every_network
def test_a_copy_in_double_precision_computes_the_same(name: str) -> None:
    model = build(name)
    train(model)
    expected = outputs(model)
    duplicate, dtype = in_double(model, data()[0][:1])
    assert dtype == (torch.float32 if name == "converts to single precision" else torch.float64)
    with torch.no_grad():
        values = duplicate.eval()(data()[0].to(dtype))
    assert values.dtype == dtype
    torch.testing.assert_close(values.float(), expected, rtol=1e-4, atol=1e-5)


@every_network
def test_curvature_is_that_of_the_dense_hessian(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name)
    train(model)
    x, y = data()
    model.eval()
    leaves = [p for p in model.parameters() if p.requires_grad and p.numel()]
    # The second derivatives of torch's own weight normalization are wrong.
    monkeypatch.setattr(torch, "_weight_norm", lambda v, g, dim: v * g / v.square().sum(1, keepdim=True).sqrt())
    loss = cross_entropy(model(x), y)
    monkeypatch.undo()
    slopes = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    slope = torch.cat([s.reshape(-1) for s in slopes])
    rows = [torch.autograd.grad(entry, leaves, retain_graph=True, materialize_grads=True) for entry in slope]
    hessian = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows]).double()
    values = measure(model, (x, y), ["lambda_max", "hessian_trace"])
    top, trace = float(torch.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]), float(hessian.trace())
    assert float(values["lambda_max"]) == pytest.approx(top, rel=2e-3)
    error = 5 * values["hessian_trace"].error + 1e-3 * abs(trace)
    assert abs(float(values["hessian_trace"]) - trace) <= error
    train(model)  # measuring leaves a network that can be trained


def test_shared_tensors_are_held_once_and_taken_under_any_of_their_names() -> None:
    torch.manual_seed(0)
    model = Tied(SHAPE, OUTPUTS)
    assert "one.weight" in hold(model)
    assert "other.weight" not in hold(model)
    for name in ("one.weight", "other.weight"):
        state = dict(model.state_dict())
        del state[name]
        other = Tied(SHAPE, OUTPUTS)
        restore(other, state)
        assert torch.equal(outputs(other), outputs(model))
    restore(Tied(SHAPE, OUTPUTS), dict(model.state_dict()))


def test_a_network_that_refuses_to_be_copied_is_refused_in_a_sentence() -> None:
    class Refuses(nn.Linear):
        def __deepcopy__(self, _: object) -> nn.Module:
            raise ValueError("only one of these")

    message = r"The network cannot be copied \(ValueError: only one of these\)\."
    with pytest.raises(InputError, match=message):
        copy_of(nn.Sequential(nn.Flatten(), Refuses(6, OUTPUTS)))
    report = measure_all(nn.Sequential(nn.Flatten(), Refuses(6, OUTPUTS)), data(), ["lambda_max", "l2_norm"])
    assert "The network cannot be copied (ValueError: only one of these)." in report.skipped["lambda_max"]
    assert list(report.values) == ["l2_norm"]


def test_solutions_by_the_names_of_parameters_and_buffers_alone_still_load() -> None:
    torch.manual_seed(0)
    for kind in (NonPersistent, PlainAttribute):
        model = kind(SHAPE, OUTPUTS)
        older = {name: p.detach().clone() for name, p in model.named_parameters()}
        restore(model, older)
        restore(model, older | {name: b.clone() for name, b in model.named_buffers()})


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    model = Body(SHAPE, OUTPUTS)
    expected, state = outputs(model), {name: tensor + 1 for name, tensor in hold(model).items()}
    with pytest.raises(InputError, match=r"'last.bias' is missing"):
        restore(model, {name: tensor for name, tensor in state.items() if name != "last.bias"})
    with pytest.raises(InputError, match=r"the network has no 'more'"):
        restore(model, state | {"more": torch.ones(1)})
    with pytest.raises(InputError, match=r"'last.bias' has the shape \(4,\), not \(3,\)"):
        restore(model, state | {"last.bias": torch.ones(4)})
    assert torch.equal(outputs(model), expected)


def test_a_run_holds_no_activations() -> None:
    model = KeepsActivations(SHAPE, OUTPUTS)
    single = SingleModel(model, cross_entropy, torch.tensor(1.0))
    names = list(single.snapshot(0))
    x, y = data()
    single.evaluate(x[None], y[None])
    single.losses(x[None], y[None])
    assert list(single.snapshot(0)) == names == [name for name, _ in model.named_parameters()]
    assert "attribute:features" in hold(model)
    restore(KeepsActivations(SHAPE, OUTPUTS), hold(model))  # they are left out


def test_a_call_with_other_weights_leaves_a_network_with_a_shared_module_as_it_was() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    parameters = dict(model.named_parameters())
    doubled = {name: 2 * p.detach() for name, p in parameters.items()}
    x = torch.ones(3, 2)
    w, b = doubled["0.weight"], doubled["0.bias"]
    assert torch.allclose(call_with(model, doubled, x), (x @ w.T + b).relu() @ w.T + b)
    assert all(layer.get_parameter(name.removeprefix("0.")) is p for name, p in parameters.items())
