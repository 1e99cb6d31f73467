"""A guest that trains gets losses and gradients: what the host answers is right, bounded, and all that it knows."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from suite.sandbox import service as service_module
from suite.sandbox.process import SandboxError
from suite.sandbox.remote import RemoteSource
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
    encode,
    from_bytes,
    size_of,
    to_bytes,
)
from suite.sandbox.service import GradientService
from suite.task import Decay, LabelNoise, Task
from suite.training import TrainingRun, gradient_count, train
from tests.suite.toys import regression, toy

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux")


def runs(count: int) -> list[TrainingRun]:
    return [TrainingRun(regression(seed), seed, 0, {"lr": 0.1}) for seed in range(count)]


def service(count: int = 2, task: Task | None = None) -> GradientService:
    return GradientService(task or toy(7), runs(count), "cpu")


def ask(service: GradientService, request: AnyRequest, tensors: list[Tensor] | None = None) -> bytes:
    """What is answered to a request that comes whole; a reply without its first bytes."""
    header = encode(request)
    data = bytearray(len(header).to_bytes(4, "little") + header + to_bytes(tensors or []))
    found = service.read(data)
    assert found is not None
    assert found == (request, len(data))
    reply = service.reply(request, data)
    if not reply:
        return reply
    assert (reply[0], len(reply)) == (0, 9 + int.from_bytes(reply[1:9], "little"))
    return reply[9:]


class Local:
    """Asks a service of the same process, as `suite.sandbox.remote.Connection` asks over a socket."""

    def __init__(self, service: GradientService) -> None:
        self.service, self.opened = service, 0

    def open(self, request: Any) -> int:
        ask(self.service, request)
        self.opened += 1
        return self.opened - 1

    def ask(self, request: AnyRequest, tensors: list[Tensor]) -> bytearray:
        before = gradient_count.GRADIENTS.total
        reply = ask(self.service, request, tensors)
        gradient_count.GRADIENTS.total = before  # the host's, in a process of its own
        return bytearray(reply)


class Twice(torch.optim.SGD):
    """Calls its closure twice a step."""

    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure()
        super().step(closure)


class Product(torch.optim.SGD):
    """Follows the gradient and its product with the Hessian."""

    def step(self, closure: Any = None) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters]
        found = torch.autograd.grad(gradients, parameters, [g.detach() for g in gradients])
        for p, product in zip(parameters, found, strict=True):
            p.grad = p.grad.detach() - 0.1 * product
        super().step()


class LineSearch(torch.optim.LBFGS):
    """Compares losses with gradients, so that what its closure returns must be what is descended."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr, line_search_fn="strong_wolfe")


