"""How far solutions move when training is done in rotated coordinates: ``python -m benchmarks.rotations``.

    solution = train(task, method)                          seed 0, one setting amid the ranges
    rotated  = the same run, but the method sees every tensor as a vector Q w and its gradient as Q g, with one
               orthogonal Q for each tensor; its weights are turned back
    moved    = |rotated - solution| / |solution - start|

Data, batches and network are the same: where the method knows no coordinates the two runs are one up to rounding. The
word in the tables of the command (``lowlands table --view rotations``) is of 16 steps; this is of the end of training,
where the loss has a say: it may have one minimizer only, to which all paths lead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from scipy.fft import dct, idct
from torch import Tensor, nn
from torch.optim import Optimizer

from suite.entries.entry import bind
from suite.entries.loading import load
from suite.optimizers import evaluated
from suite.seeding import torch_stream
from suite.signature import MakeOptimizer
from suite.storage.record import Status
from suite.tasks import find_task
from suite.training import TrainingRun, train

METHODS = ("sgd", "momentum", "normalized", "sign", "adam", "adamw", "muon", "soap", "lion")
TASKS = (
    "min_norm_regression",
    "max_margin",
    "spectral_margin",
    "teacher_geometry",
    "next_token_margin",
    "zipf_bigram",
    "attention_selection",
    "sparse_regression",
    "neural_collapse",
    "homogeneous_margin",
    "rich_mixture",
)
"""Those whose steps are of the gradient at the weights alone and whose runs take seconds."""

INVARIANT = 1e-3
"""A method whose solutions move by less on most tasks, relative to their ways, knows no coordinates; that of the probe.

Not on all: where training is chaotic it amplifies the rounding of a rotation.
"""


class Turn:
    """A rotation of vectors of length `count`: random signs, a cosine transform, random signs."""

    def __init__(self, count: int, stream: torch.Generator) -> None:
        self._before, self._after = (torch.randint(0, 2, (count,), generator=stream).numpy() * 2 - 1 for _ in range(2))

    def there(self, values: Tensor) -> Tensor:
        """Q times the entries, in their shape."""
        mixed = dct(values.detach().reshape(-1).numpy() * self._before, norm="ortho") * self._after
        return torch.from_numpy(mixed).view_as(values).to(values.dtype)

    def back(self, values: Tensor) -> Tensor:
        """Q' times the entries, in their shape."""
        mixed = idct(values.detach().reshape(-1).numpy() * self._after, norm="ortho") * self._before
        return torch.from_numpy(mixed).view_as(values).to(values.dtype)


class Rotated(Optimizer):
    """The optimizer `make` on the rotated tensors, which it alone sees."""

    def __init__(self, params: Iterable[Any], make: MakeOptimizer, seed: int = 0, **settings: Any) -> None:
        super().__init__(params, settings)
        stream = torch_stream("rotated coordinates", seed)
        tensors = [p for group in self.param_groups for p in group["params"]]
        self.turns = [Turn(p.numel(), stream) for p in tensors]
        self._pairs = list(zip(tensors, self.turns, strict=True))
        self._images = [nn.Parameter(turn.there(p)) for p, turn in self._pairs]
        image = {id(p): there for p, there in zip(tensors, self._images, strict=True)}
        flagged = any("use_muon" in group for group in self.param_groups)
        groups = [
            {"params": [image[id(p)] for p in group["params"]]}
            | ({"use_muon": group["use_muon"]} if "use_muon" in group else {})
            for group in self.param_groups
        ]
        self._inner = make(groups if flagged else self._images, **settings)

    def _turn_gradients(self) -> None:
        for (p, turn), there in zip(self._pairs, self._images, strict=True):
            there.grad = None if p.grad is None else turn.there(p.grad)

    @torch.no_grad()
    def _turn_back(self) -> None:
        for (p, turn), there in zip(self._pairs, self._images, strict=True):
            p.copy_(turn.back(there))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the optimizer; a closure is evaluated where the optimizer has put its weights."""

        def evaluate() -> Any:
            self._turn_back()
            loss = evaluated(closure)
            self._turn_gradients()
            return loss

        share = self.param_groups[0]["lr"] / self.defaults["lr"]
        for group in self._inner.param_groups:
            group["lr"] = group.setdefault("full_lr", group["lr"]) * share
        self._turn_gradients()
        loss = self._inner.step(evaluate) if closure is not None else self._inner.step()
        self._turn_back()
        return loss


@dataclass(frozen=True)
class Movement:
    """How far a method's solution of a task moves, over the length of its way; None where a run found none."""

    task: str
    method: str
    moved: float | None


def movement(task_name: str, method: str, settings: dict[str, Any] | None = None, seed: int = 0) -> Movement:
    """How far the solution of one run moves: at the second setting of a search, amid the ranges, if none is given."""
    entry = bind(load(method).submission, find_task(task_name))
    task, make = entry.task, entry.make
    run = TrainingRun(task.problem(seed), seed, 0, settings or entry.settings(2)[1])
    results = [train(task, [run], each)[0] for each in (make, partial(Rotated, make=make, seed=seed))]
    if any(result.status != Status.CONVERGED for result in results):
        return Movement(task_name, method, None)
    names = [name for name, _ in task.model(run.problem, seed).named_parameters()]
    first, second = (torch.cat([result.weights[name].flatten() for name in names]) for result in results)
    start = torch.cat([results[0].initial[name].flatten() for name in names])
    return Movement(task_name, method, float((second - first).norm() / (first - start).norm()))


def table(movements: Iterable[Movement]) -> str:
    """Tasks in rows, methods in columns, in Markdown; the last row says who is rotation invariant."""
    found = {(each.task, each.method): each.moved for each in movements}
    tasks, methods = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    lines = ["| task | " + " | ".join(methods) + " |", "| --- |" + " ---: |" * len(methods)]
    for task in tasks:
        cells = [found.get((task, method)) for method in methods]
        lines.append(f"| `{task}` | " + " | ".join("–" if moved is None else f"{moved:.2g}" for moved in cells) + " |")
    words = []
    for method in methods:
        known = [moved for (_, name), moved in found.items() if name == method and moved is not None]
        words.append("–" if not known else "yes" if median(known) < INVARIANT else "no")
    lines.append("| rotation invariant | " + " | ".join(words) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and each row when it is there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", nargs="+", default=TASKS)
    parser.add_argument("--method", nargs="+", default=METHODS)
    options = parser.parse_args()
    movements: list[Movement] = []
    for task in options.task:
        movements += (movement(task, method) for method in options.method)
        print(table(movements[-len(options.method) :]).splitlines()[2], file=sys.stderr, flush=True)
    print(table(movements))


if __name__ == "__main__":
    main()
