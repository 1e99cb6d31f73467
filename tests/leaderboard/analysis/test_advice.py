"""Advice follows from the numbers by its rule: planted strengths are named, and what lacks them is sent elsewhere."""

from __future__ import annotations

import re

from leaderboard.analysis.advice import IN_BETWEEN, advice, order_basis
from leaderboard.analysis.baselines import shipped_logs
from leaderboard.analysis.ranking import board
from leaderboard.analysis.results import Results, load
from tests.leaderboard.helpers import runs_of

AXES = {"flat": (0.9, 0.5), "small": (0.5, 0.9), "low": (0.3, 0.3), "middle": (0.6, 0.6), "lower": (0.2, 0.2)}
"""Submission -> its scores of flatness (on tasks a1, a2) and norm (on b1)."""


def _results(missed: int = 0, **settings: object) -> Results:
    """Eight seeds that differ by a little, all by as much."""
    scores = {
        (name, task, axis): [value + 0.002 * seed for seed in range(8)]
        for name, (flat, norm) in AXES.items()
        for task, axis, value in (("a1", "flatness", flat), ("a2", "flatness", flat), ("b1", "norm", norm))
    }
    runs = runs_of(scores)
    for n, run in enumerate(run for run in runs if run["submission"] == "low"):
        run.update(settings)
        run["converged"] = n >= missed
    for run in runs:
        run["gradient_evaluations"] = 10 if run["submission"] == "middle" else 100
    return Results(runs)


def test_strengths_are_named_with_their_scores() -> None:
    said = advice(board(_results()))
    assert said["flat"] == "Use it if you want flat minima (0.91) or if your tasks are like the family a (0.91)."
    assert said["small"] == "Use it if you want small norms (0.91) or if your tasks are like the family b (0.91)."
    assert said["middle"] == "Use it if gradients are dear (10 a run)."
    assert list(said) == board(_results()).names


def test_who_is_lower_everywhere_is_sent_to_the_first_that_is_higher() -> None:
    said = advice(board(_results()))
    best = next(name for name in board(_results()).names if name in ("flat", "small", "middle"))
    assert said["lower"] == said["low"] == f"Rather use {best}: it is higher on every axis."
    # To what regularizes on purpose only who does so too.
    runs = [run | {"explicit": run["submission"] in ("flat", "small", "middle")} for run in _results().records]
    said = advice(board(Results(runs)))
    assert said["lower"] == "Rather use low: it is higher on every axis."
    assert said["low"] == IN_BETWEEN


def test_missed_runs_are_said() -> None:
    assert advice(board(_results(1)))["low"].endswith("every axis.")  # 1 of 24: within what is left unsaid
    assert advice(board(_results(3)))["low"].endswith(" 3 of 24 runs missed the target loss.")


def test_who_cannot_be_compared_is_told_so() -> None:
    runs = _results().records
    assert advice(board(Results([r for r in runs if r["submission"] == "low"]))) == {
        "low": "Nobody is there to compare it with."
    }
    lacking = [r for r in runs if r["submission"] != "low" or r["task"] == "a1"]
    assert advice(board(Results(lacking)))["low"] == "Not ranked: it lacks 2 tasks."


def test_what_the_order_rests_on() -> None:
    said = order_basis(board(_results()))
    assert said.startswith(
        "The order rests on the geometric mean of flatness and norm over 3 tasks and 8 seeds: of the 5,"
    )
    alone = Results([run for run in _results().records if run["submission"] == "low"])
    assert order_basis(board(alone)) == ""


def test_every_shipped_score_that_advice_names_is_the_tables() -> None:
    (quick,) = [path for path in shipped_logs() if path.stem == "quick"]
    found = board(load([quick]))
    said = advice(found)
    assert set(said) == set(found.names)
    for standing in found.standings:
        for family, score in re.findall(r"(\w+) \((\d\.\d\d)\)", said[standing.submission].partition(" are like ")[2]):
            assert f"{standing.families[family]:.2f}" == score
        other = re.match(r"Rather use (\w+):", said[standing.submission])
        if other:
            better = next(each for each in found.standings if each.submission == other[1])
            assert all(better.axes[axis].value > score.value for axis, score in standing.axes.items())
