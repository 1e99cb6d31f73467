"""Neural collapse: do the features of a class become one, and those of all classes a simplex?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.oracles.collapse import collapsed_minimum, etf_distance
from suite.seeding import torch_stream
from suite.task import Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import normal, weights
from suite.tasks.registry import task


class FreeFeatures(nn.Module):
    """``W H x`` with classifier [classes, d] and features [d, n]: of one-hot x [m, n] the logits [m, classes]."""

    def __init__(self, classifier: Tensor, features: Tensor) -> None:
        super().__init__()
        self.classifier, self.features = nn.Parameter(classifier.clone()), nn.Parameter(features.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.features.T @ self.classifier.T


@task
def neural_collapse(decay: float = 0.005) -> Task:
    """Do the features of a class become one, and those of all classes a simplex?

    Claim. At the end of training the last features of all samples of a class coincide, the class means form a simplex
    equiangular tight frame (ETF), and the classifier is aligned with them (Papyan et al. 2020, arXiv:2008.08186). For
    free features and weight decay all global minimizers are like that, and all other critical points are strict saddles
    (Zhu et al. 2021, arXiv:2105.02375). But the optimizer decides whether they are approached: under gradient descent
    with coupled decay the sum of the classifier's rows, which is 0 for an ETF, vanishes exponentially, as the
    cross-entropy has no gradient there; under sign descent with decoupled decay, the memoryless AdamW, it grows from 0
    to a positive limit where there are more than two classes (Zhao et al. 2026, arXiv:2602.16642, Theorems 3.1 to 3.4
    as a note on the paper numbers them, who find collapse with SGD and Adam and none with AdamW). That the sum vanishes
    is necessary for an ETF aligned with the means, not sufficient (Proposition 2.1).

    Data. 4 classes of 10 samples; the input is the number of the sample, one-hot. Model: the features H [8, 40] are
    weights themselves, free as those of a large network, and the logits are W H with W [4, 8]; all entries N(0, 1/8).
    Loss: cross-entropy, not divided by a Lipschitz constant, so that the decay keeps its meaning. Every submission
    whose optimizer takes `weight_decay` runs with `decay` in place of its own, coupled or decoupled as it has it; the
    others run without.

    Target. The cross-entropy is 1.39 at equal logits and 0.049 at the minimum with the default decay; 0.3 is asked for
    at the end of the whole budget, as collapse comes after the fit. Every step size that reaches it is reported.

    Oracle. The minimum in closed form: Z = W H is a multiple of the centred labels, with a gap of 4.1 between logits.

    Reported, not scored. `etf_distance` of the centred class means: |G / |G| - E| for their Gram matrix G and that of a
    simplex ETF, E, of norm 1. `classifier_distance`: the same for W W'. `duality_distance`: the same for the products
    of W with the class means. `within_class` = the root of the mean square about the class means, over that of the
    means about theirs. `row_sum` = |W' 1| / (2 |W|), between 0 and 1. `gap_ratio` = the least gap of logits over the
    oracle's. Collapse serves nobody by itself: it says what a decay does.
    """
    classes, per_class, d = 4, 10, 8
    n = classes * per_class
    minimum = collapsed_minimum(classes, n, decay)

    def problem(seed: int) -> Problem:
        stream = torch_stream("neural_collapse", seed, "init")
        initial = {"classifier": normal(stream, classes, d), "features": normal(stream, d, n)}
        y = torch.arange(n) % classes
        return Problem(
            Split(torch.eye(n, dtype=torch.float64), y),
            ground_truth={name: values / math.sqrt(d) for name, values in initial.items()},
        )

    def measure(solution: Solution) -> dict[str, float]:
        w, h = (part.cpu() for part in weights(solution, "classifier", "features"))
        y = solution.problem.train.y.cpu()
        means = torch.stack([h[:, y == k].mean(1) for k in range(classes)])  # [classes, d]
        centred = means - means.mean(0)
        logits = (w @ h).T
        right = logits.gather(1, y[:, None])
        others = logits.scatter(1, y[:, None], -torch.inf).max(1, keepdim=True).values
        spread = (h.T - means[y]).square().sum() / n
        return {
            "etf_distance": etf_distance((centred @ centred.T).numpy()),
            "classifier_distance": etf_distance((w @ w.T).numpy()),
            "duality_distance": etf_distance((w @ centred.T).numpy()),
            "within_class": float((spread / (centred.square().sum() / classes)).sqrt()),
            "row_sum": float(w.sum(0).norm() / (math.sqrt(classes) * torch.linalg.matrix_norm(w))),
            "gap_ratio": float((right - others).min()) / minimum.gap,
            "squared_norm_ratio": float(w.square().sum()) / minimum.squared_norm,
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: FreeFeatures(**problem.ground_truth),
        loss=cross_entropy,
        target=Target(0.3, budget=4_000, at_end=True),
        measure=measure,
        selection="convergence",
        oracle=lambda problem, seed: Oracle(values=minimum._asdict()),
        reported=("etf_distance", "classifier_distance", "duality_distance", "within_class", "row_sum", "gap_ratio"),
        fixed={"weight_decay": decay},
    )
