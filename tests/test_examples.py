"""The commands that the help and the documentation show."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import lowlands
from leaderboard.analysis.baselines import BASELINES
from leaderboard.cli import main
from suite.engine.plan import make_plan
from suite.entries.templates import write
from suite.storage.log import read
from suite.storage.record import seal
from suite.tracks import find_track

ROOT = Path(__file__).resolve().parent.parent
LONG = ("run", "references", "study", "publish", "verify", "bench", "landscape")
"""Commands that take minutes, or need solutions that a run has kept: their examples are parsed here, and what can be
done of them is done nightly."""

PLACEHOLDER = re.compile(r" (\.\.\.|…)( |$)|\\$")
"""An abridged command."""

PAGES = (
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name != "claims.md"),
)
"""Those with commands to type. The commands of docs/claims.md, hundreds of a kind, are checked with the ledger."""


def _examples() -> Iterator[str]:
    """Every command line after ``Example:`` in a help text, and in the shell blocks of the documentation."""
    for command in main.commands.values():
        yield from re.findall(r"Example: (lowlands .*)", command.help or "")
    for page in PAGES:
        for block in _blocks(page, "sh"):
            for line in block.splitlines():
                yield from (part for part in line.split(" && ") if part.startswith("lowlands "))


def _blocks(page: Path, language: str) -> list[str]:
    """The code of one language on a page."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return found


def _mentioned() -> Iterator[str]:
    """Every command in the text of the documentation, which may have words such as NAME for its arguments."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        yield from (" ".join(found.split()) for found in re.findall(r"`(lowlands [a-z][^`]*)`", text))


EXAMPLES = [example for example in dict.fromkeys(_examples()) if not PLACEHOLDER.search(example)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples name: submissions, a network and its data, and results."""
    monkeypatch.chdir(tmp_path)
    for name in ("my_optimizer", "my_nadam"):
        write("optimizer", name, tmp_path)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n"
        "def build(input_shape, outputs):\n"
        "    return nn.Sequential(nn.Linear(*input_shape, 8), nn.ReLU(), nn.Linear(8, outputs))\n"
    )
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "digits.npz", x=generator.normal(size=(30, 4)).astype("f4"), y=np.arange(30) % 3)
    for folder in ("main-results", "base", "new"):
        (tmp_path / folder).symlink_to(BASELINES)
    (tmp_path / "results").mkdir()
    for log in BASELINES.glob("*.jsonl"):
        (tmp_path / "results" / log.name).symlink_to(log)
    _add_my_nadam(tmp_path / "results" / "quick.jsonl")
    page = (ROOT / "docs" / "own_tasks.md").read_text(encoding="utf-8")
    for language, name in (("python", "my_task.py"), ("toml", "mine.toml")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[:1]
        (tmp_path / name).write_text(block)
    (tmp_path / "my_library.py").write_text("from torch.optim import AdamW\n")
    (tmp_path / "my_adamw.py").write_text(
        "from torch.optim import AdamW\n\nfrom suite import LogUniform, Submission\n\n"
        "submission = Submission(name='my_adamw', optimizer=AdamW, space={'lr': LogUniform(1e-4, 1.0)})\n"
    )
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "my_library.py"], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def _add_my_nadam(log: Path) -> None:
    """Results of one's own: the shipped ones of NAdam, under another name."""
    records = [record for record in read(log).records if record["submission"] == "nadam"]
    lines = [json.dumps(seal(record | {"submission": "my_nadam"}), sort_keys=True) for record in records]
    log.unlink()
    log.write_text("\n".join(lines) + "\n")


def _words(example: str) -> list[str]:
    return [re.sub(r"^dask:.*", "local:1", word) for word in shlex.split(example, comments=True)[1:]]


def _parsed(words: list[str]) -> dict[str, Any]:
    """The arguments that the command gets; fails where one is not known."""
    command = main.commands[words[0]]
    with command.make_context(words[0], words[1:]) as context:
        return dict(context.params)


def test_there_are_examples_of_every_command() -> None:
    assert {shlex.split(example)[1] for example in EXAMPLES} == set(main.commands)


@pytest.mark.parametrize("example", [example for example in EXAMPLES if shlex.split(example)[1] not in LONG])
def test_an_example_does_what_it_says(here: Path, example: str) -> None:
    result = CliRunner().invoke(main, _words(example))
    assert result.exit_code == 0, result.output
    assert result.output


@pytest.mark.parametrize("example", [example for example in EXAMPLES if shlex.split(example)[1] in LONG])
def test_a_long_example_is_understood(here: Path, example: str) -> None:
    words = _words(example)
    arguments = _parsed(words)
    if words[0] == "run":
        track = find_track(arguments["track_name"])
        assert make_plan(arguments["submissions"] or ("sgd",), arguments["tasks"] or track.tasks[:1], track)


@pytest.mark.parametrize("command", [each for each in dict.fromkeys(_mentioned()) if not PLACEHOLDER.search(each)])
def test_a_command_that_the_text_mentions_is_understood(here: Path, command: str) -> None:
    words = _words(command.partition(" > ")[0])
    assert words[0] in main.commands
    if len(words) > 1:
        _parsed(words)


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "python")], ids=lambda page: page.stem)
def test_python_of_the_documentation_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A submission enters a run; a run gives the shipped results (the tutorial's test runs one).

    What begins a cluster that is not installed here is compiled alone.
    """
    monkeypatch.setattr("lowlands.run", lambda submissions, track: lowlands.load(BASELINES, track))
    for number, block in enumerate(_blocks(page, "python")):
        code = compile(block, str(page), "exec")
        if find_spec(re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE)[0]) is None:
            continue
        if "Submission(" in block:
            path = tmp_path / f"{page.stem}_{number}.py"
            path.write_text(block)
            assert make_plan([str(path)], ["min_norm_regression"], find_track("smoke")).submissions
        else:
            x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
            model = torch.nn.Linear(4, 3)
            exec(code, {"model": model, "x": x, "y": model(x).argmax(1), "MyOptimizer": torch.optim.NAdam})


@pytest.mark.slow
@pytest.mark.parametrize("example", [example for example in EXAMPLES if shlex.split(example)[1] in ("publish",)])
def test_a_long_example_does_what_it_says(here: Path, example: str) -> None:
    result = CliRunner().invoke(main, _words(example))
    assert result.exit_code == 0, result.output
