"""Twins of linear tasks: the same question under another shape, order, sign and budget, so that no shape gives it away.

`find_task("max_margin~5d1c")` is the twin of `max_margin` that the hexadecimal number draws. Its inputs have a few more
features, which are 0, in another order and with other signs; its samples stand in another order; its budget is up to
8 % larger. Nothing of this concerns a method whose step does not depend on the order or the sign of coordinates and
leaves alone what has no gradient: with the weights put back, its solutions are measured by the task itself. A
submission that recognizes tasks by their shapes or budgets meets one that it does not know. `lowlands verify` draws
twins from its nonce.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from suite.models import LinearClassifier, LinearPredictor
from suite.seeding import seed_of, torch_stream
from suite.task import Curve, Oracle, Problem, Solution, Split, Task

MARK = "~"
"""Between the name of a task and the number of its twin."""

MOST_FEATURES = 12
"""So many features are added at most."""

MOST_BUDGET = 0.08
"""By this share the budget is larger at most."""


def twin_name(task: str, nonce: str) -> str:
    """The name of the twin of `task` that `nonce` draws."""
    return f"{task}{MARK}{seed_of('twin', task, nonce):x}"


def has_twins(task: Task) -> bool:
    """Whether `task` is linear in inputs [n, d], trained on all of them at once."""
    if task.batch_size is not None:
        return False
    problem = task.problem(0)
    return problem.train.x.dim() == 2 and type(task.model(problem, 0)) in (LinearPredictor, LinearClassifier)


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


def twin(task: Task, number: str) -> Task:
    """The twin of `task` of this number.

    Raises:
        ValueError: the task has no twins.
    """
    if not has_twins(task):
        raise ValueError("only linear tasks have twins")
    stream = torch_stream("twin", task.name, number)
    features = task.problem(0).train.x.shape[1]
    more = int(torch.randint(3, MOST_FEATURES + 1, (), generator=stream))
    order = torch.randperm(features + more, generator=stream)
    change = _Change(order, torch.randint(0, 2, (features + more,), generator=stream) * 2 - 1)
    larger = 1 + MOST_BUDGET * float(torch.rand((), generator=stream))

    def moved(split: Split | None) -> Split | None:
        return None if split is None else Split(change.there(split.x), split.y)

    def problem(seed: int) -> Problem:
        original = task.problem(seed)
        rows = torch.randperm(len(original.train), generator=torch_stream("twin", task.name, number, seed))
        train = Split(change.there(original.train.x)[rows], original.train.y[rows])
        return replace(original, train=train, validation=moved(original.validation), test=moved(original.test))

    def model(problem: Problem, seed: int) -> nn.Module:
        return _with_weight(task, seed, change.there)

    def original(solution: Solution) -> Solution:
        weight = solution.model.get_parameter("weight").detach()
        initial = {"weight": change.back(solution.initial["weight"], features)}
        network = _with_weight(task, solution.seed, lambda _: change.back(weight, features)).eval()
        return replace(solution, model=network, initial=initial, problem=task.problem(solution.seed))

    def measure(solution: Solution) -> dict[str, float]:
        return task.measure(original(solution))

    def curves(solution: Solution) -> dict[str, Curve]:
        return {} if task.curves is None else dict(task.curves(original(solution)))

    def oracle(problem: Problem, seed: int) -> Oracle:
        return Oracle() if task.oracle is None else task.oracle(task.problem(seed), seed)

    return replace(
        task,
        name=f"{task.name}{MARK}{number}",
        problem=problem,
        model=model,
        measure=measure,
        curves=curves,
        oracle=oracle,
        target=replace(task.target, budget=int(task.target.budget * larger)),
    )
