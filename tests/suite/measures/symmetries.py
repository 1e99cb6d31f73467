"""Changes of a network's weights that leave its function alone, written for every built-in architecture by hand.

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
    PERIOD,
    RESIDUAL_STREAM,
)
from suite.seeding import torch_stream
from suite.task import Split
from suite.tasks.sequences_language import ClassesFirst

Change = Callable[[Any, Generator, float], None]
"""Changes a network in place, with draws from a generator, at a condition number."""

SHAPE, CLASSES = (1, 8, 8), 4
VOCABULARY, CONTEXT = 6, 5
READS_TOKENS = frozenset({"gru", "transformer_small"})
RATES = {"sine_mlp": 3e-4, "linear_diagonal": 0.1, "linear_convolutional": 0.1}
"""Adam's step size where it is not 0.003."""


def fitted(name: str, dtype: torch.dtype = torch.float64, samples: int = 24) -> tuple[nn.Module, Split]:
    """The architecture of this name, small images (or a few tokens) for it, and labels that it has learned."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        architecture = importlib.import_module(f"submissions.architectures.{name}").submission.architecture
        if name in READS_TOKENS:
            model = ClassesFirst(architecture(VOCABULARY, CONTEXT)).double()
            x = torch.randint(VOCABULARY, (samples, CONTEXT))
            y = torch.cat([x[:, :1], x[:, :-1]], 1)  # the token before
        else:
            model = architecture(SHAPE, CLASSES).double()
            x = torch.randn(samples, *SHAPE, dtype=torch.float64)
            y = x.flatten(1)[:, 20 : 20 + CLASSES].argmax(1)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATES.get(name, 3e-3))
        for _ in range(40):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    return model.eval().to(dtype), Split(x.to(dtype) if x.is_floating_point() else x, y)


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


def _signs(stream: Generator, size: int) -> Tensor:
    return torch.where(torch.rand(size, generator=stream) < 0.5, -1.0, 1.0).double()


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


def _rescale_residuals(model: Any, stream: Generator, condition: float) -> None:
    """Of residual blocks without norms: within them, and of the stream, which they read through a ReLU."""
    branches = [m.branch for m in model if hasattr(m, "branch")]
    for branch in branches:
        factors = _factors(stream, branch[1].out_features, condition)
        _multiply_outputs(branch[1], factors)
        _multiply_inputs(branch[3], 1 / factors)
    factors = _factors(stream, model[1].out_features, condition)
    for writer in (model[1], *(branch[3] for branch in branches)):
        _multiply_outputs(writer, factors)
    for reader in (*(branch[1] for branch in branches), model[-1]):
        _multiply_inputs(reader, 1 / factors)


# -- sines ------------------------------------------------------------------------------------------------------------


def _sines(model: Any) -> list[tuple[Any, Any]]:
    """Every layer in a sine, with the layer that reads the sine."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return list(itertools.pairwise(layers))


def _add_periods(model: Any, stream: Generator, condition: float) -> None:
    """Half periods to the constant in a sine of 30 times a layer, with the sign of what reads it."""
    most = max(1, round(condition**0.5))
    for layer, reader in _sines(model):
        count = torch.randint(-most, most + 1, (layer.out_features,), generator=stream)
        layer.bias += count.double() * (math.pi / 30)
        _multiply_inputs(reader, 1.0 - 2.0 * (count % 2))


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


def _mix_entries(model: Any, stream: Generator, condition: float) -> None:
    """A product of vectors, entry by entry: each with factors of its own, of either sign."""
    (vector,) = model.layers
    factors = _factors(stream, len(vector), condition) * _signs(stream, len(vector))
    vector *= factors
    model.head /= factors


def _mix_frequencies(model: Any, stream: Generator, condition: float) -> None:
    """A product of spectra, frequency by frequency: each with factors and phases of its own."""
    (vector,) = model.layers
    # The spectrum of a real vector has no imaginary part at frequency 0, and at half the length.
    size = len(vector) // 2 + 1
    phases = torch.polar(_factors(stream, size, condition), 6.3 * torch.rand(size, generator=stream).double())
    for at in (0, -1):
        phases[at] = phases[at].abs()
    for each, factors in ((vector, phases), (model.head, 1 / phases)):
        each.copy_(torch.fft.irfft(torch.fft.rfft(each) * factors, n=len(vector)))


