"""The committed findings are what the shipped records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboard.study.findings import analyse
from leaderboard.study.frame import study_frame
from leaderboard.study.preregistered import CONTRASTS
from leaderboard.study.report import markdown
from suite.storage.log import read
from suite.study_design import find_preset

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "leaderboard" / "baselines" / "study-small.jsonl.gz"
PAGE = ROOT / "docs" / "findings.md"


def test_the_page_names_every_claim_and_the_shipped_records_are_whole() -> None:
    result = read(SHIPPED)
    assert not result.damaged
    preset = find_preset("small")
    assert len(result.records) == len(preset.submissions()) * len(preset.track().tasks) * preset.seeds
    page = PAGE.read_text(encoding="utf-8")
    assert all(contrast.claim.statement in page for contrast in CONTRASTS)


@pytest.mark.slow
def test_the_page_is_made_from_the_shipped_records() -> None:
    findings = analyse(study_frame(read(SHIPPED).records))
    command = f"lowlands study --records {SHIPPED.relative_to(ROOT)}"
    assert markdown(findings, SHIPPED.name, command) == PAGE.read_text(encoding="utf-8")
