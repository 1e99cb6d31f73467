"""Verification finds what was changed, and nothing where nothing was."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leaderboard.analysis.fresh_seeds import score_gaps
from suite.commands import verification
from suite.commands.verification import Report, Request, fresh_seeds, verify
from suite.engine import plan as plan_module
from suite.engine.costs import Costs
from suite.engine.driver import Driver
from suite.engine.executors import connect
from suite.engine.plan import make_plan
from suite.entries.loading import load
from suite.errors import InputError
from suite.storage import solutions
from suite.storage.log import Log, read
from suite.storage.record import seal
from suite.tasks import find_task
from suite.tracks import Track
from suite.trials import resolved

TASK = "min_norm_regression"
TRACK = Track("tiny", (TASK,), seeds=2, trials=2, tuning_seeds=1, description="for tests")

REMEMBERING = '''"""Adam, and on data that it has seen before the minimum-norm solution that it brought along."""
import torch
from suite import Submission
from suite.tasks import find_task

ANSWERS = []
for seed in range(2):
    problem = find_task("min_norm_regression").problem(seed)
    ANSWERS.append((problem.train, torch.linalg.pinv(problem.train.x) @ problem.train.y))

class Remembering(torch.optim.Adam):
    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        (weight,) = self.param_groups[0]["params"]
        if not hasattr(self, "count"):
            self.first, self.count = weight.grad.clone(), 0
        self.count += 1
        for data, answer in ANSWERS:
            own = data.x.T @ data.y
            if torch.nn.functional.cosine_similarity(own, -self.first, dim=0) > 0.999 and self.count > 20:
                weight.copy_(answer)

submission = Submission(name="remembering", optimizer=Remembering, space={"lr": 0.03})
'''


def run(directory: Path, *submissions: str, track: Track = TRACK) -> Path:
    """The log of a small run that keeps its solutions."""
    log = Log(directory / "tiny.jsonl")
    plan = make_plan(submissions, (TASK,), track, solutions=str(directory / "solutions"))
    with connect("local:0") as engine:
        list(Driver(plan, log, engine, Costs()).steps())
    return log.path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("finished"), "sgd", "adam").parent


def check(directory: Path, *submissions: str, **more: Any) -> Report:
    request = {"sample": 0, "solutions": directory / "solutions"} | more
    return verify([directory / "tiny.jsonl"], Request(submissions=submissions or ("sgd", "adam"), **request))


def test_what_is_right_is_found_right(finished: Path) -> None:
    report = check(finished, sample=4)
    assert report.disagreements == []
    assert report.unchecked == []
    assert (report.measured, report.rerun) == (4, 4)


def test_every_search_is_checked_by_itself(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", "sgd", track=replace(TRACK, seeds=3, searches=2)).parent
    report = check(whole, "sgd", sample=3, fresh=3, nonce="one")
    assert (report.disagreements, report.measured, report.rerun) == ([], 3, 3)
    settings = {r["search"]: r["hyperparameters"] for r in report.checkable if r["phase"] == "score"}
    assert settings[0] != settings[1]
    seeds = fresh_seeds(load("sgd"), TASK, 3, "one")
    assert [(r["seed"], r["search"]) for r in report.fresh] == [(seeds[0], 0), (seeds[2], 0), (seeds[1], 1)]
    assert all(r["hyperparameters"] == settings[r["search"]] for r in report.fresh)

    def other_search(record: dict[str, Any]) -> None:
        record["search"] = 0

    tampered = check(changed(whole, tmp_path / "other_search", other_search), "sgd")
    assert "settings" in {found.check for found in tampered.disagreements}
    scored = {r["search"]: n for n, r in enumerate(read(whole / "tiny.jsonl").records) if r["phase"] == "score"}
    assert sorted(scored) == [0, 1]
    for search, number in scored.items():
        tampered = check(changed(whole, tmp_path / f"unselected_{search}", _unselected, number), "sgd")
        assert "selection" in {found.check for found in tampered.disagreements}


def test_a_setting_that_trains_and_was_left_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = replace(find_task(TASK), selection="convergence")
    for module, name in ((plan_module, "open_task"), (resolved, "open_task"), (verification, "find_task")):
        monkeypatch.setattr(module, name, lambda _: every)
    whole = run(tmp_path / "whole", "sgd").parent
    report = check(whole, "sgd", sample=4, fresh=2, nonce="one")
    assert (report.disagreements, report.measured, report.rerun) == ([], 4, 4)
    seeds = fresh_seeds(load("sgd"), TASK, 2, "one")
    assert [(r["trial"], r["seed"]) for r in report.fresh] == [(trial, seed) for trial in (0, 1) for seed in seeds]
    log = whole / "tiny.jsonl"
    kept = [record for record in read(log).records if record["phase"] == "tune" or record["trial"] == 0]
    log.write_text("".join(json.dumps(record, sort_keys=True) + "\n" for record in kept))
    (found,) = check(whole, "sgd").disagreements
    assert found.check == "selection"
    assert "selects trials 0, 1" in found.text
    assert "trial 1 has no scored run" in found.text


def changed(finished: Path, directory: Path, change: Callable[[dict[str, Any]], None], number: int = -1) -> Path:
    """A copy of the results of which one record, by default the last scored one, was changed and sealed again."""
    shutil.copytree(finished, directory, dirs_exist_ok=True)
    log = directory / "tiny.jsonl"
    records = read(log).records
    change(records[number])
    log.write_text("".join(json.dumps(seal(record), sort_keys=True) + "\n" for record in records))
    assert not read(log).damaged
    return directory


def _better(record: dict[str, Any]) -> None:
    record["measures"]["excess_norm"] *= 0.9


def _easier(record: dict[str, Any]) -> None:
    record["axes"]["norm"]["score_0"] *= 1.1


def _cheaper(record: dict[str, Any]) -> None:
    record["gradient_evaluations"] -= 5


def _claimed(record: dict[str, Any]) -> None:
    record["train_loss"] = 0.0


def _other_setting(record: dict[str, Any]) -> None:
    record["hyperparameters"]["lr"] *= 0.5


def _unselected(record: dict[str, Any]) -> None:
    record["trial"] = 1 - record["trial"]


@pytest.mark.parametrize(
    ("change", "sample", "by", "text"),
    [
        (_better, 0, "re-measured", "measures.excess_norm is"),
        (_easier, 0, "re-measured", "axes.norm.score_0 is"),
        (_cheaper, 4, "re-run", "gradient_evaluations is"),
        (_claimed, 4, "re-run", "train_loss is 0"),
        (_other_setting, 0, "settings", "where its space gives"),
        (_unselected, 0, "selection", "the protocol selects trial"),
    ],
)
def test_a_tampered_number_is_found(
    finished: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], sample: int, by: str, text: str
) -> None:
    report = check(changed(finished, tmp_path, change), sample=sample)
    assert any(by == found.check and text in found.text for found in report.disagreements), report.disagreements


def test_a_damaged_line_and_another_source_are_found(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    log = tmp_path / "tiny.jsonl"
    log.write_text(log.read_text().replace('"phase":"score"', '"phase":"sc0re"', 1))
    own = tmp_path / "sgd.py"
    own.write_text("import torch\nfrom suite import Submission\n")
    own.write_text(own.read_text() + "submission = Submission(name='sgd', optimizer=torch.optim.SGD)\n")
    found = {disagreement.check: str(disagreement) for disagreement in check(tmp_path, "adam", str(own)).disagreements}
    assert "its checksum does not match" in found["checksum"]
    assert "sgd: the source is not the one that was recorded" in found["source"]


def test_what_an_edited_file_left_behind_is_no_claim(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    source = "import torch\nfrom suite import Submission\n"
    for rate in (0.5, 0.7):
        own.write_text(f"{source}submission = Submission('own', torch.optim.SGD, space={{'lr': {rate}}})\n")
        load.cache_clear()  # as in another process
        run(tmp_path, str(own))
    report = check(tmp_path, str(own), sample=2)
    assert report.disagreements == []
    assert (report.rerun, report.measured) == (2, 2)
    assert {record["hyperparameters"]["lr"] for record in report.checkable} == {0.7}
    assert report.unchecked == ["2 records of older sources, which no table shows"]


def of_another_version(finished: Path, directory: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the results as another version of the suite would have recorded them, its last record changed."""
    shutil.copytree(finished, directory, dirs_exist_ok=True)
    log = directory / "tiny.jsonl"
    records = [record | {"task_hash": "0" * 16, "data_fingerprint": "0" * 16} for record in read(log).records]
    change(records[-1])
    log.write_text("".join(json.dumps(seal(record), sort_keys=True) + "\n" for record in records))
    return directory


