"""A network as a function of one vector of parameters.

It is an ordinary module, or S lanes: models of one architecture, stacked. Then vectors are [S, P], data is [S, n, ...],
and every operator is block-diagonal over the lanes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.func import stack_module_state, vjp

from suite.errors import InputError
from suite.kernels.conv2d import DoubleBackwardConv2d
from suite.kernels.max_pool import FastMaxPool2d
from suite.kernels.twice_differentiable import TwiceDifferentiable
from suite.models import call_with, copy_of
from suite.seeding import torch_stream
from suite.task import Loss, Weights

SAME_GRADIENT = 1e-2
"""Two gradients whose relative difference is smaller are equal up to rounding (a generous limit)."""

MIN_CHUNK, MAX_CHUNK = 32, 1024

CHUNK_BYTES = 2**24
"""What a graph may store of the samples that are worked on at once: maps that fit into the cache are read fast.

A gradient of the CIFAR network on 2,000 images takes half the time in chunks of 64 that it takes in chunks of 500.
"""


class Network:
    """The parameters (those that require gradients) and outputs of one model, which is not copied.

    Attributes:
        module: the model; for lanes the first of them, whose structure all share.
        lanes: S; None for one model.
        leaves: the parameters, each [*shape], or [S, *shape] for S lanes.
        size: P, the number of parameters of one lane.
        dtype, device: of the parameters.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take one model, in the mode (train or eval) that it is in.

        Raises:
            InputError: no parameter requires a gradient.
        """
        self.module = model
        self.lanes: int | None = None
        self.leaves: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        if not self.leaves:
            raise InputError("The network has no parameters that require gradients: there is nothing to measure.")
        self.dtype, self.device = self.leaves[0].dtype, self.leaves[0].device
        self._sizes = [leaf.numel() for leaf in self.leaves]
        self.size = sum(self._sizes)
        self._chunk: int | None = None
        self._supports_functional_call: bool | None = None

    @classmethod
    def stacked(cls, models: Sequence[nn.Module]) -> Network:
        """S lanes from models of one architecture, whose weights are copied into stacked leaves."""
        return _Lanes(models[0], *stack_module_state(list(models)))

    @classmethod
    def at(cls, model: nn.Module, states: Sequence[Weights]) -> Network:
        """S lanes of one model, a lane for each of `states`: its parameters and buffers by name, which are copied."""
        parameters, buffers = (
            {name: torch.stack([state[name] for state in states]) for name, _ in named}
            for named in (model.named_parameters(), model.named_buffers())
        )
        return _Lanes(model, parameters, buffers)

    def outputs(self, x: Tensor) -> Tensor:
        """Outputs [n, ...] on `x` [n, ...], with a graph to the leaves; [S, n, ...] for lanes."""
        with FastMaxPool2d(), TwiceDifferentiable():
            return self.module(x)

    def twice_differentiable(self, x: Tensor) -> Tensor:
        """The same outputs, with a graph that is fast to differentiate twice."""
        with DoubleBackwardConv2d():
            return self.outputs(x)

    def supports_functional_call(self, x: Tensor) -> bool:
        """Whether the module computes with the weights that `functional_call` passes (tested on `x[:1]`, once).

        A module may hold copies: a slice of an `nn.ParameterList` wraps each parameter anew, outside of the graph.
        """
        if self._supports_functional_call is None:
            named = {name: p.detach() for name, p in self.module.named_parameters() if p.requires_grad}
            with torch.enable_grad():
                outputs = self.outputs(x[:1])
                vector = torch.randn(outputs.shape, generator=torch_stream("exchange")).to(outputs)
                expected = torch.autograd.grad(outputs, self.leaves, vector, materialize_grads=True)
            functional = vjp(lambda theta: call_with(self.module, theta, x[:1]), named)[1](vector)[0]
            norm = torch.linalg.vector_norm
            self._supports_functional_call = all(
                bool(norm(one - other) <= SAME_GRADIENT * norm(other))
                for one, other in zip(functional.values(), expected, strict=True)
            )
        return self._supports_functional_call

    def chunk(self, x: Tensor) -> int:
        """How many samples of `x` are best worked on at once: a power of two, so that chunks divide one another."""
        if self._chunk is None:
            one = x.narrow(0 if self.lanes is None else 1, 0, 1).clone()
            with torch.enable_grad():
                fitting = CHUNK_BYTES // max(1, saved_bytes(lambda: self.outputs(one), self.leaves))
            self._chunk = 2 ** (max(MIN_CHUNK, fitting).bit_length() - 1)
        return min(MAX_CHUNK, self._chunk)

    def losses(self, loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of all samples, a scalar, or the losses [S] of the lanes."""
        return loss(outputs, y)

    def sample_losses(self, loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of every single sample, [n] or [S, n]."""
        return torch.vmap(lambda z, t: loss(z[None], t[None]))(outputs, y)

    def flatten(self, pieces: Sequence[Tensor]) -> Tensor:
        """Tensors like the leaves as one vector [P], or [S, P]."""
        return torch.cat([piece.reshape(-1) for piece in pieces])

    def split(self, vector: Tensor) -> list[Tensor]:
        """The inverse of `flatten`."""
        pieces = torch.split(vector, self._sizes, dim=-1)
        return [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, self.leaves, strict=True)]

    def weights(self) -> Tensor:
        """The parameters as one vector [P], or [S, P], without a graph."""
        return self.flatten([leaf.detach() for leaf in self.leaves])

    def converted(self, dtype: torch.dtype) -> Network:
        """A copy of the model in another dtype (NotImplementedError for stacked lanes)."""
        return Network(copy_of(self.module, dtype))


def saved_bytes(build: Callable[[], object], leaves: Sequence[Tensor]) -> int:
    """Bytes that the graphs built by `build` store for a backward pass, apart from the parameters in `leaves`."""
    sizes = {leaf.untyped_storage().data_ptr(): 0 for leaf in leaves}
    saved: list[list[Tensor]] = []

    def count(tensor: Tensor) -> list[Tensor]:
        storage = tensor.untyped_storage()
        sizes.setdefault(storage.data_ptr(), storage.nbytes())
        saved.append([tensor])
        return saved[-1]

    with torch.autograd.graph.saved_tensors_hooks(count, lambda holder: holder[0]):
        build()
    for holder in saved:
        holder.clear()  # a graph that holds its own outputs is never freed
    return sum(sizes.values())


class _Lanes(Network):
    """Stacked models of one architecture, evaluated by `vmap`."""

    def __init__(self, model: nn.Module, parameters: Weights, buffers: Weights) -> None:
        """Lanes of `model` with stacked parameters and buffers, [S, *shape] each."""
        super().__init__(model)
        self._buffers = buffers
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._fixed = {name: p.detach() for name, p in parameters.items() if name not in self._names}
        self.leaves = [parameters[name].detach().clone().requires_grad_() for name in self._names]
        self.lanes = len(self.leaves[0])

    def outputs(self, x: Tensor) -> Tensor:
        weights = dict(zip(self._names, self.leaves, strict=True)) | self._fixed

        def one(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            return call_with(self.module, (weights, buffers), x)

        return torch.vmap(one)(weights, self._buffers, x)

    def twice_differentiable(self, x: Tensor) -> Tensor:
        return self.outputs(x)

    def losses(self, loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
        return torch.vmap(loss)(outputs, y)

    def sample_losses(self, loss: Loss, outputs: Tensor, y: Tensor) -> Tensor:
        return torch.vmap(torch.vmap(lambda z, t: loss(z[None], t[None])))(outputs, y)

    def flatten(self, pieces: Sequence[Tensor]) -> Tensor:
        return torch.cat([piece.reshape(piece.shape[0], -1) for piece in pieces], dim=1)

    def converted(self, dtype: torch.dtype) -> Network:
        raise NotImplementedError("stacked lanes stay in their dtype")


def each_used_once(roots: Iterable[Node | None], leaves: Sequence[Tensor]) -> bool:
    """Whether at most one edge of the graph behind `roots` leads to each leaf."""
    uses: Counter[int] = Counter()
    queue, seen = list(roots), set[Node]()
    while queue:
        node = queue.pop()
        if node is not None and node not in seen:
            seen.add(node)
            following = [successor for successor, _ in node.next_functions]
            uses.update(id(getattr(successor, "variable", None)) for successor in following)
            queue += following
    return all(uses[id(leaf)] <= 1 for leaf in leaves)
