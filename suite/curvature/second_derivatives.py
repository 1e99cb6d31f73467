"""Whether second derivatives are true: products with the Hessian against differences of gradients.

torch gives zeros, or wrong numbers, for some functions: for one whose backward pass is differentiable only once, and
for built-in functions whose second derivative is itself at fault. Two products and four gradients show it:

    r, q = random vectors; D = the size of every tensor; v = D r, u = D q
    u' H v = v' H u                                 else the Hessian is not symmetric
    H v = (g(w + h v) - g(w - h v)) / 2h            for two h

At a kink, such as that of a ReLU, there is no second derivative to compare with: then the differences for the two h, or
those to both sides, are not the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from suite.curvature.ggn_diagonal import tested_samples
from suite.curvature.network import Network
from suite.errors import InputError, sentence
from suite.models import in_double
from suite.seeding import torch_stream
from suite.task import Loss

STEPS = {torch.float64: (1e-7, 1e-8), torch.float32: (3e-2, 1e-2)}
"""Lengths h of the differences, relative to the weights. In float64 hardly a kink of a ReLU network lies so near."""

TOLERANCE = {torch.float64: 1e-4, torch.float32: 0.2}
"""Relative difference from which on a product is wrong; differences that agree to a tenth of it are trusted."""

ASYMMETRY = {torch.float64: 1e-8, torch.float32: 1e-3}

Vectors = Sequence[Tensor]
Gradient = Callable[[bool], Vectors]
"""The gradient in every leaf at its present value, with a graph if it is called with True."""


def check_network(network: Network, x: Tensor) -> None:
    """Test the second derivatives of one model's outputs, on up to 32 of the samples `x`, in float64 where it runs so.

    Raises:
        InputError: torch has none, or they are wrong or not finite.
    """
    samples = tested_samples(x)
    module, dtype = in_double(network.module, samples[:1])
    copy = Network(module)
    samples = samples.to(dtype) if samples.is_floating_point() else samples
    with torch.no_grad():
        outputs = copy.outputs(samples)
    weights = _draw(outputs, "second derivatives, outputs")
    scale = float(outputs.square().mean().sqrt()) or 1.0

    def gradient(with_graph: bool) -> Vectors:
        with torch.enable_grad():
            f = copy.twice_differentiable(samples)
            # A square beside the linear form: the Jacobian enters a second derivative too.
            value = (f * weights).sum() + (f / scale).square().sum() * scale / 2
            return torch.autograd.grad(value, copy.leaves, create_graph=with_graph, materialize_grads=True)

    with _named("network"):
        _check(copy.leaves, gradient)


def check_loss(loss: Loss, outputs: Tensor, y: Tensor) -> None:
    """Test the second derivatives of a loss in the outputs [n, ...], in float64 where it takes them; errors alike."""
    points = [outputs.double(), outputs] if outputs.dtype != torch.float64 else [outputs]
    with _named("loss"):
        for point in points:
            at = point.detach().clone().requires_grad_()

            def gradient(with_graph: bool, at: Tensor = at) -> Vectors:
                with torch.enable_grad():
                    return torch.autograd.grad(loss(at, y), at, create_graph=with_graph, materialize_grads=True)

            try:
                gradient(False)
            except RuntimeError:
                if point is not points[-1]:
                    continue
                raise
            _check([at], gradient)
            return


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Errors as sentences about `what`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"The second derivatives of the {what} {error}") from error
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(f"The {what} cannot be differentiated twice ({sentence(error)}).") from error


def _check(leaves: Vectors, gradient: Gradient) -> None:
    sizes = _sizes(leaves)
    dtype = leaves[0].dtype
    first, second = ([_draw(leaf, name) * size for leaf, size in zip(leaves, sizes, strict=True)] for name in "vu")
    slopes = gradient(True)
    scaled_slope = _scaled(slopes, sizes)
    along_first, along_second = (_products(slopes, leaves, direction) for direction in (first, second))
    product = _scaled(along_first, sizes)
    if not torch.isfinite(torch.cat([product, scaled_slope])).all():
        raise InputError("are not finite.")
    norm = torch.linalg.vector_norm
    pairs = [sum(float((a * b).sum()) for a, b in zip(*both, strict=True)) for both in
             ((second, along_first), (first, along_second))]  # fmt: skip
    length = norm(_scaled(second, [1 / size for size in sizes]))
    noise = 100 * torch.finfo(dtype).eps * norm(scaled_slope)
    if abs(pairs[0] - pairs[1]) > (ASYMMETRY[dtype] * norm(product) + noise) * length:
        raise InputError("that torch gives are wrong: its Hessian is not symmetric.")
    (coarse, _), (fine, bend) = (_differences(leaves, gradient, first, step, sizes) for step in STEPS[dtype])
    scale = torch.maximum(norm(fine), norm(product))
    limit = TOLERANCE[dtype] * scale + 10 * noise / min(STEPS[dtype])
    gap = torch.minimum(norm(coarse - product), norm(fine - product))
    has_kink = norm(coarse - fine) > limit / 10 or norm(bend) > limit
    if gap > limit and not has_kink:
        raise InputError(
            f"that torch gives are wrong: its Hessian differs by {100 * float(gap / scale):.3g} % from differences of "
            "gradients (a function in it may be differentiable only once)."
        )


def _sizes(leaves: Vectors) -> list[float]:
    """The root mean square of every leaf; of one of zeros, that of all."""
    squares = [float(leaf.detach().double().square().sum()) for leaf in leaves]
    mean = sum(squares) / max(1, sum(leaf.numel() for leaf in leaves))
    return [(square / max(1, leaf.numel()) or mean or 1.0) ** 0.5 for square, leaf in zip(squares, leaves, strict=True)]


def _draw(like: Tensor, name: str) -> Tensor:
    return torch.randn(like.shape, generator=torch_stream("second derivatives", name)).to(like)


def _scaled(vectors: Vectors, sizes: Sequence[float]) -> Tensor:
    return torch.cat([size * vector.detach().reshape(-1) for vector, size in zip(vectors, sizes, strict=True)])


def _products(slopes: Vectors, leaves: Vectors, direction: Vectors) -> Vectors:
    """The Hessian times a direction, by a backward pass through the gradient's graph."""
    active = [(slope, vector) for slope, vector in zip(slopes, direction, strict=True) if slope.requires_grad]
    if not active:
        return [torch.zeros_like(leaf) for leaf in leaves]
    graphs, vectors = zip(*active, strict=True)
    return torch.autograd.grad(graphs, leaves, vectors, retain_graph=True, materialize_grads=True)


@torch.no_grad()
def _differences(
    leaves: Vectors, gradient: Gradient, direction: Vectors, step: float, sizes: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The gradient's central difference along a direction, and by how much those to both sides differ, both scaled.

    The leaves keep their values.
    """
    values = [leaf.clone() for leaf in leaves]
    found = []
    for shift in (step, 0.0, -step):
        for leaf, value, vector in zip(leaves, values, direction, strict=True):
            leaf.copy_(value + shift * vector)
        found.append(_scaled(gradient(False), sizes))
    for leaf, value in zip(leaves, values, strict=True):
        leaf.copy_(value)
    above, here, below = found
    return (above - below) / (2 * step), (above - 2 * here + below) / step
