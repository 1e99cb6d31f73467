"""Stepping any optimizer on stacked lanes so that every lane gets what ordinary sequential training gives it.

Three ways, from fast to general; `make_groups` takes the first that is exact:

- *stacked*: one optimizer instance per trial on tensors ``[lanes, *shape]``. Only for optimizers that a probe on the
  network's own shapes proves to treat lanes independently (entrywise ones: SGD, Adam, …).
- *per lane*: one ordinary instance per lane on views of the stack (Muon, Adafactor, anything with a norm).
- *rendezvous*: per lane, with a closure (SAM, LBFGS). The lanes' closures meet for one batched gradient.

A lane that is trained by itself is stepped *alone*.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from suite.lanes import Lanes, Weights
from suite.seeding import torch_stream

MakeOptimizer = Callable[..., Any]
Settings = Mapping[str, Any]

PROBE_STEPS = 5
PROBE_TOLERANCE = 1e-9


@dataclass
class Group:
    """One optimizer instance and the consecutive lanes that it steps."""

    lanes: range
    optimizer: Any
    stack: Lanes
    parameters: dict[str, nn.Parameter]
    base_rates: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.base_rates = [group.get("lr") for group in self.optimizer.param_groups]

    def _view(self, tensors: Weights, name: str) -> Tensor:
        tensor = tensors[name]
        if len(self.lanes) == 1 and not self._keeps_axis:
            return tensor[self.lanes.start]
        return tensor[self.lanes.start : self.lanes.stop]

    @property
    def _keeps_axis(self) -> bool:
        name, parameter = next(iter(self.parameters.items()))
        return parameter.dim() == self.stack.parameters[name].dim()

    def attach(self) -> None:
        """Point every parameter's gradient at the lanes' gradients (optimizers may have cleared them)."""
        for name, parameter in self.parameters.items():
            parameter.grad = self._view(self.stack.gradients, name)

    def set_rate(self, factor: float) -> None:
        """Scale every parameter group's step size by the schedule's `factor`."""
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            if base is not None:
                group["lr"] = base * factor

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        """One optimizer step; a submission that replaced a parameter's storage is copied back into the stack."""
        if closure is None:
            self.attach()
            self.optimizer.step()
        else:
            self.optimizer.step(closure)
        for name, parameter in self.parameters.items():
            home = self._view(self.stack.parameters, name)
            if parameter.data_ptr() != home.data_ptr():
                home.copy_(parameter.detach())

    def switch(self, mode: str) -> None:
        """Call the optimizer's `train` or `eval`, which schedule-free methods need; others have none."""
        method = getattr(self.optimizer, mode, None)
        if callable(method):
            method()


def needs_closure(optimizer: Any) -> bool:
    """Whether `step` cannot be called without a closure."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def has_modes(optimizer: Any) -> bool:
    """Whether the optimizer's weights for training and for evaluation differ (schedule-free methods)."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def _group(stack: Lanes, lanes: range, make: MakeOptimizer, settings: Settings, keep_axis: bool) -> Group:
    parameters = {}
    for name, tensor in stack.parameters.items():
        view = tensor[lanes.start : lanes.stop] if keep_axis else tensor[lanes.start]
        parameters[name] = nn.Parameter(view)
    return Group(lanes, make(list(parameters.values()), **settings), stack, parameters)


