"""Every task alike: its seeds, its references, its name."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from suite.errors import InputError
from suite.task import Problem, Selection
from suite.tasks import find_task, task_functions
from suite.tracks import THEORY, TRACKS
from suite.trials import resolve_axes, select
from tests.suite.tasks.helpers import oracle_of

# Tasks on data that not every machine has, and those whose initialization takes seconds, have tests of their own.
AT_HAND = [name for name in task_functions() if not name.startswith(("mnist_", "cifar10_")) and "bad_start" not in name]
NAMES = [
    *AT_HAND,
    "sparse_regression[alpha=0.01]",
    "max_margin[objective=logistic]",
    "valley_scalar[noise=0.5]",
    "linear_geometry[network=diagonal]",
    "linear_geometry[network=convolutional]",
    "linear_convolution[network=full]",
    "sobolev_interpolation[harmonics=4]",
    "rich_mixture[rotation=45.0]",
    "teacher_geometry[truth=sparse]",
    "teacher_geometry[truth=orthogonal]",
    "teacher_geometry[truth=rank_one]",
    "zipf_bigram[loss=cross_entropy]",
    "attention_selection[parametrisation=key_query]",
    "attention_selection[worth=graded]",
    "edge_of_stability[batch=4]",
    "stochastic_margin[batch=8]",
    "stochastic_margin[data=rademacher]",
    "adam_epsilon[epsilon=1e-08]",
    "sparse_parity[inputs=tokens]",
]


@pytest.mark.parametrize("name", NAMES)
def test_seeds_differ_and_repeat(name: str) -> None:
    task = find_task(name)
    assert task.name == name
    problems = [task.problem(seed) for seed in (0, 1, 0)]
    prints = [problem.fingerprint() for problem in problems]
    assert prints[0] == prints[2] != prints[1]
    models = [task.model(problem, seed) for problem, seed in zip(problems, (0, 1, 0), strict=True)]
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[2])
    if name.startswith("mnist"):
        assert not torch.equal(weights[0], weights[1])


def check_references(name: str, seed: int) -> None:
    """The oracle solves, and every axis has finite references in their order."""
    task = find_task(name)
    oracle = oracle_of(name, seed)
    assert all(map(math.isfinite, oracle.values.values())), seed
    assert all(bool(torch.isfinite(solution).all()) for solution in oracle.solutions.values()), seed
    for axis, entry in zip(task.axes, resolve_axes(task.axes, oracle).values(), strict=True):
        assert math.isfinite(entry["score_0"]), seed
        assert math.isfinite(entry["score_1"]), seed
        assert (entry["score_1"] > entry["score_0"]) == axis.higher, (seed, axis.axis)


@pytest.mark.parametrize("name", NAMES)
def test_references_are_finite_and_in_order(name: str) -> None:
    for seed in range(5):
        check_references(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 100, 20))
@pytest.mark.parametrize("name", dict.fromkeys([*NAMES, *THEORY]))
def test_a_hundred_seeds_build(name: str, first: int) -> None:
    """Data, oracle and initial weights of seeds 0 … 99, in parts: `valley_sparse`, the slowest, takes half a minute."""
    task = find_task(name)
    for seed in range(first, first + 20):
        problem = task.problem(seed)
        assert math.isfinite(problem.lipschitz), seed
        assert problem.lipschitz > 0, seed
        assert all(bool(torch.isfinite(p).all()) for p in task.model(problem, seed).parameters()), seed
        check_references(name, seed)


@pytest.mark.parametrize("name", NAMES)
def test_building_a_task_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    task = find_task(name)
    task.model(task.problem(3), 3)
    assert torch.equal(before, torch.get_rng_state())


def test_selection_never_looks_at_what_is_scored() -> None:
    def record(
        trial: int, converged: bool, evaluations: int, validation: float, loss: float = 0.1
    ) -> dict[str, object]:
        return {
            "trial": trial,
            "converged": converged,
            "target_evaluations": evaluations,
            "validation_loss": validation,
            "train_loss": loss,
        }

    fast, better = [record(0, True, 10, 0.9)] * 2, [record(1, True, 50, 0.3)] * 2
    missed = [record(2, True, 1, 0.1), record(2, False, 1, 0.1)]
    records = [*missed, *better, *fast]
    assert select("gradient_evaluations", records) == [0]
    assert select("validation_loss", records) == [1]
    # Those that missed the target loss once are not scored; how early a loss of exactly 0 ends all drift says nothing.
    assert select("convergence", records) == [0, 1]
    assert select("convergence", [record(3, True, 1, 0.0, 0.0), record(1, True, 50, 0.3)]) == [1, 3]
    selections: tuple[Selection, ...] = ("gradient_evaluations", "validation_loss", "convergence")
    for selection in selections:
        assert select(selection, [record(0, False, 9, 0.0, 0.5), record(1, False, 9, 0.0, 0.2)]) == [1]
        assert select(selection, [record(0, False, 9, 0.0, math.inf), record(1, False, 9, 0.0, 0.2)]) == [1]


@pytest.mark.parametrize("name", NAMES)
def test_what_depends_on_drift_is_not_selected_by_speed(name: str) -> None:
    task = find_task(name)
    if task.problem(0).validation is not None and task.family != "factorial":
        assert task.selection == "validation_loss"
    elif task.target.at_end:
        assert task.selection == "convergence"


def test_what_depends_on_the_step_size_scores_every_step_that_trains() -> None:
    rules = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+\S*)`, (?:norm|generalization|both) \|(.*)\|$", rules, re.MULTILINE)
    apart: dict[str, float] = {}
    for name, cells in rows:
        ranges = [[float(end) for end in cell.split(" to ")] for cell in cells.split("|") if cell.strip()]
        apart[name] = max([apart.get(name, 0.0), *(steps[-1] - steps[0] for steps in ranges)])
    beyond = {name for name, width in apart.items() if width > 0.1}
    assert beyond == {"sparse_regression", "matrix_completion", "teacher_student"}
    assert beyond == {name for name in apart if find_task(name).selection == "convergence"}


def test_papers_are_those_that_the_docstring_cites() -> None:
    for name in task_functions():
        task = find_task(name)
        numbers = [paper.rpartition(", ")[2] for paper in task.papers]
        assert len(numbers) == len(set(numbers)), name
        assert set(re.findall(r"arXiv:[\d.]+\d", task.description)) <= set(numbers), name
        # Before 2015 the numbers had four digits after the point.
        assert all(re.fullmatch(r"[A-Z].* \d{4}, arXiv:\d{4}\.\d{4,5}", paper) for paper in task.papers), name
    assert find_task("adaptive_trap").papers == ("Wilson et al. 2017, arXiv:1705.08292",)
    assert "Liu et al. 2020, arXiv:1906.02613" in find_task("mnist5k_bad_start").papers


@pytest.mark.parametrize("name", ["adaptive_trap", "max_margin", "sparse_parity"])
def test_what_tells_nobody_apart_is_reported_and_not_scored(name: str) -> None:
    task = find_task(name)
    assert not task.axes
    assert task.reported


def test_the_family_is_the_first_word_of_the_file() -> None:
    names = {"mnist_mlp": "images", "modular_addition": "features", "valley_relu": "valleys", "factorial": "factorial"}
    assert {name: find_task(name).family for name in names} == names


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("max_margn", "did you mean 'max_margin'"),
        ("sparse_regression[alpha=small]", "must be of type float"),
        ("sparse_regression[alpha=-1]", "alpha must be between"),
        ("sparse_regression[beta=1]", "no variant 'beta'"),
        ("max_margin[objective=hinge]", "objective must be one of"),
        ("", "There is no task"),
    ],
)
def test_unknown_tasks(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find_task(name)


def test_the_text_of_every_task_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are made from the names in records alone."""

    def no_data(*arguments: object, **named: object) -> None:
        raise AssertionError("data were built")

    monkeypatch.setattr(Problem, "__init__", no_data)
    for name in dict.fromkeys([*task_functions(), *(name for track in TRACKS.values() for name in track.tasks)]):
        question, _, sections = find_task(name).description.partition("\n\n")
        assert question.endswith("?"), name
        assert sections.startswith("Claim. "), name
