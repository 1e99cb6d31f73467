"""The source of gradients in a guest: the host, which has the data. The guest has parameters and the optimizer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from suite.sandbox.requests import (
    AnyRequest,
    AskGradient,
    AskLosses,
    AskProduct,
    Batch,
    OpenBatches,
    OpenNetwork,
    OpenProgram,
    encode,
    from_bytes,
    to_bytes,
)
from suite.task import Loss, Task
from suite.training.lanes import SingleModel, StackedModels
from suite.training.minibatches import BatchSampler, DeviceDataset
from suite.training.run import Device, TrainingRun
from suite.training.source import GradientSource, Program

ABSENT, CONSTANT, DIFFERENTIABLE = range(3)
"""What the host says of the gradient of a parameter: there is none, it has no graph, it has one."""


class AnotherProcess(Exception):
    """Runs are to be trained one by one, in a process that has seen nothing of them."""


class Connection:
    """Asks the host, and waits for its reply."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self._reader, self._opened = channel, channel.makefile("rb"), 0

    def open(self, request: OpenProgram | OpenNetwork | OpenBatches) -> int:
        """The number of what is opened."""
        self._send(request, b"")
        self._opened += 1
        return self._opened - 1

    def ask(self, request: AnyRequest, tensors: Sequence[Tensor]) -> bytearray:
        """The reply; a `RuntimeError` says what the host could not compute."""
        self._send(request, to_bytes(tensors))
        status, *length = self._reader.read(9)
        reply = bytearray(self._reader.read(int.from_bytes(bytes(length), "little")))
        if status:
            raise RuntimeError(reply.decode(errors="replace"))
        return reply

    def _send(self, request: AnyRequest, body: bytes) -> None:
        header = encode(request)
        self._channel.sendall(len(header).to_bytes(4, "little") + header + body)


class RemoteData:
    """Stands for the data of a program: says which are meant."""

    def __init__(self, number: int, lanes: int, device: Device) -> None:
        self._number, self._lanes, self._device = number, lanes, device
        self._advanced: list[tuple[int, int]] = []

    def index(self, lanes: list[int]) -> Tensor | None:
        return None if len(lanes) == self._lanes else torch.tensor(lanes, device=self._device)

    def whole(self, lanes: list[int]) -> tuple[Batch, None]:
        return self.batch(lanes)

    def advance(self, lane: int, evaluations: int) -> None:
        self._advanced.append((lane, evaluations))

    def batch(self, lanes: list[int]) -> tuple[Batch, None]:
        advanced, self._advanced = tuple(self._advanced), []
        return Batch(self._number, tuple(lanes), advanced), None


class RemoteStack(StackedModels):
    """Parameters of several lanes, whose losses and gradients the host computes."""

    connection: Connection
    number: int
    _descended: Tensor

    def evaluate(self, x: Any, y: Any, index: Tensor | None = None, decay: Tensor | None = None) -> Tensor:
        parameters = list(self._select(self.parameters, index).values())
        lanes = tuple(range(len(self))) if index is None else tuple(index.tolist())
        strengths = None if decay is None else tuple(decay.tolist())
        reply = self.connection.ask(AskGradient(self.number, lanes, x, strengths, False), parameters)
        losses, self._descended, gradients, _ = _gradients(reply, parameters, self.scales, len(lanes))
        self.gradients = {}
        for name, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is None:
                continue
            if index is None:
                self.gradients[name] = gradient
            else:
                self.gradients[name] = torch.zeros_like(self.parameters[name])
                self.gradients[name][index] = gradient
        return losses

    def descended(self, losses: Tensor, index: Tensor | None = None, decay: Tensor | None = None) -> Tensor:
        return self._descended

    def losses(self, x: Any, y: Any, index: Tensor | None = None, ceiling: float = torch.inf) -> Tensor:
        parameters = list(self._select(self.parameters, index).values())
        lanes = tuple(range(len(self))) if index is None else tuple(index.tolist())
        return _losses(self.connection, self.number, lanes, x, ceiling, parameters, self.scales)


class RemoteModel(SingleModel):
    """The parameters of one network, whose loss and gradient the host computes."""

    connection: Connection
    number: int
    _descended: Tensor
    _kept = False

    @contextlib.contextmanager
    def statistics_kept(self) -> Iterator[None]:
        before, self._kept = self._kept, True
        try:
            yield
        finally:
            self._kept = before

    def evaluate(self, x: Any, y: Any, index: Tensor | None = None, decay: Tensor | None = None) -> Tensor:
        leaves = list(self._leaves.values())
        for leaf in leaves:
            leaf.grad = None
        strengths = None if decay is None else tuple(decay.tolist())
        reply = self.connection.ask(AskGradient(self.number, (0,), x, strengths, self._kept), leaves)
        losses, self._descended, gradients, kinds = _gradients(reply, leaves, self.scales, 1)
        with torch.enable_grad():
            objective = _Objective.apply(self, gradients, kinds, *leaves)
            if self._graph:
                found = torch.autograd.grad(objective, leaves, create_graph=True, allow_unused=True)
                for leaf, gradient in zip(leaves, found, strict=True):
                    leaf.grad = gradient
            else:  # an ordinary backward pass, which runs the hooks of parameters
                torch.autograd.backward(objective)
        return losses

    def descended(self, losses: Tensor, index: Tensor | None = None, decay: Tensor | None = None) -> Tensor:
        return self._descended

    def losses(self, x: Any, y: Any, index: Tensor | None = None, ceiling: float = torch.inf) -> Tensor:
        leaves = list(self._leaves.values())
        return _losses(self.connection, self.number, (0,), x, ceiling, leaves, self.scales)


