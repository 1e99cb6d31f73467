"""What the zoo finds of an optimizer, and that `docs/zoo.md` is what it finds.

Other versions of a collection than the page's have other classes, which are nobody's mistake: they are not compared.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks import zoo
from benchmarks.zoo import ARGUMENT, CANNOT, COLLECTIONS, NOT_ENTERED, WORKS, Outcome

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
        Outcome("torch.optim:A", WORKS, "", 3, 4, "stacked"),
        Outcome("torch.optim:B", ARGUMENT, "'rho'"),
        Outcome("lion_pytorch:C", CANNOT, "ValueError: a | b"),
    ]
    page = zoo.page(outcomes)
    assert zoo.results(page) == {outcome.name: outcome.result for outcome in outcomes}
    assert "**1 of 3 work unmodified (33.3%).**" in page
    assert "| `torch.optim:A` | works | 3/4 | stacked |" in page
    assert r"ValueError: a \| b" in page


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