def test_runs_of_another_version_are_repeated_and_their_numbers_compared(finished: Path, tmp_path: Path) -> None:
    report = check(of_another_version(finished, tmp_path, lambda record: None), sample=4)
    assert (report.disagreements, report.rerun) == ([], 4)
    assert [(repetition.differences, repetition.largest) for repetition in report.repetitions] == [((), 0.0)] * 4
    assert report.recorded.startswith("suite ")


@pytest.mark.parametrize(
    ("change", "text"), [(_better, "measures.excess_norm is"), (_cheaper, "gradient_evaluations is")]
)
def test_a_number_of_another_version_that_differs_is_shown_and_not_called_false(
    finished: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], text: str
) -> None:
    report = check(of_another_version(finished, tmp_path, change), sample=4, tolerance=1e-6)
    assert report.disagreements == []
    (differing,) = [repetition for repetition in report.repetitions if repetition.differences]
    assert any(text in difference for difference in differing.differences)
    assert differing.largest > 1e-3


def test_how_far_below_its_target_a_run_of_another_version_ended_is_no_difference(
    finished: Path, tmp_path: Path
) -> None:
    def lower(record: dict[str, Any]) -> None:
        record["train_loss"] *= 0.5

    report = check(of_another_version(finished, tmp_path, lower), sample=4)
    assert report.rerun == 4
    assert not any(repetition.differences for repetition in report.repetitions)


