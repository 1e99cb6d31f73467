"""Sums over samples of squared per-sample gradients, entry by entry, without forming the gradients where possible.

For a linear layer the gradient of one sample is the outer product of the layer's input and of the slope at its
output, so the sum of its squares is one product of two matrices of squares (Goodfellow 2015, arXiv:1510.01799).
Convolutions are linear layers on unfolded patches. Any other network is differentiated sample by sample with `vmap`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.functional import unfold

from suite.curvature.network import Network
from suite.curvature.operators import CHUNKS
from suite.errors import InputError

Cotangents = Callable[[Tensor, Tensor], Iterable[tuple[Tensor, Tensor]]]
"""(outputs, targets) -> pairs of a vector like the outputs, and signs [n]."""

ENTRIES = 2**23
"""Per-sample gradients of a layer are formed for at most this many entries at a time."""


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
        layers, outputs = _layers(network, xs, ys, cotangents)
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


def _layers(network: Network, x: Tensor, y: Tensor, cotangents: Cotangents) -> tuple[list[_Layer] | None, Tensor]:
    """The layers, which have taken in all cotangents, and the outputs.

    None for layers unless every parameter serves one known layer, once.
    """
    with torch.enable_grad(), _Recording(network) as recording:
        outputs = network.outputs(x)
    layers = recording.layers(len(x))
    if layers is None:
        return None, outputs.detach()
    at = [layer.output for layer in layers]
    for vector, signs in cotangents(outputs, y):
        slopes = torch.autograd.grad(outputs, at, vector, retain_graph=True, materialize_grads=True)
        for layer, slope in zip(layers, slopes, strict=True):
            layer.add(slope, signs)
    return layers, outputs.detach()


def _by_vmap(network: Network, x: Tensor, cotangents: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """The same for any module, from per-sample gradients.

    Raises:
        InputError: `vmap` refuses the module.
    """
    named = {name: p for name, p in network.module.named_parameters() if p.requires_grad}
    weights = {name: p.detach() for name, p in named.items()}

    def gradient(sample: Tensor, vector: Tensor) -> dict[str, Tensor]:
        pulled = vjp(lambda theta: functional_call(network.module, theta, (sample[None],)), weights)
        gradients: dict[str, Tensor] = pulled[1](vector[None])[0]
        return gradients

    total = {name: torch.zeros_like(p) for name, p in weights.items()}
    rows = max(1, ENTRIES // network.size)
    for vectors, signs in cotangents:
        parts = zip(torch.split(x, rows), torch.split(vectors, rows), torch.split(signs, rows), strict=True)
        for xs, bs, ss in parts:
            try:
                gradients = vmap(gradient)(xs, bs)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"The network cannot be differentiated sample by sample ({reason}).") from error
            for name, each in gradients.items():
                total[name] += torch.tensordot(ss, each.square(), dims=1)
    return list(total.values())


class _Layer(ABC):
    """A module that is linear in its parameters, with its input and its output [n, ...] on the present samples."""

    def __init__(self, module: nn.Module, output: Tensor) -> None:
        self.output = output
        self.weight: Tensor = module.weight  # type: ignore[assignment]
        self.bias: Tensor | None = module.bias  # type: ignore[assignment]
        self._squares = torch.zeros_like(self.weight)
        self._bias_squares = self.weight.new_zeros(len(self.weight))

    @abstractmethod
    def add(self, slope: Tensor, signs: Tensor) -> None:
        """Take in the slope of one cotangent at the output, weighted by `signs` [n]."""

    def squares(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(parameter, its sum of squares) of weight and bias."""
        yield self.weight, self._squares
        if self.bias is not None:
            yield self.bias, self._bias_squares

    def total(self) -> Tensor:
        """The sum of the squares of the parameters that are not frozen, in float64."""
        return sum(
            (square.sum(dtype=torch.float64) for parameter, square in self.squares() if parameter.requires_grad),
            torch.zeros((), dtype=torch.float64, device=self.output.device),
        )