class Hooked(torch.optim.SGD):
    """Doubles every gradient in a hook of its parameter."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            for p in group["params"]:
                p.register_hook(lambda gradient: 2 * gradient)


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("noise", [None, LabelNoise(0.1, until=0.5)])
@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.Adafactor, Twice, LineSearch, Product, Hooked])
@pytest.mark.filterwarnings("ignore:Using backward")
def test_training_is_that_with_data(make: Any, batch_size: int | None, noise: LabelNoise | None) -> None:
    task = replace(toy(batch_size), label_noise=noise, decay=Decay(0.3, until=0.5) if make is LineSearch else None)
    plain = train(task, runs(4), make)
    gradients = GradientService(task, (own := runs(4)), "cpu")
    source = RemoteSource(Local(gradients), own)  # type: ignore[arg-type]
    batched = plain[0].stepping != "alone"
    isolated = train(task, own, make, batched=batched, source=source)
    for number, (result, other) in enumerate(zip(isolated, plain, strict=True)):
        fields = [
            {name: value for name, value in vars(r).items() if name not in ("weights", "initial", "seconds")}
            for r in (result, other)
        ]
        assert fields[0] == fields[1]
        counted, weights = gradients.outcome(number)
        assert counted in (other.gradient_evaluations, other.gradient_evaluations + 1)
        assert weights.keys() == other.weights.keys()
        assert all(torch.equal(weight, other.weights[name]) for name, weight in weights.items())


def test_products_are_those_of_the_dense_hessian() -> None:
    (run,), task = runs(1), toy(None)
    gradients = service(1, task)
    ask(gradients, OpenProgram((0,), True))
    model = task.model(run.problem, 0)
    names, leaves = zip(*model.named_parameters(), strict=True)
    torch.manual_seed(1)
    vectors = [torch.randn_like(leaf) for leaf in leaves]
    ask(gradients, AskGradient(0, (0,), Batch(0, (0,)), None, False), list(leaves))
    reply = bytearray(ask(gradients, AskProduct(0, (True,) * len(leaves)), vectors))
    found = from_bytes(reply[len(leaves) :], [(tuple(leaf.shape), leaf.dtype) for leaf in leaves])

    def loss(flat: Tensor) -> Tensor:
        parts = torch.split(flat, [leaf.numel() for leaf in leaves])
        values = {name: part.view_as(leaf) for name, part, leaf in zip(names, parts, leaves, strict=True)}
        data = run.problem.train
        return task.loss(functional_call(model, values, (data.x,)), data.y) / run.problem.lipschitz

    flat = nn.utils.parameters_to_vector(leaves).detach()
    dense: Any = torch.autograd.functional.hessian(loss, flat)
    expected = dense @ nn.utils.parameters_to_vector(vectors)
    torch.testing.assert_close(nn.utils.parameters_to_vector(found), expected, rtol=1e-10, atol=1e-12)
    assert gradients.outcome(0)[0] == 2


def weights_of(lanes: int = 2) -> list[Tensor]:
    model = toy(None).model(regression(0), 0)
    return [torch.stack([p.detach()] * lanes) for p in model.parameters()]


GRADIENT = AskGradient(0, (0, 1), Batch(0, (0, 1)), None, False)
LOOK = AskLosses(0, (0, 1), Batch(0, (0, 1)), None)
HOSTILE: dict[str, list[AnyRequest]] = {
    "a run that there is not": [OpenProgram((0, 2), False)],
    "a run twice": [OpenProgram((0, 0), False)],
    "the graph of several runs": [OpenProgram((0, 1), True)],
    "a network that there is not": [AskGradient(5, (0,), Batch(5, (0,)), None, False)],
    "batches as a network": [OpenBatches(0), AskGradient(0, (0,), Batch(0, (0,)), None, False)],
    "a lane that there is not": [OpenProgram((0, 1), False), AskGradient(0, (0, 2), Batch(0, (0, 2)), None, False)],
    "a lane twice": [OpenProgram((0, 1), False), AskGradient(0, (1, 1), Batch(0, (1, 1)), None, False)],
    "the batch of another lane": [OpenProgram((0, 1), False), AskGradient(0, (0, 1), Batch(0, (1,)), None, False)],
    "the first samples for training": [OpenProgram((0, 1), False), AskGradient(0, (0, 1), Batch(0, ()), None, False)],
    "training after its end": [OpenProgram((0, 1), False), OpenBatches(0), GRADIENT],
    "losses again and again": [OpenProgram((0, 1), False), LOOK, LOOK, LOOK],
    "losses of batches": [OpenBatches(0), LOOK],
    "a product without a graph": [OpenNetwork(0, False), AskProduct(0, (True,) * 4)],
    "a product before a gradient": [OpenNetwork(0, True), AskProduct(0, (True,) * 4)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_guest_cannot_have(name: str) -> None:
    gradients = service()
    *before, last = HOSTILE[name]
    for request in before:
        ask(gradients, request, weights_of() if isinstance(request, AskLosses) else None)
    with pytest.raises(SandboxError, match=r"^stopped: it (asked for|trained on)"):
        ask(gradients, last, weights_of() if getattr(last, "lanes", ()) == (0, 1) else None)


def test_what_is_tried_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MOST_TRIED", 5)
    gradients, weights = service(), [tensor[0] for tensor in weights_of(1)]
    ask(gradients, OpenNetwork(0, False))
    for _ in range(5):
        ask(gradients, AskGradient(0, (0,), Batch(0, ()), None, False), weights)
    with pytest.raises(SandboxError, match="more than 5 gradients beside its training"):
        ask(gradients, AskGradient(0, (0,), Batch(0, ()), None, False), weights)
    for _ in range(service_module.MOST_OPENED + 4):
        ask(gradients, OpenNetwork(0, False))
    with pytest.raises(SandboxError, match="too many networks"):
        ask(gradients, OpenNetwork(0, False))


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (torch.optim.Adam, {}),
        (Twice, {}),
        (torch.optim.LBFGS, {}),
        (torch.optim.LBFGS, {"max_iter": 4}),
        (torch.optim.LBFGS, {"line_search_fn": "strong_wolfe"}),
    ],
)
@pytest.mark.parametrize("lanes", [1, 4])
def test_what_an_honest_guest_tries_is_not_too_much(make: Any, settings: dict[str, Any], lanes: int) -> None:
    gradients = GradientService(toy(None), (own := runs(lanes)), "cpu")
    source = RemoteSource(Local(gradients), own)  # type: ignore[arg-type]
    results = train(toy(None), own, lambda *a, **k: make(*a, **k, **settings), batched=lanes > 1, source=source)
    assert gradients._tried
    assert not gradients.tried_too_much([result.steps for result in results])


def test_gradients_beside_training_do_not_replace_it() -> None:
    """As many as in training are borne; so are two steps' worth of what is tried out."""
    gradients, weights = service(1), [tensor[0] for tensor in weights_of(1)]
    beside, trained = AskGradient(0, (0,), Batch(0, ()), None, False), AskGradient(1, (0,), Batch(1, (0,)), None, False)
    ask(gradients, OpenNetwork(0, False))
    ask(gradients, OpenProgram((0,), False))
    for tried in range(1, 150):
        ask(gradients, beside, weights)
        assert gradients.tried_too_much([0]) == (tried > 120), tried
    for counted in range(1, 150):
        ask(gradients, trained, weights)
        assert gradients.tried_too_much([counted]) == (counted < 149), counted
    assert not gradients.tried_too_much([149])
    assert not gradients.tried_too_much([50])


