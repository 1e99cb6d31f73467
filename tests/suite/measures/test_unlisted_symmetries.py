"""Symmetries that nobody listed: directions in weight space along which a network's outputs do not change are computed
from its Jacobian, and followed. Flatness stays as it was, or says that it is not canonical."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention, silu
from torch.nn.utils.parametrizations import weight_norm

from suite.measures import Estimate, measure
from suite.seeding import torch_stream
from suite.task import Split

FEATURES, CLASSES, SAMPLES, TOKENS = 6, 3, 60, 3
STEPS, LENGTH = 3, 0.05
"""Of the walk: its length as a share of the weights' norm."""
SAME_RANK = 1e-9
"""Singular values of the Jacobian below this share of the largest belong to symmetries."""


class Net(nn.Module):
    """Layers, and what is computed with them."""

    def __init__(self, run: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run, self.layers = run, nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, **self.layers)


def linear(*sizes: int, bias: bool = True) -> nn.Module:
    return nn.Linear(*sizes, bias=bias)


def attend(x: Tensor, qkv: Any, out: Any) -> Tensor:
    queries, keys, values = qkv(x).unflatten(-1, (3, 1, -1)).permute(2, 0, 3, 1, 4)
    return out(scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2))


def transformer(x: Tensor, e: Any, first: Any, qkv: Any, out: Any, last: Any, h: Any) -> Tensor:
    x = e(x.view(len(x), TOKENS, -1))
    return h(last(x + attend(first(x), qkv, out)).mean(1))


def last_state(x: Tensor, c: Any, h: Any) -> Tensor:
    return h(c(x.view(len(x), TOKENS, -1))[0][:, -1])


def words(x: Tensor) -> Tensor:
    """Three tokens of five kinds from each sample."""
    return (2 * x[:, :3]).round().long() % 5


class Places(nn.Embedding):
    """A vector for each place."""

    def forward(self, _: Tensor) -> Tensor:
        return super().forward(torch.arange(self.num_embeddings))


