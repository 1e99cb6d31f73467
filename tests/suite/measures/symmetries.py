"""Changes of a network's weights that leave its function alone, written for eight architectures by hand.

Each is an exact function network -> network: a random one of its kind, with factors and singular values up to the root
of the condition number that is asked for. None of them knows what the measures find out about networks.
"""

from __future__ import annotations

import copy
import importlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from suite.measures.registry import (
    ATTENTION,
    LINEAR_PAIR,
    LOGIT_SCALE,
    LOGIT_SHIFT,
    NEURON_RESCALING,
    NORMALIZATION,
    RESIDUAL_STREAM,
)
from suite.seeding import torch_stream
from suite.task import Split

Change = Callable[[Any, Generator, float], None]
"""Changes a network in place, with draws from a generator, at a condition number."""

SHAPE, CLASSES = (1, 8, 8), 4


def fitted(name: str, dtype: torch.dtype = torch.float64, samples: int = 24) -> tuple[nn.Module, Split]:
    """The architecture of this name, small images of it, and labels that it has learned."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = importlib.import_module(f"submissions.architectures.{name}")
        model = module.submission.architecture(SHAPE, CLASSES).double()
        x = torch.randn(samples, *SHAPE, dtype=torch.float64)
        y = x.flatten(1)[:, 20 : 20 + CLASSES].argmax(1)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    return model.eval().to(dtype), Split(x.to(dtype), y)


def _normal(stream: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def _orthogonal(stream: Generator, size: int) -> Tensor:
    return torch.linalg.qr(_normal(stream, size, size))[0]


def _factors(stream: Generator, size: int, condition: float) -> Tensor:
    """Positive, at most `condition` apart."""
    return ((torch.rand(size, generator=stream, dtype=torch.float64) - 0.5) * math.log(condition)).exp()


def _invertible(stream: Generator, size: int, condition: float) -> Tensor:
    """A matrix whose singular values are at most `condition` apart."""
    return _orthogonal(stream, size) @ torch.diag(_factors(stream, size, condition)) @ _orthogonal(stream, size)


def _shift(stream: Generator, size: int, condition: float) -> Tensor:
    return 0.1 * math.sqrt(condition) * _normal(stream, size)


def _multiply_inputs(layer: Any, factors: Tensor) -> None:
    """The layer's weights times factors of its inputs; of images in front of a flat layer, of their channels."""
    weight = layer.weight
    if weight.dim() == 2:
        factors = factors.repeat_interleave(weight.shape[1] // len(factors))
        weight *= factors
    else:
        weight *= factors[None, :, None, None]


def _multiply_outputs(layer: Any, factors: Tensor) -> None:
    weight = layer.weight
    weight *= factors.view(-1, *[1] * (weight.dim() - 1))
    if layer.bias is not None:
        layer.bias *= factors


# -- ReLU neurons -----------------------------------------------------------------------------------------------------


def _rescale_neurons(model: nn.Module, stream: Generator, condition: float) -> None:
    """Of a plain chain: what writes to a ReLU (a layer, or the norm after it) times c, the next layer over c."""
    layers: Any = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    norms: Any = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    for before, after in zip(norms or layers, layers[1:], strict=False):
        factors = _factors(stream, len(before.weight), condition)
        _multiply_outputs(before, factors)
        _multiply_inputs(after, 1 / factors)


def _rescale_blocks(model: Any, stream: Generator, condition: float) -> None:
    """Of the residual network: within blocks, and of what blocks hand to each other."""
    blocks = [m for m in model if hasattr(m, "shortcut")]
    for block in blocks:
        factors = _factors(stream, len(block.body[1].weight), condition)
        _multiply_outputs(block.body[1], factors)
        _multiply_inputs(block.body[3], 1 / factors)
    factors = _factors(stream, len(model[1].weight), condition)
    _multiply_outputs(model[1], factors)
    for block in blocks:
        _multiply_inputs(block.body[0], 1 / factors)
        if not isinstance(block.shortcut, nn.Identity):
            _multiply_inputs(block.shortcut, 1 / factors)
            factors = _factors(stream, len(block.body[4].weight), condition)
            block.shortcut.weight *= factors[:, None, None, None]
        _multiply_outputs(block.body[4], factors)
    _multiply_inputs(model[-1], 1 / factors)


# -- linear maps in a row ---------------------------------------------------------------------------------------------


def _mix_linear(model: Any, stream: Generator, condition: float) -> None:
    """Hidden layers in another basis and moved by a constant."""
    layers: Any = [m for m in model if isinstance(m, nn.Linear)]
    for before, after in itertools.pairwise(layers):
        mix = _invertible(stream, len(before.weight), condition)
        before.weight.copy_(mix @ before.weight)
        before.bias.copy_(mix @ before.bias)
        after.weight.copy_(torch.linalg.solve(mix.T, after.weight.T).T)
        constant = _shift(stream, len(mix), 1.0)
        before.bias += constant
        after.bias -= after.weight @ constant


def _mix_factors(model: Any, stream: Generator, condition: float) -> None:
    """The same for a product of matrices without biases."""
    factors = [*model.layers, model.head]
    for before, after in itertools.pairwise(factors):
        mix = _invertible(stream, len(before), condition)
        before.copy_(mix @ before)
        after.copy_(torch.linalg.solve(mix.T, after.T).T)


# -- normalization ----------------------------------------------------------------------------------------------------


def _feed_layer_norms(model: Any, stream: Generator, condition: float) -> None:
    """Layers before a layer norm: times a factor (and the norm's epsilon with it), and constants added."""
    for layer, norm in itertools.pairwise(model):
        if isinstance(norm, nn.LayerNorm):
            factor = float(_factors(stream, 1, condition))
            layer.weight *= factor
            layer.bias *= factor
            norm.eps *= factor**2
            layer.weight += _shift(stream, layer.in_features, 1.0)
            layer.bias += _shift(stream, 1, condition)


def _feed_group_norms(model: Any, stream: Generator, condition: float) -> None:
    for module in model.modules():
        body = getattr(module, "body", None)
        pairs = [(model[0], model[1])] if module is model else []
        pairs += [] if body is None else [(body[0], body[1]), (body[3], body[4])]
        for layer, norm in pairs:
            factor = float(_factors(stream, 1, condition))
            layer.weight *= factor
            norm.eps *= factor**2


def _feed_batch_norms(model: Any, stream: Generator, condition: float) -> None:
    """Convolutions before batch norm with running statistics: times factors, and constants that the mean takes out."""
    layers: list[Any] = list(model)
    for layer, norm in itertools.pairwise(layers):
        if norm.__class__ is nn.BatchNorm2d:
            factors = _factors(stream, len(norm.weight), condition)
            _multiply_outputs(layer, factors)
            constant = _shift(stream, len(factors), condition)
            layer.bias += constant
            norm.running_mean.mul_(factors).add_(constant)
            norm.running_var.copy_((norm.running_var + norm.eps) * factors.square() - norm.eps)
            # What the norm's gain does, the layer can do.
            gains = _factors(stream, len(factors), condition)
            norm.weight *= gains
            norm.running_mean /= gains
            _multiply_outputs(layer, 1 / gains)
            deviation = (norm.running_var + norm.eps).sqrt()
            moved = _shift(stream, len(factors), 1.0)
            norm.bias += moved
            norm.running_mean += moved * deviation / norm.weight


# -- the vision transformer -------------------------------------------------------------------------------------------


def _readers(model: Any) -> list[tuple[Any, Any]]:
    """Every norm with the layer that reads it."""
    pairs = []
    for block in model.blocks[:-1]:
        pairs += [(block.attend[0], block.attend[1].queries_keys_values), (block.think[0], block.think[1])]
    return [*pairs, (model.blocks[-1], model.head)]


def _writers(model: Any) -> list[Any]:
    """Layers that write to the stream."""
    writers = [model.patches[1]]
    for block in model.blocks[:-1]:
        writers += [block.attend[1].out, block.think[3]]
    return writers


def _move_gains(model: Any, stream: Generator, condition: float) -> None:
    for norm, reader in _readers(model):
        factors = _factors(stream, len(norm.weight), condition)
        factors *= torch.where(torch.rand(len(factors), generator=stream) < 0.5, -1.0, 1.0)
        norm.weight *= factors
        norm.bias *= factors
        reader.weight /= factors
        constant = _shift(stream, len(factors), 1.0)
        norm.bias += constant
        reader.bias -= reader.weight @ constant
        # What is normalized has mean 0 before the gain.
        added = torch.outer(_shift(stream, len(reader.weight), 1.0), 1 / norm.weight)
        reader.weight += added
        reader.bias -= added @ norm.bias


def _mix_heads(model: Any, stream: Generator, condition: float) -> None:
    """Queries against keys and values against outputs, head by head; constants of keys, and of values."""
    for block in model.blocks[:-1]:
        attention = block.attend[1]
        size = attention.out.in_features // attention.heads
        weight = attention.queries_keys_values.weight.unflatten(0, (3, attention.heads, size))
        bias = attention.queries_keys_values.bias.unflatten(0, (3, attention.heads, size))
        for head in range(attention.heads):
            columns = slice(head * size, (head + 1) * size)
            mix, other = (_invertible(stream, size, condition) for _ in range(2))
            bias[1, head] += _shift(stream, size, condition)
            for row, matrix in ((0, mix), (1, torch.linalg.inv(mix).T), (2, other)):
                weight[row, head] = matrix @ weight[row, head]
                bias[row, head] = matrix @ bias[row, head]
            out = attention.out.weight
            out[:, columns] = torch.linalg.solve(other.T, out[:, columns].T).T
            constant = _shift(stream, size, 1.0)
            bias[2, head] += constant
            attention.out.bias -= out[:, columns] @ constant


def _turn_stream(model: Any, stream: Generator, condition: float) -> None:
    """Gains to their readers; the stream rotated around the constant vector, scaled, and moved along it."""
    for norm, reader in _readers(model):
        reader.bias += reader.weight @ norm.bias
        reader.weight *= norm.weight
        norm.weight.fill_(1)
        norm.bias.zero_()
    width = len(model.head.weight.T)
    mean = torch.full((width, 1), 1 / math.sqrt(width), dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([mean, _normal(stream, width, width - 1)], 1))[0][:, 1:]
    turn = mean @ mean.T + basis @ _orthogonal(stream, width - 1) @ basis.T
    factor = float(_factors(stream, 1, condition))
    for writer in _writers(model):
        flat = factor * turn @ writer.weight.flatten(1) + _shift(stream, writer.weight[0].numel(), 1.0)
        writer.weight.copy_(flat.view_as(writer.weight))
        writer.bias.copy_(factor * turn @ writer.bias + _shift(stream, 1, condition))
    model.position.copy_(factor * model.position @ turn.T + _shift(stream, len(model.position), 1.0)[:, None])
    constant = _shift(stream, width, 1.0)
    model.position += constant
    model.patches[1].bias -= constant
    for norm, reader in _readers(model):
        norm.eps *= factor**2
        reader.weight.copy_(reader.weight @ turn.T)


# -- the logits -------------------------------------------------------------------------------------------------------


def _shift_logits(model: Any, stream: Generator, condition: float) -> None:
    head: Any = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    head.weight += _shift(stream, head.in_features, condition) / 10
    head.bias += _shift(stream, 1, condition)


def _scale_logits(model: Any, stream: Generator, condition: float) -> None:
    """Of outputs that are compared at one training loss."""
    head: Any = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    factor = condition**0.25
    head.weight *= factor
    head.bias *= factor


def _scale_predictor(model: Any, stream: Generator, condition: float) -> None:
    model.head *= condition**0.25


def _shift_predictor(model: Any, stream: Generator, condition: float) -> None:
    model.head += _shift(stream, model.head.shape[1], condition) / 10


_FOR: dict[str, dict[str, list[Change]]] = {
    "mlp": {NEURON_RESCALING: [_rescale_neurons]},
    "deep_linear": {LINEAR_PAIR: [_mix_linear]},
    "linear_full": {
        LINEAR_PAIR: [_mix_factors],
        LOGIT_SHIFT: [_shift_predictor],
        LOGIT_SCALE: [_scale_predictor],
    },
    "cnn": {NEURON_RESCALING: [_rescale_neurons]},
    "cnn_batchnorm": {NEURON_RESCALING: [_rescale_neurons], NORMALIZATION: [_feed_batch_norms]},
    "layernorm_mlp": {NEURON_RESCALING: [_rescale_neurons], NORMALIZATION: [_feed_layer_norms]},
    "resnet": {NEURON_RESCALING: [_rescale_blocks], NORMALIZATION: [_feed_group_norms]},
    "vit": {ATTENTION: [_mix_heads], NORMALIZATION: [_move_gains], RESIDUAL_STREAM: [_turn_stream]},
}
CHANGES: dict[str, dict[str, list[Change]]] = {
    name: {LOGIT_SHIFT: [_shift_logits], LOGIT_SCALE: [_scale_logits]} | changes for name, changes in _FOR.items()
}
"""By architecture, the changes that it has, by the names of the invariances."""


# -- orders -----------------------------------------------------------------------------------------------------------


def _reorder(parts: list[Any], order: Tensor) -> None:
    """What writes to neurons or channels, in another order of these."""
    for part in parts:
        for tensor in (*part.parameters(), *(buffer for buffer in part.buffers() if buffer.dim())):
            tensor.copy_(tensor[order])


def _reorder_inputs(layer: Any, order: Tensor) -> None:
    """A layer that reads them; of images in front of a flat layer, their channels."""
    weight = layer.weight
    weight.copy_(weight.unflatten(1, (len(order), -1))[:, order].flatten(1, 2))


def _permute_neurons(model: nn.Module, stream: Generator, _: float) -> None:
    layers: Any = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    norms: Any = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    for at, (before, after) in enumerate(itertools.pairwise(layers)):
        order = torch.randperm(len(before.weight), generator=stream)
        _reorder([before, *norms[at : at + 1]], order)
        _reorder_inputs(after, order)


def _permute_factors(model: Any, stream: Generator, _: float) -> None:
    for before, after in itertools.pairwise([*model.layers, model.head]):
        order = torch.randperm(len(before), generator=stream)
        before.copy_(before[order])
        after.copy_(after[:, order])


def _permute_blocks(model: Any, stream: Generator, _: float) -> None:
    """Within blocks of the residual network: groups that are normalized together, and channels in them."""
    for block in (m for m in model if hasattr(m, "shortcut")):
        norm = block.body[1]
        groups = torch.arange(norm.num_channels).view(norm.num_groups, -1)[
            torch.randperm(norm.num_groups, generator=stream)
        ]
        order = torch.cat([group[torch.randperm(len(group), generator=stream)] for group in groups])
        _reorder([block.body[0], norm], order)
        _reorder_inputs(block.body[3], order)


def _permute_heads(model: Any, stream: Generator, _: float) -> None:
    """Heads, and the hidden neurons of what follows them."""
    for block in model.blocks[:-1]:
        attention, order = block.attend[1], torch.randperm(block.attend[1].heads, generator=stream)
        for tensor in attention.queries_keys_values.parameters():
            heads = tensor.unflatten(0, (3, len(order), -1))
            tensor.copy_(heads[:, order].flatten(0, 2))
        _reorder_inputs(attention.out, order)
        order = torch.randperm(block.think[1].out_features, generator=stream)
        _reorder([block.think[1]], order)
        _reorder_inputs(block.think[3], order)


PERMUTATIONS: dict[str, Change] = dict.fromkeys(_FOR, _permute_neurons) | {
    "linear_full": _permute_factors,
    "resnet": _permute_blocks,
    "vit": _permute_heads,
}
"""By architecture, another order of its neurons, channels or heads."""


@torch.no_grad()
def changed(model: nn.Module, changes: list[Change], stream: Generator, condition: float) -> nn.Module:
    """A copy of the network after these changes, made in float64."""
    dtype = next(model.parameters()).dtype
    other = copy.deepcopy(model).double()
    for change in changes:
        change(other, stream, condition)
    return other.to(dtype)


def one_of_each(name: str, kind: str, model: nn.Module, condition: float = 25.0) -> nn.Module:
    """The network after the changes of a kind."""
    return changed(model, CHANGES[name][kind], torch_stream("symmetry", name, kind), condition)
