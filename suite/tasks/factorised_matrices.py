"""Matrix completion: depth and initial scale decide the rank."""

from __future__ import annotations

import torch

from suite.measures import effective_rank_of
from suite.models import MatrixProduct
from suite.oracles.matrices import nuclear_norm_completion
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.losses import mean_squared_error
from suite.tasks.registry import task


@task
def matrix_completion(depth: int = 2, init: float = 1e-3) -> Task:
    """Does a deep factorisation complete a low-rank matrix?

    Claim. Gradient descent from small initialisation prefers low rank, the more the deeper the factorisation, beyond
    what any norm explains (Gunasekar et al. 2017, arXiv:1705.09280; Arora et al. 2019, arXiv:1905.13655; Li et al.
    2021, arXiv:2012.09839).

    Data. A 24 x 24 matrix M of rank 2 with Frobenius norm 24, of which 40 % of the entries are observed: at 35 % the
    nuclear-norm oracle itself fails on some seeds, at 50 % it recovers every matrix and the task would not distinguish
    low rank from a small norm. Model: the product of `depth` square matrices, whose entries are drawn so that the
    product's are `init` times N(0, 1/24). Loss: mean squared error on the observed entries, divided by ``2 depth s^(2 -
    2/depth) / m``, a bound of the Hessian's largest eigenvalue at a balanced solution with largest singular value s and
    m entries. Of interest: depth 1 to 4; init 1e-3, and 1, which is too large for low rank.

    Target. The mean square of M is 1. The time to leave the saddle at zero grows like ``init^-(1 - 2/depth)``: deep
    factorisations may not reach the target loss within the budget, which is then reported as it is.

    Oracle. The true matrix; and the nuclear-norm minimiser (a convex solver), whose error is measured too, as
    `oracle_error`.

    Norm axis. `nuclear_ratio` = nuclear norm over the true one's. Score 0: that of the observed entries with zeros
    elsewhere, which depth 1 finds. Generalization axis. `unobserved_error` = squared error on the unobserved entries
    over their squared norm. Score 0: predicting zero. Score 1: closer counts as exact.
    """
    d, rank, share = 24, 2, 0.4
    if not (1 <= depth <= 8 and 1e-8 <= init <= 10):
        raise ValueError(f"depth must be 1 to 8 and init 1e-8 to 10, not {depth} and {init}.")
    cells = torch.cartesian_prod(torch.arange(d), torch.arange(d))

    def problem(seed: int) -> Problem:
        stream = torch_stream("matrix_completion", seed, "data")
        left, right = (torch.randn(d, rank, generator=stream, dtype=torch.float64) for _ in range(2))
        matrix = left @ right.T
        matrix = matrix * d / torch.linalg.matrix_norm(matrix)
        order = torch.randperm(d * d, generator=stream)
        seen, unseen = torch.tensor_split(cells[order], [round(share * d * d)])
        top = torch.linalg.matrix_norm(matrix, ord=2).item()
        return Problem(
            Split(seen, matrix[seen[:, 0], seen[:, 1]]),
            test=Split(unseen, matrix[unseen[:, 0], unseen[:, 1]]),
            lipschitz=2 * depth * top ** (2 - 2 / depth) / len(seen),
            ground_truth={"matrix": matrix},
        )

    def oracle(problem: Problem, seed: int) -> Oracle:
        problem = problem.to("cpu")
        matrix, seen, test = problem.ground_truth["matrix"], problem.train.x, problem.required_test
        filled = torch.zeros_like(matrix)
        filled[seen[:, 0], seen[:, 1]] = problem.train.y
        nuclear = torch.from_numpy(nuclear_norm_completion(filled.numpy(), seen.numpy()))
        error = (nuclear - matrix)[test.x[:, 0], test.x[:, 1]].square().sum() / test.y.square().sum()
        norm = torch.linalg.matrix_norm(matrix, ord="nuc")
        return Oracle(
            {"matrix": matrix, "nuclear": nuclear},
            {
                "zero_filled_ratio": float(torch.linalg.matrix_norm(filled, ord="nuc") / norm),
                "oracle_error": float(error),
            },
        )

    @torch.no_grad()
    def measure(solution: Solution) -> dict[str, float]:
        test, truth = solution.problem.required_test, solution.problem.ground_truth["matrix"]
        w = solution.model(cells.to(test.x.device)).view(d, d)
        error = (w[test.x[:, 0], test.x[:, 1]] - test.y).square().sum() / test.y.square().sum()
        ratio = torch.linalg.matrix_norm(w, ord="nuc") / torch.linalg.matrix_norm(truth, ord="nuc")
        return {
            "nuclear_ratio": float(ratio),
            "unobserved_error": float(error),
            "effective_rank": float(effective_rank_of(w)),
            "oracle_error": solution.oracle.values["oracle_error"],
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: MatrixProduct(d, depth, init, torch_stream("matrix_completion", seed, "init")),
        loss=mean_squared_error,
        target=Target(1e-5, budget=12_000),
        measure=measure,
        oracle=oracle,
        axes=(
            Axis("norm", "nuclear_ratio", "log", score_0="zero_filled_ratio", score_1=1.0),
            Axis("generalization", "unobserved_error", "log", score_0=1.0, score_1=0.01, floor=0.01),
        ),
    )
