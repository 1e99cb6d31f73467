"""`lowlands compare --updates`, from the command line to the reports."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from leaderboard.cli import main
from suite.storage.log import Log
from tests.leaderboard.helpers import record

OPTIMIZER = """
import torch

class Descent(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {{"lr": lr}})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    weights.sub_({factor} * group["lr"] * weights.grad)
"""


def lowlands(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _library(folder: Path, factor: float) -> Path:
    folder.mkdir()
    (folder / "toy_descent.py").write_text(OPTIMIZER.format(factor=factor))
    return folder


def test_updates_of_two_folders(tmp_path: Path) -> None:
    old, new = _library(tmp_path / "old", 1.0), _library(tmp_path / "new", 0.9)
    summary, xml, saved = tmp_path / "summary.md", tmp_path / "junit.xml", tmp_path / "updates.safetensors"
    options = ["--submission", "toy_descent:Descent", "--markdown", summary, "--junit", xml]
    found = lowlands("compare", "--updates", old, new, *options, "--save", saved)
    assert found.exit_code == 1, found.output
    assert "in step 1 differs by 10 %" in found.output.splitlines()[0]
    assert summary.read_text().startswith("### Lowlands: toy_descent:Descent: the update of ")
    assert ElementTree.parse(xml).getroot().findall(".//failure")
    # What another environment saved stands for its code.
    again = lowlands("compare", "--updates", saved, new, "--submission", "toy_descent:Descent", "--json")
    assert again.exit_code == 0, again.output
    assert {one["outcome"] for one in json.loads(again.stdout)["updates"]["toy_descent:Descent"]} == {"identical"}


@pytest.mark.slow
def test_seeds_are_added_until_every_task_is_decided(tmp_path: Path) -> None:
    old, new = _library(tmp_path / "old", 1.0), _library(tmp_path / "new", 0.5)
    options = [
        "--seeds",
        "auto",
        "--track",
        "smoke",
        "--task",
        "min_norm_regression",
        "--submission",
        "toy_descent:Descent",
    ]
    found = lowlands("compare", old, new, *options, "--json")
    assert found.exit_code == 1, found.output
    said = json.loads(found.stdout)
    assert said["notes"][0] == "4 seeds on the tasks that needed most."
    costs = [one for one in said["differences"] if one["axis"] == "gradient evaluations" and one["task"]]
    assert [one["verdict"] for one in costs] == ["regression"]
    same = json.loads(lowlands("compare", old, old, *options, "--json").stdout)
    assert {one["verdict"] for one in same["differences"]} == {"identical"}


def test_bench_finds_a_buffer_more(tmp_path: Path) -> None:
    old, new = _library(tmp_path / "old", 1.0), _library(tmp_path / "new", 1.0)
    file = new / "toy_descent.py"
    text = file.read_text()
    line = "                    self.state[weights]['copy'] = weights.clone()\n"
    file.write_text(text.rstrip("\n") + "\n" + line)
    options = ["--new", new, "--rounds", "8", "--shapes", "40x30,30"]
    found = lowlands("bench", "toy_descent:Descent", "--base", old, *options, "--json")
    assert found.exit_code == 1, found.output
    costs = json.loads(found.stdout)["steps"]
    assert [cost["shapes"] for cost in costs] == ["relu_network", "mlp", "cnn", "40x30,30"]
    assert {tuple(cost["bytes"]) for cost in costs} == {(0.0, 4.0)}
    for arguments, message in (
        (("sgd", "--base", "no_such"), "neither a folder"),
        (("mlp", "--base", "sgd"), "architecture"),
    ):
        assert message in lowlands("bench", *arguments).output


def test_a_comparison_that_cannot_fail_has_a_status_of_its_own(tmp_path: Path) -> None:
    missed = {"track": "quick", "converged": False, "status": "budget", "measures": {}}
    log = Log(tmp_path / "quick.jsonl")
    for seed in range(4):
        log.append(record("sgd", "a1", seed, 0.5) | missed)
    blind = lowlands("compare", tmp_path, tmp_path)
    assert blind.exit_code == 3, blind.output
    assert blind.output.startswith("Cannot fail: sgd on any task")
    assert lowlands("compare", tmp_path, tmp_path, "--allow-blind").exit_code == 0


def test_the_newest_source_of_a_submission_is_compared_with_the_one_before(tmp_path: Path) -> None:
    log = Log(tmp_path / "quick.jsonl")
    for source, value in (("1" * 16, 0.9), ("2" * 16, 0.3), ("3" * 16, 0.6)):
        for seed in range(4):
            more = {"track": "quick", "submission_hash": source}
            log.append(record("mine", "a1", seed, value + 0.01 * seed, **more))
            log.append(record("other", "a1", seed, 0.5, track="quick"))
    found = lowlands("compare", tmp_path, "mine", "--json")
    assert found.exit_code == 1, found.output
    (norm,) = [d for d in json.loads(found.stdout)["differences"] if d["axis"] == "norm" and d["task"]]
    assert (norm["base"], norm["new"]) == (pytest.approx(0.685), pytest.approx(0.385))
    shown = lowlands("table", "--results", tmp_path, "--previous", "--format", "csv").output
    assert "mine (before)" in shown
    assert "(before)" not in lowlands("table", "--results", tmp_path, "--format", "csv").output
    assert "holds one source of 'other'" in lowlands("compare", tmp_path, "other").output
    assert "There is no submission 'mien'" in lowlands("compare", tmp_path, "mien").output


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path) -> None:
    for arguments, message in (
        (("--updates", "no_such_one", "sgd"), "There is no submission 'no_such_one'"),
        (("--updates", "no_such_one", "x", "--submission", "sgd"), "neither a folder nor a revision"),
        (("sgd", "adam", "--submission", "sgd"), "--submission, --save and --task are for --updates or --seeds."),
        (("a", "b", "--seeds", "auto"), "name what with --submission"),
        (("a", "b", "--tolerance", "nan"), "nan is not a finite number"),
        (("--updates", "mlp", "mlp"), "is an architecture"),
        ((tmp_path / "nothing", tmp_path), "There are no results at"),
    ):
        found = lowlands("compare", *arguments)
        assert found.exit_code == 2, found.output
        assert message in " ".join(found.stderr.replace("│", " ").split())
