"""The steps of action.yml and of docs/ci.md's jobs, run as scripts on a toy library in a git repository of its own."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
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


def _parsed(text: str) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(text))


def _action() -> dict[str, Any]:
    return _parsed((ROOT / "action.yml").read_text(encoding="utf-8"))


def _documented() -> list[str]:
    """The jobs for another repository that docs/ci.md shows: GitHub's and GitLab's."""
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    return re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)


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


def _environment(folder: Path) -> dict[str, str]:
    """Variables under which `lowlands` is that of this checkout, as if it was installed."""
    command = folder / "bin" / "lowlands"
    command.parent.mkdir(parents=True)
    # -P: as the installed command does, it leaves the working directory alone.
    path = f'PYTHONPATH="${{PYTHONPATH:-}}:{ROOT}"'
    command.write_text(f'#!/bin/sh\n{path} exec {sys.executable} -P -m leaderboard "$@"\n')
    command.chmod(0o755)
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PATH": os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
        # What the toy library is built with is here: nothing is fetched.
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
    }


class _Runner:
    """Runs the scripts of the action's steps, as a runner does."""

    def __init__(self, repository: Path, folder: Path, inputs: dict[str, str]) -> None:
        self.repository, self.summary, self._output = repository, folder / "summary", folder / "output"
        defaults = {name: one.get("default", "") for name, one in _action()["inputs"].items()}
        self.values = {f"inputs.{name}": value for name, value in (defaults | inputs).items()}
        self.values |= {"github.action_path": str(ROOT), "github.action_ref": "v1"}
        self.environment = _environment(folder) | {
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self._output),
        }

    def run(self, step: dict[str, Any]) -> int:
        """The exit status of a step; what it puts out is there for the next."""
        own = {name: self.value(str(text)) for name, text in step.get("env", {}).items()}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        self._output.write_text("")
        done = subprocess.run(command, cwd=self.repository, env=self.environment | own, timeout=1500)
        for line in self._output.read_text().splitlines():
            name, _, value = line.partition("=")
            self.values[f"steps.{step['id']}.outputs.{name}"] = value
        return done.returncode

    def value(self, text: str) -> str:
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


