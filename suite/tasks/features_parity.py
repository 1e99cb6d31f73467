"""Parity: a feature that takes long to find while the data are fitted without it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.models import relu_network
from suite.seeding import torch_stream
from suite.task import Axis, Problem, Solution, Split, Target, Task
from suite.tasks.common import adam_interface, hessian_norm
from suite.tasks.losses import logistic
from suite.tasks.registry import task


@torch.no_grad()
def influences(model: nn.Module, x: Tensor) -> Tensor:
    """Mean over x [n, d] in {-1, +1} of the squared change of the output when a coordinate is flipped, [d].

    Four times the influence of O'Donnell (2014, Analysis of Boolean Functions, section 8.4).
    """
    base = model(x)
    flips = 1 - 2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.stack([(model(x * flip) - base).square().mean() for flip in flips])


@task
def sparse_parity() -> Task:
    """Are the few relevant inputs found after the data are fitted?

    Claim. Networks fit a sparse parity by memorising first; longer training with decay finds the relevant inputs and
    generalizes, late (Barak et al. 2022, arXiv:2207.08799; Power et al. 2022, arXiv:2201.02177; Lyu et al. 2024,
    arXiv:2311.18817).

    Data. x uniform in {-1, +1}^20, y the product of the first three coordinates; 400 points for training, 400 for
    validation, 1,000 for the test. Model: two-layer ReLU network of width 64, He's initialization. Logistic loss over
    its Lipschitz constant at the start, float32. With 30 coordinates and 600 points in batches of 32 no optimizer
    generalized in a prototype.

    Target. All train for the whole budget, since the relevant inputs are found after the fit. Hyper-parameters are
    chosen by validation loss, not by the speed of the fit, which prefers those that memorise.

    Oracle. The parity itself: its error is 0 and only the three relevant inputs influence it.

    Norm axis. `relevant_influence`: the share of the relevant inputs in the sum of all influences (mean squared change
    of the output when an input is flipped, on the test points). It is a property of the function, not of weights. Score
    0: all inputs alike. Generalization axis. `test_error`. Score 0: chance.
    """
    d, k, n, tests, width = 20, 3, 400, 1_000, 64

    def initial_network(seed: int) -> nn.Sequential:
        return relu_network(d, [width], torch_stream("sparse_parity", seed, "init"), dtype=torch.float32)

    def problem(seed: int) -> Problem:
        stream = torch_stream("sparse_parity", seed, "data")
        x = torch.randint(0, 2, (2 * n + tests, d), generator=stream) * 2.0 - 1
        y = x[:, :k].prod(1, keepdim=True)
        train, validation, test = map(Split, *(torch.split(part, [n, n, tests]) for part in (x, y)))
        return Problem(train, validation, test, lipschitz=hessian_norm(initial_network(seed), train, logistic))

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        test = solution.problem.required_test
        influence = influences(solution.model, test.x)
        return {
            "relevant_influence": float(influence[:k].sum() / influence.sum()),
            "test_error": float((torch.sign(solution.model(test.x)) != test.y).double().mean()),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: initial_network(seed),
        loss=logistic,
        target=Target(0.1, budget=3_000, at_end=True),
        measure=measure,
        axes=(
            Axis("norm", "relevant_influence", "linear", score_0=k / d, score_1=1.0, higher=True),
            Axis("generalization", "test_error", "linear", score_0=0.5, score_1=0.0),
        ),
        selection="validation_loss",
        dtype=torch.float32,
        interface=adam_interface(d),
    )
