"""Tasks that are not of the suite: in a file of the user's, or of an installed package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite import plugins
from suite.engine.plan import make_plan
from suite.entries import load
from suite.errors import InputError
from suite.measures import find_measure, registry
from suite.sandbox.limits import Limits
from suite.tasks import find_task, open_task, own_file
from suite.tracks import find_track
from suite.trials import task_hash

TASK = '''
"""A task of one's own."""
import torch
from lowlands import Axis, Problem, Split, Target, Task, task


@task
def {name}(slope: float = 2.0) -> Task:
    """Does the optimizer find the slope?

    Claim. There is one solution (Nobody and Nobody 2020, arXiv:2001.00001).
    """

    def problem(seed):
        x = torch.randn(20, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return Problem(train=Split(x, slope * x))

    def model(problem, seed):
        torch.manual_seed(seed)
        return torch.nn.Linear(1, 1, bias=False).double()

    return Task(
        problem=problem,
        model=model,
        loss=torch.nn.functional.mse_loss,
        target=Target(1e-8, budget=400),
        measure=lambda solution: {{"error": abs(solution.model.weight.item() - slope)}},
        axes=(Axis("generalization", "error", "linear", 1.0, 0.0),),
    )


def unmarked():
    """Is a marked function needed?"""
    return {name}(slope=3.0)


def nothing():
    return 3
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_task.py"
    path.write_text(TASK.format(name="line"))
    return path


def test_a_task_in_a_file_is_one_like_any_other(own: Path) -> None:
    task = open_task("my_task.py:line[slope=4.0]")
    assert (task.name, task.family, task.variant) == ("my_task.py:line[slope=4.0]", "my_task", {"slope": 4.0})
    assert task.description.startswith("Does the optimizer find the slope?")
    assert task.papers == ("Nobody and Nobody 2020, arXiv:2001.00001",)
    assert find_task("my_task.py:line").name == "my_task.py:line"
    assert open_task(f"{own}:line").name == f"{own}:line"
    unmarked = open_task("my_task.py:unmarked")
    assert unmarked.name == "my_task.py:unmarked"
    problem = unmarked.problem(0)
    assert float((problem.train.y / problem.train.x).mean()) == pytest.approx(3.0)
    assert own_file("sparse_regression[alpha=0.01]") is None


def test_its_records_are_of_its_source(own: Path) -> None:
    before = task_hash(open_task("my_task.py:line"))
    own.write_text(own.read_text().replace("slope * x", "slope * x + 0.0"))
    assert task_hash(find_task("my_task.py:line")) != before


def test_the_code_of_a_file_runs_only_if_the_user_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log_says.py").write_text("raise SystemExit('it has run')")
    with pytest.raises(InputError, match="runs only if you name it"):
        find_task("log_says.py:task")
    with pytest.raises(InputError, match="it has run"):
        open_task("log_says.py:task")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("my_task.py:lin", "did you mean 'line'"),
        ("my_task.py:nothing", "must return a lowlands.Task, not int"),
        ("my_task.py:torch", "is no function"),
        ("my_task.py:line[slop=1]", "has no variant 'slop'"),
        ("nowhere.py:line", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(own: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        open_task(text)


def test_the_sandbox_sees_no_file_of_a_task(own: Path) -> None:
    with pytest.raises(InputError, match="cannot be run with --isolate"):
        make_plan(["sgd"], ["my_task.py:line"], find_track("smoke"), limits=Limits())


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a task, a measure and a submission."""
    before = registry.measures()
    (tmp_path / "plugged.py").write_text(
        TASK.format(name="inner")
        + "\nfrom lowlands import Submission, declare\n"
        + "heavy = Submission(name='heavy', optimizer=torch.optim.SGD, space={'lr': 0.1, 'momentum': 0.9})\n"
        + "@declare(kind='exact', unit='1', cost=0, source='here')\n"
        + "def plugged_measure(context):\n    '''One.'''\n    return 1.0\n"
    )
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lowlands.tasks]\nouter = plugged:inner\nbroken = absent:task\n"
        "[lowlands.submissions]\nheavy_ball = plugged:heavy\n[lowlands.measures]\none = plugged:plugged_measure\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.names.cache_clear()
    registry._load_plugins.cache_clear()
    yield
    plugins.names.cache_clear()
    registry._registry.clear()
    registry._registry.update(before)
    load.cache_clear()
    sys.modules.pop("plugged", None)


@pytest.mark.usefixtures("installed")
def test_an_installed_package_adds_a_task_a_measure_and_a_submission() -> None:
    task = find_task("outer[slope=1.0]")
    assert task.name == "outer[slope=1.0]"
    assert task.source
    assert find_measure("plugged_measure").unit == "1"
    loaded = load("heavy_ball")
    assert (loaded.submission.name, loaded.text) == ("heavy", "heavy_ball")
    with pytest.raises(InputError, match=r"The plug-in 'broken' \(absent:task, lowlands.tasks\) cannot be imported"):
        find_task("broken")
    with pytest.raises(InputError, match="did you mean 'outer'"):
        find_task("outr")
