"""`lowlands landscape`: the training loss between two kept solutions, and around one.

line    w(t) = (1 - t) one + t other, once as the solutions are, once with the hidden units of the other put into
        the order in which it is closest to the first
plane   w + a u + b v, with u and v the eigenvectors of the two largest eigenvalues of the Hessian at w, each of its
        filters scaled to the length of the solution's (Li et al. 2018, arXiv:1712.09913)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from suite.curvature import Hessian, Network, lanczos
from suite.entries.entry import bind
from suite.entries.loading import load as load_submission
from suite.errors import InputError, unknown
from suite.models import evaluating, hold, restore
from suite.models.permutations import aligned, hidden_layers
from suite.seeding import torch_stream
from suite.storage.record import Record
from suite.storage.solutions import load
from suite.task import Problem, Task, Weights
from suite.tasks import open_task

OUTSIDE = 0.25
"""A line goes on beyond both solutions by this share of their distance."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KeptSolution:
    """A solution that `lowlands run --keep-solutions` has kept, by whom, and its record."""

    name: str
    weights: Weights
    record: Record


@dataclass(frozen=True)
class Line:
    """The training loss on the line from one solution (t = 0) to another (t = 1).

    Attributes:
        one, other: whose solutions they are.
        t, loss: the places, and the loss of both as they are.
        aligned: the loss where the other one's hidden units are in the order that is closest to the first one's; None
            for a network whose units have no free order.
    """

    one: str
    other: str
    t: Array
    loss: Array
    aligned: Array | None


@dataclass(frozen=True)
class Plane:
    """The training loss around one solution.

    Attributes:
        name: whose solution it is.
        a, b: coordinates [n] along the two directions; a length of 1 moves every filter by its own length.
        loss: [n, n], a row for each entry of `b`.
        eigenvalues: the two largest of the Hessian of the training loss.
    """

    name: str
    a: Array
    b: Array
    loss: Array
    eigenvalues: tuple[float, float]


