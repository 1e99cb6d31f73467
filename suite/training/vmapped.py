"""One optimizer for all lanes of a trial, whose own code runs once for all of them.

Where every lane has an optimizer of its own, most of a step is Python that does the same for each. Here the optimizer
is built and stepped under `torch.vmap`: it sees the parameters of one run, and what it does to a tensor is done to
those of all lanes:

    enter a level of vmap
    optimizer = build(parameters)     # in memory [lanes, *shape], seen as [*shape]; so is its state
    at every step:
        enter the level
        optimizer.step()              # a closure leaves the level while the gradients are computed

`vmap` refuses what could differ between lanes: choices by values, random numbers, numbers taken out of tensors. That
its kernels give the numbers of one optimizer per lane to the last bit is found out before training
(`supports_vmapped_steps`; sums might be added in another order), and again at some of the later steps, for a lane whose
part of the state a copy of the optimizer gets (`LaneCopy`). Where they do not, every lane has its own.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import pickle
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch

from suite.signature import Settings
from suite.task import Weights
from suite.training.global_state import generator_states, generators_preserved, same_generators, seed_generators
from suite.training.gradient_count import GRADIENTS
from suite.training.groups import Group
from suite.training.lanes import StackedModels
from suite.training.optimizer_factory import BuildOptimizer, Parameters
from suite.training.run import TrainingRun
from suite.training.step_protocol import PROBE_STEPS, TrainingSetup
from suite.training.tape import NotEquivalent, same_bits


class VmappedGroup(Group):
    """One optimizer under `vmap`, and the consecutive lanes that it steps."""

    def __init__(self, stack: StackedModels, lanes: range, build: BuildOptimizer, settings: Settings) -> None:
        """Build the optimizer of `lanes`."""
        self._level = 0
        self._proved: int | None = None
        self._copy: LaneCopy | None = None
        super().__init__(stack, lanes, build, settings, stacked=True)
        self.is_stacked = False

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """The level of `vmap`: the same number at every time, by which torch knows the tensors that belong to it."""
        self._enter()
        # A kernel that `vmap` knows no better for is called lane by lane, and torch would warn of that.
        _functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            _functorch._set_vmap_fallback_warning_enabled(True)  # type: ignore[attr-defined]
            self._leave()

    def _enter(self) -> None:
        level = _functorch._vmap_increment_nesting(len(self.lanes), "error")
        if self._level not in (0, level):
            self._leave()
            raise NotEquivalent("it is stepped inside another transformation")
        self._level = level

    def _leave(self) -> None:
        _functorch._vmap_decrement_nesting()

    def _seen(self, stacked: Tensor) -> Tensor:
        """What is in memory ``[lanes, *shape]``, as the optimizer sees it."""
        return _functorch._add_batch_dim(stacked, 0, self._level)

    def _leaf(self, name: str) -> nn.Parameter:
        return nn.Parameter(self._seen(self.stack.parameters[name][self.index]))

    def _find_storages(self) -> list[int]:
        return [_functorch.get_unwrapped(parameter).data_ptr() for parameter in self.parameters.values()]

    def attach_gradients(self) -> None:
        for name, parameter in self.parameters.items():
            gradient = self.stack.gradient(name, self.index)
            parameter.grad = None if gradient is None else self._seen(gradient)

    def prove_next_step(self, lane: int) -> None:
        self._proved = lane

    def prime(self, closure: Callable[[], Tensor]) -> None:
        with self._inside():
            super().prime(closure)

    def _call(self, closure: Callable[[], Tensor]) -> Tensor:
        if _functorch.maybe_current_level() != self._level:
            raise NotEquivalent("it calls the closure inside another transformation")
        self._leave()
        try:
            losses = closure()
        finally:
            self._enter()
        self.attach_gradients()
        if self._copy is not None:
            self._copy.note(losses)
        return self._seen(losses)

    def step(self, closure: Callable[[], Tensor] | None = None) -> None:
        lane, self._proved = self._proved, None
        try:
            with self._inside():
                if closure is None:
                    self.attach_gradients()
                if lane is not None:
                    self._copy = LaneCopy(self, lane)
                if closure is None:
                    self.optimizer.step()
                else:
                    self.optimizer.step(functools.partial(self._call, closure))
            if self._copy is not None:
                self._copy.require_same_step(with_closure=closure is not None)
        except NotEquivalent:
            raise
        except Exception as error:  # one of the optimizer's own comes again where every lane has an optimizer
            raise NotEquivalent(f"it cannot be stepped under vmap: {error}") from error
        finally:
            self._copy = None


class LaneCopy:
    """The optimizer of one lane: a copy of one that steps several, with the lane's part of whatever has one."""

    def __init__(self, group: VmappedGroup, lane: int) -> None:
        """Copy the optimizer of `group` as it is before a step; an error if it cannot be copied."""
        self._group, self._lane, row = group, lane, lane - group.lanes.start
        kept: list[Any] = []
        written = io.BytesIO()
        _OptimizerPickler(written, kept).dump((group.optimizer, group.parameters))
        reader = _OptimizerUnpickler(io.BytesIO(written.getvalue()), kept, row)
        self._optimizer, self._parameters = reader.load()
        for name, parameter in group.parameters.items():
            gradient = parameter.grad
            self._parameters[name].grad = None if gradient is None else _part(gradient, row)
        self._calls: list[tuple[Weights, Tensor, Weights]] = []

    def note(self, losses: Tensor) -> None:
        """Keep where the closure was called, and what it gave: the `losses` of all lanes, and gradients."""
        stack, row = self._group.stack, self._lane - self._group.lanes.start
        gradients = {name: stack.gradient(name, self._lane) for name in self._parameters}
        self._calls.append(
            (self._weights(), losses[row].clone(), {n: g.clone() for n, g in gradients.items() if g is not None})
        )

    def _weights(self) -> Weights:
        """The weights of the lane in the stack, as they are now."""
        return {name: self._group.stack.parameters[name][self._lane].clone() for name in self._parameters}

    def require_same_step(self, with_closure: bool) -> None:
        """Step, with what the closure gave; a `NotEquivalent` unless every bit is what the group made of the lane."""
        calls = iter(self._calls)

        def closure() -> Tensor:
            weights, loss, gradients = next(calls)
            self._require(weights)
            for name, parameter in self._parameters.items():
                parameter.grad = gradients.get(name)
            return loss

        _ = self._optimizer.step(closure) if with_closure else self._optimizer.step()
        self._require(self._weights())

    def _require(self, weights: Weights) -> None:
        if not all(same_bits(own.detach(), weights[name]) for name, own in self._parameters.items()):
            raise NotEquivalent("a lane is not stepped as by an optimizer of its own")


