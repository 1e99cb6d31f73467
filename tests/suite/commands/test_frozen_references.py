"""The frozen references of the suite's own tasks: what is made of the runs, and what of them is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from leaderboard.cli import main
from suite.commands.frozen_references import (
    FIRST_SEED,
    SCORE_0,
    Progress,
    reference_runs,
    references_of,
    training_share,
    write_references,
)
from suite.errors import InputError
from suite.tasks.images_adversarial_init import ADVERSARIAL_INITS

START = {"canonical_sharpness": 0.9, "input_margin": 0.1, "test_error": 0.3}
FLAT = {"canonical_sharpness": 0.1, "input_margin": 1.0, "test_error": 0.2}
WIDE = {"canonical_sharpness": 0.2, "input_margin": 2.0, "test_error": 0.1}


def test_an_image_task_scores_1_at_the_best_mean_of_each_measure_and_0_at_the_adversarial_start() -> None:
    entry = references_of("mnist5k_mlp", {SCORE_0: START, "flat": FLAT, "wide": WIDE, "slow": None}, 3)
    assert entry["axes"] == {
        "canonical_sharpness": {"score_0": 0.9, "score_1": 0.1, "score_1_run": "flat"},
        "input_margin": {"score_0": 0.1, "score_1": 2.0, "score_1_run": "wide"},
        "test_error": {"score_0": 0.3, "score_1": 0.1, "score_1_run": "wide"},
    }
    assert entry["seeds"] == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]


def test_the_language_task_scores_0_at_the_worst_mean() -> None:
    good = {"canonical_sharpness": 0.1, "context_sensitivity": 3.0, "excess_bits": 0.4}
    bad = {"canonical_sharpness": 0.3, "context_sensitivity": 2.0, "excess_bits": 0.7}
    axes = references_of("tiny_lm", {"good": good, "bad": bad}, 1)["axes"]
    assert axes["canonical_sharpness"] == {"score_0": 0.3, "score_1": 0.1, "score_1_run": "good"}
    assert axes["context_sensitivity"] == {"score_0": 3.0, "score_1": 2.0, "score_1_run": "bad"}


@pytest.mark.parametrize(
    "means", [{SCORE_0: None, "flat": FLAT, "wide": WIDE}, {SCORE_0: START, "flat": None}, {"flat": FLAT}]
)
def test_runs_that_missed_the_target_loss_make_no_references(means: dict[str, dict[str, float] | None]) -> None:
    with pytest.raises(InputError, match=r"^mnist5k_mlp: .* reached the target loss"):
        references_of("mnist5k_mlp", means, 3)


def test_finished_runs_are_kept_and_those_of_other_seeds_made_again(tmp_path: Path) -> None:
    path = tmp_path / "references" / "frozen.jsonl"
    first, second, *_ = reference_runs(["mnist5k_mlp"])
    Progress(path, 3).add(first, START)
    resumed = Progress(path, 3)
    assert (resumed.has(first), resumed.has(second), resumed.outdated) == (True, False, 0)
    resumed.add(second, None)
    assert Progress(path, 3).means("mnist5k_mlp") == {first.label: START, second.label: None}
    other = Progress(path, 4)
    assert (other.has(first), other.outdated) == (False, 2)


def test_entries_of_other_tasks_stay(tmp_path: Path) -> None:
    path = tmp_path / "references.json"
    write_references(path, {"one": {"seeds": [1]}, "two": {"seeds": [1]}})
    write_references(path, {"two": {"seeds": [2]}})
    assert json.loads(path.read_text()) == {"one": {"seeds": [1]}, "two": {"seeds": [2]}}


def test_all_are_those_of_the_image_tasks_and_the_language_task() -> None:
    runs = reference_runs()
    assert {run.task for run in runs} == {*ADVERSARIAL_INITS, "tiny_lm"}
    assert [run.task for run in runs if run.adversarial] == list(ADVERSARIAL_INITS)
    start, *others = reference_runs(["mnist5k_mlp"])
    assert training_share(start) > 1  # sixty epochs of three times the data come before it
    assert {training_share(run) for run in others} == {1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a TASK of your own, or give --all"),
        (["mine.py:line", "--all"], "Name a TASK of your own, or give --all"),
        (["mine.py:line", "--only", "mnist_mlp"], "--only and --file belong to --all"),
        (["--all", "--only", "max_margin", "--engine", "local:0"], "max_margin has no frozen references"),
        (["--axes-of", "nowhere.jsonl"], "There is no log nowhere.jsonl"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["references", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_dry_run_says_what_is_left_and_writes_nothing(tmp_path: Path) -> None:
    arguments = ["references", "--all", "--only", "mnist5k_mlp", "--dry-run", "--engine", "local:0"]
    result = CliRunner().invoke(main, [*arguments, "--results", str(tmp_path), "--file", str(tmp_path / "file.json")])
    assert result.exit_code == 0, result.output
    assert "6 of 6 reference runs are left" in result.output
    assert list(tmp_path.iterdir()) == []
