"""How an optimizer wants to be stepped, found by trying it.

Torch's interface leaves it open: `step` may need a closure, may read gradients before it calls the closure, may
differentiate the gradients once more, may draw random numbers. A signature does not tell. So a copy of the task's own
network is trained for a few steps in one manner after the other, and the first that works is taken.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from suite.signature import MakeOptimizer, Settings, wants_model
from suite.task import Loss, Problem, Task
from suite.training.lanes import SingleModel
from suite.training.optimizer_factory import Budget, Parameters, make_optimizer, with_process_group

TRIED_STEPS = 12
"""Long enough to see what an optimizer does every tenth step (SophiaH's Hessian)."""


@dataclass(frozen=True)
class StepProtocol:
    """closure: `step` gets one. primed: it also expects gradients before it calls it. graph: gradients must carry their
    graph. split: it steps matrices alone, AdamW the rest. draws: it uses torch's global generator. modes: its weights
    for training and for evaluation differ.
    """

    closure: bool = False
    primed: bool = False
    graph: bool = False
    split: bool = False
    draws: bool = False
    modes: bool = False


PLAIN, CLOSURE, PRIMED = StepProtocol(), StepProtocol(closure=True), StepProtocol(closure=True, primed=True)


TRIED = (
    *(PLAIN, CLOSURE, PRIMED),
    *(replace(manner, graph=True) for manner in (PLAIN, CLOSURE, PRIMED)),
    replace(PLAIN, split=True),
)


@dataclass(frozen=True)
class Attempt:
    """What trying one manner gave: the weights it ended at, whether it drew and has modes, or the error.

    `evaluations` counts gradients: the manner that got farthest before it failed tells best what is wrong.
    """

    weights: list[Tensor]
    evaluations: int
    moved: bool = False
    draws: bool = False
    modes: bool = False
    error: Exception | None = None


Build = Callable[[nn.Module, StepProtocol], Any]


def has_modes(optimizer: Any) -> bool:
    """Whether the optimizer's weights for training and for evaluation differ (schedule-free methods)."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def requires_closure(optimizer: Any) -> bool:
    """Whether `step` cannot be called without a closure."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def probe_step_protocol(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, scale: Tensor, make_optimizer: Build
) -> StepProtocol:
    """The first manner of `TRIED` in which the optimizer runs and moves the weights of a copy of `model`.

    `build(module, manner)` makes the optimizer of a module. `x`, `y` are the batch that is used, [n, ...].
    The global generator is left as it was.

    Raises:
        Exception: what the optimizer raised, if it runs in no manner.
    """

    def attempt(manner: StepProtocol) -> Attempt:
        module = copy.deepcopy(model)
        return _attempt(manner, SingleModel(module, loss, scale, graph=manner.graph), module, x, y, make_optimizer)

    with torch.random.fork_rng(devices=[]):
        unmoved: StepProtocol | None = None
        failed: list[Attempt] = []
        for manner in TRIED:
            tried = attempt(manner)
            if tried.error is not None:
                failed.append(tried)
                continue
            found = replace(manner, draws=tried.draws, modes=tried.modes)
            if manner.closure and not manner.primed:
                primed = attempt(replace(manner, primed=True))
                if primed.error is None and not _equal(tried.weights, primed.weights):
                    found = replace(found, primed=True)
            if tried.moved:
                return found
            unmoved = unmoved or found
        if unmoved is not None:
            return unmoved
        error = max(failed, key=lambda attempt: attempt.evaluations).error
        assert error is not None
        raise error


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


def _attempt(
    manner: StepProtocol, lane: SingleModel, module: nn.Module, x: Tensor, y: Tensor, make_optimizer: Build
) -> Attempt:
    evaluations = 0

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        return lane.evaluate(x[None], y[None])[0]

    before = [p.detach().clone() for p in module.parameters()]
    torch.manual_seed(0)
    try:
        optimizer = make_optimizer(module, manner)
        if requires_closure(optimizer) and not manner.closure:
            raise TypeError(f"{type(optimizer).__name__}.step requires a closure")
        state = torch.get_rng_state()
        if has_modes(optimizer):
            optimizer.train()
        for _ in range(TRIED_STEPS):
            for parameter in module.parameters():
                parameter.grad = None
            if manner.primed or not manner.closure:
                closure()
            _ = optimizer.step(closure) if manner.closure else optimizer.step()
    except Exception as error:
        return Attempt([], evaluations, error=error)
    after = [p.detach().clone() for p in module.parameters()]
    return Attempt(
        after,
        evaluations,
        moved=not _equal(before, after),
        draws=not torch.equal(state, torch.get_rng_state()),
        modes=has_modes(optimizer),
    )


Schedule = Callable[[float], float]


OwnLoss = Callable[[Tensor, Tensor, Loss], Tensor]


def common_schedule(progress: float) -> float:
    """The step size's factor after the share `progress` of the budget: 1 up to a half, then cosine to 0."""
    if progress <= 0.5:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, 2.0 * progress - 1.0)))


@dataclass(frozen=True)
class TrainingSetup:
    """make and budget: how the optimizer is built. manner: how it wants to be stepped.

    schedule: share of the budget that is spent -> factor of every step size. loss: what is descended.
    """

    make: MakeOptimizer
    budget: Budget
    manner: StepProtocol
    schedule: Schedule
    loss: Loss

    @property
    def requires_single(self) -> bool:
        """Whether each lane must be trained by itself. (Closures of lanes that draw would share one stream.)"""
        manner = self.manner
        return manner.graph or wants_model(self.make) or (manner.draws and manner.closure)

    def make_optimizer(self, parameters: Parameters, settings: Settings, model: nn.Module) -> Any:
        """The optimizer of `parameters`; `model` is the module that they belong to, for a constructor that asks."""
        return make_optimizer(self.make, parameters, settings, self.budget, model, self.manner.split)


def training_setup(
    task: Task,
    problem: Problem,
    seed: int,
    settings: Settings,
    make: MakeOptimizer,
    device: torch.device | str,
    schedule: Schedule | None,
    own_loss: OwnLoss | None,
) -> TrainingSetup:
    """How `make` trains on `task`, tried out on a copy of the network of `problem` and `seed`.

    Raises:
        Exception: what the optimizer raised, if it can be stepped in no manner.
    """
    train, rows = problem.train, slice(task.batch_size)
    budget = Budget(task.target.budget, len(train))
    loss = task.loss if own_loss is None else _with(own_loss, task.loss)

    def made(model: nn.Module, manner: StepProtocol) -> Any:
        return make_optimizer(make, dict(model.named_parameters()), settings, budget, model, manner.split)

    def found() -> TrainingSetup:
        manner = probe_step_protocol(
            task.model(problem, seed).to(device),
            loss,
            train.x[rows].to(device),
            train.y[rows].to(device),
            torch.tensor(problem.lipschitz, dtype=task.dtype, device=device),
            made,
        )
        return TrainingSetup(make, budget, manner, schedule or common_schedule, loss)

    return with_process_group(found)


def _with(own: OwnLoss, loss: Loss) -> Loss:
    return lambda outputs, targets: own(outputs, targets, loss)