def _part(tensor: Tensor, row: int) -> Tensor:
    """The part of a lane in memory of its own; of what lanes share, a copy."""
    if not _functorch.is_batchedtensor(tensor):
        return tensor.detach().clone()
    return _functorch.get_unwrapped(tensor).detach().select(_functorch.maybe_get_bdim(tensor), row).clone()


class _OptimizerPickler(pickle.Pickler):
    """Writes optimizers with all their attributes, which torch's own way leaves out, and lists what it cannot write."""

    def __init__(self, file: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(file)
        self._kept = kept

    def persistent_id(self, value: Any) -> int | None:
        if isinstance(value, types.FunctionType) and value.__closure__:
            raise pickle.PicklingError("a function with variables of its own would be shared with the copy")
        if not isinstance(value, Tensor | type | types.FunctionType | types.BuiltinFunctionType | types.ModuleType):
            return None
        self._kept.append(value)
        return len(self._kept) - 1

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.optim.Optimizer):
            return object.__new__, (type(value),), vars(value), None, None, _set_attributes
        return NotImplemented


def _set_attributes(value: Any, attributes: dict[str, Any]) -> None:
    vars(value).update(attributes)


class _OptimizerUnpickler(pickle.Unpickler):
    """Reads them for the lane of a row."""

    def __init__(self, file: io.BytesIO, kept: Sequence[Any], row: int) -> None:
        super().__init__(file)
        self._kept, self._row = kept, row
        self._parts: dict[int, Tensor] = {}

    def persistent_load(self, number: int) -> Any:
        value = self._kept[number]
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._parts:
            part = _part(value, self._row)
            is_parameter = isinstance(value, nn.Parameter)
            self._parts[id(value)] = nn.Parameter(part, value.requires_grad) if is_parameter else part
        return self._parts[id(value)]


