"""`lowlands verify`: which runs are drawn, and the report that is shipped and shown."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from leaderboard.analysis import baselines
from leaderboard.analysis.baselines import BASELINES, shipped_verifications
from leaderboard.analysis.results import Results
from leaderboard.cli import main
from leaderboard.site import publish
from leaderboard.tables.reports import log_digest, verification_text
from suite.commands.verification import Request, _drawn
from tests.leaderboard.helpers import whole_run

ITEMS = [("rare", number) for number in range(4)] + [("common", number) for number in range(196)]


def _tasks(**request: Any) -> Counter[str]:
    chosen = Request(submissions=(), **request)
    drawn = _drawn(ITEMS, chosen, lambda item: item[0], chosen.per_task)
    assert len(set(drawn)) == len(drawn)
    return Counter(task for task, _ in drawn)


def test_a_share_is_rounded_up_and_a_sample_is_the_least() -> None:
    assert _tasks(sample=0, share=0.02).total() == 4
    assert _tasks(sample=0, share=0.021).total() == 5
    assert _tasks(sample=30, share=0.02).total() == 30
    assert _tasks(sample=1_000).total() == len(ITEMS)


def test_every_task_has_its_runs_or_all_that_there_are() -> None:
    assert _tasks(sample=0, per_task=10) == {"rare": 4, "common": 10}
    both = _tasks(sample=50, per_task=10)
    assert both["rare"] == 4
    assert 46 <= both["common"] <= 50


def test_another_seed_draws_other_runs() -> None:
    draws = [_drawn(ITEMS, Request((), 20, seed=seed), lambda item: item[0], 0) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    directory = tmp_path_factory.mktemp("verified")
    track = [
        "--track",
        "smoke",
        "--task",
        "min_norm_regression",
        "--seeds",
        "2",
        "--trials",
        "1",
        "--engine",
        "local:0",
    ]
    assert CliRunner().invoke(main, ["run", "sgd", *track, "--results", str(directory)]).exit_code == 0
    file = directory / "smoke.json"
    arguments = ["verify", str(directory / "smoke.jsonl"), "--runs-per-task", "1", "--report", str(file)]
    return file, CliRunner().invoke(main, arguments).exit_code


def test_the_report_states_the_log_the_machine_and_what_was_repeated(report: tuple[Path, int]) -> None:
    file, status = report
    summary = json.loads(file.read_text())
    assert (status, summary["passed"], summary["disagreements"]) == (0, True, [])
    assert (summary["rerun"], summary["request"]["per_task"]) == (1, 1)
    assert summary["logs"] == {"smoke.jsonl": log_digest(file.parent / "smoke.jsonl")}
    assert summary["environment"]["device"] == "cpu"
    text = file.with_suffix(".md").read_text()
    assert text == verification_text(summary)
    assert "1 scored runs repeated" in text
    assert text.endswith("Everything agrees.\n")
    wrong = verification_text(summary | {"passed": False, "disagreements": ["sgd: <b>loss</b>"]})
    assert "- sgd: \\<b>loss\\</b>" in wrong
    assert wrong.endswith("Not everything agrees.\n")


def test_a_compressed_log_has_the_digest_of_its_text(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("{}\n")
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(b"{}\n", mtime=1))
    assert log_digest(tmp_path / "log.jsonl") == log_digest(tmp_path / "log.jsonl.gz")


def test_shipped_reports_stand_on_the_page_on_trust_of_their_track(
    report: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "verification").mkdir()
    for name in ("quick-torch-2-7", "full"):
        (tmp_path / "verification" / f"{name}.json").write_text(report[0].read_text())
    monkeypatch.setattr(baselines, "BASELINES", tmp_path)
    assert list(shipped_verifications("quick")) == ["quick-torch-2-7"]
    publish(Results([record | {"track": "quick"} for record in whole_run(3, 3, 3).records]), tmp_path / "site")
    (file,) = (tmp_path / "site" / "data").glob("verification-*.json")
    assert json.loads(file.read_text()) == json.loads(report[0].read_text())
    page = (tmp_path / "site" / "trust.html").read_text()
    assert f'<a href="data/{file.name}">The report</a>' in page
    assert page.count("scored runs and") == 1


@pytest.mark.parametrize("file", ["report.txt", "nowhere/report.json"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(file: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(tmp_path), "--report", str(tmp_path / file)])
    assert result.exit_code == 2
    assert "The report must be FILE.json in a directory that exists" in result.stderr


@pytest.mark.parametrize("file", sorted((BASELINES / "verification").glob("*.json")), ids=lambda file: str(file.stem))
def test_shipped_reports_are_of_the_logs_that_are_shipped(file: Path) -> None:
    """If one is not, its log was changed: write the report anew by the command that docs/boards.md names."""
    for name, digest in json.loads(file.read_text())["logs"].items():
        (log,) = BASELINES.glob(f"{name.removesuffix('.gz')}*")
        assert log_digest(log) == digest
