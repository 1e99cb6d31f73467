"""Twins of tasks: the same question under another shape, order and budget, so that no shape gives it away.

`find_task("max_margin~5d1c")` is the twin of `max_margin` that the hexadecimal number draws. Its samples stand in
another order, and its budget is up to 8 % larger. Inputs of a linear task have a few more features, which are 0, in
another order and with other signs. Parameters of other networks have up to four more entries along every axis, which
are 0 and which nothing depends on. None of this concerns a method whose step does not depend on the order or the sign
of coordinates and leaves alone what has no gradient: with the weights put back, its solutions are measured by the task
itself. A submission that recognizes tasks by their shapes or budgets meets one that it does not know. `lowlands verify`
draws twins from its nonce.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from suite.models import LinearClassifier, LinearPredictor
from suite.seeding import seed_of, torch_stream
from suite.task import Curve, Oracle, Problem, Solution, Split, Task

MARK = "~"
"""Between the name of a task and the number of its twin."""

MOST_FEATURES = 12
"""So many features are added at most."""

MOST_ENTRIES = 4
"""So many entries are added along each axis of a parameter of other networks at most."""

MOST_BUDGET = 0.08
"""By this share the budget is larger at most."""


def twin_name(task: str, nonce: str) -> str:
    """The name of the twin of `task` that `nonce` draws."""
    return f"{task}{MARK}{seed_of('twin', task, nonce):x}"


def has_twins(task: Task) -> bool:
    """Whether there are twins of `task`: it is linear, or its network works with wider parameters."""
    return _is_linear(task) or _widens(task)


def _is_linear(task: Task) -> bool:
    """Whether `task` is linear in inputs [n, d], trained on all of them at once."""
    if task.batch_size is not None:
        return False
    problem = task.problem(0)
    return problem.train.x.dim() == 2 and type(task.model(problem, 0)) in (LinearPredictor, LinearClassifier)


@torch.no_grad()
def _widens(task: Task) -> bool:
    """Whether the task's network can have wider parameters, and computes and keeps the same then."""
    problem = task.problem(0)
    network, inputs = task.model(problem, 0), problem.train.x[:4]
    try:
        wide = _widened(task.model(problem, 0), torch_stream("twin", task.name))
        for training in (True, False) if list(network.buffers()) else (False,):
            outputs = network.train(training)(inputs), wide.train(training)(inputs)
            if not torch.equal(*outputs):
                return False
    except (RuntimeError, AttributeError):  # shapes decide what it computes, or it takes parameters as a whole
        return False
    kept = dict(wide.named_buffers())
    return all(torch.equal(buffer.nan_to_num(), kept[name].nan_to_num()) for name, buffer in network.named_buffers())


@dataclass(frozen=True)
class _Change:
    """What is done to inputs [n, d] and weights [..., d]: `order` [d + more] of the features and `signs` of them."""

    order: Tensor
    signs: Tensor

    def there(self, rows: Tensor) -> Tensor:
        """The last axis in the twin's coordinates."""
        more = torch.zeros(*rows.shape[:-1], len(self.order) - rows.shape[-1], dtype=rows.dtype)
        return (torch.cat([rows.cpu(), more], dim=-1)[..., self.order] * self.signs.to(rows.dtype)).to(rows.device)

    def back(self, rows: Tensor, features: int) -> Tensor:
        """The last axis in the task's coordinates."""
        return (rows.cpu() * self.signs.to(rows.dtype))[..., self.order.argsort()][..., :features].to(rows.device)


