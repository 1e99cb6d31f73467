"""Many models as one batched program ("model ensembling" in torch.func), or one model with the same interface.

A lane is an index into the stacked axis: one independent run. The parameters of S lanes live in one tensor
``[S, *shape]`` per name; one batched forward and backward pass gives every lane its own loss and gradient:

    losses [S] = vmap(loss of the module)(parameters [S, ...], x [S, b, ...], y [S, b, ...])
    gradients  = d (sum of losses) / d parameters      # a sum, not a mean: each lane has the gradient of its own loss

`SingleModel` serves what `vmap` refuses and what batching makes slower (convolutions and wide networks on a CPU).
"""

from __future__ import annotations

import contextlib
import functools
import math
import pickle
import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import stack_module_state
from torch.nn.functional import cross_entropy

from suite.kernels.max_pool import FastMaxPool2d
from suite.models import call_with, evaluating, hold, statistics_kept
from suite.models.state import OWN_ATTRIBUTES
from suite.task import Loss, Weights
from suite.training.global_state import pickled
from suite.training.tape import Replayed

EVALUATION_BATCH = 250
"""Samples whose outputs are computed at once where no gradient is needed.

Memory stays bounded, and on a CPU the maps of a convolutional network stay in the cache: 2.4 times faster than 2,000.
"""


class StackedModels:
    """S models of one architecture.

    Attributes:
        parameters, buffers: name -> [S, *shape], without a graph; optimizers write into views of the parameters.
        gradients: name -> [S, *shape], new tensors at every `evaluate`: an optimizer may keep those that it was given.
        runs_hooks: whether the last `evaluate` was a backward pass that ran the hooks of parameters.
    """

    runs_hooks = False

    def __init__(self, models: Sequence[nn.Module], loss: Loss, scales: Tensor, task_loss: Loss | None = None) -> None:
        """Stack copies of the weights of S `models`; the first one also serves as the function of all.

        `loss` is descended, divided by the `scales` [S] of the lanes (see `Problem.lipschitz`); `task_loss`, or else
        `loss`, is reported undivided.
        """
        stacked, self.buffers = stack_module_state(list(models))
        self.parameters: Weights = {name: p.detach().clone() for name, p in stacked.items()}
        self.gradients: Weights = {}
        self.scales = scales
        self._module = models[0]
        # What the stack does not train belongs to a lane as it was built: attributes and extra states.
        rest = hold(models[0]).keys() - self.parameters.keys() - self.buffers.keys()
        self._states = [hold(model, rest) for model in models]
        self._batched = self._vmapped(loss)
        self._batched_task_loss = self._batched if task_loss is None or task_loss is loss else self._vmapped(task_loss)
        self._reached: list[str] = []
        self._gradients: Callable[..., list[Tensor]] = lambda *given: [g.clone() for g in self._differentiate(*given)]
        if not _has_hooks(models[0]) and (task_loss is None or task_loss is loss):  # an own loss may count its calls
            state = (*self.parameters.values(), *self.buffers.values(), scales)
            self._gradients = Replayed(self._differentiate, state, functools.partial(_remembered, models[0]))

    def __len__(self) -> int:
        return len(self.scales)

    def _vmapped(self, loss: Loss) -> Callable[..., Tensor]:
        def one(parameters: Weights, buffers: Weights, x: Tensor, y: Tensor) -> Tensor:
            return loss(call_with(self._module, (parameters, buffers), x), y)

        return torch.vmap(one, randomness="different")

    def _select(self, tensors: Weights, index: Tensor | None) -> Weights:
        return tensors if index is None else {name: t.index_select(0, index) for name, t in tensors.items()}

    def leaf(self, name: str, lanes: slice | int) -> nn.Parameter:
        """The parameter `name` of one lane, or of several as one tensor, as an optimizer gets it: a view."""
        return nn.Parameter(self.parameters[name][lanes])

    def gradient(self, name: str, lanes: slice | int) -> Tensor | None:
        """The gradient that belongs to `leaf`; None if the loss does not depend on it."""
        return self.gradients[name][lanes] if name in self.gradients else None

    def evaluate(self, x: Tensor, y: Tensor, index: Tensor | None = None, decay: Tensor | None = None) -> Tensor:
        """The losses [A] of the lanes `index` [A] (None: all) on their batches ``x, y [A, b, ...]``; sets gradients.

        The gradients are those of the losses plus ``decay [A] / 2 |weights|²``; those of all other lanes become zero.
        """
        losses, *gradients = self._gradients(x, y, index, decay)
        self.gradients = {}
        for name, gradient in zip(self._reached, gradients, strict=True):
            if index is None:
                self.gradients[name] = _laid_out_like(self.parameters[name], gradient)
            else:
                self.gradients[name] = torch.zeros_like(self.parameters[name]).index_copy_(0, index, gradient)
        return losses

    @torch.no_grad()
    def descended(self, losses: Tensor, index: Tensor | None = None, decay: Tensor | None = None) -> Tensor:
        """What the gradients belong to that `evaluate` has set with its `losses` [A], as a line search needs it.

        These are the losses with their decay, divided by the scales of the lanes.
        """
        if decay is not None:
            weights = self._select(self.parameters, index).values()
            losses = losses + decay / 2 * sum(p.square().flatten(1).sum(1) for p in weights)
        return losses / (self.scales if index is None else self.scales[index])

    def _differentiate(self, x: Tensor, y: Tensor, index: Tensor | None, decay: Tensor | None) -> list[Tensor]:
        """The losses, and the gradients of the parameters on which they depend: those in `_reached`.

        The others get none, and optimizers see none, as in any script.
        """
        leaves = {name: p.detach().requires_grad_() for name, p in self._select(self.parameters, index).items()}
        scales = self.scales if index is None else self.scales[index]
        with torch.enable_grad():
            losses = self._batched(leaves, self._select(self.buffers, index), x, y)
            objective = losses
            if decay is not None:
                objective = losses + decay / 2 * sum(p.square().flatten(1).sum(1) for p in leaves.values())
            gradients = torch.autograd.grad((objective / scales).sum(), list(leaves.values()), allow_unused=True)
        reached = {name: gradient for name, gradient in zip(leaves, gradients, strict=True) if gradient is not None}
        self._reached = list(reached)
        return [losses.detach(), *reached.values()]

    def statistics_kept(self) -> contextlib.AbstractContextManager[None]:
        """While it lasts, gradients leave running statistics as they are; what `vmap` takes has none."""
        return contextlib.nullcontext()

    @torch.no_grad()
    def losses(self, x: Tensor, y: Tensor, index: Tensor | None = None, ceiling: float = math.inf) -> Tensor:
        """The task's losses [A] of the lanes `index` on ``x [A, n, ...]``, without gradients.

        Where the first samples prove that a loss lies above `ceiling`, their mean may be returned instead.
        """
        with evaluating(self._module):
            parameters, buffers = self._select(self.parameters, index), self._select(self.buffers, index)
            return self._batched_task_loss(parameters, buffers, x, y)

    def snapshot(self, lane: int) -> Weights:
        """A copy of one lane's state (see `suite.models.hold`)."""
        return self._states[lane] | {name: t[lane].clone() for name, t in (self.parameters | self.buffers).items()}


