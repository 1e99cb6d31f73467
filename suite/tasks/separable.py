"""Separable data: the norm goes to infinity and the direction converges. To which margin?"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch

from suite.measures import margins
from suite.models import LinearClassifier, LinearPredictor
from suite.oracles.margins import (
    box_logistic_minimizer,
    max_margin_l1,
    max_margin_l2,
    max_margin_linf,
    max_margin_spectral,
    pairwise_rows,
)
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import (
    MATRIX_NORMS,
    arrays,
    exponential_lipschitz,
    logistic_lipschitz,
    margin_oracle,
    normal,
    relative_distance,
    require_choice,
    separator_measures,
    signed_inputs,
    tensors,
    weights,
)
from suite.tasks.losses import log_exponential, log_pairwise_exponential, logistic
from suite.tasks.registry import task

OBJECTIVES = {
    "log_exponential": (log_exponential, exponential_lipschitz, Target(-30.0, budget=10_000)),
    "logistic": (logistic, logistic_lipschitz, Target(1e-3, budget=20_000)),
}
"""The loss, its Lipschitz constant at w = 0 and the target of each objective of `max_margin`."""

NORM_ORDERS = {"l2": 2, "linf": math.inf, "l1": 1}
VECTOR_NORMS = {name: partial(torch.linalg.vector_norm, ord=order) for name, order in NORM_ORDERS.items()}
ARRAY_NORMS = {name: partial(np.linalg.norm, ord=order) for name, order in NORM_ORDERS.items()}


def teacher_labelled(task_name: str, seed: int, n: int, d: int) -> Split:
    """``X ~ N(0, 1)`` [n, d] with labels in {-1, +1} by a Gaussian teacher without noise."""
    stream = torch_stream(task_name, seed, "data")
    x = normal(stream, n, d)
    return Split(x, torch.sign(x @ normal(stream, d)))


@task
def max_margin(objective: str = "log_exponential") -> Task:
    """Which margin does the optimizer maximize?

    Claim. On separable data gradient descent converges in direction to the l2 max-margin separator (Soudry et al. 2018,
    arXiv:1710.10345), sign descent (Fan et al. 2025, arXiv:2502.04664) and Adam without its epsilon (Zhang et al. 2024,
    arXiv:2406.10650) to the l_inf one, coordinate descent to the l1 one (Gunasekar et al. 2018, arXiv:1802.08246). All
    of this is of full batches: on single samples Adam may end elsewhere (Baek, Song and Yun 2025, arXiv:2510.26303; see
    `stochastic_margin`), and with epsilon it turns to l2 in the end (`adam_epsilon`).

    Data. n = 40 samples, d = 20 features, X ~ N(0, 1), labels by a Gaussian teacher without noise; draws that are not
    separable cannot occur. Model: x @ w from w = 0.

    Objective. The default is the logarithm of the mean exponential loss, log mean exp(-m_i) of the margins m_i. It has
    the limit directions of the logistic loss, makes no difference to scale-invariant methods, and never underflows (a
    loss that underflows leaves a random direction). On the logistic loss gradient descent approaches its limit like
    1/log t only (Soudry et al. 2018; Ji and Telgarsky 2019, arXiv:1906.04540): at a loss of 1e-3 it has 0.85 of the
    margin after some 10,000 steps, and with large steps it can jump across the data in 30 (Wu, Braverman and Lee 2023,
    arXiv:2305.11788, study such steps). The loss of practice is a variant: `max_margin[objective=logistic]`. Both are
    divided by the Hessian's largest eigenvalue at w = 0 of the mean exponential and the logistic loss, |X|²/n and
    |X|²/(4n).

    Target. The norm must grow to 30 over the margin. The budget suffices for updates of a constant length of 0.01.

    Oracle. The max-margin separators in l2 (least-distance programming), l_inf and l1 norm (linear programs).

    Reported, not scored. `l2_margin_ratio` = (min_i m_i / |w|_2) over the best possible, and likewise for l_inf and l1:
    they show in which geometry the optimizer maximizes the margin. None of the three is better by right, and here none
    is by much: their oracles err on 20.0 %, 21.5 % and 20.9 % of new samples (mean over 20 seeds).
    """
    n, d = 40, 20
    require_choice("objective", objective, OBJECTIVES)
    loss, lipschitz, target = OBJECTIVES[objective]

    def problem(seed: int) -> Problem:
        train = teacher_labelled("max_margin", seed, n, d)
        return Problem(train, lipschitz=lipschitz(train.x))

    def oracle(problem: Problem, seed: int) -> Oracle:
        z = signed_inputs(problem)
        separators = {"l2": max_margin_l2(z), "linf": max_margin_linf(z), "l1": max_margin_l1(z)}
        return margin_oracle(z, separators, ARRAY_NORMS)

    def measure(solution: Solution) -> dict[str, float]:
        (w,), train = weights(solution, "weight"), solution.problem.train
        return separator_measures(train.y * (train.x @ w), w, VECTOR_NORMS, solution.oracle)

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearPredictor(d),
        loss=loss,
        target=target,
        measure=measure,
        oracle=oracle,
        reported=("l2_margin_ratio", "linf_margin_ratio", "l1_margin_ratio"),
    )


@task
def linf_box(decay: float = 0.5) -> Task:
    """What does an optimizer's weight decay do?

    Claim. If AdamW or sign descent with decoupled decay converges, then to a KKT point of the problem constrained to
    the box |w|_inf <= 1 / decay: the decay is a radius, and not a penalty on the l2 norm (Xie and Li 2024,
    arXiv:2404.04454: full batch, step sizes that do not increase and whose sum diverges). Lion has the same box (Chen,
    Liu, Liang and Liu 2023, arXiv:2310.05898).

    Data and model of `max_margin`. Loss: mean logistic loss over its Lipschitz constant at w = 0, |X|²/(4n). Every
    submission whose optimizer takes `weight_decay` runs with `decay` in place of its own, whether it decays the weights
    themselves or adds an l2 penalty; the others run without, and show how far outside of the box the loss alone leads.

    Target. With the default decay the loss is log 2 = 0.69 at the start, about 0.05 at its minimum on the box, and 0.4
    where the decay is an l2 penalty on the objective. It is judged after the whole budget: the decay takes its time.
    Every step size that reaches it is reported.

    Oracle. The minimizer of the loss on the box, by L-BFGS-B.

    Reported, not scored. `linf_times_decay` = |w|_inf * decay: 1 on the box. `box_distance` = |w - w_box| / |w_box|.
    Both say what an optimizer's decay does; no value of them is better than another.
    """
    n, d = 40, 20
    if not 0.05 <= decay <= 1:
        raise ValueError(f"decay must be between 0.05 and 1, not {decay}.")

    def problem(seed: int) -> Problem:
        train = teacher_labelled("linf_box", seed, n, d)
        return Problem(train, lipschitz=logistic_lipschitz(train.x))

    def oracle(problem: Problem, seed: int) -> Oracle:
        return Oracle(tensors(box=box_logistic_minimizer(signed_inputs(problem), 1 / decay)))

    def measure(solution: Solution) -> dict[str, float]:
        (w,) = weights(solution, "weight")
        return {
            "linf_times_decay": w.abs().max().item() * decay,
            "box_distance": relative_distance(w, solution.oracle.solutions["box"].to(w.device)),
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearPredictor(d),
        loss=logistic,
        target=Target(0.5, budget=2_500, at_end=True),
        measure=measure,
        selection="convergence",
        oracle=oracle,
        reported=("linf_times_decay", "box_distance"),
        fixed={"weight_decay": decay},
    )


@task
def spectral_margin() -> Task:
    """In which matrix norm does the optimizer maximize the margin of a multiclass classifier?

    Claim. On separable data with several classes normalised gradient descent converges to the max-margin classifier in
    the Frobenius norm, sign descent and Adam in the max norm (the largest entry), spectral descent and Muon in the
    spectral norm (Fan et al. 2025, arXiv:2502.04664). All three norms measure the same W [classes, d].

    Data. 5 classes, d = 20, n = 60 samples in equal shares: a class's centre is 1.5 N(0, I), a sample is its centre
    plus N(0, I). (Labels by a linear teacher at d = 15 split the geometries alike; these classes are always separable
    without rejecting draws.) Model: W x from W = 0. Test: 2,000 new samples of the same classes.

    Objective. The logarithm of the mean of exp(-(W_y - W_c)·x) over samples and wrong classes. It has the
    cross-entropy's limit directions without its underflow, after which a gradient's direction is noise. It is divided
    by the Hessian's largest eigenvalue at W = 0 of the mean itself.

    Target. The smallest margin is then within log(240) of 100, so that directions are settled to a few percent, for
    constant-length steps after some hundred to two thousand of them.

    Oracle. The max-margin classifier in the Frobenius norm (least-distance programming), the max norm (a linear
    program) and the spectral norm (a semidefinite program, certified to 1e-6 by duality).

    Norm axis. `frobenius_margin_ratio` = smallest margin over the Frobenius norm, over the best possible: isotropic
    centres make this geometry the best predictor (test error 0.0004 against 0.0008 for the spectral and 0.0023 for the
    max-norm oracle). Score 0: the max-norm oracle's own ratio, per data set (about 0.8), where entrywise methods end.
    Reported: the ratios in the other two norms, which show the geometry in which the optimizer maximizes the margin.
    Muon with five Newton-Schulz steps does not reach the spectral margin that exact spectral descent reaches: late
    gradients are so nearly of low rank that their small singular values stay small.
    """
    n, d, classes, spread, held_out = 60, 20, 5, 1.5, 2_000
    shape = (classes, d)

    def problem(seed: int) -> Problem:
        stream = torch_stream("spectral_margin", seed, "data")
        centres = spread * normal(stream, classes, d)

        def draw(count: int) -> Split:
            y = torch.arange(count) % classes
            return Split(centres[y] + normal(stream, count, d), y)

        train, test = draw(n), draw(held_out)
        rows = torch.from_numpy(pairwise_rows(*arrays(train), classes))
        return Problem(train, test=test, lipschitz=exponential_lipschitz(rows))

    def oracle(problem: Problem, seed: int) -> Oracle:
        z = pairwise_rows(*arrays(problem.train), classes)
        frobenius, spectral, largest = max_margin_l2(z), max_margin_spectral(z, shape), max_margin_linf(z)
        separators = {"frobenius": frobenius, "spectral": spectral, "max": largest}
        oracle = margin_oracle(z, separators, MATRIX_NORMS, shape)
        frobenius_margin_of_max = float((z @ largest).min()) / float(torch.linalg.matrix_norm(oracle.solutions["max"]))
        ratio = frobenius_margin_of_max / oracle.values["frobenius_margin"]
        return Oracle(oracle.solutions, {**oracle.values, "max_frobenius_ratio": ratio})

    def measure(solution: Solution) -> dict[str, float]:
        (w,), train, test = weights(solution, "weight"), solution.problem.train, solution.problem.required_test
        test_error = (margins(test.x @ w.T, test.y) <= 0).double().mean().item()
        measures = separator_measures(margins(train.x @ w.T, train.y), w, MATRIX_NORMS, solution.oracle)
        return measures | {"test_error": test_error}

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearClassifier(d, classes),
        loss=log_pairwise_exponential,
        target=Target(-100.0, budget=10_000),
        measure=measure,
        oracle=oracle,
        axes=(
            Axis("norm", "frobenius_margin_ratio", "linear", score_0="max_frobenius_ratio", score_1=1.0, higher=True),
        ),
        reported=("spectral_margin_ratio", "max_margin_ratio"),
    )
