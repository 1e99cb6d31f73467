"""The ledger: shipped verdicts do not change unnoticed, and each entry says what it rests on and how to repeat it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from leaderboard.analysis.baselines import BASELINES
from leaderboard.analysis.results import Results
from leaderboard.analysis.verdicts import Verdict
from leaderboard.cli import main
from leaderboard.ledger import pages
from leaderboard.ledger.entries import Entry, claims, entries, shipped_results
from suite.entries.loading import builtin_files
from suite.predictions import Basis, Claim, Method, Prediction, Relation
from suite.storage.record import seal
from suite.tracks import find_track
from tests.leaderboard.helpers import record

ROOT = Path(__file__).parents[3]
EXPECTED = BASELINES / "claims.json"


@pytest.fixture(scope="module")
def shipped() -> list[Entry]:
    return entries(shipped_results())


def test_no_shipped_claim_changes_its_verdict(shipped: list[Entry]) -> None:
    """If this should: ``lowlands claims --format verdicts > leaderboard/baselines/claims.json``, and say why."""
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    found = pages.outcomes(shipped)
    assert {name: found.get(name) for name in expected} == expected
    assert list(found) == list(expected)


def test_the_page_is_the_ledgers(shipped: list[Entry]) -> None:
    """If this fails: ``lowlands claims --format markdown > docs/claims.md``."""
    assert (ROOT / "docs" / "claims.md").read_text(encoding="utf-8") == pages.page(shipped)


def test_there_are_as_many_claims_as_were_asked_for(shipped: list[Entry]) -> None:
    """Thirty of theory and as many of what others observed as there are records of, in names that nobody has twice."""
    measured = [entry for entry in shipped if entry.measured]
    assert sum(entry.claim.basis is Basis.THEOREM for entry in measured) >= 30
    assert sum(entry.claim.basis is Basis.OBSERVATION for entry in measured) >= 20
    assert len({entry.claim.name for entry in shipped}) == len({entry.claim for entry in shipped}) == len(claims())


def test_a_verdict_is_that_of_what_it_rests_on(shipped: list[Entry]) -> None:
    for entry in shipped:
        verdicts = {each.comparison.verdict for each in entry.measured if each.comparison is not None}
        match entry.ruling.verdict:
            case Verdict.NOT_MEASURED:
                assert not verdicts
            case Verdict.HOLDS | Verdict.FAILS as verdict:
                assert verdicts == {verdict}
            case _:
                assert len(verdicts) > 1 or verdicts <= {Verdict.UNDECIDED, Verdict.DEPENDS}


def test_commands_can_be_typed(shipped: list[Entry]) -> None:
    for entry in shipped:
        *made, judged = [shlex.split(command)[1:] for command in entry.commands]
        assert judged == ["claims", entry.claim.name, "--results", "results"]
        for name, *words in made:
            with main.commands[name].make_context(name, list(words)) as context:
                if name == "run":
                    assert set(context.params["submissions"]) <= set(builtin_files())
                    track = find_track(context.params["track_name"])
                    assert set(context.params["tasks"]) <= set(track.tasks), entry.claim.name
                    assert context.params["tasks"]


def _run(submission: str, seed: int, value: float, **more: Any) -> dict[str, Any]:
    return record(submission, "a", seed, 0.0) | {"measures": {"m": value}} | more


CLAIM = Claim("it-is-small", "It is small.", "Nobody 2025, arXiv:2501.00000")
SMALL = Prediction("a", (Method.ADAM,), "m", Relation.AT_MOST, 1.0, 0.0, CLAIM)


def _entry(*logs: list[dict[str, Any]]) -> Entry:
    (entry,) = (each for each in entries([Results(log) for log in logs], (SMALL,)) if each.claim == CLAIM)
    return entry


def test_the_log_with_most_seeds_counts_and_none_are_mixed() -> None:
    few, many = ([_run("adam", seed, value + seed / 100) for seed in range(n)] for value, n in ((5.0, 3), (0.5, 4)))
    entry = _entry(few, many)
    assert (entry.ruling.verdict, [each.count for each in entry.evidence]) == (Verdict.HOLDS, ["4/4"])
    assert _entry(few, many[:3]).ruling.verdict is Verdict.FAILS  # of equal ones the first


def test_what_was_not_run_is_not_measured() -> None:
    entry = _entry([_run("sgd", seed, 0.5) for seed in range(3)])
    (evidence,) = entry.evidence
    assert (entry.ruling.verdict, evidence.verdict, evidence.submission) == (
        Verdict.NOT_MEASURED,
        "not measured",
        "adam",
    )
    assert entry.commands[0] == "lowlands run adam --track full --task a --seeds 10"


def test_a_changed_verdict_is_named(tmp_path: Path) -> None:
    """Planted: gradient descent that leaves the row space."""
    runs = [
        record(name, "min_norm_regression", seed, 0.0) | {"measures": {"excess_norm": value + seed / 1_000}}
        for name, value in (("sgd", 0.001), ("adam", 0.5))
        for seed in range(4)
    ]
    expected = tmp_path / "expected.json"
    for name, changes, status in (("right", {}, 0), ("planted", {"sgd": 0.3}, 1)):
        log = tmp_path / f"{name}.jsonl"
        planted = [
            run | {"measures": {"excess_norm": changes.get(run["submission"], 0.0) or run["measures"]["excess_norm"]}}
            for run in runs
        ]
        log.write_text("".join(json.dumps(seal(run)) + "\n" for run in planted))
        asked = ["claims", "min-norm-span", "entrywise-leave-span", "--results", str(log)]
        if not expected.exists():
            expected.write_text(CliRunner().invoke(main, [*asked, "--format", "verdicts"]).stdout)
        result = CliRunner().invoke(main, [*asked, "--expect", str(expected)])
        assert result.exit_code == status, result.output
        assert ("min-norm-span: fails, and holds was expected." in result.stderr) == bool(changes)
        assert "entrywise" not in result.stderr


def test_a_claim_of_ones_own_takes_ten_lines() -> None:
    """The example of CONTRIBUTING.md, as it stands there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Claim(" in block]
    assert len(block.strip().splitlines()) <= 10
    names: dict[str, Any] = {}
    exec(block, names)
    (prediction,) = (value for value in names.values() if isinstance(value, Prediction))
    found = [each for each in entries(shipped_results()[1:2], (prediction,)) if each.claim == prediction.claim]
    assert [str(each.ruling) for each in found] == ["holds"]


def test_every_headline_is_an_entry(shipped: list[Entry]) -> None:
    """What README says that the study found, and what docs/findings.md says of the claims."""
    names = {entry.claim.name for entry in shipped}
    section = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("## What the study found")[2].partition("## ")[0]
    )
    headlines = section.split("\n- ")[1:]
    assert len(headlines) >= 9
    for headline in headlines:
        linked = re.findall(r"\(docs/claims\.md#([\w-]+)\)", headline)
        assert linked, headline
        assert set(linked) <= names
    findings = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8").partition("### ")[0]
    stated = re.findall(r"^\| (\S.+?\.) +\| \*\*(.+?)\*\* +\|", findings, re.MULTILINE)
    of_study = {
        entry.claim.statement: [each.verdict for each in entry.evidence if each.task == "factorial"]
        for entry in shipped
    }
    assert len(stated) == 8
    for statement, verdict in stated:
        assert verdict in of_study[statement], statement