def _laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in memory as its parameter is: fused optimizers silently update wrongly where strides differ."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _has_hooks(model: nn.Module) -> bool:
    """Whether anything but its own code is called when `model` is."""
    kinds = [name for name in vars(nn.Module()) if name.endswith("_hooks") and "state_dict" not in name]
    return any(getattr(module, kind) for module in model.modules() for kind in kinds)


def _remembered(model: nn.Module) -> list[object]:
    """What the modules of `model` keep beside parameters, buffers and modules, as far as it is data.

    And the random numbers of Python and numpy, which no kernel draws.
    """
    return [
        *(
            pickled({name: value for name, value in vars(module).items() if name not in OWN_ATTRIBUTES})
            for module in model.modules()
        ),
        random.getstate(),
        pickle.dumps(np.random.get_state()),  # noqa: NPY002 (networks draw from it)
    ]


def is_hooked(parameter: Tensor) -> bool:
    """Whether a parameter has hooks that a backward pass runs when it has its gradient."""
    return bool(parameter._backward_hooks) or bool(getattr(parameter, "_post_accumulate_grad_hooks", None))


class SingleModel(StackedModels):
    """One lane as an ordinary module, trained as in any script: the optimizer holds the module's own parameters.

    The same interface without `vmap`; shapes keep their lane axis of length 1.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, scale: Tensor, task_loss: Loss | None = None, graph: bool = False
    ) -> None:
        """Train `model` itself; `graph`: gradients carry the graph that an optimizer needs to differentiate them."""
        self.scales = scale.reshape(1)
        self._unscaled = bool(scale == 1)
        self._graph = graph
        self._module = model
        self._names = frozenset(hold(model))
        self._loss, self._task_loss = loss, task_loss or loss
        # Values to the last bit, in a fraction of the time; a mode costs microseconds an operation where nothing pools.
        self._pools = any(isinstance(module, nn.MaxPool2d) for module in model.modules())
        self._leaves = dict(model.named_parameters())
        self.parameters = {name: p.detach().unsqueeze(0) for name, p in self._leaves.items()}
        self.gradients = {}
        self.runs_hooks = True
        self._replayed: Replayed | None = None
        self._trained: list[nn.Parameter] = []
        self._depends_on: list[nn.Parameter] = []
        self._addresses: list[int] = []

    def replay(self) -> None:
        """From now on compute gradients once and replay them where possible (see `suite.training.tape`).

        For an optimizer that knows its parameters and their gradients alone, not the model nor the graph.
        """
        if not self._graph and not _has_hooks(self._module) and self._loss is self._task_loss:
            self._trained = [leaf for leaf in self._leaves.values() if leaf.requires_grad]
            self._addresses = self._find_addresses()
            state = [tensor.detach() for tensor in (*self._leaves.values(), *self._module.buffers(), self.scales)]
            self._replayed = Replayed(self._differentiate, state, functools.partial(_remembered, self._module))

    def prove(self) -> None:
        """Compare what was replayed with the computation once more; a `NotEquivalent` if they differ."""
        if self._replayed is not None:
            self._replayed.prove()

    def _find_addresses(self) -> list[int]:
        """Where the parameters that are trained have their values: elsewhere once an optimizer replaces them."""
        return [leaf.data_ptr() for leaf in self._leaves.values() if leaf.requires_grad]

    def leaf(self, name: str, lanes: slice | int) -> nn.Parameter:
        return self._leaves[name]

    def gradient(self, name: str, lanes: slice | int) -> Tensor | None:
        return self._leaves[name].grad

    def evaluate(self, x: Tensor, y: Tensor, index: Tensor | None = None, decay: Tensor | None = None) -> Tensor:
        for leaf in self._leaves.values():
            leaf.grad = None
        if self._replayed is not None:
            if self._addresses == self._find_addresses() and not any(map(is_hooked, self._trained)):
                return self._replay(self._replayed, x, y, decay)
            self._replayed = None
        self.runs_hooks = True
        with torch.enable_grad():
            loss, objective = self._objective(x, y, decay)
            if self._graph:
                leaves = list(self._leaves.values())
                gradients = torch.autograd.grad(objective, leaves, create_graph=True, allow_unused=True)
                for leaf, gradient in zip(leaves, gradients, strict=True):
                    leaf.grad = gradient
            else:
                # Not `autograd.grad`: optimizers may have hooks on the parameters that this accumulates into.
                torch.autograd.backward(objective)
        return loss.detach().reshape(1)

    def _objective(self, x: Tensor, y: Tensor, decay: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss, and what is descended."""
        loss = objective = self._loss(self._module(x[0]), y[0])
        if decay is not None:
            objective = loss + decay[0] / 2 * sum(p.square().sum() for p in self._leaves.values())
        return loss, objective if self._unscaled else objective / self.scales[0]

    def _replay(self, replayed: Replayed, x: Tensor, y: Tensor, decay: Tensor | None) -> Tensor:
        """What `evaluate` does, by kernels that were recorded."""
        self.runs_hooks = False
        loss, *gradients = replayed(x, y, None, decay)
        for leaf, gradient in zip(self._depends_on, gradients, strict=True):
            leaf.grad = _laid_out_like(leaf, gradient)
        return loss.reshape(1)

    def _differentiate(self, x: Tensor, y: Tensor, index: Tensor | None, decay: Tensor | None) -> list[Tensor]:
        """The loss, and the gradients of the parameters that it depends on: those in `_depends_on`."""
        with torch.enable_grad():
            loss, objective = self._objective(x, y, decay)
            gradients = torch.autograd.grad(objective, self._trained, allow_unused=True)
        found = [(leaf, each) for leaf, each in zip(self._trained, gradients, strict=True) if each is not None]
        self._depends_on = [leaf for leaf, _ in found]
        return [loss.detach(), *(gradient for _, gradient in found)]

    def statistics_kept(self) -> contextlib.AbstractContextManager[None]:
        return statistics_kept(self._module)

    @torch.no_grad()
    def losses(self, x: Tensor, y: Tensor, index: Tensor | None = None, ceiling: float = math.inf) -> Tensor:
        outputs: list[Tensor] = []
        partial_sum = seen = 0.0
        batches = zip(*(torch.split(tensor[0], EVALUATION_BATCH) for tensor in (x, y)), strict=True)
        with evaluating(self._module), FastMaxPool2d() if self._pools else contextlib.nullcontext():
            for part, targets in batches:
                outputs.append(self._module(part))
                if self._task_loss is cross_entropy and math.isfinite(ceiling):
                    # Terms are not negative, so the sum of some of them is a lower bound of the sum of all.
                    partial_sum += float(self._task_loss(outputs[-1], targets)) * len(part)
                    seen += len(part)
                    if partial_sum > ceiling * len(y[0]):
                        return torch.full((1,), partial_sum / seen, device=x.device)
        return self._task_loss(torch.cat(outputs), y[0]).reshape(1)

    def snapshot(self, lane: int) -> Weights:
        return hold(self._module, self._names)