Make = Callable[[], nn.Module]
PROVED: dict[str, Make] = {
    "a layer reads what another constant is added to": lambda: Net(
        lambda x, e, a, b, h: h(((y := e(x)) + b(a(y).tanh())).tanh()),
        e=linear(FEATURES, 5), a=linear(5, 4), b=linear(4, 5), h=linear(5, CLASSES),
    ),
    "layers read a layer and more": lambda: Net(
        lambda x, e, a, h: h(torch.cat([y := e(x), a(y).tanh()], 1)),
        e=linear(FEATURES, 4), a=linear(4, 3), h=linear(7, CLASSES),
    ),
    "a narrow layer in front of a layer norm": lambda: Net(
        lambda x, e, a, f, n, h: h(torch.cat([n(f(y := e(x))).tanh(), a(y).tanh()], 1)),
        e=linear(FEATURES, 2), a=linear(2, 3), f=linear(2, 4), n=nn.LayerNorm(4), h=linear(7, CLASSES),
    ),
    "a narrow layer in front of the logits": lambda: nn.Sequential(
        linear(FEATURES, 4), nn.Tanh(), linear(4, 2), linear(2, 4)
    ),
    "logits of two heads, times a number": lambda: Net(
        lambda x, a, h, i: (h(y := a(x).tanh()) + i(y.square())) / 2,
        a=linear(FEATURES, 4), h=linear(4, CLASSES), i=linear(4, CLASSES, bias=False),
    ),
    "logits that are averaged over positions": lambda: Net(
        lambda x, a, h: h(a(x).tanh()[:, None].unflatten(2, (2, 3))).mean(2).flatten(1),
        a=linear(FEATURES, 6), h=nn.Conv2d(1, CLASSES, (1, 3)),
    ),
    "branches into a layer norm": lambda: Net(
        lambda x, e, f, n, h: h(n(e(x) + f(x.tanh())).tanh()),
        e=linear(FEATURES, 4), f=linear(FEATURES, 4), n=nn.LayerNorm(4), h=linear(4, CLASSES),
    ),
    "a stream of RMS norms": lambda: Net(
        lambda x, e, n, a, b, m, h: h(m((y := e(x)) + b(a(n(y)).tanh()))),
        e=linear(FEATURES, 4), n=nn.RMSNorm(4), a=linear(4, 3), b=linear(3, 4), m=nn.RMSNorm(4), h=linear(4, CLASSES),
    ),
    "a layer norm behind a nonlinearity": lambda: Net(
        lambda x, e, n, h: h(n(e(x).tanh())), e=linear(FEATURES, 5), n=nn.LayerNorm(5), h=linear(5, CLASSES)
    ),
    "a layer norm that a layer and a nonlinearity read": lambda: Net(
        lambda x, e, n, a, h: h(torch.cat([(y := n(e(x))).tanh(), a(y)], 1)),
        e=linear(FEATURES, 4), n=nn.LayerNorm(4), a=linear(4, 3), h=linear(7, CLASSES),
    ),
    "a number in front of a layer norm": lambda: Net(
        lambda x, e, n, h: h(n(0.5 * e(x)).tanh()), e=linear(FEATURES, 4), n=nn.LayerNorm(4), h=linear(4, CLASSES)
    ),
    "a number in front of a group norm": lambda: Net(
        lambda x, e, n, h: h(n(e(x) / 2).tanh()), e=linear(FEATURES, 6), n=nn.GroupNorm(2, 6), h=linear(6, CLASSES)
    ),
    "a temperature in a softmax": lambda: Net(
        lambda x, e, h: h((e(x) / 2).softmax(1)), e=linear(FEATURES, 4), h=linear(4, CLASSES)
    ),
    "embeddings of which some do not occur": lambda: Net(
        lambda x, e, a, h: h((e(words(x)).mean(1) + a(x)).tanh()),
        e=nn.Embedding(9, 4), a=linear(FEATURES, 4), h=linear(4, CLASSES),
    ),
    "a group norm of vectors": lambda: Net(
        lambda x, e, n, h: h(n(e(x)).tanh()), e=linear(FEATURES, 6), n=nn.GroupNorm(2, 6), h=linear(6, CLASSES)
    ),
    "a batch norm": lambda: nn.Sequential(linear(FEATURES, 5), nn.BatchNorm1d(5), nn.Tanh(), linear(5, CLASSES)),
    "maxima in a nonlinearity": lambda: Net(
        lambda x, c, h: h(functional.max_pool1d(c(x.view(-1, 1, 6)), 2).tanh().flatten(1)),
        c=nn.Conv1d(1, 4, 3), h=linear(8, CLASSES),
    ),
    "convolutions, a layer norm and attention": lambda: Net(
        lambda x, c, d, n, qkv, out, m, h: h(
            m((y := d(c(x.view(-1, 1, 2, 3))).flatten(2).transpose(1, 2)) + attend(n(y), qkv, out)).mean(1)
        ),
        c=nn.Conv2d(1, 3, (1, 2)), d=nn.Conv2d(3, 4, 1), n=nn.LayerNorm(4), qkv=linear(4, 12), out=linear(4, 4),
        m=nn.LayerNorm(4), h=linear(4, CLASSES),
    ),
    "a layer that is called twice": lambda: Net(
        lambda x, e, a, h: h(a(a(e(x))).tanh()), e=linear(FEATURES, 4), a=linear(4, 4), h=linear(4, CLASSES)
    ),
    "a narrow layer with constants": lambda: Net(
        lambda x, a, b, c, h: h(c(b(a(x).tanh())).tanh()),
        a=linear(FEATURES, 5), b=linear(5, 2), c=linear(2, 5), h=linear(5, CLASSES),
    ),
    "a gated unit in a stream of RMS norms": lambda: Net(
        lambda x, e, n, a, b, o, m, h: h(m((y := e(x)) + o(silu(a(z := n(y))) * b(z)))),
        e=linear(FEATURES, 4), n=nn.RMSNorm(4), a=linear(4, 5), b=linear(4, 5), o=linear(5, 4), m=nn.RMSNorm(4),
        h=linear(4, CLASSES),
    ),
    "layers with norms of weights in a row": lambda: Net(
        lambda x, a, b, h: h(b(a(x)).tanh()),
        a=weight_norm(linear(FEATURES, 2)), b=weight_norm(linear(2, 5)), h=linear(5, CLASSES),
    ),
    "embeddings that serve as head too": lambda: Net(
        lambda x, e, a, b: functional.linear(b(a(torch.cat([e(words(x)).flatten(1), x], 1)).tanh()), e.weight),
        e=nn.Embedding(5, 4), a=linear(18, 4), b=linear(4, 4),
    ),
    "a softmax inside": lambda: nn.Sequential(linear(FEATURES, 4), nn.Softmax(1), linear(4, CLASSES)),
    "log-probabilities": lambda: nn.Sequential(linear(FEATURES, 4), nn.Tanh(), linear(4, CLASSES), nn.LogSoftmax(1)),
    "gates of their own": lambda: Net(
        lambda x, a, b, h: h(silu(a(x)) * b(x)), a=linear(FEATURES, 4), b=linear(FEATURES, 4), h=linear(4, CLASSES)
    ),
    "channels times functions of them": lambda: Net(
        lambda x, e, g, h: h((y := e(x)) * g(y).sigmoid()), e=linear(FEATURES, 4), g=linear(4, 4), h=linear(4, CLASSES)
    ),
    "a low-rank change of fixed weights": lambda: Net(
        lambda x, w, a, b, h: h((w(x) + 2 * b(a(x))).relu()),
        w=linear(FEATURES, 5).requires_grad_(False), a=linear(FEATURES, 2, bias=False), b=linear(2, 5, bias=False),
        h=linear(5, CLASSES),
    ),
    "a transformer of one block": lambda: Net(
        transformer, e=linear(2, 4), first=nn.LayerNorm(4), qkv=linear(4, 12), out=linear(4, 4), last=nn.LayerNorm(4),
        h=linear(4, CLASSES),
    ),
    "two tables of embeddings": lambda: Net(
        lambda x, e, f, a, h: h(a(e(words(x)) + f(words(x.flip(1)))).tanh().flatten(1)),
        e=nn.Embedding(5, 3), f=nn.Embedding(5, 3), a=linear(3, 2), h=linear(6, CLASSES),
    ),
    "embeddings and a constant, into a nonlinearity": lambda: Net(
        lambda x, e, a, h: h((e(words(x)).mean(1) + a(x)).tanh()),
        e=nn.Embedding(5, 4), a=linear(FEATURES, 4), h=linear(4, CLASSES),
    ),
    "a transformer of tokens": lambda: Net(
        lambda x, e, p, n, qkv, out, m, h: h(m((y := e(words(x)) + p(x)) + attend(n(y), qkv, out)).mean(1)),
        e=nn.Embedding(5, 4), p=Places(3, 4), n=nn.LayerNorm(4), qkv=linear(4, 12), out=linear(4, 4),
        m=nn.LayerNorm(4), h=linear(4, CLASSES),
    ),
    "one-hot vectors": lambda: Net(
        lambda x, e, f, h: h((e(functional.one_hot(words(x)[:, 0], 5).double()) + f(x)).tanh()),
        e=linear(5, 4), f=linear(FEATURES, 4, bias=False), h=linear(4, CLASSES),
    ),
    "a recurrent layer of tokens": lambda: Net(
        lambda x, e, c, h: h(c(e(words(x)))[0][:, -1]),
        e=nn.Embedding(5, 2), c=nn.GRU(2, 3, batch_first=True), h=linear(3, CLASSES),
    ),
    "a recurrent layer": lambda: Net(last_state, c=nn.GRU(2, 3, batch_first=True), h=linear(3, CLASSES)),
    "recurrent layers with cells, both ways": lambda: Net(
        last_state, c=nn.LSTM(2, 2, batch_first=True, bidirectional=True), h=linear(4, CLASSES)
    ),
    "a recurrent layer between layers": lambda: Net(
        lambda x, e, c, f, h: h(f(c(e(x.view(len(x), -1, 2)))[0][:, -1])),
        e=linear(2, 3), c=nn.RNN(3, 3, batch_first=True), f=linear(3, 4), h=linear(4, CLASSES),
    ),
}  # fmt: skip

