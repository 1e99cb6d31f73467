"""The commands that show results."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner, Result

from leaderboard.analysis import baselines, results
from leaderboard.analysis.baselines import BASELINES
from leaderboard.cli import main
from leaderboard.commands import kept
from leaderboard.commands.console import BYTES, SECONDS, Quantity
from suite.boards import BOARD_VERSION
from suite.storage import cache
from suite.storage.log import Log, read
from suite.storage.record import seal
from suite.tracks import TRACKS
from tests.leaderboard.helpers import noisy

ROOT = Path(__file__).resolve().parents[3]


def lowlands(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _write(directory: Path, loss: float = 0.0) -> Path:
    log = Log(directory / "quick.jsonl")
    for record in noisy({"sgd": 0.7 - loss, "adam": 0.5}):
        log.append(record | {"track": "quick"})
    return directory


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return _write(tmp_path / "base")


def test_compare_with_itself_exits_0(base: Path) -> None:
    result = lowlands("compare", base, base)
    assert result.exit_code == 0, result.output
    assert "no regressions" in result.output


def test_compare_with_a_worse_one_exits_1_and_writes_reports(base: Path, tmp_path: Path) -> None:
    worse = _write(tmp_path / "worse", loss=0.1)
    summary, xml = tmp_path / "summary.md", tmp_path / "junit.xml"
    result = lowlands("compare", base, worse / "quick.jsonl", "--markdown", summary, "--junit", xml)
    assert result.exit_code == 1, result.output
    assert summary.read_text().startswith("### Lowlands: 7 regressions")
    assert len(ElementTree.parse(xml).getroot().findall(".//failure")) == 7
    assert lowlands("compare", base, worse, "--tolerance", "0.2").exit_code == 0
    assert json.loads(lowlands("compare", base, worse, "--json").stdout)["regressions"] == 7


def test_mistakes_of_compare_exit_2(base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, sentence in (
        ((base, tmp_path / "nowhere"), "There are no results"),
        ((base, tmp_path / "empty"), "There are no results"),
        ((base, base, "--markdown", tmp_path / "no" / "summary.md"), "cannot be written"),
        ((base, base, "--tolerance", "-1"), "Invalid value for '--tolerance'"),
    ):
        result = lowlands("compare", *arguments)
        assert result.exit_code == 2
        assert sentence in result.output


def test_a_table_of_one_task(base: Path) -> None:
    result = lowlands("table", "--results", base, "--task", "a1", "--view", "tasks", "--format", "json")
    assert result.exit_code == 0, result.output
    (table,) = json.loads(result.output)
    assert {row["task"] for row in table["rows"]} == {"a1"}
    wrong = lowlands("table", "--results", base, "--task", "c9")
    assert wrong.exit_code == 2
    assert "no task 'c9': there are a1, b1." in wrong.output


def test_what_was_printed_of_shipped_results_is_printed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reading a record, until the log, the code or an option changes; never of one's own results."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shipped = tmp_path / "shipped"
    log = _write(shipped) / "quick.jsonl"
    monkeypatch.setattr(baselines, "BASELINES", shipped)
    reads: list[Path] = []
    monkeypatch.setattr(results, "read", lambda path: (reads.append(path), read(path))[1])
    monkeypatch.setattr(cache, "MIN_SECONDS", 0)

    def shown(*arguments: str | Path) -> tuple[str, int]:
        before = len(reads)
        result = lowlands("table", *arguments)
        assert result.exit_code == 0, result.output
        return result.output, len(reads) - before

    own = shown("--results", log)
    first, again = shown(), shown()
    assert (first, again) == (own, (own[0], 0))
    assert shown("--results", log) == own
    as_json = shown("--format", "json")
    assert shown("--format", "json") == (as_json[0], 0)
    assert json.loads(as_json[0])
    for record in noisy({"zebra": 0.9}):
        Log(log).append(record | {"track": "quick"})
    changed, count = shown()
    assert count == 1
    assert ("zebra" in changed, "zebra" in own[0]) == (True, False)
    monkeypatch.setattr(kept, "_files", lambda: [("code.py", 1, 1)])
    assert shown() == (changed, 1), "computed by other code"
    log.write_bytes(log.read_bytes() + b"{}\n")
    with_note, count = shown()
    assert count == 1
    assert "is damaged" in with_note
    assert shown() == (with_note, 0), "what is wrong with the log is said again"
    for file in (tmp_path / "cache" / "lowlands" / "tables").iterdir():
        file.write_bytes(b"damaged")
    assert shown() == (with_note, 1)


def test_two_kinds_make_one_document() -> None:
    """With the shipped records of quick, which hold both kinds."""
    page = lowlands("table", "--format", "json")
    assert [table["title"] for table in json.loads(page.output)] == [
        f"Lowlands: {kind}, quick track, board {BOARD_VERSION}" for kind in ("optimizers", "architectures")
    ]
    first, second = lowlands("table", "--format", "markdown").output.strip().split("\n\n")
    assert "| sgd " in first
    assert "| mlp " in second
    both = lowlands("table", "--format", "csv")
    assert both.exit_code == 2
    assert "A CSV file holds one table, and here are 2: choose a kind with --kind." in both.output
    one = lowlands("table", "--format", "csv", "--kind", "architectures").output.splitlines()
    assert len({line.count(",") for line in one}) == 1


def test_compare_names_damaged_lines(base: Path, tmp_path: Path) -> None:
    damaged = _write(tmp_path / "damaged") / "quick.jsonl"
    first, _, rest = damaged.read_text().partition("\n")
    damaged.write_text(f"{first[:-9]}\n{rest}")
    result = lowlands("compare", base, damaged)
    assert result.exit_code == 0, result.output
    assert "line 1 is damaged (not JSON)" in result.output


def test_an_empty_table_says_so() -> None:
    result = lowlands("table", "--kind", "optimizer", "--filter", "submission=nobody[lr=1]")
    assert result.exit_code == 0
    assert "No row of the optimizers meets submission=nobody[lr=1]." in result.output


def test_agreement_of_two_tracks(tmp_path: Path) -> None:
    for track in ("quick", "full"):
        log = Log(tmp_path / f"{track}.jsonl")
        for record in noisy({"sgd": 0.3, "adam": 0.5, "sam": 0.7}):
            log.append(record | {"track": track})
    result = lowlands("agreement", "--results", tmp_path)
    assert result.exit_code == 0, result.output
    assert "optimizers: Kendall's tau 1.00" in result.output
    assert "over 3 submissions (2 tasks of quick, 2 of full)" in result.output
    nothing = lowlands("agreement", "--results", tmp_path, "--other-tasks")
    assert "has no task that distinguishes them" in nothing.output
    joined = lowlands("agreement", "--results", tmp_path, "--tracks", "quick,quick+full")
    assert joined.exit_code == 0, joined.output
    assert "of quick+full)" in joined.output
    assert lowlands("agreement", "--results", tmp_path, "--tracks", "quick").exit_code == 2


def test_publish_writes_a_site_and_leaves_other_folders_alone(base: Path, tmp_path: Path) -> None:
    result = lowlands("publish", tmp_path / "site", "--results", base)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "site" / "index.html").is_file()
    refused = lowlands("publish", base, "--results", base)
    assert refused.exit_code == 2
    assert "not a site of this command" in refused.output


@pytest.mark.parametrize("command", ["table", "compare", "publish", "agreement"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example: lowlands {command}" in lowlands(command, "--help").output


def test_nothing_that_shows_results_imports_torch() -> None:
    code = (
        "import sys; from leaderboard.cli import main\n"
        "main(['table'], standalone_mode=False)\nassert 'scipy.stats' not in sys.modules\n"
        f"main(['compare', *[{str(BASELINES)!r}] * 2], standalone_mode=False)\n"  # whose tests are scipy's
        "assert not {'torch', 'matplotlib', 'jinja2'} & set(sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted(main.commands))
def test_the_example_of_every_help_is_a_line_that_the_command_takes(name: str) -> None:
    """Its options exist and have values of their types; files and directories of the example need not exist."""
    command = main.commands[name]
    (example,) = re.findall(r"^ *Example: (lowlands .*)$", command.help or "", re.MULTILINE)
    program, called, *arguments = shlex.split(example)
    assert (program, called) == ("lowlands", name)
    parameters = [parameter for parameter in command.params if isinstance(parameter.type, click.Path)]
    existence = [parameter.type.exists for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.type.exists = False
        command.make_context(name, arguments)
    finally:
        for parameter, exists in zip(parameters, existence, strict=True):
            parameter.type.exists = exists


def test_tracks_are_named_by_the_help() -> None:
    words = lowlands("run", "--help").output
    assert all(name in words for name in TRACKS)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SECONDS, "90s", 90.0),
        (SECONDS, "1.5 H", 5400.0),
        (BYTES, "4GB", 4 * 10**9),
        (BYTES, "0.5KiB", 512),
    ],
)
def test_quantities(kind: Quantity, text: str, value: float) -> None:
    converted = kind.convert(text, None, None)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize("text", ["", "90", "s", "0s", "-1s", "90 parsecs", "1e3s"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a number with a unit, such as 90s or 8h"):
        SECONDS.convert(text, None, None)


def test_a_reader_that_stops_reading_ends_the_command_quietly() -> None:
    """As in ``lowlands table | head -1``."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "leaderboard", "table", "--format", "csv", "--kind", "optimizer"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert result.returncode == 1
    assert result.stderr == ""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the log of a submission of one's own, which found what SGD finds."""
    folder = tmp_path_factory.mktemp("mine")
    records = [record for record in read(BASELINES / "smoke.jsonl").records if record["submission"] == "sgd"]
    lines = [json.dumps(seal(record | {"submission": "mine"}), sort_keys=True) for record in records]
    (folder / "smoke.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_own_and_shipped_share_every_table(mine: Path) -> None:
    options = ("--results", str(mine), "--with", "shipped", "--kind", "optimizer", "--format", "json")
    for view in ("ranking", "why", "separation", "tuning"):
        result = lowlands("table", *options, "--view", view)
        assert result.exit_code == 0, result.output
        (table,) = json.loads(result.stdout)
        if view != "tuning":  # which has rows on image tasks alone
            assert {"mine", "adam"} <= {row["submission"] for row in table["rows"]}, view
        assert "not run here" in table["notes"][-1]
        assert "mine" not in table["notes"][-1]
    alone = json.loads(lowlands("table", *options[:2], *options[4:]).stdout)
    assert [row["submission"] for row in alone[0]["rows"]] == ["mine"]


def test_every_submission_against_one(mine: Path) -> None:
    options = ("--results", str(mine), "--with", "shipped", "--kind", "optimizer", "--format", "json")
    (why,) = json.loads(lowlands("table", *options, "--view", "why", "--against", "adam").stdout)
    assert {row["against"] for row in why["rows"]} == {"adam"}
    assert "adam" not in {row["submission"] for row in why["rows"]}
    points = sum(row["points"] for row in why["rows"] if row["submission"] == "mine")
    (ranking,) = json.loads(lowlands("table", *options).stdout)
    overall = {row["submission"]: row["overall"]["value"] for row in ranking["rows"]}
    assert points == pytest.approx(overall["mine"] - overall["adam"])
    (separation,) = json.loads(lowlands("table", *options, "--view", "separation", "--against", "adam").stdout)
    pairs = [{row["submission"], row["next"]} for row in separation["rows"]]
    assert pairs == [{name, "adam"} for name in overall if name != "adam"]
    for view, name, sentence in (("why", "adm", "did you mean 'adam'"), ("tasks", "adam", "compares with nobody")):
        result = lowlands("table", *options, "--view", view, "--against", name)
        assert result.exit_code == 2
        assert sentence in result.output


def test_a_folder_with_one_log_needs_no_track_and_one_with_several_names_them(mine: Path) -> None:
    assert "mine" in lowlands("table", "--results", str(mine)).output
    result = lowlands("table", "--results", str(BASELINES))
    assert result.exit_code == 2
    assert "full, quick, smoke, theory" in result.output
