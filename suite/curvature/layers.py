"""The layers of a network that are linear in their parameters, recorded during one forward pass.

For a linear layer the gradient of one sample is the outer product of the layer's input and of the slope at its
output, so the sum of its squares is one product of two matrices of squares (Goodfellow 2015, arXiv:1510.01799).
Convolutions are linear layers on unfolded patches, normalisations are linear in their scale and shift. Parameters of
any other module are taken in one of two ways. If all are matrices whose products are formed before inputs meet them, as
in ``x @ (W2 @ W1).T``, the inputs are multiplied by one after the other, each a linear layer. Else, such as positions
of a transformer, they are copied for every sample, if the network takes them so.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.functional import batch_norm, group_norm, layer_norm, rms_norm, unfold
from torch.overrides import TorchFunctionMode

from suite.curvature.network import SAME_GRADIENT, Network, each_used_once
from suite.errors import InputError
from suite.models import is_scripted
from suite.seeding import torch_stream

MAX_ENTRIES = 2**23
"""Per-sample gradients of a layer are formed for at most this many entries at a time."""


def linear_layers(network: Network, x: Tensor) -> tuple[list[Layer] | None, Tensor]:
    """The layers of one model in the order of their calls on `x` [n, ...], and the outputs with their graph.

    None for the layers unless every parameter serves exactly one known layer, once; `InputError` for scripted networks.
    """
    if is_scripted(network.module):
        raise InputError("A scripted network cannot be differentiated sample by sample.")
    calls: list[Layer | None] = []

    def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        calls.append(_layer(module, args, output, len(x)))

    modules = [m for m in network.module.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    others = [module for module in modules if not _is_layer(module)]
    matrices = [p for module in others for p in module.parameters(recurse=False) if p.requires_grad]
    multiplied = bool(others) and _are_multiplied(network, matrices, x[:2])
    if others and not multiplied and not _takes_copies(network, others, x[:2]):
        with torch.enable_grad():
            return None, network.outputs(x)
    # Before other hooks, which may change the output.
    hooks = [m.register_forward_hook(record, prepend=True) for m in modules if _is_layer(m)]
    try:
        if multiplied:
            with torch.enable_grad(), _InTurn(matrices, len(x)) as factors:
                outputs = network.outputs(x)
                calls += factors.calls
        else:
            with torch.enable_grad(), _copied_by_sample(others, len(x)) as copied:
                outputs = network.outputs(x)
                calls += [_Copies(parameter, copies) for parameter, copies in copied]
    finally:
        for hook in hooks:
            hook.remove()
    layers = [layer for layer in calls if layer]
    parameters = [id(p) for layer in layers for p in (layer.weight, layer.bias) if p is not None]
    if (
        len(layers) < len(calls)
        or len(set(parameters)) < len(parameters)
        or not set(map(id, network.leaves)) <= set(parameters)
        or not each_used_once([outputs.grad_fn, *(layer.edge.node for layer in layers)], network.leaves)
    ):
        return None, outputs
    return layers, outputs


class Layer(ABC):
    """A module that is linear in its parameters, with its input on the present samples and sums of squared gradients.

    Attributes:
        edge: the output's place in the graph at the time of the call, before anything changed the output in place.
        weight, bias: the module's parameters.
    """

    def __init__(self, module: nn.Module, edge: GradientEdge) -> None:
        self.edge = edge
        self.weight: Tensor = module.weight  # type: ignore[assignment]
        self.bias: Tensor | None = getattr(module, "bias", None)
        self._squares = torch.zeros_like(self.weight)
        self._bias_squares = self.weight.new_zeros(len(self.weight))

    @abstractmethod
    def add(self, slope: Tensor, signs: Tensor) -> None:
        """Add the squared gradients of one cotangent: its slope [n, ...] at the output, weighted by `signs` [n]."""

    def add_to_total(self, slope: Tensor, signs: Tensor) -> None:
        """The same if only `total` is called afterwards."""
        self.add(slope, signs)

    def squares(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Weight and bias, each with its sum of squared gradients."""
        yield self.weight, self._squares
        if self.bias is not None:
            yield self.bias, self._bias_squares

    def total(self) -> Tensor:
        """The sum of all squares, without frozen parameters, in float64."""
        return sum(
            (square.sum(dtype=torch.float64) for parameter, square in self.squares() if parameter.requires_grad),
            torch.zeros((), dtype=torch.float64, device=self.weight.device),
        )


