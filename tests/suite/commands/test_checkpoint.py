"""`lowlands measure`: any network that is given as a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file, save_model
from torch import nn
from torch.nn.functional import cross_entropy

from leaderboard.cli import main
from suite.entries.loading import import_file
from suite.measures import measure
from suite.models import initialize, mlp
from suite.seeding import torch_stream
from suite.tasks import find_task

SOURCE = """
from torch import nn

def build(input_shape, outputs):
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.ReLU(), nn.Linear(8, outputs))

def alone():
    return build((5,), 3)

def wrong(input_shape, outputs):
    return "a network"
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A folder with a trained network, its source and its data; runs the command in it."""
    x = torch.randn(60, 5, generator=torch_stream("checkpoint"))
    y = x[:, :3].argmax(1)
    model = initialize(mlp((5,), 3, widths=(8,)), torch_stream("checkpoint", "init"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "net.py").write_text(SOURCE)
    np.savez(tmp_path / "data.npz", x_train=x.numpy(), y_train=y.numpy(), x_test=x.numpy()[:9], y_test=y.numpy()[:9])
    np.savez(tmp_path / "other.npz", inputs=x.numpy())

    def command(*arguments: str, data: str = "data.npz", architecture: str = "net.py:build") -> tuple[int, str]:
        source = str(tmp_path / architecture) if architecture.startswith("net") else architecture
        where = str(tmp_path / data) if data.endswith(".npz") else data
        options = ["--data", where, *(["--architecture", source] if architecture else [])]
        result = CliRunner().invoke(main, ["measure", str(tmp_path / "net.safetensors"), *options, *arguments])
        return result.exit_code, result.output

    return command


def test_it_is_what_python_measures(run: Run, tmp_path: Path) -> None:
    status, output = run("--measure", "lambda_max", "--measure", "hessian_trace", "--json")
    assert status == 0
    values = json.loads(output)["values"]
    with np.load(tmp_path / "data.npz") as data:
        x, y = torch.from_numpy(data["x_train"]), torch.from_numpy(data["y_train"])
    model = mlp((5,), 3, widths=(8,))
    model.load_state_dict(load_file(tmp_path / "net.safetensors"))
    expected = measure(model, (x, y), ["lambda_max", "hessian_trace"])
    assert {name: value["value"] for name, value in values.items()} == pytest.approx(dict(expected))
    assert values["hessian_trace"]["kind"] == "exact"


def test_without_names_it_takes_what_it_can(run: Run) -> None:
    status, output = run(architecture="net.py:alone")
    assert status == 0
    assert "path_margin" in output
    assert "not taken: The measure 'distance_from_initialization' needs the weights before training" in output


def test_a_start_may_be_given(run: Run, tmp_path: Path) -> None:
    start = str(tmp_path / "net.safetensors")
    status, output = run("--initial", start, "--measure", "distance_from_initialization", "--json")
    assert status == 0
    assert json.loads(output)["values"]["distance_from_initialization"]["value"] == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"architecture": "net.py:missing"}, "has no function 'missing'"),
        ({"architecture": "net.py:wrong"}, "gives a str, not a torch module"),
        ({"architecture": "sgd"}, "is an optimizer, not an architecture"),
        ({"architecture": "nowhere:build"}, "cannot be imported"),
        ({"architecture": ""}, "give --architecture"),
        ({"data": "other.npz"}, "it must hold x and y"),
        ({"data": "missing.npz"}, "There is no file"),
        ({"data": "max_margin", "architecture": ""}, "are not those of the architecture"),
        ({"data": "max_margni", "architecture": ""}, "did you mean 'max_margin'"),
    ],
)
def test_clear_errors(run: Run, options: dict[str, str], sentence: str) -> None:
    status, output = run(**options)
    assert status == 2
    assert sentence in output
    assert len(output.strip().splitlines()) == 1


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    for name, sentence in (("bad", "not a readable safetensors file"), ("missing", "There is no file")):
        result = CliRunner().invoke(main, ["measure", str(tmp_path / f"{name}.safetensors"), "--data", "max_margin"])
        assert result.exit_code == 2
        assert sentence in result.output


def test_a_tasks_own_network(tmp_path: Path) -> None:
    task = find_task("max_margin")
    problem = task.problem(0)
    model = task.model(problem, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    save_file(model.state_dict(), tmp_path / "linear.safetensors")
    arguments = ["measure", str(tmp_path / "linear.safetensors"), "--data", "max_margin", "--measure", "l2_norm"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    size = sum(p.numel() for p in model.parameters())
    assert float(result.output.split()[1]) == pytest.approx((0.25 * size) ** 0.5, rel=1e-5)


def test_the_list_of_measures() -> None:
    result = CliRunner().invoke(main, ["measures"])
    assert result.exit_code == 0
    assert "adaptive_trace" in result.output
    assert max(map(len, result.output.splitlines())) <= 120
    result = CliRunner().invoke(main, ["measures", "path_margin"])
    assert "Neyshabur et al. 2017" in result.output
    assert CliRunner().invoke(main, ["measures", "path_magrin"]).exit_code == 2


ODD_DATA: dict[str, tuple[dict[str, object], str]] = {
    "a scalar": ({"x": np.float32(3)}, "x must hold at least one sample, and its shape is ()"),
    "no rows": ({"x": np.zeros((0, 5), "f4"), "y": np.zeros(0, int)}, "at least one sample, and its shape is (0, 5)"),
    "images": ({"x": np.zeros((60, 2, 4), "f4")}, "The network cannot take the inputs of"),
    "texts": ({"x": np.full((60, 5), "1.5")}, "x must hold integers or real numbers, not <U3"),
    "no numbers": ({"x": np.full((60, 5), np.nan, "f4")}, "x holds values that are not finite"),
    "fewer targets": ({"y": np.zeros(59, int)}, "x holds 60 samples and y 59"),
    "negative classes": ({"y": np.arange(60) - 1}, "not -1 to 58"),
    "a class without an output": ({"y": np.arange(60)}, "has a class 59, and the network has 3 outputs"),
    "a class beyond all networks": ({"y": np.full(60, 10**12)}, "not 1000000000000 to 1000000000000"),
}


@pytest.mark.parametrize("fault", ODD_DATA)
def test_data_that_are_no_samples_are_one_sentence(run: Run, tmp_path: Path, fault: str) -> None:
    arrays, sentence = ODD_DATA[fault]
    with np.load(tmp_path / "data.npz") as data:
        whole = {"x": data["x_train"], "y": data["y_train"]}
    np.savez(tmp_path / "odd.npz", **(whole | arrays))  # type: ignore[arg-type]
    status, output = run("--measure", "l2_norm", data="odd.npz", architecture="net.py:alone")
    assert status == 2
    assert output.startswith("Error: ") or "Usage:" in output
    assert sentence in " ".join(output.split())


def test_the_byte_order_of_data_does_not_matter(run: Run, tmp_path: Path) -> None:
    with np.load(tmp_path / "data.npz") as data:
        np.savez(tmp_path / "big.npz", **{name: data[name].astype(data[name].dtype.newbyteorder(">")) for name in data})
    arguments = ("--measure", "lambda_max", "--json")
    assert run(*arguments, data="big.npz") == run(*arguments)


def test_data_above_the_limit(run: Run) -> None:
    status, output = run("--measure", "l2_norm", "--max-bytes", "1kb")
    assert status == 2
    assert "more than the 1e-06 GB that are read" in output


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_weights_that_are_all_zero_have_no_normalized_margin(run: Run, tmp_path: Path, dtype: torch.dtype) -> None:
    weights = load_file(tmp_path / "net.safetensors")
    save_file({name: torch.zeros_like(w, dtype=dtype) for name, w in weights.items()}, tmp_path / "net.safetensors")
    status, output = run("--json")
    assert status == 0
    report = json.loads(output)
    assert report["values"]["l2_norm"]["value"] == 0
    for name in ("path_margin", "minimum_path_margin", "l2_margin", "minimum_l2_margin"):
        assert report["skipped"][name] == "A network of norm 0 has no normalized margin."
    assert not any("ZeroDivisionError" in reason for reason in report["skipped"].values())
    status, output = run("--measure", "path_margin")
    assert status == 2
    assert "no normalized margin" in output


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), removed=st.integers(0, 4), put=st.binary(max_size=4))
@example(place=0.9757298371125877, removed=4, put=b"@\x00\x00\x00")  # zipfile's NotImplementedError
def test_damaged_data_give_the_right_value_or_one_sentence(
    run: Run, tmp_path: Path, place: float, removed: int, put: bytes
) -> None:
    whole = (tmp_path / "data.npz").read_bytes()
    start = int(place * len(whole))
    (tmp_path / "damaged.npz").write_bytes(whole[:start] + put + whole[start + removed :])
    arguments = ("--measure", "l2_norm", "--measure", "train_error", "--json")
    undamaged = run(*arguments)
    assert undamaged[0] == 0
    status, output = run(*arguments, data="damaged.npz")
    if status == 0:
        assert output == undamaged[1]
    else:
        assert status == 2
        assert re.fullmatch(r"Error: .+\n", output)  # one line, whatever the errors that it quotes are called


TIED = """
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.out(torch.relu(self.head(torch.relu(self.embed(x)))))

