"""What the zoo finds of an optimizer, and that `docs/zoo.md` is what it finds.

Other versions of a collection than the page's have other classes, which are nobody's mistake: they are not compared.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import zoo
from benchmarks.zoo import ARGUMENT, CANNOT, COLLECTIONS, NOT_ENTERED, WORKS, Outcome
from suite.entries.habits import Habits

PAGE = (Path(__file__).parents[2] / "docs" / "zoo.md").read_text(encoding="utf-8")
STATED = zoo.results(PAGE)
INSTALLED = [module for module in COLLECTIONS if zoo.installed(module) == zoo.versions(PAGE).get(module, "")]
SAMPLE = [
    name
    for module in INSTALLED
    for own in [sorted(name for name in STATED if name.startswith(f"{module}:"))]
    for name in random.Random(20180225).sample(own, min(2, len(own)))
]
GOAL = 0.95


def _record(**more: Any) -> dict[str, Any]:
    return {"status": "converged", "reason": None, "phase": "score", "converged": True, "stepping": "stacked"} | more


def test_lanes_that_miss_the_stop_are_no_failures() -> None:
    records = [_record(phase="tune"), _record(), _record(status="stalled", converged=False, stepping="alone")]
    assert zoo.judge("a:A", records, None) == Outcome("a:A", WORKS, "", 1, 2, "alone, stacked")


@pytest.mark.parametrize(
    ("why", "result", "note"),
    [
        ("TypeError: A.__init__() missing 1 required positional argument: 'rho'", ARGUMENT, "'rho'"),
        (
            "Error: cannot be built (TypeError: A.__init__() missing 2 required keyword-only arguments: 'a' and 'b').",
            ARGUMENT,
            "'a' and 'b'",
        ),
        ("ValueError: no", CANNOT, "ValueError: no"),
    ],
)
def test_why_one_does_not_run(why: str, result: str, note: str) -> None:
    assert zoo.judge("a:A", [_record(), _record(status="failed", reason=why)], None) == Outcome("a:A", result, note)
    assert zoo.judge("a:A", [], why) == Outcome("a:A", result, note)


def test_the_page_says_what_became_of_each() -> None:
    outcomes = [
        Outcome("torch.optim:A", WORKS, "", 3, 4, "stacked", asdict(Habits({"wd": 0.5}, draws=True, walked=True))),
        Outcome("torch.optim:B", ARGUMENT, "'rho'"),
        Outcome("lion_pytorch:C", CANNOT, "ValueError: a | b"),
    ]
    page = zoo.page(outcomes)
    assert zoo.results(page) == {outcome.name: outcome.result for outcome in outcomes}
    assert "**1 of 3 work unmodified (33.3%).**" in page
    assert "| `torch.optim:A` | works | 3/4 | stacked | wd=0.5, draws |" in page
    assert "Of 1 that work: 1 decay by default, 1 draw, 0 skip" in page
    assert r"ValueError: a \| b" in page


@pytest.mark.parametrize(
    ("habits", "words"),
    [
        (Habits(walked=True), ""),
        (
            Habits(stands=True, clips=True, splits=True, narrow="bfloat16", walked=True),
            "skips, clips, splits, bfloat16 state",
        ),
        (Habits({"weight_decay": 0.01}, refuses="RuntimeError: no"), "weight_decay=0.01, float32 only"),
        (Habits({"weight_decay": 0.01}), "weight_decay=0.01, ?"),
    ],
)
def test_what_it_does_unasked(habits: Habits, words: str) -> None:
    assert zoo.unasked(asdict(habits)) == words


def test_a_run_that_was_ended_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def enter(name: str) -> Outcome:
        ran.append(name)
        return Outcome(name, WORKS, "", 1, 2, "stacked", asdict(Habits(walked=True)))

    monkeypatch.setattr(zoo, "enter", enter)
    monkeypatch.setattr(zoo, "COLLECTIONS", {"torch.optim": "torch"})
    monkeypatch.setattr(zoo, "classes", lambda module: ["A", "B"])
    path = tmp_path / "outcomes.jsonl"
    path.write_text(json.dumps(asdict(Outcome("torch.optim:A", CANNOT, "ValueError: no"))) + "\n")
    for _ in range(2):
        result = CliRunner().invoke(zoo.main, ["--kept", str(path), "--processes", "1"])
        assert zoo.results(result.stdout) == {"torch.optim:A": CANNOT, "torch.optim:B": WORKS}
    assert ran == ["torch.optim:B"]


def test_what_an_earlier_page_says_is_marked() -> None:
    outcomes = [
        Outcome("torch.optim:A", WORKS, "", 3, 4, "per lane, stacked", asdict(Habits(walked=True))),
        Outcome("torch.optim:B", ARGUMENT, "'rho'"),
        Outcome("lion_pytorch:C", CANNOT, "ValueError: a | b"),
    ]
    again = zoo.earlier(zoo.page(outcomes))
    assert list(again.values()) == [replace(outcome, habits={}, earlier=True) for outcome in outcomes]
    page = zoo.page([outcomes[0], *list(again.values())[1:]])
    assert "| `torch.optim:A` | works | 3/4 | per lane, stacked |" in page
    assert "| `torch.optim:B` | needs an argument: 'rho' ° |" in page
    assert "° 2 rows are of the page before" in page
    assert zoo.earlier(page) == again
    assert zoo.results(page) == {outcome.name: outcome.result for outcome in outcomes}
    assert "°" not in zoo.page(outcomes)
    assert "- `optax`: not all of its classes were tried" in page


def test_every_class_of_what_is_installed_is_on_the_page() -> None:
    for module in INSTALLED:
        assert {f"{module}:{name}" for name in zoo.classes(module)} == {
            name for name in STATED if name.startswith(f"{module}:")
        }
    assert {name.partition(":")[0] for name in STATED} <= set(COLLECTIONS)
    assert not STATED.keys() & NOT_ENTERED.keys()


def test_the_share_that_works_is_what_the_project_promises() -> None:
    assert sum(result == WORKS for result in STATED.values()) >= GOAL * len(STATED)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_the_page_is_found_again(name: str) -> None:
    assert zoo.enter(name).result == STATED[name]
