"""The steps of action.yml, run as scripts on a toy library in a git repository of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "toy-library"
version = "1"

[tool.setuptools]
packages = ["toy_library"]
"""

LIBRARY = """
import torch

class HeavyBall(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    old = self.state[weights].get("buffer", torch.zeros_like(weights))
                    self.state[weights]["buffer"] = MOMENTUM * old + weights.grad
                    weights.sub_(group["lr"] * self.state[weights]["buffer"])
"""

INPUTS = {
    "submissions": "toy_library:HeavyBall[lr=0.1]",
    "base": "HEAD~1",
    "run-arguments": "--track smoke --task min_norm_regression --seeds 4 --trials 1 --engine local:0",
    "steps": "warning",  # a test asserts no time
}


def _action() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((ROOT / "action.yml").read_text(encoding="utf-8")))


def _git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True)


def _commit(repository: Path, momentum: str, readme: str) -> None:
    package = repository / "toy_library"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(LIBRARY.replace("MOMENTUM", momentum))
    (repository / "pyproject.toml").write_text(PYPROJECT)
    (repository / "README").write_text(readme)
    (repository / ".gitignore").write_text("lowlands-report/\nbuild/\n*.egg-info/\n")
    _git(repository, "add", ".")
    _git(repository, "commit", "-q", "-m", readme)


class _Runner:
    """Runs the scripts of the action's steps, as a runner does, with `lowlands` from this checkout."""

    def __init__(self, repository: Path, folder: Path, inputs: dict[str, str]) -> None:
        self.repository, self.summary, self._output = repository, folder / "summary", folder / "output"
        defaults = {name: one.get("default", "") for name, one in _action()["inputs"].items()}
        self.values = {f"inputs.{name}": value for name, value in (defaults | inputs).items()}
        self.values["github.action_path"] = str(ROOT)
        command = folder / "bin" / "lowlands"
        command.parent.mkdir(parents=True)
        # -P: as the installed command does, it leaves the working directory alone.
        path = f'PYTHONPATH="${{PYTHONPATH:-}}:{ROOT}"'
        command.write_text(f'#!/bin/sh\n{path} exec {sys.executable} -P -m leaderboard "$@"\n')
        command.chmod(0o755)
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
            "PATH": os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self._output),
            # What the toy library is built with is here: nothing is fetched.
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
        }

    def run(self, step: dict[str, Any]) -> int:
        """The exit status of a step; what it puts out is there for the next."""
        own = {name: self._value(str(text)) for name, text in step.get("env", {}).items()}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        self._output.write_text("")
        done = subprocess.run(command, cwd=self.repository, env=self.environment | own, timeout=1500)
        for line in self._output.read_text().splitlines():
            name, _, value = line.partition("=")
            self.values[f"steps.{step['id']}.outputs.{name}"] = value
        return done.returncode

    def _value(self, text: str) -> str:
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda match: self.values[match[1]], text)


def _outcome(repository: Path, folder: Path, **inputs: str) -> tuple[int, str]:
    """The exit status of the last step, and the summary. Installing and the cache are the runner's."""
    runner = _Runner(repository, folder, INPUTS | inputs)
    steps = [step for step in _action()["runs"]["steps"] if "run" in step]
    install, *others = [step for step in steps if step["name"] != "Comment"]
    assert install["name"].startswith("Install")
    *before, last = others
    for step in before:
        assert runner.run(step) == 0
    return runner.run(last), runner.summary.read_text()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_an_unchanged_commit_is_green_and_a_planted_one_is_red(tmp_path: Path) -> None:
    repository = tmp_path / "library"
    repository.mkdir()
    _git(repository, "init", "-q")
    for momentum, readme in (("0.9", "one"), ("0.9", "two"), ("0.0", "three")):
        _commit(repository, momentum, readme)
        if readme == "two":
            status, summary = _outcome(repository, tmp_path / "unchanged")
            assert status == 0, summary
            assert "no update differs" in summary
            assert "identical" in summary
            assert (repository / "lowlands-report" / "junit-steps.xml").is_file()
            (repository / "lowlands-report" / "head").rename(tmp_path / "head")
            (repository / "lowlands-report" / "base").rename(tmp_path / "base")
    status, summary = _outcome(repository, tmp_path / "planted", updates="warning")
    assert status == 1, summary
    assert "in step 2 differs by" in summary  # the first step has no momentum yet
    assert "| regression" in summary


def test_no_text_of_a_user_is_part_of_a_script() -> None:
    for step in _action()["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