def treats_lanes_independently(make: MakeOptimizer, settings: Settings, shapes: Sequence[torch.Size]) -> bool:
    """Prove or refute that stepping ``[3, *shape]`` tensors equals stepping three separate sets of parameters.

    Three lanes in float64 whose gradients differ by factors of 1000, five steps with a changing step size, agreement
    to 1e-9 relative. Anything that raises is not proved.
    """

    def final(groups: Sequence[slice | int]) -> list[Tensor]:
        stream = torch_stream("stepping probe")
        start = [torch.randn((3, *shape), generator=stream, dtype=torch.float64) for shape in shapes]
        steps = [
            [torch.randn((3, *shape), generator=stream, dtype=torch.float64) for shape in shapes]
            for _ in range(PROBE_STEPS)
        ]
        scale = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)
        ends = [torch.empty_like(tensor) for tensor in start]
        for group in groups:
            parameters = [nn.Parameter(tensor[group].clone()) for tensor in start]
            torch.manual_seed(0)
            optimizer = make(parameters, **settings)
            for number, gradients in enumerate(steps):
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    lanes_first = scale.reshape(3, *([1] * (gradient.dim() - 1)))
                    parameter.grad = (gradient * lanes_first)[group].clone()
                for options in optimizer.param_groups:
                    if "lr" in options:
                        options["lr"] = options["lr"] * (1 - 0.1 * number)
                optimizer.step()
            for end, parameter in zip(ends, parameters, strict=True):
                end[group] = parameter.detach()
        return ends

    try:
        together, apart = final([slice(0, 3)]), final([0, 1, 2])
    except Exception:
        return False
    return all(
        bool(((a - b).abs() <= PROBE_TOLERANCE * b.abs().clamp_min(1e-3)).all())
        for a, b in zip(together, apart, strict=True)
    )


def make_groups(stack: Lanes, make: MakeOptimizer, trials: Sequence[tuple[range, Settings]]) -> tuple[list[Group], str]:
    """Optimizers for all lanes, and the way that they are stepped (as the record states it).

    `trials` gives each trial's consecutive lanes and its hyper-parameters.
    """
    single = [(range(lane, lane + 1), settings) for lanes, settings in trials for lane in lanes]
    if len(stack) == 1:
        return [_group(stack, lanes, make, settings, False) for lanes, settings in single], "alone"
    first = _group(stack, single[0][0], make, single[0][1], False)
    if needs_closure(first.optimizer):
        return [_group(stack, lanes, make, settings, False) for lanes, settings in single], "rendezvous"
    shapes = [tensor.shape[1:] for tensor in stack.parameters.values()]
    if all(treats_lanes_independently(make, settings, shapes) for _, settings in trials):
        return [_group(stack, lanes, make, settings, True) for lanes, settings in trials], "stacked"
    return [_group(stack, lanes, make, settings, False) for lanes, settings in single], "per lane"


class Rendezvous:
    """Closures of many lanes meet for one batched gradient.

    Every lane steps its own optimizer in a thread. A closure puts its lane among the waiting and sleeps; when no lane
    runs optimizer code any more, the last to arrive evaluates the waiting lanes in one batch and wakes them. So
    unequal numbers of closure calls work (LBFGS's line search), where a barrier would deadlock. Only one thread works
    at a time; the gain is the batched gradient.
    """

    def __init__(self, evaluate: Callable[[list[int]], Mapping[int, Tensor]]) -> None:
        """`evaluate(lanes)` computes and attaches the gradients of `lanes`; returns their losses."""
        self._evaluate = evaluate
        self._condition = threading.Condition()
        self._waiting: set[int] = set()
        self._busy: set[int] = set()
        self._losses: dict[int, Tensor] = {}
        self._error: BaseException | None = None

    def _serve(self) -> None:
        if self._busy or not self._waiting:
            return
        lanes = sorted(self._waiting)
        try:
            self._losses.update(self._evaluate(lanes))
        except BaseException as error:  # every sleeping lane must wake and see it
            self._error = error
        self._busy.update(lanes)
        self._waiting.clear()
        self._condition.notify_all()

    def closure(self, lane: int) -> Tensor:
        """Called by a lane's optimizer: its loss, with its gradients filled."""
        with self._condition:
            self._busy.discard(lane)
            self._waiting.add(lane)
            self._serve()
            self._condition.wait_for(lambda: lane in self._busy)
            if self._error is not None:
                raise self._error
            return self._losses[lane]

    def run(self, work: Mapping[int, Callable[[], None]]) -> None:
        """Run every lane's `work` to its end in its own thread; the first error is raised after all have ended."""
        errors: list[BaseException] = []
        self._busy = set(work)

        def body(lane: int) -> None:
            try:
                work[lane]()
            except BaseException as error:
                errors.append(error)
            finally:
                with self._condition:
                    self._busy.discard(lane)
                    self._waiting.discard(lane)
                    self._serve()

        threads = [threading.Thread(target=body, args=(lane,), daemon=True) for lane in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