class _Outer(_Layer):
    """A linear layer that sees every sample once: the squares of an outer product are one of squares."""

    def __init__(self, module: nn.Linear, value: Tensor, output: Tensor) -> None:
        super().__init__(module, output)
        self._input, self._slopes = value.detach(), torch.zeros_like(output)

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


class _Patches(_Layer):
    """A linear map that is applied to L patches [n, groups, k, L] of every sample."""

    def __init__(self, module: nn.Module, patches: Tensor, output: Tensor, positions_last: bool) -> None:
        super().__init__(module, output)
        self._patches, self._positions_last = patches, positions_last

    def add(self, slope: Tensor, signs: Tensor) -> None:
        n, groups, _, positions = self._patches.shape
        slope = slope.reshape(n, -1, positions) if self._positions_last else slope.reshape(n, positions, -1).mT
        slope = slope.reshape(n, groups, -1, positions)
        self._bias_squares += torch.tensordot(signs, slope.sum(-1).square(), dims=1).reshape(-1)
        rows = max(1, ENTRIES // self.weight.numel())
        parts = zip(torch.split(slope, rows), torch.split(self._patches, rows), torch.split(signs, rows), strict=True)
        for slopes, patches, ss in parts:
            gradients = slopes @ patches.mT
            self._squares += torch.tensordot(ss, gradients.square_(), dims=1).reshape(self.weight.shape)


class _Normalised(_Layer):
    """Batch norm with its running statistics: a linear map of each channel."""

    def __init__(self, module: nn.modules.batchnorm._BatchNorm, value: Tensor, output: Tensor) -> None:
        super().__init__(module, output)
        assert module.running_mean is not None
        assert module.running_var is not None
        shape = (1, -1, *[1] * (value.dim() - 2))
        deviation = (module.running_var + module.eps).sqrt()
        self._normal = (value.detach() - module.running_mean.view(shape)) / deviation.view(shape)

    def add(self, slope: Tensor, signs: Tensor) -> None:
        def summed(each: Tensor) -> Tensor:
            channels = each.flatten(2).sum(2) if each.dim() > 2 else each
            return signs @ channels.square()

        self._squares += summed(slope * self._normal)
        self._bias_squares += summed(slope)


def _layer(module: nn.Module, value: Tensor, output: Tensor, samples: int) -> _Layer | None:
    """The layer of a module called on `value`, None if this file does not know its kind."""
    if len(value) != samples or len(output) != samples:
        return None
    if isinstance(module, nn.Linear):
        if value.dim() == 2:
            return _Outer(module, value, output)
        flat = value.detach().reshape(samples, -1, value.shape[-1])
        return _Patches(module, flat.mT[:, None], output, positions_last=False)
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        columns = unfold(
            value.detach(), module.kernel_size, dilation=module.dilation, padding=module.padding, stride=module.stride
        )
        grouped = columns.reshape(samples, module.groups, -1, columns.shape[-1])
        return _Patches(module, grouped, output, positions_last=True)
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats and not module.training:
        return _Normalised(module, value, output)
    return None


class _Recording:
    """Records every call of every module that owns parameters, while a network runs."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._calls: list[tuple[nn.Module, tuple[object, ...], object]] = []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> _Recording:
        for module in self._network.module.modules():
            if any(p.requires_grad for p in module.parameters(recurse=False)):
                self._handles.append(module.register_forward_hook(self._record))
        return self

    def _record(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        self._calls.append((module, args, output))

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def layers(self, samples: int) -> list[_Layer] | None:
        """The layers in the order of their calls; None unless every parameter serves one known layer, once."""
        found: list[_Layer] = []
        for module, args, output in self._calls:
            value = args[0] if len(args) == 1 else None
            if not (isinstance(value, Tensor) and isinstance(output, Tensor) and output.requires_grad):
                return None
            layer = _layer(module, value, output, samples)
            if layer is None:
                return None
            found.append(layer)
        owned = [id(p) for layer in found for p in (layer.weight, layer.bias) if p is not None]
        every = [id(leaf) for leaf in self._network.leaves]
        return found if len(set(owned)) == len(owned) and set(every) <= set(owned) else None