def _mix_embedding(model: Any, stream: Generator, condition: float) -> None:
    """Of a recurrent layer: embeddings in another basis and moved by a constant; biases that are added to each other.

    That of a GRU's new state, the last third, is multiplied before it is added.
    """
    body, layer = model.model, model.model.recurrent
    mix = _invertible(stream, layer.input_size, condition)
    body.tokens.weight.copy_(body.tokens.weight @ mix.T)
    layer.weight_ih_l0.copy_(torch.linalg.solve(mix.T, layer.weight_ih_l0.T).T)
    constant = _shift(stream, len(mix), 1.0)
    body.tokens.weight += constant
    layer.bias_ih_l0 -= layer.weight_ih_l0 @ constant
    moved = _shift(stream, 2 * layer.hidden_size, condition)
    layer.bias_ih_l0[: len(moved)] += moved
    layer.bias_hh_l0[: len(moved)] -= moved


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


# -- transformers -----------------------------------------------------------------------------------------------------


def _body(model: Any) -> Any:
    """The network of images, or that of tokens whose outputs come with classes first."""
    return model.model if isinstance(model, ClassesFirst) else model


def _readers(model: Any) -> list[tuple[Any, Any]]:
    """Every norm with the layer that reads it."""
    pairs, body = [], _body(model)
    for block in body.blocks[:-1]:
        pairs += [(block.attend[0], block.attend[1].queries_keys_values), (block.think[0], block.think[1])]
    return [*pairs, (body.blocks[-1], body.head)]


def _writers(model: Any) -> list[Any]:
    """Layers that write to the stream, the first of them from patches or tokens."""
    body = _body(model)
    writers = [body.tokens if isinstance(model, ClassesFirst) else body.patches[1]]
    for block in body.blocks[:-1]:
        writers += [block.attend[1].out, block.think[3]]
    return writers


def _move_gains(model: Any, stream: Generator, condition: float) -> None:
    for norm, reader in _readers(model):
        factors = _factors(stream, len(norm.weight), condition) * _signs(stream, len(norm.weight))
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
    for block in _body(model).blocks[:-1]:
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
    body, first = _body(model), _writers(model)[0]
    position = body.positions if hasattr(body, "positions") else body.position
    width = len(body.head.weight.T)
    mean = torch.full((width, 1), 1 / math.sqrt(width), dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([mean, _normal(stream, width, width - 1)], 1))[0][:, 1:]
    turn = mean @ mean.T + basis @ _orthogonal(stream, width - 1) @ basis.T
    factor = float(_factors(stream, 1, condition))
    for writer in _writers(model):
        is_table = isinstance(writer, nn.Embedding)
        matrix = writer.weight.T if is_table else writer.weight.flatten(1)
        matrix = factor * turn @ matrix + _shift(stream, matrix.shape[1], 1.0)
        writer.weight.copy_((matrix.T if is_table else matrix).reshape(writer.weight.shape))
        if not is_table:
            writer.bias.copy_(factor * turn @ writer.bias + _shift(stream, 1, condition))
    position.copy_(factor * position @ turn.T + _shift(stream, len(position), 1.0)[:, None])
    constant = _shift(stream, width, 1.0)
    position += constant
    each = first.weight if isinstance(first, nn.Embedding) else first.bias
    each -= constant
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
    model.head += model.head.std() * _shift(stream, model.head.shape[1], condition)


