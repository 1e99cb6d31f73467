"""Measures of losses that are no plain mean of cross-entropies or squares, against the dense Hessian in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy, mse_loss

from suite.curvature import SampleSum, cross_entropy_weights
from suite.errors import InputError
from suite.measures import measure
from suite.task import Loss, Split
from suite.tasks.losses import log_exponential
from tests.suite.curvature.helpers import classification, flat_hessian, network, regression

WEIGHTS = torch.tensor([1.0, 20.0, 3.0], dtype=torch.float64)
NAMES = ["lambda_max", "lambda_min", "hessian_trace"]


def in_blocks(n: int = 32, repeats: int = 2) -> Split:
    """Labels sorted by class, the whole repeated: any halves have the same classes."""
    data = classification(n)
    order = data.y.argsort()
    return Split(data.x[order].repeat(repeats, 1), data.y[order].repeat(repeats))


def ignoring(data: Split) -> Split:
    """The first third of the labels is ignored."""
    y = data.y.clone()
    y[: len(y) // 3] = -100
    return Split(data.x, y)


def masked_mean(outputs: Tensor, y: Tensor) -> Tensor:
    """What a training script writes: the mean over the samples of classes 0 and 1."""
    return cross_entropy(outputs, y, reduction="none")[y < 2].mean()


def focal(outputs: Tensor, y: Tensor) -> Tensor:
    losses = cross_entropy(outputs, y, reduction="none")
    return ((1 - torch.exp(-losses)) ** 2 * losses).mean()


CLASSIFIED = [
    pytest.param(nn.CrossEntropyLoss(weight=WEIGHTS), in_blocks(), id="class weights in blocks"),
    pytest.param(nn.CrossEntropyLoss(weight=WEIGHTS), classification(), id="class weights"),
    pytest.param(nn.CrossEntropyLoss(), ignoring(in_blocks()), id="ignored labels"),
    pytest.param(cross_entropy, ignoring(classification()), id="ignored labels, the function"),
    pytest.param(nn.CrossEntropyLoss(reduction="sum"), classification(), id="sum"),
    pytest.param(nn.CrossEntropyLoss(label_smoothing=0.1), classification(), id="smoothed labels"),
    pytest.param(nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), in_blocks(), id="weights and smoothing"),
    pytest.param(masked_mean, in_blocks(), id="masked mean"),
    pytest.param(focal, classification(), id="focal"),
    pytest.param(lambda z, y: (cross_entropy(z, y) - 0.1).abs() + 0.1, classification(), id="flooded"),
    pytest.param(lambda z, y: cross_entropy(z, y) ** 2, classification(), id="square of a mean"),
    pytest.param(nn.MultiLabelSoftMarginLoss(), Split(classification().x, torch.eye(3).double()[classification().y]),
                 id="soft margins"),
]  # fmt: skip


def check(model: nn.Module, data: Split, loss: Loss) -> None:
    """Eigenvalues and trace are those of the dense Hessian."""
    exact = flat_hessian(model, data, loss)
    values = torch.linalg.eigvalsh(exact)
    found = measure(model, data, NAMES, loss=loss)
    assert abs(found["lambda_max"] - values[-1]) <= max(found["lambda_max"].error, 1e-6 * float(values[-1]))
    # Only its residual is bounded: it is an eigenvalue, near the smallest.
    assert float((values - found["lambda_min"]).abs().min()) <= found["lambda_min"].error + 1e-9
    assert found["lambda_min"] == pytest.approx(values[0].item(), rel=2e-2, abs=1e-3 * float(values[-1]))
    trace, kind = exact.trace().item(), found["hessian_trace"].kind
    spread = 0.0 if kind == "exact" else 4 * found["hessian_trace"].error
    assert abs(found["hessian_trace"] - trace) <= 1e-9 * abs(trace) + spread


@pytest.mark.parametrize(("loss", "data"), CLASSIFIED)
@pytest.mark.parametrize("shuffled", [False, True], ids=["as they are", "shuffled"])
def test_losses_of_labels(loss: Loss, data: Split, shuffled: bool) -> None:
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1)) if shuffled else slice(None)
    check(network(widths=(4,)), Split(data.x[order], data.y[order]), loss)


def weighted_square(outputs: Tensor, y: Tensor) -> Tensor:
    """A regression with a weight for every sample, in the last column of the targets."""
    return (y[:, 2:] * (outputs - y[:, :2]) ** 2).sum() / y[:, 2:].sum()


@pytest.mark.parametrize("noise", [1.0, 1e-6, 0.0])
def test_a_weighted_regression_far_from_an_interpolator_and_at_one(noise: float) -> None:
    data, model = regression(48), network(outputs=2, widths=(4,))
    model[1] = nn.Tanh()
    weights = torch.cat([torch.full((12, 1), 10.0), torch.ones(36, 1)]).double()
    targets = model(data.x).detach() + noise * torch.randn(48, 2, generator=torch.Generator().manual_seed(0))
    check(model, Split(data.x, torch.cat([targets, weights], 1)), weighted_square)


class Tagger(nn.Module):
    """Logits [n, classes, positions]."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length, self.layer, self.last = length, nn.Linear(2, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(x.reshape(len(x), self.length, 2)).relu()).transpose(1, 2)


