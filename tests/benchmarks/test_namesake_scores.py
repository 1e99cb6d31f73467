"""What namesakes find: distances and spreads by hand, and one name that is one algorithm, run."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import namesake_scores
from benchmarks.namesake_scores import ALIKE, DEFAULTS, End, Found, apart, entries, page, pairs, run, spreads
from suite.namesakes.algorithms import algorithm


def _found(label: str, ways: list[tuple[float, ...]], values: list[float | None], kind: str = ALIKE) -> Found:
    ends = tuple(
        End(value is not None, value, 0.0 if value is None else 0.5, way)
        for way, value in zip(ways, values, strict=True)
    )
    return Found("muon", kind, label, "1.0", "spectral_margin", ends)


FIRST = _found("a:Muon", [(3.0, 4.0), (1.0, 0.0)], [1.0, 3.0])


def test_distances_are_shares_of_the_longer_way() -> None:
    assert apart(FIRST, FIRST) == 0
    other = _found("b:Muon", [(3.0, -4.0), (0.5, 0.0)], [1.0, 3.0])
    assert apart(other, FIRST) == pytest.approx((8 / 5 + 0.5) / 2)
    assert apart(FIRST, other) == apart(other, FIRST)
    still = _found("c:Muon", [(0.0, 0.0), (0.0, 0.0)], [1.0, 3.0])
    assert (apart(still, still), apart(still, FIRST)) == (0, 1)


def test_differences_are_in_standard_deviations_of_the_first() -> None:
    other = _found("b:Muon", [(0.0,), (0.0,)], [2.0, 5.0])
    assert spreads(other, FIRST) == pytest.approx(1.5 / math.sqrt(2))
    assert math.isnan(spreads(_found("b:Muon", [(0.0,), (0.0,)], [2.0, None]), FIRST))


def test_the_page_says_what_was_found() -> None:
    raised = Found("muon", ALIKE, "d:Muon", "2.0", "spectral_margin", error="RuntimeError: no | such")
    lines = page([FIRST, _found("b:Muon", [(3.0, -4.0), (0.5, 0.0)], [2.0, None]), raised]).splitlines()
    assert "| alike | a:Muon | 1.0 | 0.50 / first |" in lines
    assert "| alike | b:Muon | 1.0 | 0.25 / 1.1 (1/2) |" in lines
    assert "| alike | d:Muon | 2.0 | raised |" in lines
    assert r"- d:Muon on spectral\_margin: RuntimeError: no \| such." in lines or (
        r"- d:Muon on spectral_margin: RuntimeError: no \| such." in lines
    )
    assert "| Muon | 1 | 0 | 1 | 1.1 | 0 of 0 | 1 | -0.25: b:Muon on `spectral_margin` |" in lines


def test_pairs_are_of_the_first_that_ran() -> None:
    raised = Found("muon", ALIKE, "d:Muon", "2.0", "spectral_margin", error="RuntimeError")
    near = _found("b:Muon", [(3.0, 4.0), (1.0, 0.0)], [2.0, 4.0])
    (pair,) = pairs([raised, FIRST, near], ALIKE)
    assert (pair.one.label, pair.distance, pair.moved) == ("b:Muon", 0.0, 0.0)
    assert pair.spread == pytest.approx(1 / math.sqrt(2))
    assert pairs([raised, FIRST, near], DEFAULTS) == []


def test_switches_are_not_run_at_defaults() -> None:
    found = list(entries(algorithm("muon")))
    assert [label for kind, label, _, _ in found if kind == ALIKE][:2] == [
        "torch.optim:Muon",
        "torch.optim:Muon(adjust_lr_fn=match_rms_adamw)",
    ]
    defaults = [(label, settings) for kind, label, _, settings in found if kind == DEFAULTS]
    assert defaults[0] == ("torch.optim:Muon", {"lr": 0.02})
    assert len(defaults) == len({label for label, _ in defaults})
    mars = {label for kind, label, _, _ in entries(algorithm("mars")) if kind == DEFAULTS}
    assert "heavyball:AdamW" not in mars  # MARS by a switch


def test_torch_and_pytorch_optimizer_have_one_muon() -> None:
    """At equal settings bit for bit (docs/namesakes.md): their ends are one."""
    (first, other) = [
        run("muon", kind, label, member, settings, "spectral_margin")
        for kind, label, member, settings in entries(algorithm("muon"))
        if kind == ALIKE and label in ("torch.optim:Muon", "pytorch_optimizer:Muon")
    ]
    assert all(end.converged and end.value is not None for end in first.ends)
    assert apart(other, first) == 0
    assert [end.score for end in other.ends] == [end.score for end in first.ends]
    assert first.ends[0].way != first.ends[1].way


def test_what_was_kept_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def fake(name: str, kind: str, label: str, member: object, settings: object, task: str) -> Found:
        ran.append(label)
        return Found(name, kind, label, "1.0", task, FIRST.ends)

    monkeypatch.setattr(namesake_scores, "run", fake)
    path = tmp_path / "found.jsonl"
    known = Found("radam", ALIKE, "torch.optim:RAdam", "1.0", "spectral_margin", FIRST.ends)
    path.write_text(json.dumps(asdict(known)) + "\n")
    arguments = ["--kept", str(path), "--name", "radam", "--task", "spectral_margin"]
    first = CliRunner().invoke(namesake_scores.main, arguments)
    assert "pytorch_optimizer:RAdam" in ran
    assert ran.count("torch.optim:RAdam") == 1  # at defaults
    count = len(ran)
    again = CliRunner().invoke(namesake_scores.main, [*arguments, "--page"])
    assert len(ran) == count
    assert again.stdout == first.stdout
