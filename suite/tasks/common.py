"""What several families of tasks share: Lipschitz constants, reading solutions, and how architectures enter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam

from suite.curvature import Hessian, Network, lanczos
from suite.models import in_double
from suite.seeding import torch_stream
from suite.submission import LogUniform
from suite.task import ArchitectureInterface, Loss, Oracle, Problem, Solution, Split

PARAMETER_MEASURES = (
    "lambda_max",
    "hessian_trace",
    "adaptive_lambda_max",
    "adaptive_trace",
    "adaptive_sharpness",
    "canonical_sharpness",
    "l2_norm",
    "distance_from_initialization",
)
"""Curvature and size of a classifier's weights, as every task with real classifiers measures them."""


def adam_interface(features: int, outputs: int = 1) -> ArchitectureInterface:
    """Architectures of inputs [n, features], trained by Adam with a tuned step size.

    Adam, because its steps do not depend on the gradient's scale. The curvature of submitted networks differs by orders
    of magnitude at the start (a wide initialization against a narrow one), and one space of step sizes for gradient
    descent would decide by it who reaches the target loss. Its own bias is the same for all entries.
    """
    return ArchitectureInterface((features,), outputs, Adam, {"lr": LogUniform(3e-4, 3e-2)})


# -- Lipschitz constants ----------------------------------------------------------------------------------------------


def least_squares_lipschitz(x: Tensor) -> float:
    """``2 |X|² / n``, the largest eigenvalue of the Hessian ``2 / n * X'X`` of the mean squared error. x is [n, d]."""
    return 2 / len(x) * float(torch.linalg.matrix_norm(x, ord=2)) ** 2


def exponential_lipschitz(x: Tensor) -> float:
    """``|X|² / n``: the Hessian's largest eigenvalue at w = 0 of the mean exponential loss. x is [n, d]."""
    return float(torch.linalg.matrix_norm(x, ord=2)) ** 2 / len(x)


def logistic_lipschitz(x: Tensor) -> float:
    """``|X|² / (4 n)``: the Hessian's largest eigenvalue at w = 0 of the mean logistic loss. x is [n, d]."""
    return exponential_lipschitz(x) / 4


def hessian_norm(model: nn.Module, data: Split, loss: Loss) -> float:
    """The Hessian's largest eigenvalue at the model's weights, to three digits.

    Gradient descent on the loss over this value has the stability limit of step size 2 there. Three digits, because the
    value goes into the data's fingerprint and further ones depend on the machine.
    """
    hessian = Hessian(Network(model), data, loss, chunk=len(data))
    return float(f"{lanczos(hessian, 1, torch_stream('smoothness')).values[0].item():.3g}")


# -- drawing problems -------------------------------------------------------------------------------------------------


