"""The predictions speak of tasks, measures and submissions that there are, and each says what it rests on."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from suite.entries.description import describe, described
from suite.entries.loading import builtin_files, load
from suite.errors import InputError
from suite.predictions import CLAIMS, NORMS, PREDICTIONS, Measured, Method, Prediction, Relation, method_of
from suite.predictions.methods import SUBMISSIONS
from suite.tasks import find_task
from suite.tracks import FULL


@functools.cache
def _shown(task: str) -> frozenset[str]:
    """The measures that tables show of the task."""
    found = find_task(task)
    return frozenset({axis.measure for axis in found.axes} | set(found.reported))


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: f"{p.task}-{p.measure}-{p.relation.name}")
def test_a_prediction_is_of_what_tables_show(prediction: Prediction) -> None:
    assert prediction.task in FULL
    assert prediction.task == find_task(prediction.task).name
    assert prediction.measure in _shown(prediction.task)
    if isinstance(prediction.value, Measured):
        value = prediction.value
        assert value.measure in _shown(value.task or prediction.task)
        assert value.task != prediction.task
        assert value.task is None or value.task == find_task(value.task).name
        assert value.task or value.method not in prediction.methods
        assert value.task or value.method or value.measure != prediction.measure
    assert prediction.methods
    assert len(set(prediction.methods)) == len(prediction.methods)
    assert prediction.tolerance >= 0
    assert (prediction.tolerance > 0) == (prediction.relation is Relation.EQUALS)


def test_every_claim_has_a_source_a_sentence_and_a_name_of_its_own() -> None:
    claims = set(CLAIMS)
    assert (
        len({claim.name for claim in claims})
        == len({claim.statement + claim.source for claim in claims})
        == len(claims)
    )
    for claim in claims:
        assert all(
            re.fullmatch(r"[A-Z][\w ,.]+ \d{4}, arXiv:\d{4}\.\d{5}", source) for source in claim.source.split("; ")
        ), claim.source
        assert re.fullmatch(r"[A-Z±].+\.", claim.statement)
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+|edge", claim.name)


def test_nothing_is_predicted_twice() -> None:
    stated = [(p.task, method, p.measure, p.relation, p.value) for p in PREDICTIONS for method in p.methods]
    assert len(stated) == len(set(stated))


def test_methods_are_submissions_with_a_norm() -> None:
    assert set(SUBMISSIONS) <= set(builtin_files())
    assert set(SUBMISSIONS.values()) == set(Method) == set(NORMS)


@pytest.mark.parametrize(
    ("submission", "placement", "method"),
    [
        ("sgd", {}, Method.GRADIENT_DESCENT),
        ("sgd[lr=0.1]", {"SGD": 3}, Method.GRADIENT_DESCENT),
        ("sgd[lr=0.1,momentum=0.9]", {"SGD": 3}, None),
        ("adam[betas=(0,0)]", {}, None),
        ("sgd[lr=(0.1]", {}, None),
        ("muon", {"Muon": 100}, Method.MUON),
        ("muon[lr=0.1,adamw_lr=0.1]", {"Muon": 100}, Method.MUON),
        ("muon", {"AdamW": 20}, Method.ADAM),
        ("muon", {"Muon": 100, "AdamW": 20}, None),
        ("muon", {}, None),
        ("radam", {}, None),
        ("sgdx", {}, None),
    ],
)
def test_which_method_a_run_is_of(submission: str, placement: dict[str, int], method: Method | None) -> None:
    """A record of before the field `method` is known by its name; one of today says what the loaded submission is."""
    old = {"submission": submission, "placement": placement}
    assert method_of(old) is method
    with contextlib.suppress(InputError):
        assert method_of(old | {"method": load(submission).submission.method}) is method


def test_what_is_stated_counts_and_not_the_name() -> None:
    assert method_of({"submission": "adam", "method": None}) is None
    assert method_of({"submission": "mine", "method": "Adam"}) is Method.ADAM
    assert method_of({"submission": "mine", "method": "a method of a newer version"}) is None
    assert method_of({"submission": "mine", "method": "Muon", "placement": {"AdamW": 20}}) is Method.ADAM


def test_a_file_claims_no_method_by_its_name(tmp_path: Path) -> None:
    """Only the built-in file called ``adam`` is Adam, whichever way it is named; others say so or are nothing."""
    builtin, mine, declared = builtin_files()["adam"], tmp_path / "adam.py", tmp_path / "declared.py"
    mine.write_bytes(builtin.read_bytes())
    declared.write_text(mine.read_text().replace("optimizer=Adam,", 'optimizer=Adam, method="Adam",'))
    assert load(str(mine)).submission.method is None
    assert load(str(builtin)).submission.method is load("adam").submission.method is Method.ADAM
    assert load(str(declared)).submission.method is Method.ADAM
    assert load(f"{declared}[betas=(0.0,0.9)]").submission.method is None
    assert load("torch.optim:Adam").submission.method is None
    assert described(describe(str(declared), 1), str(declared), 1).submission.method is Method.ADAM


def test_formulas() -> None:
    by_task = {(p.task, p.measure, p.relation): p.formula for p in PREDICTIONS}
    large = Measured("test_error", Method.ADAM, "a[batch=200]")
    assert replace(PREDICTIONS[0], measure="test_error", value=large, tolerance=0.0).formula == (
        "test_error ≤ that of Adam on a[batch=200]"
    )
    assert by_task["zipf_bigram", "rare_excess", Relation.EQUALS] == "rare_excess = 0.1 ± 5 %"
    assert by_task["valley_scalar", "curvature_ratio", Relation.EQUALS] == "curvature_ratio = flow_ratio ± 5 %"
    assert by_task["max_margin", "l2_margin_ratio", Relation.AT_LEAST] == "l2_margin_ratio ≥ that of sign descent"
    assert by_task["min_norm_regression", "excess_norm", Relation.AT_MOST] == "excess_norm ≤ 0.01"


def test_the_predictions_need_no_torch() -> None:
    code = "import sys, suite.predictions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