_RELU: dict[str, list[Change]] = {NEURON_RESCALING: [_rescale_neurons]}
_TRANSFORMER: dict[str, list[Change]] = {
    ATTENTION: [_mix_heads], NORMALIZATION: [_move_gains], RESIDUAL_STREAM: [_turn_stream],
}  # fmt: skip
_PREDICTOR: dict[str, list[Change]] = {LOGIT_SHIFT: [_shift_predictor], LOGIT_SCALE: [_scale_predictor]}
LIKE_MLP = ("mlp_deep", "mlp_narrow", "mlp_wide", "rich_mlp", "lazy_mlp", "fourier_mlp")
"""Architectures of linear layers and ReLUs in a row, beside `mlp`."""
_FOR: dict[str, dict[str, list[Change]]] = {
    **dict.fromkeys(("mlp", *LIKE_MLP, "cnn"), _RELU),
    "residual_mlp": {NEURON_RESCALING: [_rescale_residuals]},
    "sine_mlp": {PERIOD: [_add_periods]},
    "deep_linear": {LINEAR_PAIR: [_mix_linear]},
    "linear_full": {LINEAR_PAIR: [_mix_factors], **_PREDICTOR},
    "linear_diagonal": {LINEAR_PAIR: [_mix_entries], **_PREDICTOR},
    "linear_convolutional": {LINEAR_PAIR: [_mix_frequencies], **_PREDICTOR},
    "cnn_batchnorm": {**_RELU, NORMALIZATION: [_feed_batch_norms]},
    "layernorm_mlp": {**_RELU, NORMALIZATION: [_feed_layer_norms]},
    "resnet": {NEURON_RESCALING: [_rescale_blocks], NORMALIZATION: [_feed_group_norms]},
    "gru": {LINEAR_PAIR: [_mix_embedding]},
    **dict.fromkeys(("vit", "transformer_small"), _TRANSFORMER),
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
    for block in _body(model).blocks[:-1]:
        attention, order = block.attend[1], torch.randperm(block.attend[1].heads, generator=stream)
        for tensor in attention.queries_keys_values.parameters():
            heads = tensor.unflatten(0, (3, len(order), -1))
            tensor.copy_(heads[:, order].flatten(0, 2))
        _reorder_inputs(attention.out, order)
        order = torch.randperm(block.think[1].out_features, generator=stream)
        _reorder([block.think[1]], order)
        _reorder_inputs(block.think[3], order)


def _permute_residuals(model: Any, stream: Generator, _: float) -> None:
    """Neurons within blocks, and of the stream."""
    branches = [m.branch for m in model if hasattr(m, "branch")]
    order = torch.randperm(model[1].out_features, generator=stream)
    _reorder([model[1], *(branch[3] for branch in branches)], order)
    for reader in (*(branch[1] for branch in branches), model[-1]):
        _reorder_inputs(reader, order)
    for branch in branches:
        order = torch.randperm(branch[1].out_features, generator=stream)
        _reorder([branch[1]], order)
        _reorder_inputs(branch[3], order)


def _permute_sines(model: Any, stream: Generator, condition: float) -> None:
    """Sines in another order and with other signs, which what reads them has too."""
    _permute_neurons(model, stream, condition)
    for layer, reader in _sines(model):
        signs = _signs(stream, layer.out_features)
        _multiply_outputs(layer, signs)
        _multiply_inputs(reader, signs)


def _roll_filter(model: Any, stream: Generator, _: float) -> None:
    """A circular filter further on, what it is convolved with further back."""
    (vector,) = model.layers
    steps = int(torch.randint(1, len(vector), (), generator=stream))
    vector.copy_(vector.roll(steps))
    model.head.copy_(model.head.roll(-steps, 1))


def _permute_states(model: Any, stream: Generator, _: float) -> None:
    """A recurrent layer's states in another order and with other signs: a GRU's new states are those of a tanh."""
    body, layer = model.model, model.model.recurrent
    order, signs = torch.randperm(layer.hidden_size, generator=stream), _signs(stream, layer.hidden_size)
    gates = torch.cat([torch.ones(2 * len(signs), dtype=torch.float64), signs])
    for tensor in layer.parameters():
        tensor.copy_(tensor.unflatten(0, (3, -1))[:, order].flatten(0, 1) * gates.view(-1, *[1] * (tensor.dim() - 1)))
    for weight in (layer.weight_hh_l0, body.head.weight):
        weight.copy_(weight[:, order] * signs)


PERMUTATIONS: dict[str, Change] = dict.fromkeys(_FOR, _permute_neurons) | {
    "linear_full": _permute_factors,
    "linear_diagonal": lambda model, stream, _: _mix_entries(model, stream, 1.0),  # nothing but signs
    "linear_convolutional": _roll_filter,
    "residual_mlp": _permute_residuals,
    "sine_mlp": _permute_sines,
    "resnet": _permute_blocks,
    "gru": _permute_states,
    **dict.fromkeys(("vit", "transformer_small"), _permute_heads),
}
"""By architecture, another order of its neurons, channels or heads, and other signs where a function is odd."""


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
