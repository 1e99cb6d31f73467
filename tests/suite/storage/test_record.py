"""Records: the names of version 1, keys of runs, newest sources, hyper-parameters there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from suite.storage.log import Log, read
from suite.storage.record import (
    SCHEMA,
    Status,
    as_settings,
    canonical,
    checksum,
    clean,
    of_newest_source,
    run_key,
    seal,
)
from tests.logs import RUN

VERSION_1 = {
    name: value for name, value in RUN.items() if name not in ("uncertainties", "reported", "target_evaluations")
} | {
    "schema": 1,
    "stop_evaluations": 120,
    "shown": ["lambda_max"],
    "measures": {"lambda_max": 2.0, "excess_norm": 0.5, "corruption": 0.1},
    "answers": {
        "lambda_max": {"kind": "bounded", "error": 0.01},
        "excess_norm": {"kind": "exact", "error": None},
        "corruption": {"kind": "estimate", "error": 0.2},
    },
    "axes": {"norm": {"measure": "excess_norm", "scale": "log", "null": 2.0, "ideal": 1.0, "floor": 1e-6}},
}


def write(path: Path, record: dict[str, Any]) -> Path:
    """A log with this one record, sealed as it stands."""
    sealed = record | {"checksum": checksum(record)}
    path.write_text(canonical(sealed) + "\n")
    return path


def test_a_record_of_version_1_is_read_in_the_names_of_today(tmp_path: Path) -> None:
    result = read(write(tmp_path / "log.jsonl", VERSION_1))
    assert not result.damaged
    today = {
        "target_evaluations": 120,
        "reported": ["lambda_max"],
        "measures": VERSION_1["measures"],
        "uncertainties": {
            "lambda_max": {"kind": "bound", "error": 0.01},
            "excess_norm": {"kind": "exact", "error": None},
            "corruption": {"kind": "estimate", "error": 0.2},
        },
    }
    assert result.records == [RUN | today]


def test_an_upgraded_record_is_sealed_when_it_is_written_again(tmp_path: Path) -> None:
    (record,) = read(write(tmp_path / "old.jsonl", VERSION_1)).records
    log = Log(tmp_path / "new.jsonl")
    log.append(record)
    assert read(log.path).records == [seal(record)]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text.replace('"seed":0', '"seed":1'), "its checksum does not match"),
        (lambda text: text.replace('"null":2.0', '"null":1.0'), "its checksum does not match"),
        (lambda text: text.replace('"schema":1', '"schema":3'), f"schema 3, not {SCHEMA}"),
        (lambda text: text[:-20], "not JSON"),
    ],
)
def test_a_damaged_record_of_version_1_is_named(tmp_path: Path, damage: Any, reason: str) -> None:
    path = write(tmp_path / "log.jsonl", VERSION_1)
    path.write_text(damage(path.read_text()))
    assert read(path).records == []
    assert read(path).damaged == [(1, reason)]


@pytest.mark.parametrize("missing", ["axes", "answers"])
def test_a_record_of_version_1_without_its_fields_is_damaged(tmp_path: Path, missing: str) -> None:
    rest = {name: value for name, value in VERSION_1.items() if name != missing}
    path = write(tmp_path / "log.jsonl", rest)
    assert read(path).damaged == [(1, "fields of version 1 are missing")]


def of_source(number: int, source: str, **more: Any) -> dict[str, Any]:
    common = {"submission": "sgd", "task": "t", "track": "smoke", "task_hash": "t", "phase": "score", "trial": 0}
    where = {"hyperparameters": {"lr": 0.1, "betas": [0.9, 0.99]}, "environment": {"device": "cpu", "threads": 1}}
    return common | where | {"seed": number, "submission_hash": source} | more


def test_the_last_record_says_which_source_is_newest() -> None:
    records = [of_source(0, "old"), of_source(0, "new"), of_source(1, "old", track="full"), of_source(2, "new")]
    assert [record["seed"] for record in of_newest_source(records)] == [0, 2]
    by_track = of_newest_source(records, per=("track", "submission", "task"))
    assert [record["seed"] for record in by_track] == [0, 1, 2]
    records.append(of_source(3, "old"))
    assert [record["seed"] for record in of_newest_source(records)] == [0, 1, 3]
    assert len(of_newest_source([*records, of_source(4, "other", task="another")])) == 4


def test_a_key_is_one_runs_and_no_others() -> None:
    record = of_source(0, "new")
    assert run_key(record) == run_key(json.loads(json.dumps(record)) | {"seconds": 3.0})
    others = [
        record | {field: value}
        for field, value in {
            "submission": "adam", "submission_hash": "x", "task": "u", "task_hash": "x", "phase": "tune", "trial": 1,
            "seed": 1, "hyperparameters": {"lr": 0.2}, "environment": {"device": "NVIDIA H200"},
            "board_version": "9999.1",
        }.items()
    ]  # fmt: skip
    assert len({run_key(one) for one in [record, *others]}) == 11


def test_hyper_parameters_come_back_from_json_as_they_were() -> None:
    settings = {"lr": 0.1, "betas": (0.9, (0.99, 3)), "name": "x", "nesterov": True, "clip": None}
    assert as_settings(json.loads(json.dumps(clean(settings)))) == settings


def test_a_status_is_written_as_its_word() -> None:
    assert json.loads(canonical(seal({"status": Status.FAILED})))["status"] == "failed"
    assert [status for status in Status if not status.trained] == [Status.FAILED, Status.UNAVAILABLE]
