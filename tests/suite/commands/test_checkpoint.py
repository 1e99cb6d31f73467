"""`lowlands measure`: any network that is given as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from leaderboard.cli import main
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
        ({"data": "missing.npz"}, "is not a readable npz file"),
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
