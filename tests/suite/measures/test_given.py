"""What people hold is measured like the plain tensors and the plain network, or refused in a sentence."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from suite.errors import InputError
from suite.measures import has_path_norm, measure, measure_all
from suite.measures.given import without_prefixes
from tests.suite.curvature.helpers import Called, classification, convolutional, images, network

NAMES = ["lambda_max", "hessian_trace", "average_sharpness", "l2_norm"]
DATA = classification()
LABELS = network()(DATA.x).argmax(1)
ARRAYS = (DATA.x.numpy(), LABELS.numpy())


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(DATA.x, LABELS, strict=True))


class Numbers(Dataset[tuple[object, int]]):
    """Samples as a data set of one's own gives them: an array and a Python number."""

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> tuple[object, int]:
        if index >= len(self):
            raise IndexError
        return ARRAYS[0][index], int(LABELS[index])


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    return dict(measure(network(), (DATA.x, LABELS), NAMES))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ARRAYS, id="arrays"),
        pytest.param(list(ARRAYS), id="list"),
        pytest.param((ARRAYS[0].astype(">f8"), ARRAYS[1].astype(">i2")), id="big-endian"),
        pytest.param((ARRAYS[0][::-1], ARRAYS[1][::-1]), id="negative strides"),
        pytest.param((DATA.x, LABELS.int()), id="int32"),
        pytest.param((DATA.x, LABELS.to(torch.uint8)), id="uint8"),
        pytest.param(TensorDataset(DATA.x, LABELS), id="dataset"),
        pytest.param(Numbers(), id="dataset of one's own"),
        pytest.param(Stream(), id="stream"),
        pytest.param(DataLoader(TensorDataset(DATA.x, LABELS), batch_size=7), id="loader"),
        pytest.param(DataLoader(TensorDataset(DATA.x, LABELS), batch_size=7, shuffle=True), id="shuffled"),
    ],
)
def test_forms_of_data(data: object, expected: dict[str, float]) -> None:
    model, state = network(), torch.get_rng_state()
    found = measure(model, data, NAMES)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)
    assert found == pytest.approx(expected, rel=1e-5)


def test_boolean_labels() -> None:
    data = (DATA.x, LABELS == 1)
    assert measure(network(outputs=2), data, NAMES) == measure(network(outputs=2), (DATA.x, data[1].long()), NAMES)


Named = namedtuple("Named", ["hidden", "logits"])


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class Holder:
    """An object with attributes."""

    def __init__(self, scores: Tensor) -> None:
        self.scores, self.name = scores, "scores"


@pytest.mark.parametrize(
    ("form", "of"),
    [
        pytest.param(lambda z: {"logits": z, "hidden": z + 1}, lambda o: o["logits"], id="dict"),
        pytest.param(lambda z: OrderedDict(out=z), lambda o: o["out"], id="dict of one"),
        pytest.param(lambda z: (z,), lambda o: o[0], id="tuple"),
        pytest.param(lambda z: [None, z], lambda o: o[1], id="list with nothing"),
        pytest.param(lambda z: Named(z + 1, z), lambda o: o[1], id="named tuple"),
        pytest.param(Output, lambda o: o.logits, id="dataclass"),
        pytest.param(Holder, lambda o: o.scores, id="object"),
    ],
)
def test_forms_of_outputs(
    form: Callable[[Tensor], object], of: Callable[[object], Tensor], expected: dict[str, float]
) -> None:
    model = nn.Sequential(*network(), Called(form))  # type: ignore[arg-type]
    assert measure(model, (DATA.x, LABELS), NAMES) == expected
    assert not model._forward_hooks
    for loss in (cross_entropy, lambda o, y: cross_entropy(of(o), y)):
        assert measure(model, (DATA.x, LABELS), NAMES, loss=loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda m: torch.compile(m, backend="eager"), lambda m: nn.DataParallel(nn.DataParallel(m))],
    ids=["parallel", "compiled", "twice"],
)
def test_wrapped_networks(wrap: Callable[[nn.Module], nn.Module], expected: dict[str, float]) -> None:
    model = wrap(network())
    assert measure(model, (DATA.x, LABELS), NAMES) == expected
    initial = {name: p.detach() + 1 for name, p in model.named_parameters()}
    size = sum(p.numel() for p in initial.values())
    distance = measure(model, (DATA.x, LABELS), ["distance_from_initialization"], initial=initial)
    assert distance["distance_from_initialization"] == pytest.approx(size**0.5)


