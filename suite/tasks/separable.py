"""Separable data: the norm goes to infinity and the direction converges. To which margin?"""

from __future__ import annotations

import math

import torch

from suite.models import LinearPredictor
from suite.oracles.margins import max_margin_l1, max_margin_l2, max_margin_linf
from suite.oracles.regularized import box_logistic_minimizer
from suite.oracles.solvers import Array
from suite.seeding import torch_stream
from suite.task import Axis, Oracle, Problem, Solution, Split, Target, Task
from suite.tasks.common import exponential_lipschitz, logistic_lipschitz, relative_distance, weights
from suite.tasks.losses import log_exponential, logistic
from suite.tasks.registry import task

OBJECTIVES = {
    "log_exponential": (log_exponential, exponential_lipschitz, Target(-30.0, budget=10_000)),
    "logistic": (logistic, logistic_lipschitz, Target(1e-3, budget=20_000)),
}
"""The loss, its Lipschitz constant at w = 0 and the target of each objective of `max_margin`."""


def teacher_labelled(task_name: str, seed: int, n: int, d: int) -> Split:
    """``X ~ N(0, 1)`` [n, d] with labels in {-1, +1} by a Gaussian teacher without noise."""
    stream = torch_stream(task_name, seed, "data")
    x = torch.randn(n, d, generator=stream, dtype=torch.float64)
    return Split(x, torch.sign(x @ torch.randn(d, generator=stream, dtype=torch.float64)))


def signed_inputs(problem: Problem) -> Array:
    """The rows ``y_i x_i``, [n, d]: their products with w are the margins."""
    return (problem.train.y[:, None] * problem.train.x).cpu().numpy()


@task
def max_margin(objective: str = "log_exponential") -> Task:
    """Which margin does the optimizer maximise?

    Claim. On separable data gradient descent converges in direction to the l2 max-margin separator (Soudry et al. 2018,
    arXiv:1710.10345), sign descent and Adam to the l_inf one (Zhang et al. 2024, arXiv:2406.10650), coordinate descent
    to the l1 one (Gunasekar et al. 2018, arXiv:1802.08246).

    Data. n = 40 samples, d = 20 features, X ~ N(0, 1), labels by a Gaussian teacher without noise; draws that are not
    separable cannot occur. Model: x @ w from w = 0.

    Objective. The default is the logarithm of the mean exponential loss, log mean exp(-m_i) of the margins m_i. It has
    the limit directions of the logistic loss, makes no difference to scale-invariant methods, and never underflows (a
    loss that underflows leaves a random direction). On the logistic loss gradient descent approaches its limit like
    1/log t only: at a loss of 1e-3 it has 0.85 of the margin after some 10,000 steps, and choosing the step size by
    fewest steps rewards a jump across the data in 30 steps (Ji and Telgarsky 2021, arXiv:2006.11226). The loss of
    practice is a variant: `max_margin[objective=logistic]`. Both are divided by the Hessian's largest eigenvalue at w =
    0 of the mean exponential and the logistic loss, |X|²/n and |X|²/(4n).

    Target. The norm must grow to 30 over the margin. The budget suffices for methods whose update has a constant
    length, with a step of 0.01.

    Oracle. The max-margin separators in the l2 norm (least-distance programming), the l_inf norm and the l1 norm
    (linear programs).

    Norm axis. `l2_margin_ratio` = (min_i m_i / |w|_2) over the best possible. Score 0: a separator that touches a
    sample. Reported: the ratios for l_inf and l1, which show the geometry in which the optimizer maximises the margin.
    """
    n, d = 40, 20
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}.")
    loss, lipschitz, target = OBJECTIVES[objective]

    def problem(seed: int) -> Problem:
        train = teacher_labelled("max_margin", seed, n, d)
        return Problem(train, lipschitz=lipschitz(train.x))

    def oracle(problem: Problem, seed: int) -> Oracle:
        z = signed_inputs(problem)
        l2, linf, l1 = max_margin_l2(z), max_margin_linf(z), max_margin_l1(z)
        return Oracle(
            {"l2": torch.from_numpy(l2), "linf": torch.from_numpy(linf), "l1": torch.from_numpy(l1)},
            {
                "l2_margin": float((z @ l2).min()),
                "linf_margin": float((z @ linf).min() / abs(linf).max()),
                "l1_margin": float((z @ l1).min() / abs(l1).sum()),
            },
        )

    def measure(solution: Solution) -> dict[str, float]:
        (w,), train = weights(solution, "weight"), solution.problem.train
        margin = (train.y * (train.x @ w)).min()
        norms = {"l2": 2.0, "linf": math.inf, "l1": 1.0}
        ratios = {
            f"{name}_margin_ratio": (margin / torch.linalg.vector_norm(w, ord=order)).item()
            / solution.oracle.values[f"{name}_margin"]
            for name, order in norms.items()
        }
        return ratios | {"margin": margin.item(), "l2_norm": torch.linalg.vector_norm(w).item()}

    return Task(
        problem=problem,
        model=lambda problem, seed: LinearPredictor(d),
        loss=loss,
        target=target,
        measure=measure,
        oracle=oracle,
        axes=(Axis("norm", "l2_margin_ratio", "linear", score_0=0.0, score_1=1.0, higher=True),),
        reported=("linf_margin_ratio", "l1_margin_ratio"),
    )


@task
def linf_box(decay: float = 0.5) -> Task:
    """What does an optimizer's weight decay do?

    Claim. AdamW, Lion and sign descent with decoupled decay solve the problem constrained to the box |w|_inf <= 1 /
    decay: the decay is a radius, and not a penalty on the l2 norm (Xie and Li 2024, arXiv:2404.04454). For Adam the
    theorem needs beta2 close to beta1, or very long training.

    Data. As in `max_margin`: n = 40 samples, d = 20 features, X ~ N(0, 1), labels by a Gaussian teacher. Model: x @ w
    from w = 0. Loss: mean logistic loss over its Lipschitz constant at w = 0, |X|²/(4n). Every submission whose
    optimizer takes `weight_decay` runs with `decay` in place of its own, whether it decays the weights themselves or
    adds an l2 penalty; the others run without, and show how far outside of the box the loss alone leads.

    Target. With the default decay the loss is log 2 = 0.69 at the start, about 0.05 at its minimum on the box, and 0.4
    where the decay is an l2 penalty on the objective. It is judged after the whole budget: the decay takes its time.

    Oracle. The minimiser of the loss on the box, by L-BFGS-B.

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
        return Oracle({"box": torch.from_numpy(box_logistic_minimizer(signed_inputs(problem), 1 / decay))})

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
        oracle=oracle,
        reported=("linf_times_decay", "box_distance"),
        fixed={"weight_decay": decay},
    )
