"""From records to a page: every number traceable, nothing lost, the same records the same page."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import leaderboard
from leaderboard.study.findings import Findings, analyse
from leaderboard.study.frame import FACTORS, find_study, study_frame
from leaderboard.study.preregistered import CONTRASTS
from leaderboard.study.report import markdown, write
from suite.errors import InputError
from suite.study_design import PRESETS
from tests.leaderboard.helpers import study_records


@pytest.fixture(scope="module")
def findings() -> Findings:
    return analyse(study_frame(study_records()))


def test_planted_effects_reach_the_page(findings: Findings) -> None:
    verdicts = {v.contrast.name: v.verdict for v in findings.outcomes}
    assert verdicts["small batches, flat minima"] == "holds"
    assert verdicts["deeper is smoother"] == "fails"
    assert findings.effects["adaptive_sharpness"][0].term == "batch"
    assert findings.effects["input_gradient_norm"][0].term == "depth"
    best = max(findings.predictions, key=lambda p: p.tau.value)
    assert best.measure == "input_gradient_norm"
    page = markdown(findings, "log.jsonl", "lowlands study")
    assert all(contrast.claim.statement in page for contrast in CONTRASTS)
    assert "96 runs, of which 93 reached the target loss (missed: sgd small: 3)" in page
    assert "Generated from `log.jsonl` by `lowlands study`." in page


def test_what_does_not_vary_is_no_factor(findings: Findings) -> None:
    assert findings.factors == [name for name in FACTORS if name in ("optimizer", "step", "depth", "batch", "scale")]


def test_the_same_records_give_the_same_page_and_pictures(findings: Findings, tmp_path: Path) -> None:
    page = write(findings, tmp_path / "one", "x", "y")
    again = write(analyse(study_frame(study_records())), tmp_path / "two", "x", "y")
    assert page.read_bytes() == again.read_bytes()
    linked = re.findall(r"!\[([^]]{20,})\]\((.*?)\)", page.read_text())
    assert [path for _, path in linked] == [
        f"findings/{name}.svg" for name in ("claims", "factors", "universality", "prediction")
    ]
    for _, path in linked:
        assert (page.parent / path).read_bytes() == (again.parent / path).read_bytes()
        root = ElementTree.fromstring((page.parent / path).read_text())
        assert float(root.get("width", "").removesuffix("pt")) > 300
        # A file of its own brings the colours along.
        text = (page.parent / path).read_text()
        used = set(re.findall(r"var\((--[\w-]+)\)", text))
        assert used
        assert all(f"{name}: light-dark(" in text for name in used)


def test_findings_that_cannot_be_written(findings: Findings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write(findings, tmp_path / "file", "x", "y")


def test_only_a_whole_study_is_found(tmp_path: Path) -> None:
    assert find_study(tmp_path) is None
    shipped = Path(leaderboard.__file__).parent / "baselines" / "study-small.jsonl.gz"
    lines = gzip.decompress(shipped.read_bytes()).splitlines(keepends=True)
    (tmp_path / "study-small.jsonl").write_bytes(b"".join(lines[:-1]))
    assert find_study(tmp_path) is None
    (tmp_path / "study-small.jsonl").write_bytes(b"".join(lines))
    study = find_study(tmp_path)
    assert study is not None
    assert (len(study.records), study.source) == (len(lines), "study-small.jsonl")
    assert study.command == "lowlands study --records study-small.jsonl"


def test_no_records_of_the_study() -> None:
    with pytest.raises(InputError, match="run `lowlands study` first"):
        study_frame([])


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_presets_are_ordinary_submissions_and_tasks(preset: Any) -> None:
    from suite.entries.loading import load
    from suite.tasks import find_task

    track = preset.track()
    assert len(set(track.tasks)) == len(track.tasks)
    for text in preset.submissions():
        assert len(load(text).submission.settings(4)) == 1
    for name in (track.tasks[0], track.tasks[-1]):
        assert find_task(name).name.startswith(("factorial[", "factorial_networks["))


@pytest.mark.parametrize("lacking", [{"hyperparameters": {}}, {"variant": {"depth": 1}}])
def test_a_record_without_a_factor_is_one_sentence(lacking: dict[str, object]) -> None:
    first, *others = study_records()
    with pytest.raises(InputError, match="lacks a factor of the study"):
        study_frame([first | lacking | {"task": "factorial[depth=1]"}, *others])