def normal(stream: torch.Generator, *shape: int) -> Tensor:
    """N(0, 1), in double precision."""
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def uniform(stream: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """U(low, high), [count], in double precision."""
    return low + (high - low) * torch.rand(count, generator=stream, dtype=torch.float64)


def signs(stream: torch.Generator, count: int) -> Tensor:
    """Random signs, [count], in double precision."""
    return torch.randint(0, 2, (count,), generator=stream, dtype=torch.float64) * 2 - 1


def on_circle(angles: Tensor) -> Tensor:
    """The points [n, 2] of the unit circle at `angles` [n]."""
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def require_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """A `ValueError` if the variant `name` of a task is none of the choices."""
    if value not in (choices := tuple(choices)):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")


# -- reading problems and solutions -----------------------------------------------------------------------------------


def arrays(split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs and targets as the oracles' solvers take them."""
    return split.x.cpu().numpy(), split.y.cpu().numpy()


def tensors(**named: NDArray[Any]) -> dict[str, Tensor]:
    """Arrays as the solutions of an oracle."""
    return {name: torch.from_numpy(array) for name, array in named.items()}


def signed_inputs(problem: Problem) -> NDArray[Any]:
    """The rows ``y_i x_i``, [n, d]: their products with w are the margins."""
    return (problem.train.y.view(-1, 1) * problem.train.x).cpu().numpy()


def margin_ratios(margin: Any, w: Any, norms: Mapping[str, Callable[[Any], Any]], oracle: Oracle) -> dict[str, float]:
    """The margin over every norm of `w`, over the best possible: margin and norms both tensors, or both numbers."""
    return {f"{k}_margin_ratio": float(margin / norm(w)) / oracle.values[f"{k}_margin"] for k, norm in norms.items()}


MATRIX_NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "frobenius": torch.linalg.matrix_norm,
    "spectral": partial(torch.linalg.matrix_norm, ord=2),
    "max": lambda w: w.abs().max(),
}
"""The norms in which margins of matrices are measured: gradient descent's, Muon's, and that of entrywise methods."""


nuclear_norm: Callable[[Tensor], Tensor] = partial(torch.linalg.matrix_norm, ord="nuc")


def separator_measures(
    margins: Tensor, w: Tensor, norms: Mapping[str, Callable[[Any], Any]], oracle: Oracle
) -> dict[str, float]:
    """The ratios of `margin_ratios` for the least of the margins [n] of `w`, that margin, and the l2 norm of `w`."""
    margin = margins.min()
    lengths = {"margin": float(margin), "l2_norm": float(torch.linalg.vector_norm(w))}
    return margin_ratios(margin, w, norms, oracle) | lengths


def margin_oracle(
    rows: NDArray[Any],
    separators: Mapping[str, NDArray[Any]],
    norms: Mapping[str, Callable[[Any], Any]],
    shape: tuple[int, int] | None = None,
) -> Oracle:
    """Separators, and of each the value `NAME_margin`: its least margin over its own norm.

    Args:
        rows: [n, d]; their products with a separator are its margins.
        separators: by name, [d]: that of largest margin in the norm of this name.
        norms: by the same names; of arrays, or of tensors of a `shape`.
        shape: rows and columns of the matrices that separators stand for, flattened.
    """
    least = {name: float((rows @ w).min()) for name, w in separators.items()}
    solutions = tensors(**{name: w if shape is None else w.reshape(shape) for name, w in separators.items()})
    sized: Mapping[str, Any] = separators if shape is None else solutions
    return Oracle(solutions, {f"{name}_margin": least[name] / float(norm(sized[name])) for name, norm in norms.items()})


def weights(solution: Solution, *names: str) -> tuple[Tensor, ...]:
    """The solution's parameters of these names, without gradients."""
    return tuple(solution.model.get_parameter(name).detach() for name in names)


def relative_distance(vector: Tensor, reference: Tensor) -> float:
    """``|vector - reference| / |reference|`` in the l2 norm over all entries."""
    return float(torch.linalg.vector_norm(vector - reference) / torch.linalg.vector_norm(reference))


INPUTS_AT_A_TIME = 4_096
"""So that wide networks need little memory."""


@torch.no_grad()
def slope_variation(model: nn.Module, starts: Tensor, ends: Tensor, points: int) -> Tensor:
    """Total variation [m] of the slope along straight segments between `starts` and `ends` [m, d], for one output.

    ``∫ |g''(t)| dt`` of ``g(t) = f(start + t (end - start))`` over t in [0, 1], from samples of each segment in double
    precision. The samples' slopes vary at most as much as the function's own; they miss only kinks of opposite sign in
    neighbouring cells.

    For a network without biases of two layers, ``f(x) = sum_j a_j relu(w_j · x)``, and end points drawn from N(0, I),
    the mean is ``sqrt(2 / pi) * sum_j |a_j| |w_j|`` unless kinks coincide: a neuron bends the segment if its
    preactivations u, v at the ends differ in sign, by ``|a_j| (|u| + |v|)``. So the mean over segments is the variation
    norm, whose kinks are those of the function and not of a parametrisation.
    """
    first, last = starts.double()[:, None], ends.double()[:, None]
    t = torch.linspace(0, 1, points, dtype=torch.float64, device=starts.device)[None, :, None]
    inputs = (first + t * (last - first)).flatten(0, 1)
    exact, dtype = in_double(model, inputs[:1])
    parts = torch.split(inputs.to(dtype), INPUTS_AT_A_TIME)
    values = torch.cat([exact.eval()(part) for part in parts]).double().reshape(len(starts), points)
    slopes = torch.diff(values, dim=1) * (points - 1)
    return torch.diff(slopes, dim=1).abs().sum(dim=1)


def total_slope_variation(model: nn.Module, low: float, high: float, points: int = 4001) -> float:
    """``∫ |f''|`` over [low, high] of a network of one input: the total variation of its derivative."""
    device = next(model.parameters()).device
    low_end, high_end = (torch.tensor([[end]], dtype=torch.float64, device=device) for end in (low, high))
    return float(slope_variation(model, low_end, high_end, points)) / (high - low)
