"""`lowlands landscape`: against losses and Hessians of torch alone, on solutions that a run has kept."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from torch.func import functional_call

import lowlands
from leaderboard.cli import main
from suite.commands.landscape import Landscape, filter_normalized
from suite.tasks import find_task

TASK = "valley_relu"


def lowlands_command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    options = ("--task", TASK, "--seeds", "2", "--trials", "1", "--engine", "local:0", "--results", folder)
    result = lowlands_command("run", "sgd[lr=0.3]", "adam[lr=0.01]", *options, "--keep-solutions")
    assert result.exit_code == 0, result.output
    return folder


def test_lines_and_planes_are_the_loss_of_torch_alone(results: Path, tmp_path: Path) -> None:
    names = lowlands.load(results).submissions
    command = ("landscape", results, TASK, *names, "--points", "7", "--side", "5", "-o", tmp_path)
    result = lowlands_command(*command, "--format", "svg")
    assert result.exit_code == 0, result.output
    lines, planes = (pd.read_csv(tmp_path / f"{TASK}-{kind}.csv") for kind in ("lines", "planes"))
    task = find_task(TASK)
    problem = task.problem(0)
    model = task.model(problem, 0)

    def loss(weights: dict[str, torch.Tensor]) -> float:
        return task.loss(functional_call(model, weights, (problem.train.x,)), problem.train.y).item()

    kept = {r["submission"]: r["solution_hash"] for r in lowlands.load(results).records if r["seed"] == 0}
    one, other = (load_file(results / "solutions" / f"{kept[name]}.safetensors") for name in names)
    for row in lines.itertuples():
        between = {name: (1 - row.t) * one[name] + row.t * other[name] for name in one}
        assert row.loss == pytest.approx(loss(between), rel=1e-9)
    # At both ends reordering changes nothing; in between the solutions are closer.
    ends = lines[lines["t"].isin([0, 1])]
    assert ends["aligned"].to_numpy() == pytest.approx(ends["loss"].to_numpy(), rel=1e-6)
    assert len(planes) == 2 * 25
    middle = planes[(planes["a"] == 0) & (planes["b"] == 0)].set_index("submission")["loss"]
    assert middle.to_dict() == pytest.approx({names[0]: loss(one), names[1]: loss(other)}, rel=1e-9)
    assert "first eigenvector" in (tmp_path / f"{TASK}.svg").read_text()


def test_the_directions_of_a_plane_are_the_top_eigenvectors(results: Path) -> None:
    names = lowlands.load(results).submissions
    found = Landscape(lowlands.load(results).records, results / "solutions", TASK, names)
    solution = found.solutions[0]
    plane = found.plane(solution, 5, 0.5)
    problem, task = found.problem, found.task
    shapes = {name: p.shape for name, p in found.model.named_parameters()}

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = torch.split(vector, [shape.numel() for shape in shapes.values()])
        weights = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return task.loss(functional_call(found.model, weights, (problem.train.x,)), problem.train.y)

    at = torch.cat([solution.weights[name].reshape(-1) for name in shapes])
    values, vectors = torch.linalg.eigh(torch.autograd.functional.hessian(loss, at))
    assert plane.eigenvalues == pytest.approx(values[[-1, -2]].tolist(), rel=5e-3)
    for row, column in ((-1, 2), (-2, 1)):  # the first direction varies along a row, the second along a column
        parts = torch.split(vectors[:, row], [shape.numel() for shape in shapes.values()])
        weights = [solution.weights[name] for name in shapes]
        scaled = filter_normalized([p.reshape(s) for p, s in zip(parts, shapes.values(), strict=True)], weights)
        direction = torch.cat([part.reshape(-1) for part in scaled])
        expected = [loss(at + a * direction).item() for a in plane.a]
        line = plane.loss[2] if column == 2 else plane.loss[:, 2]
        assert list(line) == pytest.approx(expected, rel=0.05) or list(line) == pytest.approx(expected[::-1], rel=0.05)


def test_a_filter_of_a_direction_is_as_long_as_the_weights_own() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(4, 3, 2, 2), torch.randn(4), torch.randn(5, 4)]
    direction = [torch.randn_like(weight) for weight in weights]
    convolution, bias, linear = filter_normalized(direction, weights)
    assert not bias.any()
    for one, other, weight in ((convolution, direction[0], weights[0]), (linear, direction[2], weights[2])):
        for row in range(len(weight)):
            assert one[row].norm() == pytest.approx(weight[row].norm().item(), rel=1e-5)
            torch.testing.assert_close(one[row] / one[row].norm(), other[row] / other[row].norm())


@pytest.mark.parametrize(
    ("task", "submission", "sentence"),
    [
        ("valley_rely", "sgd", "There is no task 'valley_rely' in these results: did you mean 'valley_relu'?"),
        (TASK, "sdg", "There is no submission 'sdg' in these results"),
    ],
)
def test_what_is_not_there_is_named(results: Path, task: str, submission: str, sentence: str) -> None:
    result = lowlands_command("landscape", results, task, submission)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())


@pytest.mark.parametrize("reach", ["nan", "inf", "0"])
def test_how_far_a_plane_goes_is_a_positive_number(reach: str, results: Path) -> None:
    result = lowlands_command("landscape", results, TASK, "sgd", "--reach", reach)
    assert result.exit_code == 2
    assert "Invalid value for '--reach'" in result.output


def test_a_log_without_records_has_no_task(tmp_path: Path) -> None:
    log = tmp_path / "quick.jsonl"
    log.touch()
    result = lowlands_command("landscape", log, TASK, "sgd")
    assert result.exit_code == 2
    assert f"There is no task {TASK!r} in these results: there is none." in " ".join(result.output.split())


def test_solutions_that_were_not_kept(results: Path, tmp_path: Path) -> None:
    log = tmp_path / "quick.jsonl"
    log.write_bytes((results / "quick.jsonl").read_bytes())
    result = lowlands_command("landscape", log, TASK, lowlands.load(results).submissions[0])
    assert result.exit_code == 2
    assert "lowlands run --keep-solutions" in " ".join(result.output.split())


def test_python_has_the_numbers_of_the_command(results: Path, tmp_path: Path) -> None:
    names = lowlands.load(results).submissions
    found = lowlands.landscape(TASK, names, results=results, points=7, side=5)
    assert (
        lowlands_command("landscape", results, TASK, *names, "--points", "7", "--side", "5", "-o", tmp_path).exit_code
        == 0
    )
    for kind, frame in (("lines", found.lines), ("planes", found.planes)):
        written = pd.read_csv(tmp_path / f"{TASK}-{kind}.csv")
        pd.testing.assert_frame_equal(frame.reset_index(drop=True), written, rtol=1e-12)
    assert found.seed == 0
    assert found.figure.axes[0].get_title(loc="left") == " to ".join(names)
    alone = lowlands.landscape(TASK, names[0], results=results, side=3)
    assert len(alone.lines) == 0
    assert set(alone.planes["submission"]) == {names[0]}
    with pytest.raises(lowlands.InputError, match="did you mean"):
        lowlands.landscape("valley_rely", names, results=results)