def _with_weight(task: Task, seed: int, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """The task's network, its weight replaced by what `change` makes of it."""
    network = task.model(task.problem(seed), seed)
    network.weight = nn.Parameter(change(network.get_parameter("weight").detach()))
    return network


def _wider(kind: type[nn.Module]) -> type[nn.Module]:
    """Modules of this class of whose parameters whoever computes sees the first entries only: as many as `live` says.

    What holds, trains and copies parameters (`named_parameters`, `functional_call`) has them whole.
    """

    def first(self: Any, name: str) -> Any:
        value: Any = kind.__getattr__(self, name)
        shape = self.__dict__.get("live", {}).get(name)
        return value if shape is None else _first(value, shape)

    def reduce(self: Any, _: Any) -> Any:
        return _empty, (kind,), self.__dict__

    return type(kind.__name__, (kind,), {"__getattr__": first, "__reduce_ex__": reduce})


def _empty(kind: type[nn.Module]) -> nn.Module:
    """A module of the wider class, for `pickle` and `copy` to fill."""
    wider = _wider(kind)
    return wider.__new__(wider)


def _first(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The part of this shape at the beginning of all axes."""
    return tensor[tuple(map(slice, shape))]


@torch.no_grad()
def _widened(network: nn.Module, stream: torch.Generator) -> nn.Module:
    """`network` itself, the same function with more entries in every parameter, each a 0 without effect."""
    wide: dict[nn.Parameter, nn.Parameter] = {}
    for module in network.modules():
        live = {name: tuple(p.shape) for name, p in module._parameters.items() if p is not None and p.dim()}
        if not live:
            continue
        for name in live:
            parameter = module.get_parameter(name)
            if parameter not in wide:  # layers may share it
                more = torch.randint(1, MOST_ENTRIES + 1, (parameter.dim(),), generator=stream).tolist()
                larger = parameter.new_zeros([size + added for size, added in zip(parameter.shape, more, strict=True)])
                _first(larger, parameter.shape).copy_(parameter)
                wide[parameter] = nn.Parameter(larger)
            setattr(module, name, wide[parameter])
        module.__class__ = _wider(type(module))
        module.live = live  # type: ignore[assignment]
    return network


def twin(task: Task, number: str) -> Task:
    """The twin of `task` of this number.

    Raises:
        ValueError: the task has no twins.
    """
    if _is_linear(task):
        return _linear_twin(task, number)
    if _widens(task):
        return _wide_twin(task, number)
    raise ValueError("it has no twins, since its network computes with the shapes of its parameters")


def _named(task: Task, number: str, **changes: Any) -> Task:
    """The twin of this number with `changes`, and with a budget of its own."""
    larger = 1 + MOST_BUDGET * float(torch.rand((), generator=torch_stream("twin", task.name, number, "budget")))
    target = replace(task.target, budget=int(task.target.budget * larger))
    return replace(task, name=f"{task.name}{MARK}{number}", target=target, **changes)


def _rows(task: Task, number: str, problem: Problem, seed: int) -> Tensor:
    """Another order of the training samples; the same where they are taken in the order of the data."""
    if task.cyclic:
        return torch.arange(len(problem.train))
    return torch.randperm(len(problem.train), generator=torch_stream("twin", task.name, number, seed))


def _wide_twin(task: Task, number: str) -> Task:
    """A twin with wider parameters."""

    def problem(seed: int) -> Problem:
        original = task.problem(seed)
        rows = _rows(task, number, original, seed)
        return replace(original, train=Split(original.train.x[rows], original.train.y[rows]))

    def model(problem: Problem, seed: int) -> nn.Module:
        return _widened(task.model(problem, seed), torch_stream("twin", task.name, number, "shapes"))

    def original(solution: Solution) -> Solution:
        problem = task.problem(solution.seed).to(next(solution.model.parameters()).device)
        network = task.model(problem, solution.seed).to(problem.train.x.device).eval()
        trained = dict(solution.model.named_parameters())
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(_first(trained[name], parameter.shape))
            kept = dict(solution.model.named_buffers())
            for name, buffer in network.named_buffers():
                buffer.copy_(kept[name])
        initial = {name: _first(solution.initial[name], p.shape) for name, p in network.named_parameters()}
        return replace(solution, model=network, initial=initial, problem=problem)

    return _measured_by(task, original, _named(task, number, problem=problem, model=model))


def _measured_by(task: Task, original: Callable[[Solution], Solution], changed: Task) -> Task:
    """`changed` with the oracle of `task`, and measures and curves that it has of `original` solutions."""

    def measure(solution: Solution) -> dict[str, float]:
        return task.measure(original(solution))

    def curves(solution: Solution) -> dict[str, Curve]:
        return {} if task.curves is None else dict(task.curves(original(solution)))

    def oracle(problem: Problem, seed: int) -> Oracle:
        return Oracle() if task.oracle is None else task.oracle(task.problem(seed), seed)

    return replace(changed, measure=measure, curves=curves, oracle=oracle)


def _linear_twin(task: Task, number: str) -> Task:
    """A twin with further features, in another order and with other signs."""
    stream = torch_stream("twin", task.name, number)
    features = task.problem(0).train.x.shape[1]
    more = int(torch.randint(3, MOST_FEATURES + 1, (), generator=stream))
    order = torch.randperm(features + more, generator=stream)
    change = _Change(order, torch.randint(0, 2, (features + more,), generator=stream) * 2 - 1)

    def moved(split: Split | None) -> Split | None:
        return None if split is None else Split(change.there(split.x), split.y)

    def problem(seed: int) -> Problem:
        original = task.problem(seed)
        rows = _rows(task, number, original, seed)
        train = Split(change.there(original.train.x)[rows], original.train.y[rows])
        return replace(original, train=train, validation=moved(original.validation), test=moved(original.test))

    def model(problem: Problem, seed: int) -> nn.Module:
        return _with_weight(task, seed, change.there)

    def original(solution: Solution) -> Solution:
        weight = solution.model.get_parameter("weight").detach()
        initial = {"weight": change.back(solution.initial["weight"], features)}
        network = _with_weight(task, solution.seed, lambda _: change.back(weight, features)).eval()
        return replace(solution, model=network, initial=initial, problem=task.problem(solution.seed))

    return _measured_by(task, original, _named(task, number, problem=problem, model=model))
