"""Taking measures of any network, and of networks and data at the edge of sense."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, dropout

from suite.errors import InputError
from suite.estimate import uncertainties
from suite.measures import Estimate, MeasureContext, Report, declare, measure, measure_all, measures, registry
from suite.measures.measurement import NEEDS
from suite.models.linear_networks import LinearPredictor
from suite.task import Split
from suite.tasks.losses import log_exponential
from tests.suite.curvature.helpers import Called, classification, network, regression

FLAT = [name for name, m in measures().items() if m.function.__module__.endswith(("flatness", "sharpness"))]


def fitting(n: int = 30) -> tuple[nn.Module, Split]:
    """A network and data that it classifies rightly."""
    model, x = network(), classification(n).x
    return model, Split(x, model(x).detach().argmax(1))


def test_a_users_network_and_tensors() -> None:
    model, data = fitting()
    found = measure(model, (data.x, data.y), ["lambda_max", "hessian_trace"])
    assert list(found) == ["lambda_max", "hessian_trace"]
    assert found["lambda_max"].kind == "bound"
    assert found["hessian_trace"].kind == "exact"
    assert found == measure(model, data, ["lambda_max", "hessian_trace"])


def test_data_in_another_precision_is_converted() -> None:
    model, data = fitting()
    low = measure(model, (data.x.float(), data.y), ["hessian_trace"])["hessian_trace"]
    assert low == pytest.approx(measure(model, data, ["hessian_trace"])["hessian_trace"], rel=1e-5)


def test_values_know_their_kind() -> None:
    value = Estimate(1.5, "estimate", 0.1)
    assert value + 1 == 2.5
    assert str(value) == "1.5 ± 0.1"
    kept = pickle.loads(pickle.dumps(value))
    assert (kept, kept.kind, kept.error) == (1.5, "estimate", 0.1)
    assert uncertainties({"a": value, "b": Estimate(1.0), "c": 2.0}) == {"a": {"kind": "estimate", "error": 0.1}}
    assert Estimate(1.0).error == 0
    assert str(Estimate(0.123)) == "0.123"
    assert str(Estimate(0.123, "bound", 0.004)) == "0.123 ± 0.004"


def test_an_unknown_error_is_neither_0_nor_printed() -> None:
    for kind, text in (("bound", "≥ 0.123"), ("estimate", "≈ 0.123")):
        value = Estimate(0.123, kind)  # type: ignore[arg-type]
        assert math.isnan(value.error)
        assert str(value) == text
        report = Report({"a": value}, {"b": "a reason"})
        assert json.loads(report.json()) == {
            "values": {"a": {"value": 0.123, "kind": kind, "error": None}},
            "skipped": {"b": "a reason"},
        }
        assert report.text().splitlines() == [f"a  {text:24}{kind}", "b  not taken: a reason"]


def test_one_sample() -> None:
    model, data = fitting(1)
    assert all(value == value for value in measure(model, data, FLAT).values())
    assert measure(model, data, ["gradient_noise"])["gradient_noise"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="at least two samples"):
        measure(model, data, ["linear_regions"])


def test_labels_of_one_class() -> None:
    model, data = network(), classification()
    found = measure(model, (data.x, torch.zeros_like(data.y)), ["lambda_max", "hessian_trace", "gradient_noise"])
    assert found["hessian_trace"] > 0


def test_a_network_with_one_output() -> None:
    model, x = network(outputs=1), classification().x
    labels = torch.zeros(len(x), dtype=torch.long)
    found = measure(model, (x, labels), ["lambda_max", "hessian_trace"])
    assert list(found.values()) == [0, 0]
    for name in ("path_margin", "adaptive_trace"):
        with pytest.raises(InputError, match=r"one output|one class"):
            measure(model, (x, labels), [name])


def test_a_dead_network() -> None:
    model, data = network(), classification()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = measure(model, data, ["l2_norm", "hessian_trace", "stable_rank"])
    assert found["l2_norm"] == 0
    assert found["stable_rank"] == 0
    assert found["hessian_trace"] > 0  # of the last biases
    with pytest.raises(InputError, match="No scaling of the logits"):
        measure(model, data, ["adaptive_trace"])


def test_an_infinite_loss_and_weights_that_are_no_numbers() -> None:
    model, data = network(), classification()
    with pytest.raises(InputError, match="training loss is inf"):
        measure(model, data, ["l2_norm"], loss=lambda z, y: cross_entropy(z, y) + torch.inf)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match="training loss is nan"):
        measure(model, data, ["lambda_max"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"names": ["lambda_mx"]}, "did you mean 'lambda_max'"),
        ({"names": ["test_error"]}, "needs test data"),
        ({"names": ["distance_from_initialization"]}, "needs the weights before training"),
        ({"data": (torch.zeros(3, 6), torch.zeros(2))}, "as many inputs as targets"),
        ({"data": (torch.zeros(0, 6), torch.zeros(0))}, "at least one"),
        ({"data": (torch.zeros(3, 6), torch.zeros(3, 4))}, "differ in shape"),
        ({"data": (torch.zeros(3, 6), torch.tensor([0, 1, 7]))}, "outside 0..2"),
        ({"data": (torch.zeros(3, 6), torch.zeros(3, 3, dtype=torch.long))}, "give loss="),
        ({"loss": lambda z, y: z.square()}, "must be a scalar"),
    ],
)
def test_clear_errors(change: dict[str, object], sentence: str) -> None:
    arguments: dict[str, object] = {"data": classification(), "names": ["lambda_max"], **change}
    with pytest.raises(InputError, match=sentence):
        measure(network(), **arguments)  # type: ignore[arg-type]


def test_frozen_parameters_are_left_out_or_refused() -> None:
    model, data = fitting()
    whole = measure(model, data, ["hessian_trace"])["hessian_trace"]
    model[0].requires_grad_(False)
    assert 0 < measure(model, data, ["hessian_trace"])["hessian_trace"] < whole
    with pytest.raises(InputError, match="no parameters that require gradients"):
        measure(model.requires_grad_(False), data, ["hessian_trace"])


def test_a_loss_that_is_no_mean_is_not_cut_into_chunks() -> None:
    x = regression().x
    y = x[:, 0].sign()
    model = LinearPredictor(6)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([2.0, 0.5, 0.0, -1.0, 0.0, 0.3]))
    found = measure(model, (x, y), ["lambda_max", "hessian_trace"], loss=log_exponential)
    weights = torch.softmax(-y * model(x), 0).detach()
    rows = y[:, None] * x
    centred = rows - weights @ rows
    exact = (centred.T * weights) @ centred  # the Hessian of a log-sum-exp is a covariance
    assert found["lambda_max"] == pytest.approx(torch.linalg.eigvalsh(exact)[-1].item(), rel=1e-4)
    assert found["hessian_trace"] == pytest.approx(exact.trace().item(), rel=1e-4)
    with pytest.raises(InputError, match="mean over samples"):
        measure(model, (x, y), ["gradient_noise"], loss=log_exponential)


class Refused(nn.Module):
    """A module that `vmap` refuses: it looks at a number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3).double()
        self.gain = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.layer(x)
        return outputs * self.gain if outputs.sum().item() > -1e9 else outputs


