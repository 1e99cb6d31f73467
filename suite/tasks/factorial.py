"""One small classifier of which every design choice is a variant: the task of the factorial study."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, one_hot

from suite.data import split_digits
from suite.measures import measure
from suite.models import mlp, seeded
from suite.seeding import torch_stream
from suite.task import Loss, Problem, Solution, Split, Target, Task
from suite.tasks.common import PARAMETER_MEASURES, normal, require_choice
from suite.tasks.registry import task

TRAIN_SAMPLES, TEST_SAMPLES = 200, 2_000

FIT = 0.05
"""The target loss, as a share of the loss of a prediction that ignores the input."""

SMOOTHING = 0.1
"""The probability that a smoothed label spreads over all classes."""


def squared(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over samples of the squared distance from the one-hot label (Hui and Belkin 2021, arXiv:2006.07322)."""
    return (logits - one_hot(labels, logits.shape[-1])).square().sum(-1).mean()


def smoothed(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to smoothed labels (Szegedy et al. 2016, arXiv:1512.00567), less its least: a perfect fit has 0."""
    return cross_entropy(logits, labels, label_smoothing=SMOOTHING) - _entropy(logits.shape[-1])


def _entropy(classes: int) -> float:
    """The entropy of a smoothed label (nats)."""
    off = SMOOTHING / classes
    on = 1 - SMOOTHING + off
    return -(on * math.log(on) + (classes - 1) * off * math.log(off))


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "squared": squared, "smoothed": smoothed}


def uninformed_loss(loss: str, classes: int) -> float:
    """The loss of predicting all classes alike (for `squared`, the constant 1 / classes)."""
    excess = {"cross_entropy": 0.0, "smoothed": _entropy(classes)}
    return 1 - 1 / classes if loss == "squared" else math.log(classes) - excess[loss]


def _digits(seed: int) -> Problem:
    """Digits pooled to 14 x 14: x [n, 196]."""
    problem = split_digits("factorial", seed, train=TRAIN_SAMPLES, validation=1, test=TEST_SAMPLES)

    def pooled(split: Split) -> Split:
        return Split(avg_pool2d(split.x.reshape(-1, 1, 28, 28), 2).flatten(1), split.y)

    return Problem(pooled(problem.train), test=pooled(problem.required_test))


def teacher(seed: int) -> Problem:
    """Labels by the largest of 4 outputs of a random ReLU network of width 20 on x ~ N(0, I), [n, 20]."""
    stream = torch_stream("factorial", "teacher", seed, "data")
    # In double precision, rounded at the end: normal numbers of single precision depend on the kind of processor.
    first, second = normal(stream, 20, 20), normal(stream, 20, 4)
    x = normal(stream, TRAIN_SAMPLES + TEST_SAMPLES, 20)
    outputs = torch.relu(x @ first) @ second
    x, y = x.float(), (outputs - outputs.mean(0)).argmax(1)
    return Problem(Split(x[:TRAIN_SAMPLES], y[:TRAIN_SAMPLES]), test=Split(x[TRAIN_SAMPLES:], y[TRAIN_SAMPLES:]))


DATA = {"digits": (_digits, 10), "teacher": (teacher, 4)}
"""How the data are drawn from a seed, and their number of classes."""


def classifier(
    inputs: int, classes: int, depth: int, width: int, normalisation: str, scale: float, stream: torch.Generator
) -> nn.Module:
    """`depth` hidden ReLU layers of `width`, each normalised before the ReLU or not; initial weights times `scale`."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for module in mlp((inputs,), classes, widths=(width,) * depth):
            if isinstance(module, nn.ReLU) and normalisation == "layer":
                layers.append(nn.LayerNorm(width, elementwise_affine=False))
            layers.append(module)
        return nn.Sequential(*layers)

    network = seeded(build, stream)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    return network


def measure_classifier(solution: Solution) -> dict[str, float]:
    """What both tasks of the study measure of a solution: see `factorial`."""
    model, train, test = solution.model, solution.problem.train, solution.problem.required_test
    with torch.no_grad():
        classes = model(train.x[:1]).shape[1]
    values = measure(
        model,
        train,
        (*PARAMETER_MEASURES, "test_error", "test_loss", "generalization_gap", "temperature"),
        loss=cross_entropy,
        test=test,
        initial=solution.initial,
        matched_loss=FIT * math.log(classes),
    )
    return {**values, "input_gradient_norm": lead_gradient_norm(model, test.x) * values["temperature"]}


def lead_gradient_norm(model: nn.Module, x: Tensor) -> float:
    """Mean over samples of the l2 norm of the gradient, in the input x [n, …], of the largest logit minus the next."""
    inputs = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        top = model(inputs).topk(2, dim=1).values
        (gradient,) = torch.autograd.grad((top[:, 0] - top[:, 1]).sum(), inputs)
    return float(gradient.flatten(1).norm(dim=1).mean())


@task
def factorial(
    data: str = "digits",
    depth: int = 2,
    width: int = 64,
    normalisation: str = "none",
    loss: str = "cross_entropy",
    batch: int = 20,
    scale: float = 1.0,
) -> Task:
    """Which design choice decides which property of the solution?

    Claim. The implicit bias depends on optimizer, architecture, loss, batch size, step size and initial scale; which of
    them decides what, and whether they interact, is an open question (Jiang et al. 2020, arXiv:1912.02178, vary them
    likewise to ask which measure predicts generalization, Dziugaite et al. 2020, arXiv:2010.11924, how robustly).
    `lowlands study` compares this task's variants.

    Data. 200 training and 2,000 test points: real digits pooled to 14 x 14 (`data=digits`), or 20 Gaussian inputs with
    4 classes by a random ReLU network (`data=teacher`): few enough that one hidden layer of 64 can fit them under any
    loss. Model: `depth` hidden ReLU layers of `width`, with `normalisation=layer` before each ReLU; torch's default
    initial weights times `scale`. Loss: `cross_entropy`, `squared` or `smoothed` (label smoothing 0.1).

    Target. 5 % of the loss of predicting all classes alike (for `smoothed`: of its excess over the least possible), so
    that every loss is fitted equally far. The squared loss is divided by 4: its Hessian in the logits is then at most
    1/2, as the cross-entropy's is, and one step size serves both.

    Reported, not scored. At the temperature that brings the training cross-entropy to 5 % of log(classes), whatever the
    training loss: curvature, `adaptive_sharpness`, `input_gradient_norm` (smoothness; of the largest logit minus the
    next at test points, where the declared measure of that name uses the training loss), `test_error`, norms.
    """
    require_choice("data", data, DATA)
    require_choice("normalisation", normalisation, ("none", "layer"))
    require_choice("loss", loss, LOSSES)
    if not (1 <= depth <= 12 and 1 <= width <= 4_096 and 1 <= batch <= TRAIN_SAMPLES and 1e-3 <= scale <= 100):
        raise ValueError("depth must be 1 to 12, width 1 to 4096, batch 1 to 200 and scale 0.001 to 100.")

    draw, classes = DATA[data]

    def problem(seed: int) -> Problem:
        return replace(draw(seed), lipschitz=4.0 if loss == "squared" else 1.0)

    def model(problem: Problem, seed: int) -> nn.Module:
        stream = torch_stream("factorial", data, depth, width, seed, "init")
        return classifier(problem.train.x.shape[1], classes, depth, width, normalisation, scale, stream)

    return Task(
        problem=problem,
        model=model,
        loss=LOSSES[loss],
        target=Target(FIT * uninformed_loss(loss, classes), budget=4_000, check_every=20),
        measure=measure_classifier,
        reported=("adaptive_sharpness", "input_gradient_norm", "test_error"),
        batch_size=batch,
        dtype=torch.float32,
        batched=False,
    )
