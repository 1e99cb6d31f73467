"""Records of two versions of the board never share a table, and whoever shows them is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from leaderboard.analysis import baselines
from leaderboard.analysis import results as results_module
from leaderboard.analysis.comparison import compare
from leaderboard.analysis.results import Results, check, load
from leaderboard.cli import main
from suite.boards import BOARD_VERSION, BOARD_VERSIONS, age, board_version
from suite.errors import InputError
from suite.storage.log import Log, read
from suite.storage.record import run_key, seal
from tests.leaderboard.helpers import noisy

OTHER, LATER = "2998.9", "2998.10"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two later boards are published."""
    monkeypatch.setattr(results_module, "BOARD_VERSIONS", (*BOARD_VERSIONS, OTHER, LATER))


def runs(board: str | None, **scores: float) -> list[dict[str, Any]]:
    stated = {} if board is None else {"board_version": board}
    return [{**record, **stated, "track": "quick"} for record in noisy(scores, seeds=3)]


def log_of(path: Path, records: list[dict[str, Any]]) -> Path:
    log = Log(path)
    for record in records:
        log.append(seal(record))
    return path


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A log with records of the first board, which state none, and of two later ones."""
    records = [*runs(None, sgd=0.9, adam=0.5), *runs(LATER, sgd=0.2, adam=0.7, lion=0.4), *runs(OTHER, sgd=0.1)]
    return log_of(tmp_path / "quick.jsonl", records)


def test_a_record_without_a_board_is_of_the_first() -> None:
    assert board_version({}) == BOARD_VERSIONS[0]
    assert BOARD_VERSIONS[-1] == BOARD_VERSION == max(BOARD_VERSIONS, key=age)
    assert sorted([LATER, OTHER, "2026.0"], key=age) == ["2026.0", OTHER, LATER]


def test_the_newest_board_counts_and_the_others_are_named(mixed: Path) -> None:
    results = load([mixed])
    assert results.board_version == LATER
    assert results.submissions("optimizer") == {"sgd", "adam", "lion"}
    assert results.notes[0] == (
        f"The records of board {LATER} are shown; 12 of board {BOARD_VERSIONS[0]}, 6 of board {OTHER} cannot share a "
        "table with them (--board shows those)."
    )


def test_a_board_that_is_not_published_hides_nothing(tmp_path: Path) -> None:
    """A line of version 9999.1 that a submission's code appended."""
    records = [*runs(None, sgd=0.9, adam=0.5), *runs("9999.1", adam=1.0)[:1]]
    results = load([log_of(tmp_path / "quick.jsonl", records)])
    assert results.board_version == BOARD_VERSIONS[0]
    assert len(results.records) == 12
    assert "1 of board 9999.1 cannot share a table" in results.notes[0]


def test_an_older_board_is_shown_where_it_is_asked_for(mixed: Path) -> None:
    results = load([mixed], board=BOARD_VERSIONS[0])
    assert results.submissions("optimizer") == {"sgd", "adam"}
    with pytest.raises(InputError, match=r"'1999\.1'"):
        load([mixed], board="1999.1")


def test_two_boards_are_refused() -> None:
    with pytest.raises(InputError, match=f"mix boards {BOARD_VERSIONS[0]} and {OTHER}"):
        check([*runs(OTHER, sgd=0.5), *runs(None, adam=0.5)])
    with pytest.raises(InputError, match=f"BASE is of board {BOARD_VERSIONS[0]} and NEW of board {OTHER}"):
        compare(Results(runs(None, sgd=0.5)), Results(runs(OTHER, sgd=0.5)))


def test_shipped_results_of_another_board_do_not_stand_beside_yours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_of(tmp_path / "quick.jsonl", runs(LATER, sgd=0.5))
    monkeypatch.setattr(baselines, "BASELINES", tmp_path)
    joint = baselines.with_shipped(Results(runs(OTHER, mine=0.5)))
    assert joint.submissions("optimizer") == {"mine"}
    assert [note for note in joint.notes if f"mix boards {OTHER} and {LATER}" in note]


def test_a_run_of_another_board_is_another_run() -> None:
    """So a log that is resumed after an update gets all of its runs anew."""
    (old, *_), (new, *_) = runs(None, sgd=0.5), runs(BOARD_VERSION, sgd=0.5)
    hashed = {"submission_hash": "s", "task_hash": "t", "environment": {"device": "cpu"}}
    assert run_key(old | hashed) == run_key(new | hashed)
    assert run_key(old | hashed) != run_key(old | hashed | {"board_version": OTHER})


@pytest.mark.parametrize("stated", ["2026", "2026.x", "v2026.1", "", 2026.1, None])
def test_a_board_has_a_year_and_a_number(tmp_path: Path, stated: Any) -> None:
    path = log_of(tmp_path / "quick.jsonl", [record | {"board_version": stated} for record in runs(None, sgd=0.5)])
    assert len(read(path).damaged) == 6
    assert all("board_version" in why for _, why in read(path).damaged)


def call(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["table", *arguments])


def test_every_table_states_its_board(mixed: Path) -> None:
    shown = call("--results", str(mixed))
    assert shown.exit_code == 0, shown.output
    assert f"board {LATER}" in shown.output
    for view in ("ranking", "profile", "tasks"):
        (table,) = json.loads(call("--results", str(mixed), "--view", view, "--format", "json").stdout)
        assert table["title"].endswith(f", board {LATER}")
        assert {row["board_version"] for row in table["rows"]} == {LATER}
    latex = call("--results", str(mixed), "--board", OTHER, "--format", "latex")
    assert "% Lowlands: optimizers, quick track, board 2998.9" in latex.stdout.splitlines()
    csv = call("--results", str(mixed), "--board", OTHER, "--format", "csv").stdout.splitlines()
    assert csv[0].endswith(",board_version")
    assert {line.rpartition(",")[2] for line in csv[1:]} == {OTHER}


def test_an_unknown_board_is_a_sentence(mixed: Path) -> None:
    refused = call("--results", str(mixed), "--board", "2998.8")
    assert refused.exit_code == 2
    assert "2998.8" in refused.output
    assert "Traceback" not in refused.output


def test_the_documentation_has_every_board() -> None:
    headings = [
        line[3:] for line in (ROOT / "docs" / "boards.md").read_text().splitlines() if line.startswith("## Board ")
    ]
    assert headings == [f"Board {version}" for version in reversed(BOARD_VERSIONS)]