class Reshaped(Refused):
    """Its gains must be three: copies of them, one for every sample, do not fit."""

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x) * self.gain.reshape(3)
        return outputs if outputs.sum().item() > -1e9 else -outputs


def test_a_network_whose_samples_cannot_be_told_apart() -> None:
    data, model = classification(), Refused()
    sizes = {name: parameter.shape for name, parameter in model.named_parameters()}

    def loss(weights: Tensor) -> Tensor:
        parts = torch.split(weights, [size.numel() for size in sizes.values()])
        values = {name: part.view(size) for (name, size), part in zip(sizes.items(), parts, strict=True)}
        return cross_entropy(functional_call(model, values, (data.x,)), data.y)

    dense = torch.autograd.functional.hessian(loss, nn.utils.parameters_to_vector(model.parameters()).detach())
    trace = measure(model, data, ["hessian_trace"])["hessian_trace"]
    assert (float(trace), trace.kind) == (pytest.approx(dense.trace().item(), rel=1e-9), "exact")
    assert measure(Reshaped(), data, ["hessian_trace"])["hessian_trace"].kind == "estimate"
    with pytest.raises(InputError, match="sample by sample"):
        measure(Reshaped(), data, ["gradient_noise"])


def test_help_and_records_need_no_torch() -> None:
    for code in (
        "import suite, suite.estimate, suite.storage.log",
        "from click.testing import CliRunner; from leaderboard.cli import main; "
        "assert CliRunner().invoke(main, ['measures', '--help']).exit_code == 0; "
        "assert CliRunner().invoke(main, ['measure', '--help']).exit_code == 0",
    ):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; import sys; assert 'torch' not in sys.modules"], check=False
        )
        assert done.returncode == 0


def test_every_measure_says_what_it_is() -> None:
    assert len(measures()) >= 40
    assert measures()["fourier_energy"].paragraphs[0] == measures()["fourier_energy"].description
    assert len(measures()["fourier_energy"].paragraphs) == 2


