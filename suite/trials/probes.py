"""Whether a submitted network is what measures take it for: a function with the derivatives that autograd says.

Nobody has to mean harm: rounding inputs to 8 bits, binary weights with a straight-through gradient (Bengio et al. 2013,
arXiv:1308.3432) and averaged weights for evaluation are ordinary. But a margin over a gradient that is zero, or the
rise of a loss under noise that rounding swallows, says nothing of the network; such a measure is not defined there.

    the gradient in the inputs against finite differences of the outputs      -> measures that divide by that gradient
    the gradient in the weights against finite differences of the outputs     -> measures that move the weights a little
    outputs in training against outputs in evaluation, dropout and batch
    normalization of torch itself aside                                       -> all measures

Differences are taken at several scales, and gradients must agree with all of them: with the finest rounding shows, with
the coarsest what repeats between the steps of a rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from suite.models import copy_of
from suite.seeding import torch_stream

FROM_INPUT_GRADIENTS = frozenset({"input_margin", "input_gradient_norm"})
FROM_WEIGHT_NOISE = frozenset(
    {
        "adaptive_sharpness",
        "average_sharpness",
        "canonical_sharpness",
        "elementwise_sharpness",
        "adaptive_trace",
        "hessian_trace",
        "lambda_max",
    }
)
"""The measures that a wrong derivative empties."""

SAMPLES = 64
DIRECTIONS = 6
SCALES = {torch.float64: (1e-3, 1e-5, 1e-7), torch.float32: (1e-2, 1e-3)}
"""Relative sizes of the moves. Single precision cannot tell a finer difference from rounding."""

TOLERANCE = 0.3
"""Relative, over all directions together: kinks of ReLU networks move coarse differences by up to 0.1."""

MODES_TOLERANCE = 1e-4
"""Relative difference of outputs in training and in evaluation: torch's fused kernels differ by 1e-6."""

DROPOUTS = frozenset(
    {
        functional.dropout, functional.alpha_dropout, functional.feature_alpha_dropout,
        functional.dropout1d, functional.dropout2d, functional.dropout3d, torch.dropout,
    }
)  # fmt: skip


def undefined(model: nn.Module, inputs: Tensor, measures: Sequence[str], seed: int) -> dict[str, str]:
    """Those of `measures` that are not defined for `model`, with the reasons; `model` stays as it is.

    Args:
        model: a network at its solution.
        inputs: what it was trained on, [samples, ...].
        seed: draws the directions.
    """
    network, x = _precise(model, inputs[:SAMPLES])
    probes: list[tuple[Callable[[], str | None], frozenset[str]]] = [
        (lambda: _modes(network, x), frozenset(measures)),
        (lambda: _in_inputs(network, x, seed), FROM_INPUT_GRADIENTS),
        (lambda: _in_weights(network, x, seed), FROM_WEIGHT_NOISE),
    ]
    found: dict[str, str] = {}
    for probe, emptied in probes:
        names = [name for name in measures if name in emptied and name not in found]
        if names and (reason := probe()) is not None:
            found |= dict.fromkeys(names, reason)
    return found


def _precise(model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy for evaluation, in double precision if it runs in it."""
    network = copy_of(model).eval()
    if not x.is_floating_point():
        return network, x
    try:
        double = copy_of(model).eval().double()
        with torch.no_grad():
            if double(x.double()).dtype == torch.float64:
                return double, x.double()
    except (RuntimeError, TypeError, NotImplementedError):  # it holds tensors or calls kernels of one precision
        pass
    return network, x


def _modes(network: nn.Module, x: Tensor) -> str | None:
    """Why training and evaluation are not the same function, or None."""
    trained = copy_of(network)
    for module in trained.modules():
        module.training = not type(module).__module__.startswith("torch.nn.")
    with torch.no_grad(), _WithoutTorchsModes():
        evaluated, outputs = network(x), trained(x)
    if _relative(outputs - evaluated, evaluated) <= MODES_TOLERANCE:
        return None
    return (
        "Its outputs in training and in evaluation differ, dropout and batch normalization aside: what is measured is "
        "not what was trained"
    )


class _WithoutTorchsModes(TorchFunctionMode):
    """Dropout drops nothing and batch normalization uses its running statistics, wherever they are called."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in DROPOUTS:
            return args[0] if args else kwargs["input"]
        if func is functional.batch_norm and len(args) < 6 and (args + (None,) * 3)[1] is not None:
            kwargs["training"] = False
        elif func is functional.batch_norm and len(args) >= 6 and args[1] is not None:
            args = (*args[:5], False, *args[6:])
        return func(*args, **kwargs)


def _in_inputs(network: nn.Module, x: Tensor, seed: int) -> str | None:
    """Why the gradient in the inputs is none, or None."""
    if not x.is_floating_point():
        return None
    found = _disagreement(lambda moved: network(moved["x"]), {"x": x}, seed)
    return found and f"Its gradient in the inputs is not that of its outputs: {found}"


def _in_weights(network: nn.Module, x: Tensor, seed: int) -> str | None:
    """Why the gradient in the weights is none, or None."""
    weights = {name: p.detach() for name, p in network.named_parameters() if p.is_floating_point() and p.numel()}
    found = _disagreement(lambda moved: torch.func.functional_call(network, dict(moved), (x,)), weights, seed)
    return found and f"Its gradient in the weights is not that of its outputs: {found}"


def _disagreement(outputs: Callable[[Mapping[str, Tensor]], Tensor], at: Mapping[str, Tensor], seed: int) -> str | None:
    """Where autograd's slopes of `outputs` at `at` in random directions are not those of finite differences."""
    stream = torch_stream("probes", seed)
    some = next(iter(at.values()))
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        values = outputs(leaves)
        # Of outputs and not of the loss, whose slope at a solution is nearly zero.
        weights = torch.randn(values.shape, generator=stream, dtype=torch.float64).to(values)
        total = (weights * values).sum()
        gradients: Any = (
            torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
            if total.requires_grad
            else [torch.zeros_like(tensor) for tensor in at.values()]
        )
    directions = [
        {name: torch.randn(p.shape, generator=stream, dtype=torch.float64).to(p) * _size(p) for name, p in at.items()}
        for _ in range(DIRECTIONS)
    ]
    slopes = torch.stack(
        [sum((g * move[name]).sum() for name, g in zip(at, gradients, strict=True)) for move in directions]
    )
    for scale in SCALES.get(some.dtype, SCALES[torch.float32]):
        with torch.no_grad():
            sides = [
                [outputs({name: p + sign * scale * move[name] for name, p in at.items()}) for sign in (1, -1)]
                for move in directions
            ]
            seen = torch.stack([(weights * (up - down)).sum() / (2 * scale) for up, down in sides])
            noise = torch.finfo(values.dtype).eps * (weights * values).abs().sum() / scale
        apart, largest = (slopes - seen).norm(), torch.maximum(slopes.norm(), seen.norm())
        if not apart <= TOLERANCE * largest + 10 * noise:
            return (
                f"at moves of {scale:g} slopes are {float(seen.norm()):.3g}, and {float(slopes.norm()):.3g} by autograd"
            )
    return None


def _size(tensor: Tensor) -> Tensor:
    """The root mean square of a tensor, 0.01 for one of zeros."""
    size = tensor.detach().square().mean().sqrt()
    return torch.where(size > 0, size, torch.full_like(size, 0.01))


def _relative(difference: Tensor, of: Tensor) -> float:
    return float(difference.norm() / of.norm().clamp_min(torch.finfo(of.dtype).tiny))