def test_headers_that_lie() -> None:
    gradients = service()
    assert gradients.read(bytearray()) is None
    assert gradients.read(bytearray(struct.pack("<I", 10) + b"x")) is None
    for data in (struct.pack("<I", MOST_HEADER + 1), struct.pack("<I", 3) + b"xyz", struct.pack("<I", 0)):
        with pytest.raises(SandboxError, match=r"^stopped: it asked for"):
            gradients.read(bytearray(data))


def _mutated(count: int) -> None:
    stream = random.Random(count)
    requests = [OpenProgram((0, 1), False), GRADIENT, OpenNetwork(1, True), AskLosses(0, (0, 1), Batch(0, (0, 1)), 0.5)]
    for number in range(count):
        gradients = service()
        ask(gradients, requests[0])
        header = bytearray(encode(requests[number % len(requests)]))
        for _ in range(stream.choice((1, 1, 2, 5))):
            header[stream.randrange(len(header))] = stream.randrange(256)
        data = bytearray(len(header).to_bytes(4, "little") + header)
        try:
            found = gradients.read(data)
            assert found is not None
            request, size = found
            assert size < 2**20
            gradients.reply(request, data + bytes(size - len(data)))
        except SandboxError:
            continue


def test_mutated_requests() -> None:
    _mutated(100)


@pytest.mark.slow
def test_many_mutated_requests() -> None:
    _mutated(10_000)


def test_tensors_pass_unchanged() -> None:
    tensors = [torch.tensor([1.5, float("nan")]), torch.zeros(0, 3), torch.ones(2, 3, dtype=torch.float64).T]
    data = bytearray(to_bytes(tensors))
    assert len(data) == size_of(tensors)
    kinds = [(tuple(tensor.shape), tensor.dtype) for tensor in tensors]
    for tensor, other in zip(tensors, from_bytes(data, kinds), strict=True):
        torch.testing.assert_close(tensor, other, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(ValueError, match="other tensors"):
        from_bytes(data, kinds[:1])