def test_every_need_is_checked() -> None:
    assert set(get_args(registry.Need)) == set(NEEDS)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry with a measure that raises, first, and one that returns a plain float."""
    table = measures()
    monkeypatch.setattr(registry, "_registry", {})

    @declare(kind="exact", unit="1", cost=0, source="a test")
    def broken_measure(context: MeasureContext) -> float:
        """It raises."""
        raise RuntimeError(f"no value for {len(context.train)} samples")

    @declare(kind="estimate", unit="1", cost=0, source="a test")
    def plain_estimate(context: MeasureContext) -> float:
        """A plain float."""
        return float(len(context.train))

    monkeypatch.setattr(registry, "_registry", {**registry._registry, **table})


@pytest.mark.usefixtures("broken")
def test_a_measure_that_fails_leaves_the_others_their_values() -> None:
    model, data = fitting()
    report = measure_all(model, data)
    assert (
        report.skipped["broken_measure"]
        == "The measure 'broken_measure' cannot be taken (RuntimeError: no value for 30 samples)."
    )
    assert report.skipped["test_error"] == "The measure 'test_error' needs test data (test=)."
    assert report.skipped["predictor_l1"].startswith("The measure 'predictor_l1' needs a network with a linear")
    assert report.values["lambda_max"] == measure(model, data, ["lambda_max"])["lambda_max"]
    names = {name.partition("/")[0] for name in report.values}
    assert names | report.skipped.keys() == measures().keys()
    assert not names & report.skipped.keys()


@pytest.mark.usefixtures("broken")
def test_a_plain_float_has_the_declared_kind() -> None:
    value = measure(*fitting(), ["plain_estimate"])["plain_estimate"]
    assert (value, value.kind) == (30, "estimate")
    assert math.isnan(value.error)
    with pytest.raises(TypeError, match="kind"):
        declare(unit="1", cost=0, source="a test")  # type: ignore[call-arg]


def test_nothing_can_be_measured_of_an_infinite_loss() -> None:
    with pytest.raises(InputError, match="training loss is inf"):
        measure_all(*fitting(), loss=lambda z, y: cross_entropy(z, y) + torch.inf)


def test_measures_of_one_call_share_what_they_have_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """One context and one at matched loss, and fewer samples are evaluated than by one call a measure."""
    model, data = fitting()
    contexts, samples = 0, 0
    original = MeasureContext.__init__

    def counted(self: MeasureContext, *arguments: Any, **keywords: Any) -> None:
        nonlocal contexts
        contexts += 1
        original(self, *arguments, **keywords)

    def count(_: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        nonlocal samples
        samples += len(arguments[0])

    monkeypatch.setattr(MeasureContext, "__init__", counted)
    model.register_forward_hook(count)
    report = measure_all(model, data, test=data, matched_loss=0.9)
    assert contexts == 2
    together, samples = samples, 0
    names = [name for name in measures() if name not in report.skipped]
    alone = {
        name: value
        for each in names
        for name, value in measure(model, data, [each], test=data, matched_loss=0.9).items()
    }
    assert alone == report.values
    assert together < samples / 1.5
    assert contexts > len(names)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)),
        nn.Sequential(Called(lambda x: x - x.mean(0)), nn.Linear(6, 3)),
        nn.Sequential(Called(lambda x: x + 0.1 * torch.randn_like(x)), nn.Linear(6, 3)),
        nn.Sequential(Called(lambda x: dropout(x, 0.5)), nn.Linear(6, 3)),
    ],
    ids=["batch statistics", "centred", "noise", "dropout in eval mode"],
)
def test_outputs_that_depend_on_other_samples_or_on_chance(model: nn.Module) -> None:
    data = classification()
    with pytest.raises(InputError, match="change with the others in its batch, or from call to call"):
        measure(model.double(), data, ["lambda_max"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_measured_in_single(dtype: torch.dtype) -> None:
    """They are exact there; the network itself stays as it is."""
    low = network().to(dtype)
    single, data = copy.deepcopy(low).float(), classification()
    data = Split(data.x.float(), single(data.x.float()).argmax(1))
    expected = measure_all(single, data)
    for model in (low, nn.Sequential(*low[:2].float(), *low[2:])):
        found = measure_all(model, data)
        assert found.values == expected.values
        assert {"lambda_max", "relative_flatness", "fisher_rao_norm", "average_sharpness"} <= found.values.keys()
    assert low[2].weight.dtype == dtype