class Landscape:
    """The solutions of some submissions on one seed of a task, and the loss between and around them."""

    def __init__(self, records: Sequence[Record], solutions: Path, task: str, submissions: Sequence[str]) -> None:
        """Find the solutions of the first scored seed on which all have one.

        Args:
            records: of a log.
            solutions: the folder in which solutions were kept.
            task: its name.
            submissions: names in the log; of an architecture of one's own the text that finds its code.

        Raises:
            InputError: there is no such record, or no seed on which all reached the target loss and were kept.
        """
        of_task = [record for record in records if record["task"] == task and record["phase"] == "score"]
        if not of_task:
            raise unknown("task", task, {record["task"] for record in records}, where="in these results")
        loaded = {text: _name_of(text, of_task) for text in submissions}
        runs = {
            text: {r["seed"]: r for r in reversed(of_task) if r["submission"] == name and r["converged"]}
            for text, name in loaded.items()
        }
        seeds = sorted(set.intersection(*(set(found) for found in runs.values())))
        names = " and ".join(loaded.values())
        if not seeds:
            raise InputError(f"There is no seed of {task} on which {names} reached the target loss.")
        kept = [seed for seed in seeds if all(_is_kept(found[seed], solutions) for found in runs.values())]
        if not kept:
            raise InputError(
                f"{solutions} keeps no solutions of {names} on {task}: lowlands run --keep-solutions does."
            )
        self.seed: int = kept[0]
        self.task = _bound(task, submissions[0], runs[submissions[0]][self.seed])
        self.problem: Problem = self.task.problem(self.seed)
        self.model: nn.Module = self.task.model(self.problem, self.seed).eval()
        self.solutions = [self._kept(loaded[text], runs[text][self.seed], solutions) for text in runs]

    def _kept(self, name: str, record: Record, folder: Path) -> KeptSolution:
        weights = load(folder, str(record["solution_hash"]))
        assert weights is not None
        restore(self.model, weights)  # an InputError for those of another network
        return KeptSolution(name, hold(self.model), record)

    def line(self, one: KeptSolution, other: KeptSolution, points: int) -> Line:
        """The loss at so many points of the line from one solution to another."""
        t = np.linspace(-OUTSIDE, 1 + OUTSIDE, points)
        restore(self.model, one.weights)
        layers = hidden_layers(self.model, self.problem.train.x)
        moved = aligned(other.weights, one.weights, layers) if layers else None
        return Line(
            one.name,
            other.name,
            t,
            self._between(one.weights, other.weights, t),
            None if moved is None else self._between(one.weights, moved, t),
        )

    def plane(self, solution: KeptSolution, points: int, reach: float) -> Plane:
        """The loss at a grid of so many points a side, up to `reach` to both sides of a solution."""
        restore(self.model, solution.weights)
        with evaluating(self.model):
            network = Network(self.model)
            hessian = Hessian(network, self.problem.train, self.task.loss)
            pairs = lanczos(hessian, 2, torch_stream("landscape"))
            directions = [filter_normalized(network.split(vector), network.leaves) for vector in pairs.vectors]
        names = [name for name, p in self.model.named_parameters() if p.requires_grad]
        u, v = (dict(zip(names, direction, strict=True)) for direction in directions)
        w, steps = solution.weights, np.linspace(-reach, reach, points)
        states = [
            w | {name: w[name] + float(a) * u[name] + float(b) * v[name] for name in u} for b in steps for a in steps
        ]
        first, second = pairs.values.tolist()
        loss = self._losses(states).reshape(points, points)
        return Plane(solution.name, steps, steps, loss, (first, second))

    def _between(self, one: Weights, other: Weights, t: Array) -> Array:
        """The losses on a line; what are no real numbers (counts, masks) stay those of the first."""
        return self._losses(
            [
                {
                    name: tensor + float(at) * (other[name] - tensor) if tensor.is_floating_point() else tensor
                    for name, tensor in one.items()
                }
                for at in t
            ]
        )

    @torch.no_grad()
    def _losses(self, states: Sequence[Weights]) -> Array:
        """The task's loss on the whole training data at each state."""
        losses, data = [], self.problem.train
        with evaluating(self.model):
            for state in states:
                restore(self.model, state)
                losses.append(self.task.loss(self.model(data.x), data.y).item())
        return np.array(losses)


def filter_normalized(direction: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """A direction each of whose filters has the length of the same filter of the weights (Li et al. 2018, section 4).

    A filter is a row of a weight: all that leads to one unit. Vectors beside weights (biases, norms) do not move; where
    there are only vectors, each is a filter.

    Args:
        direction, weights: tensors of the same shapes.
    """
    only_vectors = all(weight.dim() < 2 for weight in weights)
    scaled = []
    for part, weight in zip(direction, weights, strict=True):
        if weight.dim() < 2 and not only_vectors:
            scaled.append(torch.zeros_like(part))
            continue
        rows = 1 if weight.dim() < 2 else len(weight)
        flat, lengths = part.reshape(rows, -1), torch.linalg.vector_norm(weight.detach().reshape(rows, -1), dim=1)
        norms = torch.linalg.vector_norm(flat, dim=1)
        factors = torch.where(norms > 0, lengths / norms, torch.zeros_like(norms))
        scaled.append((flat * factors[:, None]).reshape(part.shape))
    return scaled


def _name_of(text: str, records: Sequence[Record]) -> str:
    """The name by which records call the submission `text`; its file is not run where it is a name itself."""
    names = {str(record["submission"]) for record in records}
    if text in names:
        return text
    if not Path(text).suffix and ":" not in text:
        raise unknown("submission", text, names, where="in these results")
    name = load_submission(text).submission.name
    if name not in names:
        raise unknown("submission", name, names, where="in these results")
    return name


def _is_kept(record: Record, folder: Path) -> bool:
    return (folder / f"{record['solution_hash']}.safetensors").is_file()


def _bound(name: str, text: str, record: Record) -> Task:
    """The task, with the network of an architecture in the place of its own."""
    task = open_task(name)
    return bind(load_submission(text).submission, task).task if record["kind"] == "architecture" else task
