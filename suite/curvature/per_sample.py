"""Sums over samples of squared per-sample gradients, entry by entry, without forming the gradients where possible.

They are not formed for the layers that `layers.py` knows. Any other network is differentiated sample by sample, with
`vmap`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap

from suite.curvature.layers import ENTRIES, Layer, linear_layers
from suite.curvature.network import Network
from suite.curvature.operators import CHUNKS
from suite.errors import InputError

Cotangents = Callable[[Tensor, Tensor], Iterable[tuple[Tensor, Tensor]]]
"""(outputs, targets) -> pairs of a vector like the outputs, and signs [n]."""


TOGETHER = 16
"""Cotangents that share one forward pass of `vmap`; more would only take memory."""


def squared_gradients(network: Network, x: Tensor, y: Tensor, cotangents: Cotangents) -> list[Tensor]:
    """The sum over samples and cotangents b of ``sign * (J' b)²``, [*shape] for every leaf of `network` (one model)."""
    total = [torch.zeros_like(leaf) for leaf in network.leaves]
    for xs, ys in _parts(network, x, y):
        for so_far, part in zip(total, _chunk(network, xs, ys, cotangents), strict=True):
            so_far.add_(part)
    return total


def squared_norms(network: Network, x: Tensor, y: Tensor, cotangents: Cotangents) -> float:
    """The sum over samples and cotangents b of ``sign * |J' b|²``: that of `squared_gradients`, with less work."""
    total = 0.0
    for xs, ys in _parts(network, x, y):
        layers, outputs = _layers(network, xs, ys, cotangents, total_only=True)
        if layers is None:
            total += sum(float(part.double().sum()) for part in _by_vmap(network, xs, cotangents(outputs, ys)))
        else:
            total += sum(float(layer.total()) for layer in layers)
    return total


def _parts(network: Network, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    chunk = min(network.chunk(x), -(-len(x) // CHUNKS))
    return zip(torch.split(x, chunk), torch.split(y, chunk), strict=True)


def _chunk(network: Network, x: Tensor, y: Tensor, cotangents: Cotangents) -> list[Tensor]:
    layers, outputs = _layers(network, x, y, cotangents)
    if layers is None:
        return _by_vmap(network, x, cotangents(outputs, y))
    squares = {id(parameter): square for layer in layers for parameter, square in layer.squares()}
    return [squares[id(leaf)].reshape(leaf.shape) for leaf in network.leaves]


def _layers(
    network: Network, x: Tensor, y: Tensor, cotangents: Cotangents, *, total_only: bool = False
) -> tuple[list[Layer] | None, Tensor]:
    """The linear layers, if they are all of the network, which have taken in all cotangents; and the outputs."""
    layers, outputs = linear_layers(network, x)
    if layers is None:
        return None, outputs.detach()
    at = [layer.edge for layer in layers]
    for vector, signs in cotangents(outputs, y):
        slopes = torch.autograd.grad(outputs, at, vector, retain_graph=True, allow_unused=True)
        for layer, slope in zip(layers, slopes, strict=True):
            if slope is not None:
                layer.add_to_total(slope, signs) if total_only else layer.add(slope, signs)
    return layers, outputs.detach()


def _by_vmap(network: Network, x: Tensor, cotangents: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """The same for any module, from per-sample gradients.

    Raises:
        InputError: `vmap` refuses the module, or its weights cannot be exchanged.
    """
    if not network.can_exchange_weights(x):
        raise InputError("The network cannot be differentiated sample by sample (its weights cannot be exchanged).")
    named = {name: p for name, p in network.module.named_parameters() if p.requires_grad}
    weights = {name: p.detach() for name, p in named.items()}

    def squares(sample: Tensor, vectors: Tensor, signs: Tensor) -> dict[str, Tensor]:
        pulled = vjp(lambda theta: functional_call(network.module, theta, (sample[None],)), weights)[1]
        found = {name: torch.zeros_like(p) for name, p in weights.items()}
        for vector, sign in zip(vectors, signs, strict=True):
            for name, each in pulled(vector[None])[0].items():
                found[name] = found[name] + sign * each.square()
        return found

    total = {name: torch.zeros_like(p) for name, p in weights.items()}
    rows = max(1, ENTRIES // network.size)
    remaining = iter(cotangents)
    while pairs := list(itertools.islice(remaining, TOGETHER)):
        vectors, signs = (torch.stack(column, dim=1) for column in zip(*pairs, strict=True))
        parts = zip(torch.split(x, rows), torch.split(vectors, rows), torch.split(signs, rows), strict=True)
        for xs, bs, ss in parts:
            try:
                found = vmap(squares)(xs, bs, ss)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"The network cannot be differentiated sample by sample ({reason}).") from error
            for name, each in found.items():
                total[name] += each.sum(0)
    return list(total.values())
