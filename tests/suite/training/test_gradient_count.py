"""Gradient evaluations are counted wherever they are made: by controls that make some of their own, in every way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Variable, forward_ad
from torch.func import functional_call, grad, hessian, jvp, vmap
from torch.utils.checkpoint import checkpoint

from suite.task import Problem, Target
from suite.training import TrainingResult, TrainingRun, train
from tests.suite.toys import network, regression, toy

BUDGET = 60


def trained(make: Any, count: int = 1, model: Any = network, **options: Any) -> list[TrainingResult]:
    """`count` runs, which all spend their budget."""
    runs = [TrainingRun(regression(seed), seed, 0, {"lr": 0.01}) for seed in range(count)]
    task = replace(toy(None), model=model, target=Target(0.0, BUDGET, at_end=True))
    return train(task, runs, make, **options)


class Own(torch.optim.SGD):
    """Remembers the inputs of its model, and makes gradients of its own in every step."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        super().__init__(model.parameters(), lr=lr)
        self.model = model
        model.register_forward_pre_hook(lambda _, inputs: setattr(self, "x", inputs[0]))

    @property
    def parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def loss(self) -> Tensor:
        return self.model(self.x.detach()).square().mean()

    def at(self, values: tuple[Tensor, ...]) -> Tensor:
        """The loss at other values of the parameters."""
        names = [name for name, _ in self.model.named_parameters()]
        return functional_call(self.model, dict(zip(names, values, strict=True)), (self.x.detach(),)).square().mean()

    def step(self, closure: Any = None) -> None:
        kept = [p.grad for p in self.parameters]
        self.own()
        for p, gradient in zip(self.parameters, kept, strict=True):
            p.grad = gradient
        super().step()

    def own(self) -> None:
        raise NotImplementedError


def way(function: Callable[[Any], object]) -> type[Own]:
    return type("Control", (Own,), {"own": function})


def values(control: Own) -> tuple[Tensor, ...]:
    return tuple(p.detach() for p in control.parameters)


def product(control: Own, repeats: int = 1, **options: Any) -> None:
    """Products of the Hessian of its own loss with a vector."""
    gradients = torch.autograd.grad(control.loss(), control.parameters, create_graph=True)
    for _ in range(repeats):
        vectors = [torch.ones_like(g) for g in gradients]
        torch.autograd.grad(gradients, control.parameters, grad_outputs=vectors, retain_graph=True)


def several_products(control: Own) -> None:
    gradients = torch.autograd.grad(control.loss(), control.parameters, create_graph=True)
    vectors = [torch.ones(5, *g.shape, dtype=g.dtype) for g in gradients]
    torch.autograd.grad(gradients, control.parameters, grad_outputs=vectors, is_grads_batched=True)


def from_an_edge(control: Own) -> None:
    edge = torch.autograd.graph.get_gradient_edge(control.loss())
    torch.autograd.backward(edge, torch.ones((), dtype=torch.float64))


def stacked(control: Own) -> None:
    points = tuple(torch.stack([value] * 3) for value in values(control))
    vmap(grad(control.at))(points)


def last_bias(control: Own) -> None:
    *rest, bias = values(control)
    hessian(lambda value: control.at((*rest, value)))(bias)


