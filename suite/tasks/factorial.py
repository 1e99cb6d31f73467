"""One small classifier of which every design choice is a variant: the task of the factorial study."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, one_hot

from suite.data import split_digits
from suite.measures import measure
from suite.models import initialise, mlp
from suite.seeding import torch_stream
from suite.task import Problem, Solution, Split, Target, Task
from suite.tasks.registry import task

TRAIN, TEST = 200, 2_000


FIT = 0.05


SMOOTHING = 0.1


def squared(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over samples of the squared distance from the one-hot label (Hui and Belkin 2021, arXiv:2006.07322)."""
    return (logits - one_hot(labels, logits.shape[-1])).square().sum(-1).mean()


def smoothed(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy to labels smoothed by 0.1, less its least value, so that a perfect fit has loss 0.

    Szegedy et al. 2016, arXiv:1512.00567.
    """
    least = _entropy(logits.shape[-1])
    return cross_entropy(logits, labels, label_smoothing=SMOOTHING) - least


def _entropy(classes: int) -> float:
    """The entropy of a smoothed label (nats)."""
    off = SMOOTHING / classes
    on = 1 - SMOOTHING + off
    return -(on * math.log(on) + (classes - 1) * off * math.log(off))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "squared": squared,
    "smoothed": smoothed,
}


def _uninformed(loss: str, classes: int) -> float:
    """The loss of predicting all classes alike (for `squared`, the constant 1 / classes)."""
    excess = {"cross_entropy": 0.0, "smoothed": _entropy(classes)}
    return 1 - 1 / classes if loss == "squared" else math.log(classes) - excess[loss]


def _digits(seed: int) -> Problem:
    """Digits pooled to 14 x 14: x [n, 196]."""
    problem = split_digits("factorial", seed, train=TRAIN, validation=1, test=TEST)
    assert problem.test is not None

    def pooled(split: Split) -> Split:
        return Split(avg_pool2d(split.x.reshape(-1, 1, 28, 28), 2).flatten(1), split.y)

    return Problem(pooled(problem.train), test=pooled(problem.test))


def _teacher(seed: int) -> Problem:
    """Labels by the largest of 4 outputs of a random ReLU network of width 20 on x ~ N(0, I), [n, 20]."""
    stream = torch_stream("factorial", "teacher", seed, "data")
    first, second = torch.randn(20, 20, generator=stream), torch.randn(20, 4, generator=stream)
    x = torch.randn(TRAIN + TEST, 20, generator=stream)
    hidden = torch.relu(x @ first)
    outputs = hidden @ second
    y = (outputs - outputs.mean(0)).argmax(1)
    return Problem(Split(x[:TRAIN], y[:TRAIN]), test=Split(x[TRAIN:], y[TRAIN:]))


MEASURES = (
    "lambda_max",
    "hessian_trace",
    "adaptive_lambda_max",
    "adaptive_trace",
    "adaptive_sharpness",
    "l2_norm",
    "distance_from_initialization",
    "test_error",
    "test_loss",
    "generalization_gap",
    "temperature",
)


DATA = {"digits": (_digits, 10), "teacher": (_teacher, 4)}


NORMALISATIONS = ("none", "layer")


def classifier(
    inputs: int, classes: int, depth: int, width: int, normalisation: str, scale: float, stream: torch.Generator
) -> nn.Module:
    """`depth` hidden ReLU layers of `width`, each normalised before the ReLU or not; initial weights times `scale`."""
    with torch.random.fork_rng(devices=[]):  # layers draw weights of their own when they are made
        plain = mlp((inputs,), classes, widths=(width,) * depth)
    layers: list[nn.Module] = []
    for module in plain:
        if isinstance(module, nn.ReLU) and normalisation == "layer":
            layers.append(nn.LayerNorm(width, elementwise_affine=False))
        layers.append(module)
    network = initialise(nn.Sequential(*layers), stream)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    return network


def _measure(solution: Solution) -> dict[str, float]:
    model, train, test = solution.model, solution.problem.train, solution.problem.test
    assert test is not None
    with torch.no_grad():
        classes = model(train.x[:1]).shape[1]
    values = measure(
        model,
        train,
        MEASURES,
        loss=cross_entropy,
        test=test,
        initial=solution.initial,
        matched_loss=FIT * math.log(classes),
    )
    return {**values, "input_gradient_norm": lead_gradient_norm(model, test.x) * values["temperature"]}


def lead_gradient_norm(model: nn.Module, x: Tensor) -> float:
    """Mean over samples of the l2 norm of the gradient of the largest logit's lead in the input x [n, d]."""
    inputs = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        top = model(inputs).topk(2, dim=1).values
        (gradient,) = torch.autograd.grad((top[:, 0] - top[:, 1]).sum(), inputs)
    return float(gradient.norm(dim=1).mean())


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
    likewise to ask which measure foretells generalization). `lowlands study` runs this task's variants against each
    other; it is shown, not scored.

    Data. 200 training and 2,000 test points: real digits pooled to 14 x 14 (`data=digits`), or 20 Gaussian inputs with
    4 classes by a random ReLU network (`data=teacher`): few enough that one hidden layer of 64 can fit them under any
    loss. Model: `depth` hidden ReLU layers of `width`, with
    `normalisation=layer` before each ReLU; torch's default initial weights times `scale`. Loss: `cross_entropy`,
    `squared` or `smoothed` (label smoothing 0.1). BatchSampler of `batch`.

    Target. 5 % of the loss that predicting all classes alike has (for `smoothed`: of its excess over the least possible),
    so that every loss is fitted equally far, within 4,000 gradient evaluations. The squared loss is divided by 4: its
    Hessian in the logits is then at most 1/2, as the cross-entropy's is, and one step size serves both.

    Measures. At the temperature that brings the training cross-entropy to 5 % of log(classes), whatever was trained on:
    curvature, `adaptive_sharpness`, `input_gradient_norm` (smoothness; of the largest logit's lead over the next at
    test points, where the measure of that name takes the training loss), `test_error`, norms.
    """
    for name, value, known in (
        ("data", data, DATA),
        ("normalisation", normalisation, NORMALISATIONS),
        ("loss", loss, LOSSES),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
    if not (1 <= depth <= 12 and 1 <= width <= 4_096 and 1 <= batch <= TRAIN and 1e-3 <= scale <= 100):
        raise ValueError("depth must be 1 to 12, width 1 to 4096, batch 1 to 200 and scale 0.001 to 100.")

    draw, classes = DATA[data]

    def problem(seed: int) -> Problem:
        made = draw(seed)
        return Problem(made.train, test=made.test, lipschitz=4.0 if loss == "squared" else 1.0)

    def model(problem: Problem, seed: int) -> nn.Module:
        stream = torch_stream("factorial", data, depth, width, seed, "init")
        return classifier(problem.train.x.shape[1], classes, depth, width, normalisation, scale, stream)

    return Task(
        family="factorial",
        problem=problem,
        model=model,
        loss=LOSSES[loss],
        target=Target(FIT * _uninformed(loss, classes), budget=4_000, check_every=20),
        measure=_measure,
        axes=(),
        reported=("adaptive_sharpness", "input_gradient_norm", "test_error"),
        papers=("Jiang et al. 2020, arXiv:1912.02178", "Dziugaite et al. 2020, arXiv:2010.11924"),
        batch_size=batch,
        dtype=torch.float32,
        batched=False,
    )
