"""The path norm, and margins over it: invariant to every rescaling between layers or neurons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from suite.errors import InputError
from suite.measures.context import MeasureContext
from suite.measures.norms import l2_norm
from suite.measures.registry import RELATIVE, declare
from suite.models import in_double, is_scripted
from suite.seeding import torch_stream

MARGIN_QUANTILE = 0.1
SMALL_INPUTS = 1e-3
"""Factor on the inputs at which outputs must be affine too: some activations are affine on large inputs only."""
AFFINE_TOLERANCE = 1e-9

declare_margin = partial(declare, kind="exact", higher=True, cost=1 / 3, needs=("labels",))
declare_path_margin = partial(declare_margin, unit="input", invariances=RELATIVE)
declare_l2_margin = partial(declare_margin, unit="output / weight^layers")


@torch.no_grad()
def l2_path_norm(model: nn.Module, input_shape: Sequence[int]) -> float:
    """Root of the sum over all paths of a ReLU network of the squared product of their weights.

    Computed as ``sqrt(sum f_{theta²}(1))`` in float64; a bias is a path from a constant unit. Batch norm is the linear
    map that it is in eval mode, average pooling a layer with fixed weights, and max pooling passes every path (Gonon et
    al. 2024, arXiv:2310.01225). A module's own `forward` may add and concatenate what its parts return; a constant
    factor in it is not squared.

    `InputError` if it has a module through which paths are not defined, or is not affine on positive inputs once its
    weights are squares. `input_shape` is that of one input, without the batch axis.
    """
    if is_scripted(model):
        raise InputError("The path norm is not defined for a scripted network, whose layers cannot be replaced.")
    ones = torch.ones(1, *input_shape, dtype=torch.float64, device=next(model.parameters()).device)
    exact, dtype = in_double(model, ones)
    if dtype != torch.float64:
        raise InputError("The path norm is not defined: the network does not run in double precision.")
    if any(map(_computes_weights, exact.modules())):
        raise InputError("The path norm is not defined for weights that hooks or parametrizations compute.")
    holder = nn.Sequential(exact.eval())
    for name, module in list(holder.named_modules()):
        if name:
            holder.set_submodule(name, _squared(module))
    if not _is_affine(holder, ones):
        raise InputError("The path norm is not defined: a module's own forward does more than add and concatenate.")
    return float(holder(ones).sum().sqrt())


def _is_affine(model: nn.Module, like: Tensor) -> bool:
    """Whether outputs are affine on positive inputs, large and small: any other activation or gate would break that."""
    stream = torch_stream("paths")
    draws = torch.rand(2, *like.shape, generator=stream, dtype=torch.float64).to(like.device)
    shift = model(torch.zeros_like(like))
    return all(
        torch.allclose(model(first) + model(second), model(first + second) + shift, rtol=AFFINE_TOLERANCE, atol=0)
        for first, second in (draws, draws * SMALL_INPUTS)
    )


def has_path_norm(model: nn.Module) -> bool:
    """Whether `model` is a plain chain of modules through which paths are defined."""
    parts = (nn.Sequential, nn.Linear, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Identity)
    if is_scripted(model):
        return False
    return all(_has_forward_of(module, parts) and not _computes_weights(module) for module in model.modules())


def _computes_weights(module: nn.Module) -> bool:
    """Whether a module's weights may be no parameters of it: weight or spectral norm, say, whose parts have squares."""
    return bool(module._forward_pre_hooks) or is_parametrized(module)


def _has_forward_of(module: nn.Module, types: Sequence[type[nn.Module]]) -> bool:
    """Whether the `forward` is that of one of `types`: a subclass of a layer that overrides it is another layer."""
    return type(module).forward in {each.forward for each in types}


class _Affine(nn.Module):
    """``factor * x + shift``, channel by channel."""

    def __init__(self, factor: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        return self.factor.view(shape) * x + self.shift.view(shape)


class _Pooled(nn.Module):
    """A pooling module times a factor; `factor` None divides by the number of positions that each output averages."""

    def __init__(self, pool: nn.Module, factor: float | None) -> None:
        super().__init__()
        self.pool, self.factor = pool, factor

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x)
        return (pooled.numel() / x.numel() if self.factor is None else self.factor) * pooled


LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Flatten, nn.Unflatten)
AFFINE_ON_POSITIVE = (*LAYERS, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""Modules that are affine on non-negative inputs, in eval mode, once their weights are squares."""


def _squared(module: nn.Module) -> nn.Module:
    """The module with every weight replaced by its square, so that its outputs sum squared paths."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return _squared_batch_norm(module)
    if isinstance(module, nn.MaxPool2d):
        if module.dilation not in (1, (1, 1)):
            raise InputError("The path norm is not defined for max pooling with gaps.")
        shape = (module.kernel_size, module.stride, module.padding, module.ceil_mode)
        return nn.AvgPool2d(*shape, divisor_override=1)
    if isinstance(module, nn.AvgPool2d):
        kernel = module.kernel_size
        return _Pooled(module, 1 / (kernel**2 if isinstance(kernel, int) else math.prod(kernel)))
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return _Pooled(module, None)
    base = next(each for each in type(module).__mro__ if each.__module__.startswith("torch."))
    is_leaf = next(module.children(), None) is None
    if is_leaf and base is not nn.Module and not _has_forward_of(module, AFFINE_ON_POSITIVE):
        raise InputError(f"The path norm is not defined for a network with {type(module).__name__}.")
    for parameter in module.parameters(recurse=False):
        parameter.square_()
    return module


def _squared_batch_norm(module: nn.modules.batchnorm._BatchNorm) -> _Affine:
    """Batch norm in eval mode, an affine map, with squared coefficients."""
    if module.running_mean is None or module.running_var is None:
        raise InputError("The path norm needs batch norm with running statistics.")
    deviation = (module.running_var + module.eps).sqrt()
    weight = torch.ones_like(deviation) if module.weight is None else module.weight
    bias = torch.zeros_like(deviation) if module.bias is None else module.bias
    factor = weight / deviation
    return _Affine(factor.square(), (bias - factor * module.running_mean).square())


@declare(
    kind="exact", unit="output / input", cost=0, source="Neyshabur et al. 2015, arXiv:1506.02617", invariances=RELATIVE
)
def path_norm(context: MeasureContext) -> float:
    """The l2 path norm of a ReLU network, at matched training loss for classification."""
    return context.inverse_temperature * _path_norm(context)


def _path_norm(context: MeasureContext) -> float:
    """The path norm of the unscaled network."""
    return context.once("path_norm", lambda: l2_path_norm(context.model, context.train.x.shape[1:]))


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the true class minus the largest other one, [n], for logits [n, classes] and labels [n]."""
    true = logits.gather(1, labels[:, None])[:, 0]
    return true - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def _margin(context: MeasureContext, quantile: float) -> float:
    """A quantile of the training margins of the unscaled outputs."""
    if context.train_outputs.shape[1] < 2:
        raise InputError("A network with one output has no margin between classes.")
    return torch.quantile(margins(context.train_outputs.double(), context.train.y), quantile).item()


def _over(margin: float, norm: float) -> float:
    """`margin / norm`; where the norm underflows or is 0 there is no such number, and an InputError says so."""
    if not norm:
        raise InputError("A network of norm 0 has no normalized margin.")
    return margin / norm


def _layers(context: MeasureContext) -> int:
    return sum(p.dim() > 1 for p in context.model.parameters())


@declare_path_margin(source="Neyshabur et al. 2017, arXiv:1706.08947")
def path_margin(context: MeasureContext) -> float:
    """The 10 % quantile of the training margins over the l2 path norm."""
    return _over(_margin(context, MARGIN_QUANTILE), _path_norm(context))


@declare_path_margin(source="Lyu and Li 2020, arXiv:1906.05890; Chizat and Bach 2020, arXiv:2002.04486")
def minimum_path_margin(context: MeasureContext) -> float:
    """The smallest training margin over the l2 path norm."""
    return _over(_margin(context, 0.0), _path_norm(context))


@declare_l2_margin(source="Lyu and Li 2020, arXiv:1906.05890")
def l2_margin(context: MeasureContext) -> float:
    """The 10 % quantile of the training margins over the l2 norm to the power of the number of layers."""
    return _over(_margin(context, MARGIN_QUANTILE), l2_norm(context) ** _layers(context))


@declare_l2_margin(source="Lyu and Li 2020, arXiv:1906.05890")
def minimum_l2_margin(context: MeasureContext) -> float:
    """The smallest training margin over the l2 norm to the power of the number of layers."""
    return _over(_margin(context, 0.0), l2_norm(context) ** _layers(context))
