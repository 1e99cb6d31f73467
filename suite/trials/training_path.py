"""Measures along training, of the snapshots that were taken on the way (`suite.training.snapshots`).

    stack the snapshots of all runs as lanes of one network
    one pass: losses, norms, margins, balance of factors
    Lanczos on all lanes at once: sharpness, and preconditioned sharpness
    the task's own measures of each snapshot, where an oracle says what they are held against

What is not defined for a network, or not finite, is None.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from suite.curvature import Hessian, Network, Operator, Scaled, lanczos
from suite.measures import margins
from suite.models import evaluating, hold, restore
from suite.oracles.gradient_flow import Array, flow_at_losses
from suite.seeding import torch_stream
from suite.task import Oracle, Solution, Split, Task, Weights
from suite.training import TrainingResult, TrainingRun
from suite.training.equivalence import supports_vmap
from suite.training.run import Device, Snapshot

NUMBERS_AT_ONCE = 2**22
"""Parameters and inputs of all lanes that are measured as one program."""

SAME = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Relative difference up to which two numbers are equal, but for rounding."""

FEW = 100
"""Samples by which it is seen whether a network is homogeneous."""

LOOK_EVERY = 8
"""Products between two tests of whether Lanczos may stop: there are as many lanes as snapshots of all runs."""

FLOW_PARAMETERS = 1_000
"""Weights up to which gradient flow is followed: its cost is that of some thousand full gradients."""

DIGITS = 6
"""Significant digits of what is kept."""

Column = list[float | None]
Row = dict[str, float | None]


class TracedRun(NamedTuple):
    """A run whose path is measured, and the oracle of its problem; None: the task has none, or it did not solve."""

    run: TrainingRun
    result: TrainingResult
    oracle: Oracle | None


class TrainingPath(NamedTuple):
    """Measures along one run.

    Attributes:
        steps, gradient_evaluations: of each snapshot.
        measures: name -> value at each snapshot.
        seconds: of processor time that measuring took, its share of all that were measured together.
    """

    steps: list[int]
    gradient_evaluations: list[int]
    measures: dict[str, Column]
    seconds: float


class _Point(NamedTuple):
    """A snapshot, and whose it is."""

    traced: TracedRun
    snapshot: Snapshot


def training_paths(
    task: Task, traced: Sequence[TracedRun], device: Device = "cpu", everything: bool = False
) -> list[TrainingPath]:
    """The measures at every snapshot of every run, all of them together.

    - ``train_loss``: the task's, on the whole training data.
    - ``weight_norm``, ``update_norm``: Euclidean lengths of all weights, and of the step that led to them.
    - ``output_margin``: the smallest margin of the training samples: true minus largest other output for classes, the
      output times the label for labels ±1.
    - ``normalized_margin``: that of the weights scaled to length 1, of networks that are homogeneous in their weights
      (Lyu and Li 2020, arXiv:1906.05890).
    - ``imbalance``: the largest difference of squared norms of consecutive factors, where the outputs are of one degree
      in both; gradient flow keeps each difference (Du et al. 2018, arXiv:1806.00900). A bias counts to its layer.

    And with `everything`, what may cost more than the run itself:

    - ``sharpness``: the largest eigenvalue of the Hessian of the objective, which is the loss over the problem's
      Lipschitz constant, so that gradient descent with a step size s is stable up to 2 / s.
    - ``preconditioned_sharpness``: that of ``P^-1 H``, for optimizers whose diagonal preconditioner P is known
      (`suite.training.snapshots.preconditioner`).
    - ``gradient_flow_distance``: the distance to gradient flow from the same initial weights, where that has the same
      loss, over the length of its way there; of full batches in double precision, up to `FLOW_PARAMETERS` weights.
    - what the task itself measures for its axes and tables, if it has an oracle: distances to exact solutions.

    Args:
        task: what the runs were trained on.
        traced: the runs with their snapshots, all of one network.
        device: of torch.
        everything: takes the costly measures too.

    Returns:
        A path for each run.
    """
    begin = time.process_time()
    points = [_Point(each, snapshot) for each in traced for snapshot in each.result.snapshots]
    values: list[Row] = []
    for batch in _batches(task, points, device):
        values += _measured(task, batch, device, everything)
    for point, row in zip(points, values, strict=True):
        row["update_norm"] = point.snapshot.update_norm
    rows = iter(values)
    by_run = [[next(rows) for _ in each.result.snapshots] for each in traced]
    for each, of_run in zip(traced, by_run, strict=True) if everything else ():
        distances = _flow_distances(task, each, [row.get("train_loss") for row in of_run], device)
        for row, own, distance in zip(of_run, _own_measures(task, each, device), distances, strict=True):
            row |= {"gradient_flow_distance": distance} | own
    seconds = (time.process_time() - begin) / max(1, len(points))
    return [_path(each.result.snapshots, of_run, seconds) for each, of_run in zip(traced, by_run, strict=True)]