def tied():
    torch.manual_seed(0)
    return Tied()

def compiled():
    return torch.compile(tied(), backend="eager")

def parallel():
    return nn.DataParallel(tied())

def tokens():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
"""


@pytest.fixture
def networks(tmp_path: Path) -> dict[str, Any]:
    """The functions of a file with networks, which lies beside the files of weights."""
    (tmp_path / "nets.py").write_text(TIED)
    return import_file(tmp_path / "nets.py").__dict__


def _pretrained(model: nn.Module, path: Path) -> None:
    """As transformers' `save_pretrained` does: a shared tensor once, and no word on its other name."""
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "head.weight"}
    save_file(state, path, metadata={"format": "pt"})


def _whole(model: nn.Module, path: Path) -> None:
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, path)


@pytest.mark.parametrize(
    ("build", "save", "architecture"),
    [
        ("tied", save_model, "tied"),
        ("tied", _pretrained, "tied"),
        ("tied", _whole, "tied"),
        ("compiled", _whole, "tied"),
        ("parallel", _whole, "tied"),
        ("parallel", save_model, "tied"),
        ("tied", _whole, "compiled"),
        ("parallel", _whole, "compiled"),
    ],
)
def test_shared_tensors_and_prefixes(
    run: Run, tmp_path: Path, networks: dict[str, Any], build: str, save: Callable[..., None], architecture: str
) -> None:
    model = networks[build]()
    save(model, tmp_path / "net.safetensors")
    with np.load(tmp_path / "data.npz") as arrays:
        data = (arrays["x_train"], arrays["y_train"])
    names = ["lambda_max", "l2_norm"]
    source = f"{tmp_path / 'nets.py'}:{architecture}"
    options = [
        "--measure",
        "lambda_max",
        "--measure",
        "l2_norm",
        "--json",
        "--initial",
        str(tmp_path / "net.safetensors"),
    ]
    status, output = run(*options, "--measure", "distance_from_initialization", architecture=source)
    assert status == 0, output
    values = json.loads(output)["values"]
    assert {name: values[name]["value"] for name in names} == pytest.approx(dict(measure(model, data, names)), rel=1e-6)
    assert values["distance_from_initialization"]["value"] == 0


def test_tokens(run: Run, tmp_path: Path, networks: dict[str, Any]) -> None:
    model = networks["tokens"]()
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    ids = np.arange(60).reshape(20, 3) % 9
    np.savez(tmp_path / "tokens.npz", x=ids, y=np.arange(20) % 3)
    status, output = run(
        "--measure", "lambda_max", "--json", data="tokens.npz", architecture=f"{tmp_path / 'nets.py'}:tokens"
    )
    assert status == 0, output
    expected = measure(model, (ids, np.arange(20) % 3), ["lambda_max"])["lambda_max"]
    assert json.loads(output)["values"]["lambda_max"]["value"] == pytest.approx(expected, rel=1e-6)


def test_a_named_measure_that_fails_leaves_the_others_their_values(run: Run) -> None:
    status, output = run("--measure", "predictor_l1", "--measure", "l2_norm")
    assert status == 2
    assert "l2_norm " in output
    assert "Not taken: predictor_l1." in output.splitlines()[-1]
