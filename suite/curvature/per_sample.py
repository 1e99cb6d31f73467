"""Sums over samples of squared per-sample gradients, entry by entry, without forming the gradients where possible.

for every chunk of samples:
    forward pass; record the calls of linear layers (`layers.py`)
    if each parameter serves exactly one linear layer, once:
        for every cotangent b of the outputs:               one backward pass to the layers' outputs
            each layer adds the squares of its gradients,   products of squared inputs and squared slopes
    else:
        for every sample, by vmap: add (J' b)² for every b
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.func import vjp, vmap

from suite.curvature.layers import MAX_ENTRIES, Layer, linear_layers
from suite.curvature.network import Network
from suite.curvature.operators import MIN_CHUNKS
from suite.errors import InputError
from suite.models import call_with

Cotangents = Callable[[Tensor, Tensor], Iterable[tuple[Tensor, Tensor]]]
"""(outputs, targets) -> pairs of a vector b like the outputs and its signs [n]."""

COTANGENTS_PER_PASS = 16
"""Cotangents that share one forward pass of `vmap`; more would only take memory."""


def squared_gradients(network: Network, x: Tensor, y: Tensor, cotangents: Cotangents) -> list[Tensor]:
    """The sum over samples and cotangents b of ``sign * (J' b)²``, entry by entry: [*shape] for every leaf."""
    totals = [torch.zeros_like(leaf) for leaf in network.leaves]
    for xs, ys in _chunks(network, x, y):
        for total, square in zip(totals, _squares(network, xs, ys, cotangents), strict=True):
            total.add_(square)
    return totals


def squared_norms(network: Network, x: Tensor, y: Tensor, cotangents: Cotangents) -> float:
    """The sum over samples and cotangents b of ``sign * |J' b|²``: that of `squared_gradients`, with less work.

    Args:
        network: one model, with the Jacobian J of its outputs in the parameters.
        x, y: samples [n, ...] and targets [n, ...].
        cotangents: called on the outputs and the targets of a chunk of samples.

    Raises:
        InputError: the network can be differentiated neither layer by layer nor sample by sample.
    """
    total = 0.0
    for xs, ys in _chunks(network, x, y):
        layers, outputs = _layers(network, xs, ys, cotangents, total_only=True)
        if layers is None:
            total += sum(float(part.double().sum()) for part in _by_vmap(network, xs, cotangents(outputs, ys)))
        else:
            total += sum(float(layer.total()) for layer in layers)
    return total


def _chunks(network: Network, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    chunk = min(network.chunk(x), -(-len(x) // MIN_CHUNKS))
    return zip(torch.split(x, chunk), torch.split(y, chunk), strict=True)


def _squares(network: Network, x: Tensor, y: Tensor, cotangents: Cotangents) -> list[Tensor]:
    layers, outputs = _layers(network, x, y, cotangents)
    if layers is None:
        return _by_vmap(network, x, cotangents(outputs, y))
    squares = {id(parameter): square for layer in layers for parameter, square in layer.squares()}
    return [squares[id(leaf)].reshape(leaf.shape) for leaf in network.leaves]


def _layers(
    network: Network, x: Tensor, y: Tensor, cotangents: Cotangents, *, total_only: bool = False
) -> tuple[list[Layer] | None, Tensor]:
    """The linear layers, which have added all cotangents (None if there are other parameters), and the outputs."""
    layers, outputs = linear_layers(network, x)
    if layers is None:
        return None, outputs.detach()
    edges = [layer.edge for layer in layers]
    for vector, signs in cotangents(outputs, y):
        slopes = torch.autograd.grad(outputs, edges, vector, retain_graph=True, allow_unused=True)
        for layer, slope in zip(layers, slopes, strict=True):
            if slope is not None:
                layer.add_to_total(slope, signs) if total_only else layer.add(slope, signs)
    return layers, outputs.detach()


def _by_vmap(network: Network, x: Tensor, cotangents: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """The squares for any module that `vmap` and `functional_call` support, from per-sample gradients."""
    if not network.supports_functional_call(x):
        raise InputError(
            "The network cannot be differentiated sample by sample (`functional_call` misses its weights)."
        )
    weights = {name: p.detach() for name, p in network.module.named_parameters() if p.requires_grad}

    def squares(sample: Tensor, vectors: Tensor, signs: Tensor) -> dict[str, Tensor]:
        pull_back = vjp(lambda theta: call_with(network.module, theta, sample[None]), weights)[1]
        sums = {name: torch.zeros_like(p) for name, p in weights.items()}
        for vector, sign in zip(vectors, signs, strict=True):
            for name, gradient in pull_back(vector[None])[0].items():
                sums[name] = sums[name] + sign * gradient.square()
        return sums

    totals = {name: torch.zeros_like(p) for name, p in weights.items()}
    rows = max(1, MAX_ENTRIES // network.size)
    remaining = iter(cotangents)
    while pairs := list(itertools.islice(remaining, COTANGENTS_PER_PASS)):
        vectors, signs = (torch.stack(column, dim=1) for column in zip(*pairs, strict=True))
        parts = zip(torch.split(x, rows), torch.split(vectors, rows), torch.split(signs, rows), strict=True)
        for xs, bs, ss in parts:
            try:
                sums = vmap(squares)(xs, bs, ss)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"The network cannot be differentiated sample by sample ({reason}).") from error
            for name, per_sample in sums.items():
                totals[name] += per_sample.sum(0)
    return list(totals.values())