def _path(snapshots: Sequence[Snapshot], rows: Sequence[Row], seconds: float) -> TrainingPath:
    """The path of one run, of which measuring a snapshot took so many seconds; without what is defined nowhere."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [_rounded(row.get(name)) for row in rows] for name in names}
    return TrainingPath(
        [snapshot.step for snapshot in snapshots],
        [snapshot.gradient_evaluations for snapshot in snapshots],
        {name: column for name, column in columns.items() if any(value is not None for value in column)},
        round(seconds * len(snapshots), 4),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")


def _batches(task: Task, points: Sequence[_Point], device: Device) -> Iterator[list[_Point]]:
    """The points in parts that are measured as one program: one by one where the network cannot be batched."""
    if not points:
        return
    run = points[0].traced.run
    model = run.model(task, device)
    stackable = {name for name, _ in itertools.chain(model.named_parameters(), model.named_buffers())}
    together = task.batched and hold(model).keys() <= stackable and supports_vmap(task, run, device)
    numbers = run.problem.train.x.numel() + sum(parameter.numel() for parameter in model.parameters())
    size = max(1, NUMBERS_AT_ONCE // numbers) if together else 1
    for begin in range(0, len(points), size):
        yield list(points[begin : begin + size])


def _measured(task: Task, points: Sequence[_Point], device: Device, everything: bool) -> list[Row]:
    """The measures of some points, together."""
    model = points[0].traced.run.model(task, device).eval()

    def first_order(part: Sequence[_Point]) -> dict[str, Tensor]:
        return _first_order(task, _Lanes.of(model, part, device))

    def second_order(part: Sequence[_Point]) -> dict[str, Tensor]:
        return _second_order(task, _Lanes.of(model, part, device))

    with evaluating(model):
        rows = _rows(first_order, points)
        at = [place for place, row in enumerate(rows) if everything and _is_finite(row.get("train_loss"))]
        for place, row in zip(at, _rows(second_order, [points[place] for place in at]), strict=True):
            rows[place] |= row
    return rows


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _rows(measure: Callable[[Sequence[_Point]], dict[str, Tensor]], points: Sequence[_Point]) -> list[Row]:
    """What `measure` gives of all points together, or where that fails of each by itself; nothing of one that fails.

    What cannot be measured on the way must not decide what is recorded of a run.
    """
    if not points:
        return []
    try:
        columns = measure(points)
    except Exception:
        return [{}] if len(points) == 1 else [row for point in points for row in _rows(measure, [point])]
    return [{name: float(column[place]) for name, column in columns.items()} for place in range(len(points))]


class _Lanes(NamedTuple):
    """One network at several points.

    Attributes:
        states, splits, points: its weights, the training data, and the snapshots themselves.
        network, data: the same as lanes; of one point the model itself, which need not work under `vmap`.
        scales: what the loss is divided by, [S].
    """

    model: nn.Module
    points: Sequence[_Point]
    states: list[Weights]
    splits: list[Split]
    network: Network
    data: Split
    scales: Tensor

    @classmethod
    def of(cls, model: nn.Module, points: Sequence[_Point], device: Device) -> _Lanes:
        """The lanes of `points`."""
        states = [{name: tensor.to(device) for name, tensor in point.snapshot.weights.items()} for point in points]
        splits = [point.traced.run.problem.train.to(device) for point in points]
        scales = torch.tensor([point.traced.run.problem.lipschitz for point in points], dtype=torch.float64)
        return cls(model, points, states, splits, _network(model, states), _data(splits), scales)

    def outputs(self, network: Network, most: int | None = None) -> Tensor:
        """Outputs [S, n, ...] of `network`, for one point too; of so many samples at most."""
        x = self.data.x[:most] if network.lanes is None else self.data.x[:, :most]
        outputs = network.outputs(x)
        return outputs if network.lanes is not None else outputs[None]

    def margins(self, outputs: Tensor) -> Tensor | None:
        """The smallest margin [S] of outputs [S, n, ...]; None where targets are neither classes [n] nor labels ±1."""
        y = self.splits[0].y
        pairs = list(zip(outputs, (split.y for split in self.splits), strict=True))
        if not y.is_floating_point() and y.dim() == 1 and outputs.dim() == 3 and int(y.max()) < outputs.shape[2] > 1:
            return torch.stack([margins(each, labels).amin() for each, labels in pairs])
        if y.is_floating_point() and bool((y.abs() == 1).all()) and outputs[0].numel() == y.numel():
            return torch.stack([(each.reshape(-1) * labels.reshape(-1)).amin() for each, labels in pairs])
        return None


def _first_order(task: Task, lanes: _Lanes) -> dict[str, Tensor]:
    """name -> the values [S] of what one pass gives; NaN where something is not defined."""
    network = lanes.network
    with torch.enable_grad():
        degrees = _degrees(network, lanes.outputs(network, FEW))
    with torch.no_grad():
        outputs = lanes.outputs(network)
        losses = [task.loss(each, split.y) for each, split in zip(outputs, lanes.splits, strict=True)]
        columns = {
            "train_loss": torch.stack(losses),
            "weight_norm": torch.linalg.vector_norm(network.weights().reshape(len(losses), -1), dim=1),
            "imbalance": _imbalance(network, degrees),
        }
        margin = lanes.margins(outputs)
        if margin is not None:
            columns |= {"output_margin": margin, "normalized_margin": _normalized_margin(lanes, outputs)}
    return columns


def _second_order(task: Task, lanes: _Lanes) -> dict[str, Tensor]:
    """name -> the values [S] of the largest eigenvalues; NaN where no preconditioner is known."""
    hessian = Hessian(lanes.network, lanes.data, task.loss)
    columns = {"sharpness": _largest(hessian) / lanes.scales}
    names = [name for name, parameter in lanes.model.named_parameters() if parameter.requires_grad]
    diagonals = [
        None if known is None else torch.cat([known[name].reshape(-1) for name in names])
        for known in (point.snapshot.preconditioner for point in lanes.points)
    ]
    size = hessian.size
    if any(diagonal is not None for diagonal in diagonals):
        inverse = [torch.ones(size) if diagonal is None else diagonal.rsqrt() for diagonal in diagonals]
        scaling = torch.stack([each.to(hessian.device, hessian.dtype) for each in inverse])
        scaled = Scaled(hessian, scaling if hessian.lanes is not None else scaling[0])
        values = _largest(scaled) / lanes.scales
        known = torch.tensor([diagonal is not None for diagonal in diagonals])
        columns["preconditioned_sharpness"] = torch.where(known, values, math.nan)
    return columns


def _largest(operator: Operator) -> Tensor:
    """The largest eigenvalue of each lane, [S]."""
    return lanczos(operator, 1, torch_stream("training path"), look_every=LOOK_EVERY).values.reshape(-1)


def _network(model: nn.Module, states: Sequence[Weights]) -> Network:
    """The model at each of the states; one state is put into the model itself, which need not work under `vmap`."""
    if len(states) > 1:
        return Network.at(model, states)
    restore(model, states[0])
    return Network(model)


def _data(splits: Sequence[Split]) -> Split:
    """The data of every lane, stacked where there are several."""
    if len(splits) == 1:
        return splits[0]
    return Split(torch.stack([split.x for split in splits]), torch.stack([split.y for split in splits]))


def _normalized_margin(lanes: _Lanes, outputs: Tensor) -> Tensor:
    """The smallest margin [S] at the weights over their length; NaN where that does not scale `outputs` [S, n, ...]."""
    names = {name for name, _ in lanes.model.named_parameters()}
    scaled = []
    for state in lanes.states:
        squares = [float(tensor.double().square().sum()) for name, tensor in state.items() if name in names]
        length = math.sqrt(sum(squares)) or 1.0
        scaled.append({name: tensor / length if name in names else tensor for name, tensor in state.items()})
    network = _network(lanes.model, scaled)
    flat, other = lanes.outputs(network, FEW).flatten(1), outputs[:, :FEW].flatten(1)
    cosine = (flat * other).sum(1) / (torch.linalg.vector_norm(flat, dim=1) * torch.linalg.vector_norm(other, dim=1))
    is_homogeneous = 1 - cosine <= SAME.get(flat.dtype, 1e-2)
    margin = lanes.margins(lanes.outputs(network)) if bool(is_homogeneous.any()) else None
    return torch.full(cosine.shape, math.nan) if margin is None else torch.where(is_homogeneous, margin, math.nan)


def _degrees(network: Network, outputs: Tensor) -> list[Tensor]:
    """Of every leaf ``sum of leaf * d out / d leaf`` [S], where `out` is a random combination of all outputs.

    Where the outputs are of a degree k in some leaves together, theirs add up to k times `out` (Euler).
    """
    stream = torch_stream("training path", "outputs")
    lanes = network.lanes or 1
    weights = torch.randn(outputs.shape[1:], generator=stream, dtype=torch.float64).to(outputs)
    gradients = torch.autograd.grad((outputs * weights).sum(), network.leaves, materialize_grads=True)
    return [
        (leaf.detach() * gradient).reshape(lanes, -1).sum(1)
        for leaf, gradient in zip(network.leaves, gradients, strict=True)
    ]


def _imbalance(network: Network, degrees: Sequence[Tensor]) -> Tensor:
    """The largest difference of squared norms [S] of two consecutive factors in which the outputs are of one degree."""
    lanes = network.lanes or 1
    squares = [leaf.detach().reshape(lanes, -1).square().sum(1) for leaf in network.leaves]
    biases = [leaf.dim() - (network.lanes is not None) == 1 for leaf in network.leaves]
    if all(biases):  # factors of diagonal networks are vectors
        biases = [False for _ in biases]
    factors = [place for place, is_bias in enumerate(biases) if not is_bias]
    differences = []
    for one, other in itertools.pairwise(factors):
        between = range(one + 1, other)  # the biases of the first one
        layer = degrees[one] + sum(degrees[place] for place in between)
        size = torch.maximum(layer.abs(), degrees[other].abs())
        tolerance = SAME.get(layer.dtype, 1e-2)
        if bool(((layer - degrees[other]).abs() <= tolerance * size).all()) and bool(size.any()):
            norm = squares[one] + sum(squares[place] for place in between)
            differences.append((norm - squares[other]).abs())
    return torch.stack(differences).amax(0) if differences else torch.full((lanes,), math.nan)


def _flow_distances(task: Task, traced: TracedRun, losses: Sequence[float | None], device: Device) -> Column:
    """How far each snapshot, with its training loss, is from where gradient flow from its start has that loss."""
    run, snapshots = traced.run, traced.result.snapshots
    model = run.model(task, device).eval()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    is_descent = task.batch_size is None and task.label_noise is None and task.decay is None
    is_small = sum(parameter.numel() for parameter in parameters) <= FLOW_PARAMETERS
    if not (is_descent and is_small and all(parameter.dtype == torch.float64 for parameter in parameters)):
        return [None for _ in snapshots]
    data = run.problem.train.to(device)

    def objective(weights: Array) -> tuple[float, Array]:
        vector_to_parameters(torch.from_numpy(weights).to(device), parameters)
        loss = task.loss(model(data.x), data.y)
        gradients = torch.autograd.grad(loss / run.problem.lipschitz, parameters, materialize_grads=True)
        return loss.item(), parameters_to_vector(gradients).cpu().numpy()

    def vector(weights: Weights) -> Array:
        restore(model, weights)
        return parameters_to_vector(parameters).detach().cpu().numpy().copy()

    vectors = [vector(snapshot.weights) for snapshot in snapshots]
    known = [place for place, loss in enumerate(losses) if _is_finite(loss)]
    try:
        places = flow_at_losses(objective, vectors[0], [float(losses[place] or 0.0) for place in known])
    except Exception:  # as in `_rows`
        return [None for _ in snapshots]
    distances: Column = [None for _ in snapshots]
    for place, flow in zip(known, places, strict=True):
        if flow is not None and (way := float(np.linalg.norm(flow - vectors[0]))) > 0:
            distances[place] = float(np.linalg.norm(vectors[place] - flow)) / way
    return distances


def _own_measures(task: Task, traced: TracedRun, device: Device) -> list[Row]:
    """What the task measures of each snapshot for its axes and tables; nothing where it has no oracle."""
    run, snapshots, oracle = traced.run, traced.result.snapshots, traced.oracle
    if oracle is None or task.oracle is None:
        return [{} for _ in snapshots]
    names = dict.fromkeys([*(axis.measure for axis in task.axes), *task.reported])
    model = run.model(task, device).eval()
    solution = Solution(model, hold(model), run.problem.to(device), oracle, run.seed, run.settings)
    rows: list[Row] = []
    for snapshot in snapshots:
        restore(model, {name: tensor.to(device) for name, tensor in snapshot.weights.items()})
        try:
            taken = task.measure(solution)
        except Exception:  # measures are written for solutions: on the way one may not be defined
            taken = {}
        rows.append({name: float(taken[name]) for name in names if name in taken})
    return rows