class _Objective(torch.autograd.Function):
    """A number whose gradients in the leaves are those that the host has computed."""

    @staticmethod
    def forward(ctx: Any, model: RemoteModel, gradients: Sequence[Tensor | None], kinds: bytes, *leaves: Tensor) -> Any:
        ctx.model, ctx.gradients, ctx.kinds = model, gradients, kinds
        ctx.save_for_backward(*leaves)
        return torch.zeros((), dtype=leaves[0].dtype, device=leaves[0].device)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> Any:
        present = [gradient for gradient in ctx.gradients if gradient is not None]
        if torch.is_grad_enabled():
            present = list(_Gradients.apply(ctx.model, ctx.gradients, ctx.kinds, *ctx.saved_tensors))
        parts = iter(present)
        return None, None, None, *(None if kind == ABSENT else next(parts) for kind in ctx.kinds)


class _Gradients(torch.autograd.Function):
    """The gradients as a function of the leaves, whose derivatives in a direction the host computes."""

    @staticmethod
    def forward(ctx: Any, model: RemoteModel, gradients: Sequence[Tensor | None], kinds: bytes, *leaves: Tensor) -> Any:
        ctx.model, ctx.leaves = model, leaves
        ctx.set_materialize_grads(False)
        present = [gradient.clone() for gradient in gradients if gradient is not None]
        there = [kind for kind in kinds if kind != ABSENT]
        ctx.mark_non_differentiable(*(g for g, kind in zip(present, there, strict=True) if kind == CONSTANT))
        return tuple(present)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *vectors: Tensor | None) -> Any:
        given = tuple(vector is not None for vector in vectors)
        directions = [vector for vector in vectors if vector is not None]
        reply = ctx.model.connection.ask(AskProduct(ctx.model.number, given), directions)
        kinds, rest = reply[: len(ctx.leaves)], reply[len(ctx.leaves) :]
        found = iter(_tensors(rest, [leaf for leaf, kind in zip(ctx.leaves, kinds, strict=True) if kind != ABSENT]))
        return None, None, None, *(None if kind == ABSENT else next(found) for kind in kinds)


def _tensors(data: bytearray, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in `data`, of the shapes, types and devices of others."""
    found = from_bytes(data, [(tuple(tensor.shape), tensor.dtype) for tensor in like])
    return [tensor.to(other.device) for tensor, other in zip(found, like, strict=True)]


def _gradients(
    reply: bytearray, parameters: Sequence[Tensor], scales: Tensor, lanes: int
) -> tuple[Tensor, Tensor, list[Tensor | None], bytes]:
    """Losses, what is descended, the gradients of the parameters, and what the host says of each."""
    kinds, rest = bytes(reply[: len(parameters)]), reply[len(parameters) :]
    present = [parameter for parameter, kind in zip(parameters, kinds, strict=True) if kind != ABSENT]
    losses, descended, *gradients = _tensors(rest, [scales.new_empty(lanes), scales.new_empty(lanes), *present])
    parts = iter(gradients)
    return losses, descended, [None if kind == ABSENT else next(parts) for kind in kinds], kinds


def _losses(
    connection: Connection,
    number: int,
    lanes: tuple[int, ...],
    batch: Batch,
    ceiling: float,
    parameters: Sequence[Tensor],
    scales: Tensor,
) -> Tensor:
    limit = ceiling if ceiling < torch.inf else None
    reply = connection.ask(AskLosses(number, lanes, batch, limit), parameters)
    return _tensors(reply, [scales.new_empty(len(lanes))])[0]


class RemoteSource(GradientSource):
    """Losses and gradients that the host computes, of the runs of a job."""

    def __init__(self, connection: Connection, runs: Sequence[TrainingRun]) -> None:
        self._connection, self._runs = connection, runs

    def _number(self, run: TrainingRun) -> int:
        return next(number for number, other in enumerate(self._runs) if other is run)

    def passes(self, task: Task, run: TrainingRun, device: Device) -> int:
        return 1

    def program(
        self,
        task: Task,
        loss: Loss,
        runs: Sequence[TrainingRun],
        models: Sequence[nn.Module],
        device: Device,
        graph: bool,
    ) -> Program:
        number = self._connection.open(OpenProgram(tuple(map(self._number, runs)), graph))
        scales = torch.ones(len(runs), dtype=task.dtype, device=device)
        if len(runs) > 1:
            stack: Any = RemoteStack(models, loss, scales, task.loss)
        else:
            stack = RemoteModel(models[0], loss, scales[0], task.loss, graph)
        stack.connection, stack.number = self._connection, number
        data: Any = RemoteData(number, len(runs), device)
        return stack, cast(DeviceDataset, data), cast(BatchSampler, data)

    def single(
        self, task: Task, loss: Loss, run: TrainingRun, model: nn.Module, device: Device, graph: bool = False
    ) -> SingleModel:
        single = RemoteModel(model, loss, torch.ones((), dtype=task.dtype, device=device), task.loss, graph)
        single.connection = self._connection
        single.number = self._connection.open(OpenNetwork(self._number(run), graph))
        return single

    def first_batch(self, task: Task, run: TrainingRun, device: Device) -> tuple[Tensor, Tensor]:
        batch: Any = Batch(self._number(run), ())
        return batch, cast(Tensor, None)

    def batches(self, task: Task, run: TrainingRun, device: Device) -> BatchSampler:
        data: Any = RemoteData(self._connection.open(OpenBatches(self._number(run))), 1, device)
        return data

    def begin_again(self) -> None:
        raise AnotherProcess
