"""How an optimizer's `step` must be called, found by trying it.

The signature does not reveal this, so we try each calling convention on a copy of the network for 12 steps and keep the
first that works. (`step` may need a closure, may read gradients before it calls the closure, may differentiate the
gradients once more, may draw random numbers.)

    for protocol in CANDIDATES:                 # plain, with a closure, with the gradients' graph, matrices only
        copy the network, build the optimizer, take 12 steps
        if it raised: next
        if calling the closure once before each step changes the weights: the optimizer reads gradients first
        if the weights moved: return protocol
    return the first protocol that did not raise, or raise the error of the one that got farthest
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from suite.models import copy_of
from suite.signature import MakeOptimizer, Settings, wants_model
from suite.task import Loss, Task
from suite.training.global_state import (
    GlobalState,
    generator_states,
    generators_preserved,
    same_generators,
    seed_generators,
)
from suite.training.gradient_count import GRADIENTS, gradients_of_others
from suite.training.groups import is_entrywise
from suite.training.lanes import is_hooked
from suite.training.optimizer_factory import Budget, Parameters, make_optimizer, with_process_group
from suite.training.run import Device, TrainingRun
from suite.training.source import LOCAL, GradientSource

PROBE_STEPS = 12
"""Long enough to see what an optimizer does every tenth step (SophiaH's Hessian)."""

Schedule = Callable[[float], float]
OwnLoss = Callable[[Tensor, Tensor, Loss], Tensor]


@dataclass(frozen=True)
class StepProtocol:
    """How `step` must be called."""

    needs_closure: bool = False
    needs_grad_before_closure: bool = False
    """It expects gradients before it calls the closure."""
    needs_graph: bool = False
    """Gradients must carry their graph."""
    splits_matrices: bool = False
    """The optimizer steps matrices only, AdamW the rest."""
    uses_rng: bool = False
    """It draws from a global generator: torch's, numpy's or Python's."""
    needs_own_module: bool = False
    """It adds hooks to parameters, which an ordinary backward pass alone runs, or replaces their storage."""
    is_entrywise: bool = False
    """It is of a class of torch that steps every entry by itself."""
    differentiates: bool = False
    """It computes gradients by itself."""
    shares_state: bool = False
    """Its steps change settings of torch or variables of its module."""
    has_eval_mode: bool = False
    """Its weights for training and for evaluation differ (schedule-free methods)."""


PLAIN = StepProtocol()
CANDIDATES = (
    PLAIN,
    StepProtocol(needs_closure=True),
    StepProtocol(needs_closure=True, needs_grad_before_closure=True),
    StepProtocol(needs_graph=True),
    StepProtocol(needs_closure=True, needs_graph=True),
    StepProtocol(needs_closure=True, needs_grad_before_closure=True, needs_graph=True),
    StepProtocol(splits_matrices=True),
)
"""The calling conventions, in the order in which they are tried."""


@dataclass(frozen=True)
class TrainingSetup:
    """How a submission trains on a task: `loss` is descended, every step size scaled by `schedule(progress)`.

    Attributes:
        passes: backward passes in one gradient of the task's network; several where it recomputes parts of itself.
        source: of losses and gradients.
        replays: whether gradients of a run that is trained alone may be replayed (see `suite.training.tape`).
        vmaps_steps: whether an optimizer's code runs once for all lanes of a trial (see `suite.training.vmapped`).
    """

    task: Task
    device: Device
    make: MakeOptimizer
    budget: Budget
    schedule: Schedule
    loss: Loss
    globals: GlobalState
    passes: int = 1
    source: GradientSource = LOCAL
    protocol: StepProtocol = PLAIN
    replays: bool = True
    vmaps_steps: bool = False

    @property
    def requires_single(self) -> bool:
        """Whether each run must be trained by itself. (Closures of lanes that draw would share one random stream.)"""
        protocol = self.protocol
        draws_in_closures = protocol.uses_rng and protocol.needs_closure
        own = protocol.needs_own_module or protocol.shares_state or protocol.differentiates
        return protocol.needs_graph or own or draws_in_closures or wants_model(self.make)

    def make_optimizer(self, parameters: Parameters, settings: Settings, model: nn.Module) -> Any:
        """The optimizer of `parameters`, which belong to `model`."""
        return make_optimizer(self.make, parameters, settings, self.budget, model, self.protocol.splits_matrices)


def common_schedule(progress: float) -> float:
    """The step size's factor after the share `progress` of the budget: 1 up to a half, then cosine to 0."""
    if progress <= 0.5:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, 2.0 * progress - 1.0)))