MARKED: dict[str, Make] = {
    "a layer beside its inputs": lambda: Net(
        lambda x, a, b, h: h(torch.cat([x, a(x).tanh(), b(x)], 1)),
        a=linear(FEATURES, 4), b=linear(FEATURES, 2), h=linear(12, CLASSES),
    ),
    "channels that are copied in front of a nonlinearity": lambda: Net(
        lambda x, a, h: h(a(x).repeat(1, 2).tanh()), a=linear(FEATURES, 3), h=linear(6, CLASSES)
    ),
    "an activation and its mirror image": lambda: Net(
        lambda x, a, h: h((y := a(x).tanh()) + y.flip(1)), a=linear(FEATURES, 4), h=linear(4, CLASSES)
    ),
    "means over windows that overlap": lambda: Net(
        lambda x, c, h: h(functional.avg_pool1d(c(x.view(-1, 1, 6)).tanh(), 2, 1, 1).flatten(1)),
        c=nn.Conv1d(1, 2, 3), h=linear(10, CLASSES),
    ),
    "both sides of a hinge, and what bends there": lambda: Net(
        lambda x, a, h: h(torch.cat([silu(y := a(x)), silu(-y), y], 1)), a=linear(FEATURES, 4), h=linear(12, CLASSES)
    ),
    "one function, called twice": lambda: Net(
        lambda x, a, h, i: h((y := a(x)).tanh()) + i(y.tanh()),
        a=linear(FEATURES, 4), h=linear(4, CLASSES), i=linear(4, CLASSES, bias=False),
    ),
    "an activation and one less it": lambda: Net(
        lambda x, a, h, i: h(y := a(x).tanh()) + i(1 - y),
        a=linear(FEATURES, 4), h=linear(4, CLASSES), i=linear(4, CLASSES, bias=False),
    ),
    "two norms of one activation": lambda: Net(
        lambda x, a, n, m, h, i: h(n(y := a(x))) + i(m(y)),
        a=linear(FEATURES, 4), n=nn.LayerNorm(4), m=nn.LayerNorm(4), h=linear(4, CLASSES), i=linear(4, CLASSES),
    ),
    "squares of absolute values": lambda: Net(
        lambda x, a, h: h(a(x).abs() ** 2), a=linear(FEATURES, 9), h=linear(9, CLASSES)
    ),
    "a leaky ReLU that leaks everything": lambda: Net(
        lambda x, a, h: h(functional.leaky_relu(a(x), 1.0)), a=linear(FEATURES, 4), h=linear(4, CLASSES)
    ),
    "one gate for several channels": lambda: Net(
        lambda x, g, a, h: h(g(x).sigmoid() * a(x)), g=linear(FEATURES, 1), a=linear(FEATURES, 4), h=linear(4, CLASSES)
    ),
    "a gate that is repeated": lambda: Net(
        lambda x, g, a, h: h(g(x).sigmoid().expand(-1, 4) * a(x)),
        g=linear(FEATURES, 1), a=linear(FEATURES, 4), h=linear(4, CLASSES),
    ),
    "experts": lambda: Net(
        lambda x, g, a, b, h: h(sum(g(x).softmax(1)[:, i : i + 1] * each(x) for i, each in enumerate((a, b)))),
        g=linear(FEATURES, 2), a=linear(FEATURES, 4), b=linear(FEATURES, 4), h=linear(4, CLASSES),
    ),
    "a group norm in front of a layer": lambda: Net(
        lambda x, e, n, h: h(n(e(x))), e=linear(FEATURES, 6), n=nn.GroupNorm(2, 6), h=linear(6, CLASSES)
    ),
    "norms after the sum": lambda: Net(
        lambda x, e, n, a, b, m, h: h(m((y := n(e(x))) + b(a(y).tanh()))),
        e=linear(FEATURES, 4), n=nn.LayerNorm(4), a=linear(4, 3), b=linear(3, 4), m=nn.LayerNorm(4),
        h=linear(4, CLASSES),
    ),
    "a factor between constants": lambda: Net(
        lambda x, e, a, h: h((0.5 * e(x) + a(x)).tanh()),
        e=linear(FEATURES, 4), a=linear(FEATURES, 4), h=linear(4, CLASSES),
    ),
    "an ensemble": lambda: Net(
        lambda x, a, h, i: torch.stack([h(y := a(x).tanh()), i(y.square())]).mean(0),
        a=linear(FEATURES, 4), h=linear(4, CLASSES), i=linear(4, CLASSES),
    ),
    "classes among more outputs": lambda: Net(
        lambda x, a, h: h(a(x).tanh())[:, :CLASSES], a=linear(FEATURES, 4), h=linear(4, CLASSES + 2)
    ),
    "logits that are read again": lambda: Net(
        lambda x, e, a, h: (y := e(x)) + h(a(y).tanh()),
        e=linear(FEATURES, CLASSES), a=linear(CLASSES, 2), h=linear(2, CLASSES),
    ),
    "two layers of one activation": lambda: Net(
        lambda x, a, b, h: h((a(x) + b(x)).tanh()),
        a=linear(FEATURES, 4), b=linear(FEATURES, 4, bias=False), h=linear(4, CLASSES),
    ),
    "a low-rank change of a trained layer": lambda: Net(
        lambda x, w, a, b, h: h((w(x) + b(a(x))).tanh()),
        w=linear(FEATURES, 4), a=linear(FEATURES, 2, bias=False), b=linear(2, 4, bias=False), h=linear(4, CLASSES),
    ),
    "convolutions of two sizes, side by side": lambda: Net(
        lambda x, a, b, h: h((a(y := x.view(-1, 1, 2, 3)) + b(y)).tanh().flatten(1)),
        a=nn.Conv2d(1, 2, (1, 3), padding=(0, 1)), b=nn.Conv2d(1, 2, 1), h=linear(12, CLASSES),
    ),
    "convolutions with norms, side by side": lambda: Net(
        lambda x, a, m, b, n, h: h((m(a(y := x.view(-1, 1, 2, 3))) + n(b(y))).relu().flatten(1)),
        a=nn.Conv2d(1, 2, (1, 3), padding=(0, 1), bias=False), m=nn.BatchNorm2d(2), b=nn.Conv2d(1, 2, 1, bias=False),
        n=nn.BatchNorm2d(2), h=linear(12, CLASSES),
    ),
    "inputs less their mean": lambda: Net(
        lambda x, a, h: h(a(x - x.mean(1, keepdim=True)).tanh()), a=linear(FEATURES, 4), h=linear(4, CLASSES)
    ),
    "maxima of layers": lambda: Net(
        lambda x, c, h: h(functional.max_pool1d(c(x.view(-1, 1, 6)), 2).flatten(1)),
        c=nn.Conv1d(1, 4, 3), h=linear(8, CLASSES),
    ),
    "a product of two layers": lambda: Net(
        lambda x, a, b, h: h(a(x) * b(x)), a=linear(FEATURES, 4), b=linear(FEATURES, 4), h=linear(4, 2 * CLASSES),
    ),
    "inputs times a layer of them": lambda: Net(
        lambda x, a, h: h(x * a(x)), a=linear(FEATURES, FEATURES), h=linear(FEATURES, CLASSES)
    ),
    "squares of layers": lambda: Net(
        lambda x, a, h: h(a(x).square()), a=linear(FEATURES, 9), h=linear(9, CLASSES)
    ),
    "an activation that is read twice": lambda: Net(
        lambda x, a, h: h(a(x).tanh().repeat(1, 2)), a=linear(FEATURES, 3), h=linear(6, CLASSES)
    ),
    "activations beside a number": lambda: Net(
        lambda x, a, h: h(functional.pad(a(x).tanh(), (0, 1), value=1.0)), a=linear(FEATURES, 3), h=linear(4, CLASSES)
    ),
    "exponentials": lambda: Net(
        lambda x, a, h: h(a(x).exp()), a=linear(FEATURES, 3), h=linear(3, CLASSES)
    ),
    "a recurrent cell": lambda: Net(
        lambda x, c, h: h(c(x[:, 2:4], c(x[:, :2]))), c=nn.GRUCell(2, 3), h=linear(3, CLASSES)
    ),
}  # fmt: skip


