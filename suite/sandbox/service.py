"""What the host computes for a guest that trains: losses and gradients, and nothing else of the data.

The host holds data, networks, batches and label noise; it draws the batches, knows how many gradients each run has had,
and has the weights at which the last loss of a run was asked for. So neither the count of a run nor its weights are the
guest's claim. What a guest asks for beside training (to try out how an optimizer is called, and to compare what runs
get) is bounded: `MOST_TRIED`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from msgspec import MsgspecError
from torch import Tensor

from suite.errors import sentence
from suite.sandbox.process import SandboxError
from suite.sandbox.remote import ABSENT, CONSTANT, DIFFERENTIABLE
from suite.sandbox.requests import (
    MOST_HEADER,
    AnyRequest,
    AskGradient,
    AskLosses,
    AskProduct,
    Batch,
    OpenBatches,
    OpenNetwork,
    OpenProgram,
    decode,
    from_bytes,
    size_of,
    to_bytes,
)
from suite.task import Task, Weights
from suite.training.lanes import SingleModel, StackedModels
from suite.training.minibatches import BatchSampler, DeviceDataset
from suite.training.run import Device, TrainingRun
from suite.training.source import LOCAL

MOST_TRIED = 2_000
"""Gradients beside training: twelve steps in each of several ways, and steps of some runs that are compared."""

TRIED_PER_CALL = 60
"""Gradients beside training that trying out takes at most: for each call of a closure in a step, and once more."""

MOST_OPENED = 200
"""Networks beside those that are trained."""


class _Opened:
    """A network, data, or both.

    Attributes:
        trained: whether this is how its runs are trained; if not, something is tried out or compared.
        evaluations: gradients that each lane has had.
        looks: how often losses alone were asked for.
    """

    def __init__(self, runs: tuple[int, ...], network: StackedModels | None, graph: bool = False) -> None:
        self.runs, self.network, self.graph = runs, network, graph
        self.dataset: DeviceDataset | None = None
        self.batches: BatchSampler | None = None
        self.trained = False
        self.evaluations = [0 for _ in runs]
        self.asked = self.looks = 0

    def weights_of(self, lanes: Sequence[int]) -> list[Tensor]:
        """The parameters of `lanes`, by which a request says where it asks."""
        assert self.network is not None
        if isinstance(self.network, SingleModel):
            return [self.network.leaf(name, 0) for name in self.network.parameters]
        return [parameter[: len(lanes)] for parameter in self.network.parameters.values()]


class GradientService:
    """Answers the requests of one guest."""

    def __init__(self, task: Task, runs: Sequence[TrainingRun], device: Device) -> None:
        self._task, self._runs, self._device = task, runs, device
        self._opened: list[_Opened] = []
        self._trained: dict[int, tuple[_Opened, int]] = {}
        self._tried = 0
        self._closed = False

    def outcome(self, run: int) -> tuple[int, Weights]:
        """The gradients that a run has had, and its weights at the last loss; none if it was not trained."""
        if run not in self._trained:
            return 0, {}
        program, lane = self._trained[run]
        assert program.network is not None
        return program.evaluations[lane], program.network.snapshot(lane)

    def tried_too_much(self, steps: Sequence[int]) -> bool:
        """Whether it asked for more beside training than trying out takes, and than in training.

        How often a step calls its closure, and so how much is tried out, is told by the gradients of `steps`, which say
        how many steps each run took: few steps can be claimed of gradients that were counted.
        """
        counted = [self.outcome(run)[0] for run in range(len(self._runs))]
        calls = max([1, *(math.ceil(count / max(1, taken)) for count, taken in zip(counted, steps, strict=True))])
        return self._tried > max(TRIED_PER_CALL * (1 + calls), sum(counted))

    def read(self, data: bytearray) -> tuple[AnyRequest, int] | None:
        """The request with which `data` begins and how many bytes it has in all; None if its header is not whole.

        Raises:
            SandboxError: it is no request.
        """
        length = int.from_bytes(data[:4], "little")
        if len(data) >= 4 and length > MOST_HEADER:
            raise SandboxError("stopped: it asked for too much")
        if len(data) < 4 or len(data) < 4 + length:
            return None
        try:
            request = decode(data[4 : 4 + length])
            return request, 4 + length + size_of(self._like(request))
        except (MsgspecError, UnicodeDecodeError, RecursionError, LookupError, ValueError) as error:
            raise SandboxError(f"stopped: it asked for what there is not ({sentence(error)})") from error

    def reply(self, request: AnyRequest, data: bytearray) -> bytes:
        """What is answered to `request`, of which all bytes are `data`.

        Raises:
            SandboxError: there is no such thing, or it was asked for too often.
        """
        like = self._like(request)
        values = from_bytes(data[len(data) - size_of(like) :], [(tuple(t.shape), t.dtype) for t in like])
        try:
            if isinstance(request, AskGradient):
                answer = self._gradient(request, values)
            elif isinstance(request, AskLosses):
                answer = self._losses(request, values)
            elif isinstance(request, AskProduct):
                answer = self._product(request, values)
            else:
                self._open(request)
                return b""
        except (LookupError, ValueError) as error:
            raise SandboxError(f"stopped: it asked for what there is not ({sentence(error)})") from error
        except SandboxError:
            raise
        except Exception as error:  # of the network: overflow, say
            text = sentence(error).encode(errors="replace")
            return b"\1" + len(text).to_bytes(8, "little") + text
        return b"\0" + len(answer).to_bytes(8, "little") + answer

    def _like(self, request: AnyRequest) -> list[Tensor]:
        """Tensors of the shapes and types that come with a request."""
        if isinstance(request, AskGradient | AskLosses):
            opened = self._network(request.network)
            self._require_lanes(opened, request.lanes)
            return opened.weights_of(request.lanes)
        if isinstance(request, AskProduct):
            present = self._differentiated(self._network(request.network))
            return [leaf for leaf, given in zip(present, request.given, strict=True) if given]
        return []

    def _network(self, number: int) -> _Opened:
        opened = self._opened[number]
        if opened.network is None:
            raise LookupError("these are batches")
        return opened

    @staticmethod
    def _require_lanes(opened: _Opened, lanes: Sequence[int]) -> None:
        if list(lanes) != sorted(set(lanes)) or not all(lane < len(opened.runs) for lane in lanes):
            raise LookupError("no such lanes")

    def _open(self, request: OpenProgram | OpenNetwork | OpenBatches) -> None:
        task, device, number = self._task, self._device, len(self._opened)
        if number > MOST_OPENED + 2 * len(self._runs):
            raise SandboxError("stopped: it asked for too many networks")
        numbers = request.runs if isinstance(request, OpenProgram) else (request.run,)
        runs = [self._runs[number] for number in numbers]
        if isinstance(request, OpenBatches):
            self._closed = True
            opened = _Opened(numbers, None)
            opened.batches = LOCAL.batches(task, runs[0], device)
        elif isinstance(request, OpenNetwork):
            network = LOCAL.single(task, task.loss, runs[0], runs[0].model(task, device), device, request.graph)
            opened = _Opened(numbers, network, request.graph)
        else:
            if len(set(numbers)) != len(numbers) or (request.graph and len(numbers) > 1):
                raise ValueError("not these runs")
            models = [run.model(task, device) for run in runs]
            program = LOCAL.program(task, task.loss, runs, models, device, request.graph)
            opened = _Opened(numbers, program[0], request.graph)
            _, opened.dataset, opened.batches = program
            if self._trained.keys().isdisjoint(numbers):  # if not, it is repeated to compare
                opened.trained = True
                self._trained |= {run: (opened, lane) for lane, run in enumerate(numbers)}
        self._opened.append(opened)

    def _batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The inputs and targets of a batch."""
        if not batch.lanes:
            return LOCAL.first_batch(self._task, self._runs[batch.data], self._device)
        opened = self._opened[batch.data]
        if opened.batches is None:
            raise LookupError("no such data")
        self._require_lanes(opened, batch.lanes)
        for lane, evaluations in batch.advanced:
            opened.batches.advance(lane, opened.evaluations[lane] if opened.trained else evaluations)
        return opened.batches.batch(list(batch.lanes))

    def _set(self, opened: _Opened, lanes: Sequence[int], values: Sequence[Tensor]) -> Tensor | None:
        """Put the weights of `lanes` into the network; `lanes` as an index of its stack."""
        network = opened.network
        assert network is not None
        with torch.no_grad():
            if isinstance(network, SingleModel):
                for parameter, value in zip(opened.weights_of(lanes), values, strict=True):
                    parameter.copy_(value)
                return None
            index = torch.tensor(lanes, device=self._device) if len(lanes) < len(opened.runs) else None
            for parameter, value in zip(network.parameters.values(), values, strict=True):
                if index is None:
                    parameter.copy_(value)
                else:
                    parameter[index] = value.to(parameter.device)
        return index

    def _gradient(self, request: AskGradient, values: Sequence[Tensor]) -> bytes:
        opened = self._network(request.network)
        network, lanes, decay = opened.network, request.lanes, request.decay
        assert network is not None
        if opened.trained:
            if self._closed:
                raise SandboxError("stopped: it trained on after it had ended")
            if (request.batch.data, request.batch.lanes) != (request.network, lanes):
                raise ValueError("another batch")
            decay = self._decay(opened, lanes)
        else:
            self._try(request.batch)
        x, y = self._batch(request.batch)
        scales = network.scales
        strengths = None if decay is None else torch.tensor(decay, dtype=scales.dtype, device=scales.device)
        index = self._set(opened, lanes, values)
        with network.statistics_kept() if request.kept else contextlib.nullcontext():
            losses = network.evaluate(x, y, index, strengths)
        opened.asked += 1
        for lane in lanes:
            opened.evaluations[lane] += 1
        if isinstance(network, SingleModel):
            gradients = [leaf.grad for leaf in opened.weights_of(lanes)]
        else:
            found = [network.gradients.get(name) for name in network.parameters]
            gradients = [g if g is None or index is None else g[index] for g in found]
        kinds = bytes(ABSENT if g is None else DIFFERENTIABLE if g.requires_grad else CONSTANT for g in gradients)
        descended = network.descended(losses, index, strengths)
        return kinds + to_bytes([losses, descended, *(g for g in gradients if g is not None)])

    def _decay(self, opened: _Opened, lanes: Sequence[int]) -> tuple[float, ...] | None:
        """The strengths of the task's decay for lanes in training, as in `suite.training.steppers`."""
        decay, budget = self._task.decay, self._task.target.budget
        if decay is None:
            return None
        return tuple((opened.evaluations[lane] / budget < decay.until) * decay.strength for lane in lanes)

    def _try(self, batch: Batch) -> None:
        """Count a gradient that is not of training; those along a path of batches are no help once training is over."""
        along_path = bool(batch.lanes) and self._opened[batch.data].network is None
        self._tried += not along_path
        if self._tried > MOST_TRIED:
            raise SandboxError(f"stopped: it asked for more than {MOST_TRIED:,} gradients beside its training")

    def _losses(self, request: AskLosses, values: Sequence[Tensor]) -> bytes:
        opened = self._network(request.network)
        opened.looks += 1
        if opened.dataset is None or request.batch.lanes != request.lanes or opened.looks > opened.asked + 2:
            raise ValueError("no losses of these, or too often")
        if opened.trained and self._closed:
            raise SandboxError("stopped: it trained on after it had ended")
        assert opened.network is not None
        x, y = opened.dataset.whole(list(request.lanes))
        index = self._set(opened, request.lanes, values)
        ceiling = math.inf if request.ceiling is None else request.ceiling
        return to_bytes([opened.network.losses(x, y, index, ceiling)])

    def _differentiated(self, opened: _Opened) -> list[Tensor]:
        """The parameters whose gradient there is."""
        if not isinstance(opened.network, SingleModel) or not opened.graph:
            raise LookupError("no graph")
        return [leaf for leaf in opened.weights_of((0,)) if leaf.grad is not None]

    def _product(self, request: AskProduct, values: Sequence[Tensor]) -> bytes:
        opened = self._network(request.network)
        present = self._differentiated(opened)
        if opened.trained:
            opened.evaluations[0] += 1
        else:
            self._tried += 1
        gradients: list[Any] = [leaf.grad for leaf, given in zip(present, request.given, strict=True) if given]
        leaves = opened.weights_of((0,))
        vectors = [value.to(self._device) for value in values]
        found = torch.autograd.grad(gradients, leaves, vectors, retain_graph=True, allow_unused=True)
        kinds = bytes(ABSENT if product is None else CONSTANT for product in found)
        return kinds + to_bytes(product for product in found if product is not None)