def test_json_holds_all_of_it(shipped: list[Entry]) -> None:
    data = json.loads(pages.as_json(shipped), parse_constant=lambda name: pytest.fail(name))
    assert [each["name"] for each in data] == [entry.claim.name for entry in shipped]
    for each, entry in zip(data, shipped, strict=True):
        assert len(each["evidence"]) == len(entry.evidence) > 0
        assert (each["verdict"], each["commands"]) == (str(entry.ruling.verdict), list(entry.commands))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["min-norm-spam"], "did you mean 'min-norm-span'?"),
        (["--results", "nowhere"], "There are no results at nowhere."),
        (["min-norm-span", "--expect", "nowhere.json"], "cannot be read from nowhere.json"),
        (["min-norm-span", "--expect", "words.json"], "are not JSON"),
        (["min-norm-span", "--expect", "list.json"], "are no object"),
        (["--expect", "other.json"], "There is no claim 'min-norm-spam': did you mean 'min-norm-span'?"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("leaderboard.ledger.entries.shipped_results", lambda: [Results([])])
    Path("words.json").write_text("holds")
    Path("list.json").write_text("[]")
    Path("other.json").write_text('{"min-norm-spam": "holds"}')
    result = CliRunner().invoke(main, ["claims", *arguments])
    assert result.exit_code == 2
    assert not result.stdout
    assert message in " ".join(result.output.split())


def test_the_terminal_shows_counts_and_what_one_claim_rests_on(
    shipped: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leaderboard.ledger.entries.shipped_results", lambda: [Results([])])
    monkeypatch.setattr("leaderboard.ledger.entries.entries", lambda results: shipped)
    shown = CliRunner().invoke(main, ["claims", "--verdict", "not measured"]).output
    assert "bad-start-decay" in shown
    assert "min-norm-span" not in shown
    shown = CliRunner().invoke(main, ["claims", "edge"]).output
    assert "holds: Sharpness rises to 2 over the step size" in shown
    assert "lowlands run sgd --track theory --task edge_of_stability --seeds 10" in shown


def test_lines_that_are_no_records_are_said(tmp_path: Path) -> None:
    log = tmp_path / "quick.jsonl"
    log.write_text("words\n")
    result = CliRunner().invoke(main, ["claims", "min-norm-span", "--results", str(log)])
    assert result.exit_code == 0
    assert f"{log}: line 1 is damaged" in result.stderr
