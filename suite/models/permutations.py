"""Orders of hidden units: networks that differ in them alone are the same function (Ainsworth et al. 2023,
arXiv:2209.04836, "weight matching").

    find the axes that a permutation of one layer's units acts on, by shapes; keep those that leave the outputs alone
    until nothing changes
        for every layer: the order of its units that brings the weights closest, the others' orders as they are

The order of one layer given the others is a linear assignment problem, which scipy solves exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from suite.models.state import call_with
from suite.task import Weights

SAME_OUTPUTS = 1e-4
"""Outputs that differ by less (relative to the largest) are those of the same function, but for rounding."""

MAX_ROUNDS = 100
"""Rounds through all layers, each of which brings the weights closer: a handful is usual."""


class HiddenLayer(NamedTuple):
    """The units of one layer, and where they stand: (name of a parameter, axis)."""

    units: int
    places: tuple[tuple[str, int], ...]

    def permuted(self, weights: Weights, order: Tensor) -> Weights:
        """The same weights with the units in another order."""
        moved = {name: weights[name].index_select(axis, order) for name, axis in self.places}
        return {**weights, **moved}


def hidden_layers(model: nn.Module, x: Tensor) -> list[HiddenLayer]:
    """The layers of `model` whose units can be put into any order without changing its outputs at `x` [n, ...].

    A layer is a weight whose rows its units are, the vectors of as many entries that follow it (biases, norms), and the
    next weight, whose second axis they are; or a vector of output weights. What is found by shapes is tried.
    """
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def is_free(layer: HiddenLayer) -> bool:
        cycle = torch.arange(layer.units, device=x.device).roll(1)
        swap = torch.arange(layer.units, device=x.device)
        swap[:2] = swap[:2].flip(0)
        # All permutations are products of these two.
        return all(_same_outputs(model, weights, layer.permuted(weights, order), x) for order in (cycle, swap))

    return [layer for layer in _candidates(weights) if layer.units > 1 and is_free(layer)]


def _candidates(weights: Weights) -> Iterator[HiddenLayer]:
    """Layers by shapes alone."""
    names = list(weights)
    for place, name in enumerate(names):
        if weights[name].dim() < 2:
            continue
        units = len(weights[name])
        places = [(name, 0)]
        for later in names[place + 1 :]:
            shape = weights[later].shape
            if len(shape) == 1 and shape[0] == units:
                places.append((later, 0))
            elif len(shape) > 1:
                if shape[1] == units:
                    yield HiddenLayer(units, (*places, (later, 1)))
                break
        if len(places) > 1:  # the last vector may be the output weights
            yield HiddenLayer(units, tuple(places))


@torch.no_grad()
def _same_outputs(model: nn.Module, one: Weights, other: Weights, x: Tensor) -> bool:
    try:
        outputs, moved = (call_with(model, weights, x) for weights in (one, other))
    except (RuntimeError, ValueError, IndexError):
        return False
    return bool((outputs - moved).abs().amax() <= SAME_OUTPUTS * outputs.abs().amax())


def aligned(weights: Weights, reference: Weights, layers: Sequence[HiddenLayer]) -> Weights:
    """`weights` with the units of all `layers` in the order in which they are closest to `reference`.

    It never increases the distance. The result is a local optimum over the orders of all layers: of one layer alone it
    is the best.
    """
    for _ in range(MAX_ROUNDS):
        before = weights
        for layer in layers:
            weights = _best_order(weights, reference, layer)
        if all(torch.equal(before[name], weights[name]) for name in weights):
            break
    return weights


def _best_order(weights: Weights, reference: Weights, layer: HiddenLayer) -> Weights:
    """`weights` with the units of one layer in the order that brings them closest to `reference`."""
    products = torch.zeros(layer.units, layer.units, dtype=torch.float64)
    for name, axis in layer.places:
        one, other = (
            side[name].movedim(axis, 0).reshape(layer.units, -1).double().cpu() for side in (reference, weights)
        )
        products += one @ other.T
    _, order = linear_sum_assignment(products.numpy(), maximize=True)
    kept = torch.arange(layer.units)
    # Ties and rounding must not move what is as good where it is.
    gain = products[kept, torch.from_numpy(order)].sum() - products.diagonal().sum()
    if gain <= 1e-12 * products.abs().sum():
        return weights
    return layer.permuted(weights, torch.from_numpy(order).to(weights[layer.places[0][0]].device))
