"""Streams between norms, turned to the principal axes of what the norms read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suite.measures.canonical.network import TracedNetwork
from suite.measures.canonical.parts import Part, Unproved


def turn_streams(net: TracedNetwork) -> None:
    """Turn what norms read to its principal axes on samples."""
    streams: dict[frozenset[int], list[Part]] = {}
    for part in net.free:
        streams.setdefault(frozenset(net.roots(part.site.reads)), []).append(part)
    fixed = set(net.recorder.fixed().tolist())
    for roots, norms in streams.items():
        if roots <= fixed:
            continue
        block = sorted(roots)
        _check_stream(net, block, norms)
        keeps_mean = any(part.site.name == "layer_norm" for part in norms)
        turn = _principal_axes(net, block, norms, keeps_mean)
        for part, rows in net.writers(block):
            if part.site.name == "add":
                assert part.shift is not None
                part.shift = part.shift.clone()
                part.shift[..., rows] = part.shift[..., rows] @ turn.T
            else:
                assert part.weight is not None
                part.weight = part.weight.clone()
                part.weight[rows] = torch.einsum("ab,bit->ait", turn, part.weight[rows])
                if part.shift is not None:
                    part.shift = part.shift.clone()
                    part.shift[rows] = turn @ part.shift[rows]
            part.changed = True
        outputs = []
        for norm in norms:
            place = {root: at for at, root in enumerate(net.roots(norm.site.reads))}
            written = net.roots(norm.site.writes)
            outputs.append([written[place[root]] for root in block])
        for each in (block, *outputs):
            for part, columns in net.readers(each):
                assert part.weight is not None
                for places in columns:
                    part.weight[:, places] = torch.einsum("ab,obt->oat", turn, part.weight[:, places])
                part.changed = True
            net.iso |= dict.fromkeys(each, ("stream", block[0]))


def _check_stream(net: TracedNetwork, block: list[int], norms: list[Part]) -> None:
    numbers = {part.site.number for part in norms}
    histories = net.recorder.histories()
    for root in block:
        for event in histories[root]:
            number, kind = event
            is_linear = isinstance(number, int) and (
                net.parts[number].weight is not None or net.parts[number].site.name == "add"
            )
            if not is_linear and number not in numbers and not net.parts[number].is_identity:
                raise Unproved(f"a stream of norms has a {kind} that is no linear map's")


def _principal_axes(net: TracedNetwork, block: list[int], norms: list[Part], keeps_mean: bool) -> Tensor:
    size = len(block)
    total, mean = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)

    def seeing(norm: Part) -> Callable[[Tensor, Tensor], None]:
        place = {root: at for at, root in enumerate(net.roots(norm.site.reads))}
        order = torch.tensor([place[root] for root in block])

        def see(inputs: Tensor, _: Tensor) -> None:
            values = inputs.double().reshape(-1, size).cpu()[:, order]
            if keeps_mean:
                values = values - values.mean(1, keepdim=True)
            values = values / values.square().mean(1, keepdim=True).sqrt().clamp_min(1e-300)
            total.add_(values.T @ values / len(values))
            mean.add_(values.mean(0))

        return see

    net.observe({part.site.number: seeing(part) for part in norms})
    basis = torch.eye(size, dtype=torch.float64)
    if keeps_mean:
        basis = _helmert(size)
    axes = torch.linalg.eigh(basis @ total @ basis.T)[1]
    axes = axes * torch.where(axes.T @ (basis @ mean) < 0, -1.0, 1.0)  # either sign would do
    turn = basis.T @ axes.T @ basis
    return turn + 1 / size if keeps_mean else turn


def _helmert(size: int) -> Tensor:
    """An orthonormal basis [size - 1, size] of the vectors of mean 0."""
    rows = torch.tril(torch.ones(size - 1, size, dtype=torch.float64))
    index = torch.arange(1, size)
    rows[index - 1, index] = -index.double()
    return rows / (index * (index + 1)).double().sqrt()[:, None]