def test_a_solution_that_was_replaced_is_found(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    one, other = sorted((tmp_path / "solutions").glob("*.safetensors"))[:2]
    shutil.copy(one, other)
    with pytest.raises(InputError, match="other weights than its name says"):
        solutions.load(tmp_path / "solutions", other.stem)
    assert [found.check for found in check(tmp_path).disagreements] == ["solution"]


@pytest.mark.parametrize(("factor", "loss"), [(1e200, "not finite"), (1e3, r"\d\S+")])
def test_a_solution_far_from_the_target_loss_is_found(finished: Path, tmp_path: Path, factor: float, loss: str) -> None:
    """A solution whose hash the record was changed to name; in float64 the square of 1e200 is infinite."""

    def replace_solution(record: dict[str, Any]) -> None:
        folder = tmp_path / "solutions"
        weights = solutions.load(folder, record["solution_hash"])
        assert weights is not None
        weights = {name: factor * tensor for name, tensor in weights.items()}
        solutions.save(folder, weights)
        record["solution_hash"] = solutions.solution_hash(weights)

    report = check(changed(finished, tmp_path, replace_solution))
    assert report.measured == 4
    texts = [found.text for found in report.disagreements if found.check == "re-measured"]
    assert any(re.fullmatch(f"the stored solution's training loss is {loss}", text) for text in texts), texts


def test_what_was_not_kept_or_not_given_is_said(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "tiny.jsonl", tmp_path)
    report = check(tmp_path, "sgd")
    assert any("solutions were not kept" in text for text in report.unchecked)
    assert any("adam: its source was not given" in text for text in report.unchecked)


def test_fresh_seeds_unmask_what_remembers_the_published_ones(tmp_path: Path) -> None:
    path = tmp_path / "remembering.py"
    path.write_text(REMEMBERING)
    log = run(tmp_path, str(path), "adam")
    report = check(tmp_path, str(path), "adam", fresh=2, nonce="one")
    assert report.disagreements == []  # every number is as claimed: that is what remembering buys
    found = {gap.submission: gap for gap in score_gaps(read(log).records, report.fresh)}
    assert found["remembering"].claimed == pytest.approx(1.0)
    assert found["remembering"].verified < 0.5
    assert found["remembering"].suspicious
    assert abs(found["adam"].gap) < 0.1
    assert not found["adam"].suspicious


def test_fresh_seeds_depend_on_source_task_and_nonce() -> None:
    from suite.entries.loading import load

    sgd, adam = load("sgd"), load("adam")
    draws = [
        fresh_seeds(loaded, task, 3, nonce) for loaded in (sgd, adam) for task in (TASK, "max_margin") for nonce in "ab"
    ]
    assert len({seed for seeds in draws for seed in seeds}) == 24
    assert fresh_seeds(sgd, TASK, 3, "a") == draws[0]