@pytest.mark.parametrize(
    ("n", "length", "loss"),
    [
        pytest.param(12, 4, None, id="default"),
        pytest.param(12, 4, nn.CrossEntropyLoss(weight=WEIGHTS), id="class weights"),
        pytest.param(12, 4, cross_entropy, id="function"),
        pytest.param(16, 4, cross_entropy, id="as many positions as samples of a chunk"),
        pytest.param(128, 32, nn.CrossEntropyLoss(), id="as many positions as samples of the smallest chunk"),
    ],
)
def test_labels_of_positions(n: int, length: int, loss: Loss | None) -> None:
    stream = torch.Generator().manual_seed(n)
    x = torch.randn(n, 2 * length, generator=stream, dtype=torch.float64)
    y = torch.randint(0, 3, (n, length), generator=stream)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tagger(length).double()
    if loss is None:
        trace = measure(model, (x, y), ["hessian_trace"])["hessian_trace"]
        assert trace == pytest.approx(flat_hessian(model, Split(x, y), cross_entropy).trace().item(), rel=1e-9)
    else:
        check(model, Split(x, y), loss)


def test_labels_of_pixels() -> None:
    stream = torch.Generator().manual_seed(0)
    data = Split(torch.randn(8, 2, 4, 4, generator=stream).double(), torch.randint(-1, 3, (8, 4, 4), generator=stream))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 1)).double()
    check(model, data, nn.CrossEntropyLoss(ignore_index=-1))


@pytest.mark.parametrize(
    "loss",
    [
        cross_entropy,
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(weight=torch.full((3,), 7.0).double()),
        lambda z, y: cross_entropy(z, y),
        lambda z, y: functional.nll_loss(functional.log_softmax(z, 1), y),
        partial(cross_entropy, reduction="mean"),
        lambda z, y: (z.logsumexp(1) - z.gather(1, y[:, None])[:, 0]).mean(),
    ],
)
def test_cross_entropy_is_known_whoever_computes_it(loss: Loss) -> None:
    """Measures that declare invariance to the logits' scale are taken at the matched loss, whatever the factor."""
    model, data = network(), classification()
    data = Split(data.x, model(data.x).argmax(1))
    names = ["adaptive_trace", "adaptive_sharpness", "adaptive_lambda_max", "path_norm"]
    expected = measure(model, data, names)
    assert measure(model, data, names, loss=loss) == expected
    with torch.no_grad():
        for parameter in model[-1].parameters():
            parameter.mul_(3)
    assert measure(model, data, names, loss=loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "data", "factor"),
    [
        (nn.CrossEntropyLoss(weight=WEIGHTS), classification(), 1),
        (nn.CrossEntropyLoss(reduction="sum"), classification(), 40),
        (nn.CrossEntropyLoss(), ignoring(classification()), 1),
    ],
    ids=["class weights", "sum", "ignored labels"],
)
def test_weighted_cross_entropy_is_matched_in_its_own_mean(loss: Loss, data: Split, factor: int) -> None:
    model = network()
    data = Split(data.x, torch.where(data.y >= 0, model(data.x).argmax(1), data.y))
    scale = (
        measure(model, data, ["path_norm"], loss=loss)["path_norm"]
        / measure(model, data, ["path_norm"], loss=lambda z, y: loss(z, y) + 0 * z.square().mean() + 1)["path_norm"]
    )  # a constant beside the entropy: it is another loss, taken at the logits as they are
    assert loss(scale * model(data.x), data.y).item() == pytest.approx(0.01 * factor, rel=1e-6)
    matched = flat_hessian(model, data, lambda z, y: loss(scale * z, y))
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    found = measure(model, data, ["adaptive_trace"], loss=loss)["adaptive_trace"]
    assert found == pytest.approx((weights.square() * matched.diagonal()).sum().item(), rel=1e-6)


def test_weights_of_cross_entropy() -> None:
    outputs, y = network()(classification().x).detach(), classification().y
    assert torch.allclose(cross_entropy_weights(cross_entropy, outputs, y), torch.full((40,), 1 / 40).double())
    found = cross_entropy_weights(nn.CrossEntropyLoss(weight=WEIGHTS), outputs, y)
    assert torch.allclose(found, WEIGHTS[y] / WEIGHTS[y].sum())
    for other in (focal, nn.CrossEntropyLoss(label_smoothing=0.01), lambda z, y: cross_entropy(z, y) + 1):
        assert cross_entropy_weights(other, outputs, y) is None
    assert cross_entropy_weights(mse_loss, outputs, outputs) is None


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: log_exponential(z[:, 0], y),
        lambda z, y: (z[:, 0].sort().values[1:].diff() * y[1:-1]).sum(),
        lambda z, y: (z[:, 0] * torch.arange(len(z))).mean(),
        lambda z, y: z[:, 0].std() + z.square().mean(),
        lambda z, y: z.square().mean() / 40 if len(z) == 40 else torch.ones(2) @ torch.ones(3),
    ],
    ids=["log of a mean", "sorted", "by place", "deviation", "fails on parts"],
)
def test_a_loss_that_is_no_sum_over_samples(loss: Loss) -> None:
    outputs = network()(classification().x).detach()
    with pytest.raises(InputError, match=r"no sum over samples|on a part of the samples"):
        SampleSum(loss, outputs, classification().y.double())