WAYS: dict[str, tuple[Callable[[Any], object], int]] = {
    "no gradient": (lambda control: control.loss(), 0),
    "the loss once more": (lambda control: control.loss().backward(), 1),
    "autograd.grad": (lambda control: torch.autograd.grad(control.loss(), control.parameters), 1),
    "from an edge of the graph": (from_an_edge, 1),
    "a product with the Hessian": (product, 2),
    "the graph is kept for three": (lambda control: product(control, 3), 4),
    "five products at once": (several_products, 6),
    "torch.func": (lambda control: grad(control.at)(values(control)), 1),
    "three weights at once": (stacked, 3),
    "forward mode": (lambda control: jvp(control.at, (values(control),), (values(control),)), 1),
    # Forward over reverse: a gradient and a forward pass, for each of the two entries.
    "a Hessian by torch.func": (last_bias, 4),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("count", [1, 5])
def test_own_gradients_are_counted(name: str, count: int) -> None:
    function, own = WAYS[name]
    for result in trained(way(function), count):
        steps = -(-BUDGET // (1 + own))
        assert (result.steps, result.gradient_evaluations) == (steps, steps * (1 + own))
        assert result.history[-1][0] == result.gradient_evaluations


class Graph(torch.optim.SGD):
    """Needs gradients with their graph, and differentiates them `products` times."""

    products = 1

    def step(self, closure: Any = None) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters]
        for _ in range(self.products):
            torch.autograd.grad(gradients, parameters, [torch.ones_like(p) for p in parameters], retain_graph=True)
        for p in parameters:
            p.grad = p.grad.detach()
        super().step()


@pytest.mark.parametrize("products", [1, 3])
@pytest.mark.filterwarnings("ignore:Using backward")
def test_products_with_the_graph_of_the_gradients(products: int) -> None:
    (result,) = trained(type("Control", (Graph,), {"products": products}))
    assert result.gradient_evaluations == result.steps * (1 + products)


class Closures(torch.optim.SGD):
    """Calls its closure twice, and the second time differentiates beside it."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        super().__init__(model.parameters(), lr=lr)
        self.model = model

    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure()
        closure()
        torch.autograd.grad(sum(p.square().sum() for p in self.model.parameters()), list(self.model.parameters()))
        super().step()


def test_closures_and_own_gradients_add_up() -> None:
    (result,) = trained(Closures)
    assert result.gradient_evaluations == 3 * result.steps == BUDGET


class Hooked(Own):
    """Differentiates while the network computes its outputs, not in its step."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        super().__init__(model, lr)

        def hook(module: nn.Module, inputs: Any, outputs: Tensor) -> None:
            if outputs.requires_grad:
                torch.autograd.grad(outputs.sum(), self.parameters, retain_graph=True)

        model.register_forward_hook(hook)

    def own(self) -> None:
        pass


def test_gradients_in_hooks_are_counted() -> None:
    (result,) = trained(Hooked)
    assert result.gradient_evaluations == 2 * result.steps == BUDGET


class Late(torch.optim.SGD):
    """Differentiates from its twentieth step on, when everything that tries it out is over."""

    count = 0

    def step(self, closure: Any = None) -> None:
        self.count += 1
        if self.count > 20:
            (p, *_) = self.param_groups[0]["params"]
            torch.autograd.grad(p.square().sum(), p)
        super().step()


def test_a_late_start_is_counted() -> None:
    for result in trained(Late, 6, batched=True):
        assert result.stepping == "alone"
        assert (result.steps, result.gradient_evaluations) == (40, 60)


def squared_slope(outputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A loss that differentiates itself."""
    value = loss(outputs, targets)
    return value + torch.autograd.grad(value, outputs, create_graph=True)[0].square().sum()


def test_a_loss_that_differentiates_is_counted() -> None:
    for result in trained(torch.optim.SGD, loss=squared_slope):
        assert result.gradient_evaluations == 2 * result.steps


class Recomputing(nn.Module):
    """Computes its hidden layer once more in the backward pass, which saves memory and is no other gradient."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        hidden, activation, output = self.layers
        return output(checkpoint(lambda inputs: activation(hidden(inputs)), x, use_reentrant=True))


def recomputing(problem: Problem, seed: int) -> nn.Module:
    return Recomputing(network(problem, seed))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adafactor])
@pytest.mark.parametrize("model", [network, recomputing])
@pytest.mark.parametrize("count", [1, 5])
def test_nothing_else_is_counted(make: Any, model: Any, count: int) -> None:
    for result in trained(make, count, model):
        assert result.steps == result.gradient_evaluations == BUDGET


class Replacing(torch.optim.SGD):
    """Puts an engine that does not count in the place of the one that does."""

    def step(self, closure: Any = None) -> None:
        Variable._execution_engine = torch._C._ImperativeEngine()
        super().step()


def test_the_count_cannot_be_switched_off_unseen() -> None:
    engine, level = Variable._execution_engine, forward_ad.enter_dual_level
    with pytest.raises(RuntimeError, match="the submission replaced torch's autograd engine"):
        trained(Replacing)
    assert (Variable._execution_engine, forward_ad.enter_dual_level) == (engine, level)
