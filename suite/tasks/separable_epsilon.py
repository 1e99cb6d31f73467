"""Adam's epsilon: which margin grows while gradients are above it, and which when they have fallen below."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.models import RecordedPredictor
from suite.oracles.margins import max_margin_l2, max_margin_linf
from suite.task import Curve, Oracle, Problem, Solution, Target, Task
from suite.tasks.common import exponential_lipschitz, margin_oracle, separator_measures, signed_inputs, weights
from suite.tasks.losses import exponential
from suite.tasks.registry import task
from suite.tasks.separable import ARRAY_NORMS, VECTOR_NORMS, teacher_labelled

N, D, BUDGET = 40, 20, 40_000
NAMES = ("l2", "linf")
MARKS = sorted({round(10 ** (k / 40)) for k in range(int(40 * math.log10(BUDGET)) + 1)})
"""Steps before which the weights are kept, evenly on a log scale: 40 a decade."""


@task
def adam_epsilon(epsilon: float = 1e-4) -> Task:
    """Which margin does Adam maximize when its gradients have fallen below its epsilon?

    Claim. On separable data Adam without epsilon converges to the l_inf margin, for step sizes that fall (Zhang et al.
    2024, arXiv:2406.10650; here they are constant but for the last part of the budget). With it, once gradients are
    small against epsilon, a step is one of gradient descent with momentum and the step size lr / epsilon, and the limit
    is the l2 margin (Wang et al. 2021, arXiv:2012.06244). Both are right, each in its time: here the time is seen at
    which one gives way to the other.

    Data and model. Those of `max_margin`: n = 40, d = 20, x @ w from w = 0. Loss: the mean exponential loss itself,
    whose gradient vanishes (the logarithm's never does), over |X|²/n, the Hessian's largest eigenvalue at w = 0. Every
    submission whose optimizer takes `eps` runs with `epsilon` in its place; the others are controls. Of interest: 1e-3
    to 1e-8, which gradients cross after some 1,700 to 23,000 steps of 0.01.

    Target. A mean exponential loss of 0.01 after the whole budget; every step size that reaches it is reported. The
    network keeps its weights at 40 steps a decade in a buffer, so what a run leaves shows its path.

    Oracle. The separators of largest margin in the l2 norm (least-distance programming) and the l_inf norm (a linear
    program).

    Reported, not scored. `l2_margin_ratio` and `linf_margin_ratio` at the end: the smallest margin over a norm of w,
    over the best possible. `l2_at_crossing` and `linf_at_crossing`: the same at the first kept step at which no entry
    of the gradient exceeds epsilon, and `crossing`, that step over the budget; NaN if there is none. `l2_growth` and
    `linf_growth`: the cosine between the weights' change since then and the separator of each norm. After the crossing
    the margin grows with the logarithm of the steps only, so the direction of w turns slowly and is in between at the
    end: the growth says which margin rules. Curves: both ratios over the steps.

    On seed 0 Adam with a step of 0.01 has 0.83, 0.88 and 0.93 of the l2 margin at the crossing for epsilon = 1e-3,
    1e-4, 1e-8, and 0.93 to 0.94 at the end; of the l_inf margin 0.75, 0.80 and 0.86, and then 0.74, 0.78 and 0.84. Its
    growth after the crossing has a cosine of 0.99 with the l2 separator and 0.90 with the l_inf one.
    """
    if not 1e-12 <= epsilon <= 1:
        raise ValueError(f"epsilon must be between 1e-12 and 1, not {epsilon}.")

    def problem(seed: int) -> Problem:
        train = teacher_labelled("max_margin", seed, N, D)
        return Problem(train, lipschitz=exponential_lipschitz(train.x))

    def oracle(problem: Problem, seed: int) -> Oracle:
        z = signed_inputs(problem)
        return margin_oracle(
            z, {"l2": max_margin_l2(z), "linf": max_margin_linf(z)}, {k: ARRAY_NORMS[k] for k in NAMES}
        )

    def path(solution: Solution) -> tuple[list[int], Tensor]:
        """The kept steps, and the weights before them, [steps, d]."""
        assert isinstance(solution.model, RecordedPredictor)
        kept = solution.model.path.cpu()
        known = ~kept.isnan().any(1)
        return [mark for mark, there in zip(MARKS, known.tolist(), strict=True) if there], kept[known]

    def ratios(solution: Solution, w: Tensor) -> dict[str, float]:
        z = torch.from_numpy(signed_inputs(solution.problem))
        return separator_measures(z @ w, w, {k: VECTOR_NORMS[k] for k in NAMES}, solution.oracle)

    def measure(solution: Solution) -> dict[str, float]:
        w = weights(solution, "weight")[0].cpu()
        steps, kept = path(solution)
        z = torch.from_numpy(signed_inputs(solution.problem))
        gradients = (-kept @ z.T).exp() @ z / len(z) / solution.problem.lipschitz
        below = [place for place, size in enumerate(gradients.abs().amax(1).tolist()) if size <= epsilon]
        measures = ratios(solution, w) | dict.fromkeys(("crossing", *(f"{k}_at_crossing" for k in NAMES)), math.nan)
        growth = dict.fromkeys((f"{k}_growth" for k in NAMES), math.nan)
        if below:
            first = kept[below[0]]
            at_crossing = ratios(solution, first)
            measures["crossing"] = steps[below[0]] / BUDGET
            for name in NAMES:
                measures[f"{name}_at_crossing"] = at_crossing[f"{name}_margin_ratio"]
                separator = solution.oracle.solutions[name]
                growth[f"{name}_growth"] = float(torch.cosine_similarity(w - first, separator, dim=0))
        return measures | growth

    def curves(solution: Solution) -> dict[str, Curve]:
        steps, kept = path(solution)
        later = [place for place, step in enumerate(steps) if step >= 100]
        at = [ratios(solution, kept[place]) for place in later]
        x = [float(steps[place]) for place in later]
        return {
            f"{name}_margin": Curve(
                x, [r[f"{name}_margin_ratio"] for r in at], "steps", f"{name} margin ratio", x_log=True
            )
            for name in NAMES
        }

    return Task(
        problem=problem,
        model=lambda problem, seed: RecordedPredictor(D, MARKS),
        loss=exponential,
        target=Target(0.01, budget=BUDGET, at_end=True),
        measure=measure,
        selection="convergence",
        oracle=oracle,
        batched=False,
        fixed={"eps": epsilon},
        curves=curves,
        reported=(
            "l2_margin_ratio",
            "linf_margin_ratio",
            "crossing",
            "l2_at_crossing",
            "linf_at_crossing",
            "l2_growth",
            "linf_growth",
        ),
    )