class _Outer(Layer):
    """A linear layer with one input per sample: a squared outer product is the outer product of the squares."""

    def __init__(self, module: nn.Linear, value: Tensor, edge: GradientEdge) -> None:
        super().__init__(module, edge)
        self._input, self._slopes = value, value.new_zeros(len(value), len(self.weight))

    def add(self, slope: Tensor, signs: Tensor) -> None:
        self._slopes.addcmul_(slope, slope * signs[:, None])

    def squares(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._squares = self._slopes.T @ self._input.square()
        self._bias_squares = self._slopes.sum(0)
        yield from super().squares()

    def total(self) -> Tensor:
        # |a b'|² = |a|² |b|²: no product of matrices.
        slopes = self._slopes.sum(1, dtype=torch.float64)
        total = slopes.new_zeros(())
        if self.weight.requires_grad:
            total = total + slopes @ self._input.square().sum(1, dtype=torch.float64)
        if self.bias is not None and self.bias.requires_grad:
            total = total + slopes.sum()
        return total


class _Factor(_Outer):
    """A matrix W that inputs are multiplied by, ``x @ W`` or, where it is `flipped`, ``x @ W'``."""

    def __init__(self, parameter: Tensor, value: Tensor, edge: GradientEdge, *, flipped: bool) -> None:
        self.edge, self.weight, self.bias = edge, parameter, None
        self._flipped = flipped
        self._input, self._slopes = value, value.new_zeros(len(value), parameter.shape[0 if flipped else 1])

    def gradient(self, slope: Tensor, sample: int) -> Tensor:
        """The gradient of a sample, from its slope."""
        gradient = torch.outer(slope, self._input[sample])
        return gradient if self._flipped else gradient.T

    def squares(self) -> Iterator[tuple[Tensor, Tensor]]:
        squares = self._slopes.T @ self._input.square()
        yield self.weight, squares if self._flipped else squares.T


class _Patches(Layer):
    """A linear map of L patches per sample, [n, groups, k, L]: positions of a sequence, or patches of an image."""

    def __init__(self, module: nn.Module, patches: Tensor, edge: GradientEdge, positions_last: bool) -> None:
        super().__init__(module, edge)
        self._patches, self._positions_last = patches, positions_last
        self._total = torch.zeros((), dtype=torch.float64, device=patches.device)

    def add(self, slope: Tensor, signs: Tensor) -> None:
        slope = self._by_group(slope)
        self._add_bias(slope, signs)
        rows = max(1, MAX_ENTRIES // self.weight.numel())
        parts = zip(torch.split(slope, rows), torch.split(self._patches, rows), torch.split(signs, rows), strict=True)
        for slopes, patches, ss in parts:
            gradients = slopes @ patches.mT
            self._squares += torch.tensordot(ss, gradients.square_(), dims=1).reshape(self.weight.shape)

    def add_to_total(self, slope: Tensor, signs: Tensor) -> None:
        if not self._has_few_patches:
            self.add(slope, signs)
            return
        # |sum over l of s_l p_l'|² = sum over l, m of <s_l, s_m> <p_l, p_m>: no gradient is formed.
        slope = self._by_group(slope)
        self._add_bias(slope, signs)
        products = (slope.mT @ slope).mul_(self._patch_products).sum((1, 2, 3), dtype=torch.float64)
        self._total += signs.double() @ products

    def total(self) -> Tensor:
        return super().total() + (self._total if self.weight.requires_grad else 0.0)

    @cached_property
    def _has_few_patches(self) -> bool:
        """Whether products of patches cost less than gradients, and fit into the same memory."""
        n, groups, size, positions = self._patches.shape
        outputs = len(self.weight) // groups
        return positions * (outputs + size // 8) < outputs * size and n * groups * positions**2 <= MAX_ENTRIES

    @cached_property
    def _patch_products(self) -> Tensor:
        return self._patches.mT @ self._patches

    def _by_group(self, slope: Tensor) -> Tensor:
        """Slopes as [n, groups, outputs of a group, L]."""
        n, groups, _, positions = self._patches.shape
        slope = slope.reshape(n, -1, positions) if self._positions_last else slope.reshape(n, positions, -1).mT
        return slope.reshape(n, groups, -1, positions)

    def _add_bias(self, slope: Tensor, signs: Tensor) -> None:
        self._bias_squares += torch.tensordot(signs, slope.sum(-1).square(), dims=1).reshape(-1)


class _Normalised(Layer):
    """The scale and shift after a normalisation; inputs are ``[n, *outer, *weight.shape, *inner]``."""

    def __init__(self, module: nn.Module, normal: Tensor, edge: GradientEdge, inner: int) -> None:
        super().__init__(module, edge)
        self._bias_squares = torch.zeros_like(self.weight)
        self._normal = normal
        outer = range(1, normal.dim() - inner - self.weight.dim())
        self._summed = (*outer, *range(normal.dim() - inner, normal.dim()))

    def add(self, slope: Tensor, signs: Tensor) -> None:
        for total, products in ((self._squares, slope * self._normal), (self._bias_squares, slope)):
            gradients = products.sum(self._summed) if self._summed else products
            total += torch.tensordot(signs, gradients.square(), dims=1)


class _Copies(Layer):
    """A parameter of a module that is no layer, with a copy [n, *shape] for every sample: slopes are the gradients."""

    def __init__(self, parameter: Tensor, copies: Tensor) -> None:
        self.edge, self.weight, self.bias = get_gradient_edge(copies), parameter, None
        self._squares = torch.zeros_like(parameter)

    def gradient(self, slope: Tensor, _: int) -> Tensor:
        """The gradient of a sample, from its slope."""
        return slope

    def add(self, slope: Tensor, signs: Tensor) -> None:
        self._squares += torch.tensordot(signs, slope.square(), dims=1)


MATMUL = (torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__)
FLIPPED = (torch.t, Tensor.t, Tensor.T.__get__, Tensor.mT.__get__)  # type: ignore[attr-defined]

Chain = list[tuple[Tensor, bool]]
"""Parameters whose product a matrix is, from the left, and whether each is transposed."""


class _InTurn(TorchFunctionMode):
    """While it is entered, what is multiplied by a product of matrices is multiplied by each of them in turn.

    `calls` has a layer for every matrix that samples were multiplied by. A product that anything else reads is in the
    graph as it stands, so that `each_used_once` sees its matrices twice.
    """

    def __init__(self, matrices: Sequence[Tensor], samples: int) -> None:
        super().__init__()
        self.calls: list[_Factor] = []
        self._samples = samples
        self._chains: dict[int, tuple[Tensor, Chain]] = {}
        for matrix in matrices:
            if matrix.dim() == 2:
                self._remember(matrix, [(matrix, False)])

    def _remember(self, product: Tensor, chain: Chain) -> Tensor:
        self._chains[id(product)] = product, chain  # kept, so that no other tensor gets its number
        return product

    def _chain(self, value: Any) -> Chain | None:
        return self._chains[id(value)][1] if id(value) in self._chains else None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        chains = [self._chain(each) for each in args]
        if not kwargs and func in FLIPPED and chains[0]:
            return self._remember(func(*args), [(matrix, not flipped) for matrix, flipped in reversed(chains[0])])
        if not kwargs and func in MATMUL and len(args) == 2 and chains[1]:
            if chains[0]:
                return self._remember(func(*args), [*chains[0], *chains[1]])
            if args[0].dim() == 2 and len(args[0]) == self._samples:
                return self._multiplied(args[0], chains[1])
        return func(*args, **(kwargs or {}))

    def _multiplied(self, x: Tensor, chain: Chain) -> Tensor:
        for matrix, flipped in chain:
            value, x = x.detach(), x @ (matrix.T if flipped else matrix)
            self.calls.append(_Factor(matrix, value, get_gradient_edge(x), flipped=flipped))
        return x


def _are_multiplied(network: Network, matrices: Sequence[Tensor], x: Tensor) -> bool:
    """Whether one or two samples are multiplied by every one of `matrices`, by nothing else that is made of them."""
    if any(matrix.dim() != 2 for matrix in matrices):
        return False
    with torch.enable_grad():
        expected = network.outputs(x)
        with _InTurn(matrices, len(x)) as factors:
            outputs = network.outputs(x)
    if sorted(id(layer.weight) for layer in factors.calls) != sorted(map(id, matrices)):
        return False
    return each_used_once([outputs.grad_fn], matrices) and _agree(expected, outputs, factors.calls)


@contextlib.contextmanager
def _copied_by_sample(modules: Sequence[nn.Module], count: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """While it lasts, `modules` compute with their own parameters, each copied for so many samples; yields both."""
    found = [
        (module, name, parameter, parameter.expand(count, *parameter.shape).clone())
        for module in modules
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.requires_grad
    ]
    for module, name, _, copies in found:
        vars(module)[name] = copies  # is found before what `nn.Module` keeps
    try:
        yield [(parameter, copies) for _, _, parameter, copies in found]
    finally:
        for module, name, _, _ in found:
            del vars(module)[name]


def _takes_copies(network: Network, modules: Sequence[nn.Module], x: Tensor) -> bool:
    """Whether one or two samples have the same outputs and gradients with copies, and each needs its own alone."""
    with torch.enable_grad():
        expected = network.outputs(x)
        try:
            with _copied_by_sample(modules, len(x)) as copied:
                outputs = network.outputs(x)
        except Exception:  # whatever a module says to a parameter of another shape
            return False
    return _agree(expected, outputs, [_Copies(parameter, copies) for parameter, copies in copied])


def _agree(expected: Tensor, outputs: Tensor, layers: Sequence[_Factor | _Copies]) -> bool:
    """Whether outputs and gradients by `layers` are as `expected`, and no sample's outputs need what others have."""
    if not outputs.requires_grad or outputs.shape != expected.shape or not _are_close(outputs, expected):
        return False
    edges, parameters = [layer.edge for layer in layers], [layer.weight for layer in layers]
    vector = torch.randn(outputs.shape, generator=torch_stream("copies")).to(outputs)
    gradients = torch.autograd.grad(expected, parameters, vector, materialize_grads=True)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for sample in range(len(outputs)):
        only = torch.zeros_like(vector)
        only[sample] = vector[sample]
        slopes = torch.autograd.grad(outputs, edges, only, retain_graph=True, allow_unused=True)
        for layer, total, slope in zip(layers, totals, slopes, strict=True):
            if slope is not None:
                total += layer.gradient(slope[sample], sample)
                if any(other.any() for number, other in enumerate(slope) if number != sample):
                    return False
    return all(map(_are_close, totals, gradients))


def _are_close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.linalg.vector_norm(one - other) <= SAME_GRADIENT * torch.linalg.vector_norm(other))


def _is_layer(module: nn.Module) -> bool:
    return type(module).forward in _KINDS and "forward" not in vars(module)


def _layer(module: nn.Module, args: tuple[Any, ...], output: Any, samples: int) -> Layer | None:
    """The layer of a call; None if its kind is unknown, or if samples cannot be distinguished from positions."""
    kind = _KINDS.get(type(module).forward)
    if kind is None or "forward" in vars(module) or len(args) != 1 or not output.requires_grad:
        return None
    value = args[0].detach()
    if value.dim() < 2 or len(value) != samples or len(output) != samples:
        return None
    return kind(module, value, get_gradient_edge(output))


def _is_ambiguous(value: Tensor, axes: int) -> bool:
    """Whether an axis of positions, before the last `axes`, is as long as that of the samples: it could be theirs."""
    return len(value) > 1 and len(value) in value.shape[1 : value.dim() - axes]


def _linear(module: nn.Linear, value: Tensor, edge: GradientEdge) -> Layer | None:
    if _is_ambiguous(value, 1):
        return None
    if value.dim() == 2:
        return _Outer(module, value, edge)
    flat = value.reshape(len(value), -1, value.shape[-1])
    return _Patches(module, flat.mT[:, None], edge, positions_last=False)


def _convolution(module: nn.Conv2d, value: Tensor, edge: GradientEdge) -> Layer | None:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    columns = unfold(value, module.kernel_size, dilation=module.dilation, padding=module.padding, stride=module.stride)
    grouped = columns.reshape(len(value), module.groups, -1, columns.shape[-1])
    return _Patches(module, grouped, edge, positions_last=True)


def _layer_norm(module: nn.LayerNorm | nn.RMSNorm, value: Tensor, edge: GradientEdge) -> Layer | None:
    shape = list(module.normalized_shape)
    if _is_ambiguous(value, len(shape)):
        return None
    norm: Callable[..., Tensor] = layer_norm if isinstance(module, nn.LayerNorm) else rms_norm
    return _Normalised(module, norm(value, shape, eps=module.eps), edge, 0)


def _channel_norm(
    module: nn.GroupNorm | nn.modules.batchnorm._BatchNorm, value: Tensor, edge: GradientEdge
) -> Layer | None:
    if isinstance(module, nn.GroupNorm):
        normal = group_norm(value, module.num_groups, eps=module.eps)
    elif module.training or not module.track_running_stats:
        return None
    else:
        normal = batch_norm(value, module.running_mean, module.running_var, eps=module.eps)
    return _Normalised(module, normal, edge, value.dim() - 2)


_KINDS: dict[Callable[..., object], Callable[..., Layer | None]] = {
    nn.Linear.forward: _linear,
    nn.Conv2d.forward: _convolution,
    nn.LayerNorm.forward: _layer_norm,
    nn.RMSNorm.forward: _layer_norm,
    nn.GroupNorm.forward: _channel_norm,
    nn.modules.batchnorm._BatchNorm.forward: _channel_norm,
}
"""By a module's `forward`, not by its class: a subclass that scales the output is no linear layer."""