def training_setup(
    task: Task,
    run: TrainingRun,
    make: MakeOptimizer,
    device: Device,
    schedule: Schedule | None,
    loss: OwnLoss | None,
    source: GradientSource = LOCAL,
) -> TrainingSetup:
    """How `make` trains on `task`, tried out on a copy of the network of `run`; raises what the optimizer raises."""
    descended = task.loss if loss is None else lambda outputs, targets: loss(outputs, targets, task.loss)
    budget = Budget(task.target.budget, len(run.problem.train))
    reached = GlobalState(make)
    passes = source.passes(task, run, device)
    setup = TrainingSetup(task, device, make, budget, schedule or common_schedule, descended, reached, passes, source)
    protocol = with_process_group(lambda: probe_step_protocol(setup, run))
    reached.restore()
    # One optimizer for several lanes has one step size for all of them, and each is annealed at a time of its own.
    is_entrywise = protocol.is_entrywise and not task.target.annealing
    return replace(setup, protocol=replace(protocol, is_entrywise=is_entrywise))


def has_eval_mode(optimizer: Any) -> bool:
    """Whether the optimizer's weights for training and for evaluation differ (schedule-free methods)."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def call_mode(optimizer: Any, mode: Literal["train", "eval"]) -> None:
    """Set the weights that are meant for training or for evaluation, where they differ."""
    if has_eval_mode(optimizer):
        getattr(optimizer, mode)()


def probe_step_protocol(setup: TrainingSetup, run: TrainingRun) -> StepProtocol:
    """The first of `CANDIDATES` with which the optimizer runs and moves the weights of the network of `run`."""
    task, device = setup.task, setup.device
    model = run.model(task, device)

    def attempt(protocol: StepProtocol) -> _Attempt:
        return _attempt(replace(setup, protocol=protocol), run, copy_of(model))

    unmoved: StepProtocol | None = None
    failures: list[tuple[int, Exception]] = []
    with generators_preserved(device):
        for candidate in CANDIDATES:
            plain = attempt(candidate)
            if plain.error is not None:
                failures.append((plain.evaluations, plain.error))
                continue
            protocol = plain.protocol
            if candidate.needs_closure and not candidate.needs_grad_before_closure:
                after_gradient = attempt(replace(candidate, needs_grad_before_closure=True))
                if after_gradient.error is None and not _equal(plain.weights, after_gradient.weights):
                    protocol = replace(protocol, needs_grad_before_closure=True)
            if not _equal(plain.weights, model.parameters()):
                return protocol
            unmoved = unmoved or protocol
    if unmoved is None:
        raise max(failures, key=itemgetter(0))[1]  # the attempt that got farthest tells most
    return unmoved


@dataclass(frozen=True)
class _Attempt:
    """What trying a protocol gave: the protocol with what was seen of the optimizer, or the error."""

    protocol: StepProtocol
    weights: list[Tensor]
    evaluations: int
    error: Exception | None = None


def _attempt(setup: TrainingSetup, run: TrainingRun, model: nn.Module) -> _Attempt:
    """Take `PROBE_STEPS` steps on `model` as the protocol of `setup` says."""
    protocol, evaluations, others = setup.protocol, 0, GRADIENTS.others
    single = setup.source.single(setup.task, setup.loss, run, model, setup.device, protocol.needs_graph)
    batch = setup.source.first_batch(setup.task, run, setup.device)

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        GRADIENTS.expected += setup.passes
        return single.descended(single.evaluate(*batch))[0]

    setup.globals.restore()  # whatever the attempt before has made of it
    seed_generators(0)
    states, storages = generator_states(setup.device), _storages(model)
    try:
        optimizer = setup.make_optimizer(dict(model.named_parameters()), run.settings, model)
        argument = inspect.signature(optimizer.step).parameters.get("closure")
        if argument and argument.default is inspect.Parameter.empty and not protocol.needs_closure:
            raise TypeError(f"{type(optimizer).__name__}.step requires a closure")
        call_mode(optimizer, "train")
        for _ in range(PROBE_STEPS):
            for parameter in model.parameters():
                parameter.grad = None
            if protocol.needs_grad_before_closure or not protocol.needs_closure:
                closure()
            _ = optimizer.step(closure) if protocol.needs_closure else optimizer.step()
    except Exception as error:
        return _Attempt(protocol, [], evaluations, error)
    seen = {
        "uses_rng": not same_generators(states, generator_states(setup.device)),
        "needs_own_module": any(map(is_hooked, model.parameters())) or storages != _storages(model),
        "differentiates": gradients_of_others(others) > 0,
        "is_entrywise": is_entrywise(optimizer),
        "shares_state": setup.globals.changed(),
        "has_eval_mode": has_eval_mode(optimizer),
    }
    protocol = replace(protocol, **seen)
    return _Attempt(protocol, [p.detach() for p in model.parameters()], evaluations)


def _storages(model: nn.Module) -> list[int]:
    """Where the values of the parameters lie."""
    return [parameter.data_ptr() for parameter in model.parameters()]


def _equal(a: Iterable[Tensor], b: Iterable[Tensor]) -> bool:
    return all(map(torch.equal, a, b))