def test_prefixes_of_names() -> None:
    one = torch.ones(1)
    assert without_prefixes({"_orig_mod.module.a.b": one, "_orig_mod.module.c": one}).keys() == {"a.b", "c"}
    assert without_prefixes({"module.a": one, "b": one}).keys() == {"module.a", "b"}
    assert without_prefixes({}) == {}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_network(expected: dict[str, float]) -> None:
    found = measure(torch.jit.script(network()), (DATA.x, LABELS), NAMES)
    assert found["lambda_max"] == pytest.approx(expected["lambda_max"], rel=1e-3)
    assert abs(found["hessian_trace"] - expected["hessian_trace"]) <= 5 * found["hessian_trace"].error


@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated")
@pytest.mark.parametrize("part", [False, True], ids=["whole", "part"])
def test_a_scripted_network_of_images(part: bool) -> None:
    """What needs its layers is refused in a sentence, and the rest is that of the plain network."""
    model, data = convolutional(), images(40)
    y = model(data.x).argmax(1)
    scripted = torch.jit.script(model[:-1]) if part else torch.jit.script(model)
    report = measure_all(nn.Sequential(scripted, model[-1]) if part else scripted, (data.x, y))
    expected = measure_all(model, (data.x, y))
    assert {"path_norm", "path_margin", "gradient_noise"} <= report.skipped.keys() - expected.skipped.keys()
    assert not [why for why in report.skipped.values() if "Error" in why]
    for name in ("lambda_max", "l2_margin", "input_gradient_norm", "adaptive_sharpness"):
        assert report.values[name] == pytest.approx(expected.values[name], rel=1e-2)


def test_tokens() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3)).double()
    ids = torch.randint(0, 9, (40, 3), generator=torch.Generator().manual_seed(0))
    y = model(ids).argmax(1)
    report = measure_all(model, (ids.numpy().astype(np.int32), y))
    assert {"lambda_max", "hessian_trace", "adaptive_sharpness", "train_error"} <= report.values.keys()
    for name in ("input_margin", "margin_distribution", "derivative_variation", "linear_regions", "fourier_energy",
                 "input_gradient_norm", "jacobian_norm"):  # fmt: skip
        assert "floating-point numbers" in report.skipped[name]
    assert not [why for why in report.skipped.values() if "Error:" in why]


@pytest.mark.parametrize(
    ("model", "data", "reason"),
    [
        (nn.Linear(6, 3, device="meta"), (DATA.x, LABELS), "device 'meta'"),
        (nn.LazyLinear(3), (DATA.x, LABELS), "lazy layers"),
        (network(), {"x": DATA.x, "y": LABELS}, "must be a pair of tensors or arrays"),
        (network(), (DATA.x, LABELS, LABELS), "not a tuple of 3"),
        (network(), TensorDataset(DATA.x), "not a list of 1"),
        (network(), TensorDataset(DATA.x[:0], LABELS[:0]), "dataset is empty"),
        (network(), (np.array(["a", "b"]), LABELS[:2]), "must be numbers"),
        (network(), (DATA.x[:, :4], LABELS), "does not run on inputs of shape"),
        (nn.Sequential(network(), Called(lambda z: (z, z))), (DATA.x, LABELS), "with 0, 1: it must return a tensor"),
        (nn.Sequential(network(), Called(lambda z: "text")), (DATA.x, LABELS), "returns a str"),  # type: ignore
    ],
    ids=["meta", "lazy", "dict", "three", "no targets", "empty", "texts", "shape", "two outputs", "text"],
)
def test_what_is_refused_in_a_sentence(model: nn.Module, data: object, reason: str) -> None:
    for take in (measure, measure_all):
        with pytest.raises(InputError, match=reason):
            take(model, data, ["lambda_max"])  # type: ignore[operator]


def test_a_named_measure_that_fails_leaves_the_others_their_values() -> None:
    report = measure_all(network(), (DATA.x, LABELS), ["l2_norm", "test_error", "lambda_max"])
    assert list(report.values) == ["l2_norm", "lambda_max"]
    assert list(report.skipped) == ["test_error"]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated", "ignore:`torch.jit.script` is")
@pytest.mark.parametrize(
    "wrap",
    [nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm, torch.jit.script],
    ids=["weight norm by hooks", "spectral norm by hooks", "weight norm by parametrizations", "scripted"],
)
def test_there_is_no_path_norm_of_weights_that_are_computed(wrap: Callable[[nn.Module], nn.Module]) -> None:
    """Squares of what weight norm is made of are not the squares of the weights: 158, called exact, for 71."""
    model = nn.Sequential(wrap(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3)).double()
    data = classification()
    with torch.no_grad():
        y = model(data.x).argmax(1)
    assert not has_path_norm(model)
    with pytest.raises(InputError, match="path norm is not defined"):
        measure(model, (data.x, y), ["path_norm"])