class Weights:
    """A network's weights as a vector [P], with the outputs on samples that it decides.

    With `shifts` the outputs are taken without what all classes have in common, as softmax takes them.
    """

    def __init__(self, model: nn.Module, x: Tensor, *, shifts: bool) -> None:
        self.model, self.x, self.shifts = model, x, shifts
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.start = torch.cat([p.detach().flatten() for p in self.trained.values()])

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        pieces = vector.split([p.numel() for p in self.trained.values()])
        return {name: piece.view_as(p) for (name, p), piece in zip(self.trained.items(), pieces, strict=True)}

    def outputs(self, vector: Tensor) -> Tensor:
        found = functional_call(self.model, self.named(vector), (self.x,))
        return (found - found.mean(1, keepdim=True) if self.shifts else found).flatten()

    def decomposed(self, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The Jacobian's singular vectors and values without those that are zero."""
        at = vector.clone().requires_grad_()
        outputs = self.outputs(at)
        rows = torch.eye(len(outputs), dtype=outputs.dtype)
        (jacobian,) = torch.autograd.grad(outputs, at, rows, is_grads_batched=True)
        u, s, v = torch.linalg.svd(jacobian, full_matrices=False)
        kept = s > SAME_RANK * s[0]
        return u[:, kept], s[kept], v[kept]

    def elsewhere(self) -> tuple[Tensor, int]:
        """Other weights with the same outputs, and how many directions the walk could choose from at its start."""
        wanted, vector = self.outputs(self.start), self.start
        direction = torch.randn(len(vector), generator=torch_stream("walk"), dtype=vector.dtype)
        dimensions = len(vector) - len(self.decomposed(vector)[1])
        for _ in range(STEPS if dimensions else 0):
            _, _, v = self.decomposed(vector)
            step = direction - v.T @ (v @ direction)
            vector = vector + LENGTH / STEPS * self.start.norm() * step / step.norm()
            for _ in range(4):
                u, s, v = self.decomposed(vector)
                vector = vector - v.T @ ((u.T @ (self.outputs(vector) - wanted)) / s)
        return vector, dimensions


def walked(make: Make, measured: str = "adaptive_sharpness") -> tuple[Estimate, Estimate, int, float]:
    """Flatness at the start and at the end, how many symmetries there are, and how far outputs are apart.

    That which keeps still under shifts of the logits is followed along those too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = make().double().eval()
    stream = torch_stream("unlisted")
    x = torch.randn(SAMPLES, FEATURES, generator=stream, dtype=torch.float64)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.3 * torch.randn(p.shape, generator=stream, dtype=torch.float64)
        data = Split(x, model(x).argmax(1))
    weights = Weights(model, x, shifts=measured == "canonical_sharpness")
    vector, dimensions = weights.elsewhere()
    start = weights.outputs(weights.start).detach()
    gap = float((weights.outputs(vector) - start).norm() / start.norm())
    values = []
    for each in (weights.start, vector):
        with torch.no_grad():
            for name, value in weights.named(each).items():
                weights.trained[name].copy_(value)
        values.append(measure(model, data, [measured], matched_loss=0.3)[measured])
    return values[0], values[1], dimensions, gap


@pytest.mark.parametrize(
    "measured", ["canonical_sharpness", pytest.param("adaptive_sharpness", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", PROVED)
def test_what_the_jacobian_finds_moves_nothing(name: str, measured: str) -> None:
    before, after, dimensions, gap = walked(PROVED[name], measured)
    assert gap < 1e-9
    assert dimensions > 0
    assert not before.note
    assert not after.note
    assert after == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("name", MARKED)
def test_what_would_move_is_marked(name: str) -> None:
    before, after, dimensions, gap = walked(MARKED[name], "canonical_sharpness")
    assert gap < 1e-9
    assert dimensions > 0
    assert before.note.startswith("Not canonical:")
    assert after != pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("bend", [nn.ReLU6(), nn.Hardtanh(0, 6)])
def test_a_mirror_image_about_another_point_than_zero_is_marked(bend: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 4), bend, nn.Linear(4, CLASSES)).double()
    x = torch.randn(SAMPLES, FEATURES, generator=torch_stream("mirror"), dtype=torch.float64)
    data = Split(x, (before := model(x).detach()).argmax(1))
    values = [measure(model, data, ["canonical_sharpness"], matched_loss=0.3)["canonical_sharpness"]]
    first, _, last = model
    with torch.no_grad():
        first.weight.neg_()
        first.bias.neg_().add_(6)
        last.bias += 6 * last.weight.sum(1)
        last.weight.neg_()
    values.append(measure(model, data, ["canonical_sharpness"], matched_loss=0.3)["canonical_sharpness"])
    torch.testing.assert_close(model(x).detach(), before)
    assert all(value.note.startswith("Not canonical:") for value in values)
    assert values[1] != pytest.approx(values[0], rel=0.01)


def doubled(bend: Callable[[Tensor], Tensor], times: int) -> Net:
    """What a linear map writes, added to itself so often, bent and read by another."""

    def forward(x: Tensor, first: Any, last: Any) -> Tensor:
        y = first(x)
        for _ in range(times):
            y = y + y
        return last(bend(y / 2**times))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return Net(forward, first=linear(FEATURES, 4), last=linear(4, CLASSES)).double()


def test_sums_that_are_met_in_many_ways_are_followed_once() -> None:
    """With two ways for each of forty sums, following every way by itself would never end."""
    x = torch.randn(SAMPLES, FEATURES, generator=torch_stream("doubled"), dtype=torch.float64)
    values = []
    for times in (0, 40):
        model = doubled(torch.tanh, times)
        data = Split(x, model(x).argmax(1))
        values.append(measure(model, data, ["canonical_sharpness"], matched_loss=0.3)["canonical_sharpness"])
    assert not values[0].note
    assert values[1].note or values[1] == pytest.approx(values[0], rel=1e-6)


def test_a_constant_that_reaches_a_sine_in_two_ways_is_marked() -> None:
    """Half a period of the constant is a whole one of what the sine gets."""
    x = torch.randn(SAMPLES, FEATURES, generator=torch_stream("doubled"), dtype=torch.float64)
    model = doubled(torch.sin, 1)
    with torch.no_grad():
        model.layers["first"].bias += 4
    value = measure(model, Split(x, model(x).argmax(1)), ["canonical_sharpness"], matched_loss=0.3)
    assert value["canonical_sharpness"].note.startswith("Not canonical:")