class _Tried(StackedModels):
    """Two lanes with other weights, whose gradients one network computes by itself."""

    def __init__(self, setup: TrainingSetup, run: TrainingRun) -> None:
        self._setup = setup
        self._single = setup.source.single(
            setup.task, setup.loss, run, run.model(setup.task, setup.device), setup.device
        )
        self._batch = setup.source.first_batch(setup.task, run, setup.device)
        self.parameters = {name: torch.cat([w, 0.75 * w]) for name, w in self._single.parameters.items()}
        self.gradients = {}

    @torch.no_grad()
    def differentiate(self, lanes: Sequence[int]) -> Tensor:
        """The losses of both lanes, those of `lanes` and their gradients made anew."""
        losses = next(iter(self.parameters.values())).new_zeros(2)
        for lane in lanes:
            for name, stacked in self.parameters.items():
                self._single.leaf(name, 0).copy_(stacked[lane])
            losses[lane] = self._single.descended(self._single.evaluate(*self._batch))[0]
            GRADIENTS.expected += self._setup.passes
            for name, stacked in self.parameters.items():
                gradient = self._single.gradient(name, 0)
                if gradient is not None:
                    self.gradients.setdefault(name, torch.zeros_like(stacked))[lane] = gradient
        return losses


def supports_vmapped_steps(setup: TrainingSetup, runs: Sequence[TrainingRun]) -> bool:
    """Whether one optimizer under `vmap` steps the lanes of a trial as optimizers of their own do, to the last bit.

    It is tried in as many steps as those that tell how an optimizer must be called. Not asked where torch's own classes
    step stacked tensors, nor where lanes have random numbers, weights for evaluation, or step sizes of their own.
    """
    protocol = setup.protocol
    several = next((run for run, other in itertools.pairwise(runs) if run.trial == other.trial), None)
    own = protocol.uses_rng or protocol.has_eval_mode or setup.task.target.annealing
    if several is None or protocol.is_entrywise or own:
        return False
    with generators_preserved(setup.device):
        setup.globals.restore()
        seed_generators(0)
        states = generator_states(setup.device)
        try:
            _try_steps(setup, several)
            return same_generators(states, generator_states(setup.device)) and not setup.globals.changed()
        except Exception:  # of vmap; or the optimizer's own, which comes again where every lane has an optimizer
            return False
        finally:
            setup.globals.restore()


def _try_steps(setup: TrainingSetup, run: TrainingRun) -> None:
    """Step two lanes both ways; a `NotEquivalent` if they differ."""
    together, apart = _Tried(setup, run), _Tried(setup, run)
    model = run.model(setup.task, setup.device)

    def build(parameters: Parameters, settings: Settings) -> Any:
        return setup.make_optimizer(parameters, settings, model)

    under_vmap = VmappedGroup(together, range(2), build, run.settings)
    groups = [under_vmap, *(Group(apart, range(n, n + 1), build, run.settings, False) for n in range(2))]
    for step in range(PROBE_STEPS):
        if step == PROBE_STEPS - 1:
            under_vmap.prove_next_step(1)
        for group in groups:
            _try_step(setup, group, 1 - step / (2 * PROBE_STEPS))
        if not all(same_bits(weights, apart.parameters[name]) for name, weights in together.parameters.items()):
            raise NotEquivalent("lanes are not stepped as by optimizers of their own")


def _try_step(setup: TrainingSetup, group: Group, factor: float) -> None:
    """Step the lanes of `group` once."""
    stack = group.stack
    assert isinstance(stack, _Tried)

    def closure() -> Tensor:
        return stack.differentiate(group.lanes)[group.index]

    group.set_rate(factor)
    if setup.protocol.needs_grad_before_closure or not setup.protocol.needs_closure:
        group.prime(closure)
    group.step(closure if setup.protocol.needs_closure else None)