def test_what_breaks_before_anything_is_compared_is_said(tmp_path: Path) -> None:
    repository = tmp_path / "library"
    repository.mkdir()
    _git(repository, "init", "-q")
    _commit(repository, "0.9", "one")
    runner = _Runner(repository, tmp_path, INPUTS)
    runner.values["steps.base.outputs.commit"] = 40 * "0"  # the history ends before
    compare, outcome = (step for step in _action()["runs"]["steps"] if step["name"] in ("Compare", "The outcome"))
    assert runner.run(compare) == 0  # the step that says what happened is not skipped
    assert runner.values["steps.compare.outputs.status"] == "2"
    assert runner.run(outcome) == 2


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_job_of_gitlab_is_red_where_momentum_is_lost(tmp_path: Path, gitlab: _GitLab) -> None:
    job = _parsed(_documented()[1])["lowlands"]
    # A clone at a tag, of what lies here: as it was committed, or as it is.
    published, git = tmp_path / "lowlands.git", ["git", "-C", str(ROOT), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "-q", "--bare", str(published)], check=True)
    _git(published, "config", "receive.shallowUpdate", "true")
    stash = subprocess.run([*git, "stash", "create"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([*git, "push", "-q", str(published), f"{stash or 'HEAD'}:refs/tags/v1"], check=True)
    repository = tmp_path / "library"
    repository.mkdir()
    _git(repository, "init", "-q")
    for momentum in ("0.9", "0.0"):
        _commit(repository, momentum, f"momentum {momentum}")
    base = subprocess.run(["git", "-C", str(repository), "rev-parse", "HEAD~1"], capture_output=True, text=True)
    environment = _environment(tmp_path) | gitlab.variables | {n: str(v) for n, v in job["variables"].items()}
    environment |= {
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base.stdout.strip(),
        "SUBMISSIONS": INPUTS["submissions"],
        "RUN_ARGUMENTS": INPUTS["run-arguments"],
        "UPDATES": "warning",
        "STEPS": "warning",
    }

    def run(lines: list[str]) -> int:
        script = "\n".join(line for line in lines if not line.startswith("pip install"))
        script = script.replace("REPOSITORY", f"file://{published}").replace("TAG", "v1")
        script = script.replace("/tmp/lowlands", str(tmp_path / "cloned"))
        return subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=repository, env=environment).returncode

    assert run(job["script"]) == 1
    assert run(job["after_script"]) == 0
    report = repository / "lowlands-report"
    assert gitlab.bodies()[-1].endswith((report / "summary.md").read_text())
    assert "| regression" in gitlab.bodies()[-1]
    assert list((repository / job["cache"]["paths"][0]).glob("*.jsonl"))
    assert len(list(repository.glob(job["artifacts"]["reports"]["junit"]))) == 3


class _GitLab:
    """A stand-in for GitLab's API of notes, with two comments of a stranger's, of which one wears the mark."""

    def __init__(self) -> None:
        stranger = {"author": {"id": 1}}
        self.notes = [{"id": 1, "body": "Nice."} | stranger, {"id": 2, "body": "<!-- lowlands -->"} | stranger]
        self.asked: list[str] = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                owner.asked.append(self.command)
                assert self.headers["PRIVATE-TOKEN"] == "secret"
                data = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
                path, _, _ = self.path.partition("?")
                said = json.dumps(owner.take(self.command, path, data)).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_PUT = do_POST = answer

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.variables = {
            "CI_API_V4_URL": f"http://127.0.0.1:{self.server.server_port}/api/v4",
            "CI_PROJECT_ID": "7",
            "CI_MERGE_REQUEST_IID": "3",
            "COMMENT_TOKEN": "secret",
        }

    def take(self, method: str, path: str, data: dict[str, str]) -> Any:
        if path == "/api/v4/user":
            return {"id": 5}
        place, _, number = path.removeprefix("/api/v4/").partition("/notes")
        assert place == "projects/7/merge_requests/3"
        if method == "GET":
            return self.notes[::-1]
        if method == "POST":
            self.notes.append({"id": len(self.notes) + 1, "author": {"id": 5}, **data})
        else:
            next(note for note in self.notes if number == f"/{note['id']}").update(data)
        return {}

    def bodies(self) -> list[str]:
        return [str(note["body"]) for note in self.notes]


@pytest.fixture
def gitlab() -> Iterator[_GitLab]:
    standing_in = _GitLab()
    thread = threading.Thread(target=standing_in.server.serve_forever, args=(0.05,))
    thread.start()
    yield standing_in
    standing_in.server.shutdown()
    thread.join()
    standing_in.server.server_close()


def test_a_comment_on_gitlab_is_posted_once_and_edited_then(tmp_path: Path, gitlab: _GitLab) -> None:
    summary = tmp_path / "summary.md"

    def comment(**variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / ".ci" / "gitlab-comment"), str(summary)]
        return subprocess.run(command, env=os.environ | gitlab.variables | variables, capture_output=True, text=True)

    assert "No comment: FileNotFoundError" in comment().stderr
    summary.write_text("### Lowlands: one", encoding="utf-8")
    assert comment(COMMENT_TOKEN="").returncode == 0
    assert len(gitlab.notes) == 2
    for words in ("### Lowlands: one", "### Lowlands: two μs"):
        summary.write_text(words, encoding="utf-8")
        assert comment().returncode == 0
        assert gitlab.bodies() == ["Nice.", "<!-- lowlands -->", f"<!-- lowlands -->\n{words}"]


@pytest.mark.parametrize(("number", "schema"), [(0, "vendor.github-workflows"), (1, "vendor.gitlab-ci")])
def test_documented_jobs_are_valid(number: int, schema: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    file.write_text(_documented()[number].replace("REPOSITORY@TAG", "owner/repository@v1"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    assert subprocess.run(command).returncode == 0


def _repository() -> str:
    """OWNER/NAME of the project, as pyproject.toml states it; REPOSITORY while it states none."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls.get("repository", "REPOSITORY").removeprefix("https://github.com/")


def test_the_documented_workflow_gives_inputs_that_exist() -> None:
    steps = _parsed(_documented()[0])["jobs"]["compare"]["steps"]
    (given,) = (step["with"] for step in steps if step["uses"].startswith(f"{_repository()}@"))
    inputs = _action()["inputs"]
    assert given.keys() <= inputs.keys()
    assert {name for name, one in inputs.items() if one.get("required")} <= given.keys()


def test_keys_of_the_cache_hold_no_commas(tmp_path: Path) -> None:
    # The cache refuses them, and settings of a submission are separated by commas.
    repository = tmp_path / "library"
    repository.mkdir()
    _git(repository, "init", "-q")
    _commit(repository, "0.9", "one")

    def key(folder: str, submissions: str) -> str:
        runner = _Runner(repository, tmp_path / folder, INPUTS | {"base": "HEAD", "submissions": submissions})
        for step in _action()["runs"]["steps"]:
            if step.get("id") == "base":
                assert runner.run(step) == 0
            if step["name"] == "Records of the base":
                return runner.value(step["with"]["key"])
        raise AssertionError

    one, two = (key(str(number), f"a:B[lr=0.1,momentum={number}]") for number in (1, 2))
    assert "," not in one
    assert one != two
    assert one == key("again", "a:B[lr=0.1,momentum=1]")


def test_no_text_of_a_user_is_part_of_a_script() -> None:
    for step in _action()["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
