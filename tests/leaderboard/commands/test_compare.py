"""`lowlands compare --updates`, from the command line to the reports."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner, Result

from leaderboard.cli import main

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


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path) -> None:
    for arguments, message in (
        (("--updates", "no_such_one", "sgd"), "There is no submission 'no_such_one'"),
        (("--updates", "no_such_one", "x", "--submission", "sgd"), "neither a folder nor a revision"),
        (("sgd", "adam", "--submission", "sgd"), "--submission and --save are for --updates."),
        (("--updates", "mlp", "mlp"), "is an architecture"),
        ((tmp_path / "nothing", tmp_path), "There are no results at"),
    ):
        found = lowlands("compare", *arguments)
        assert found.exit_code == 2, found.output
        assert message in " ".join(found.stderr.replace("│", " ").split())
