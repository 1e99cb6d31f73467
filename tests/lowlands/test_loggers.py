"""Callbacks of `lowlands.run`, read back by the libraries' own readers."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import lowlands
from lowlands import loggers
from suite.errors import InputError

RUN = {"track": "smoke", "tasks": ["min_norm_regression"], "engine": "local:0", "trace": 2.0, "progress": False}


def scored(results: lowlands.Results) -> list[dict[str, Any]]:
    return [record for record in results.records if record["phase"] == "score"]


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> tuple[lowlands.Results, list[dict[str, Any]]]:
    """Results, and what a callback was given of them."""
    given: list[dict[str, Any]] = []
    folder = tmp_path_factory.mktemp("handed")
    return lowlands.run("sgd", results=folder, callbacks=[given.extend], **RUN), given


def test_a_callback_has_every_new_record_with_its_path_once(
    handed: tuple[lowlands.Results, list[dict[str, Any]]],
) -> None:
    results, given = handed
    checksums = [record["checksum"] for record in given]
    assert sorted(checksums) == sorted(record["checksum"] for record in results.records)
    paths = {record["checksum"]: record["path"]["steps"] for record in given if record["phase"] == "score"}
    assert paths == {record["checksum"]: record["path"]["steps"] for record in scored(results)}


def values_of(record: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """name -> (step, value) as a logger should have them."""
    path = record["path"]
    values = {
        f"path/{name}": [(step, value) for step, value in zip(path["steps"], column, strict=True) if value is not None]
        for name, column in path["measures"].items()
    }
    values |= {f"measures/{name}": [(record["steps"], value)] for name, value in record["measures"].items()}
    return values | {"train_loss": [(record["steps"], record["train_loss"])]}


def test_tensorboard_reads_what_was_recorded(
    handed: tuple[lowlands.Results, list[dict[str, Any]]], tmp_path: Path
) -> None:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra `tensorboard` is not installed"
    )
    results, given = handed
    loggers.TensorBoard(tmp_path)(given)
    found = sorted(path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("events.out.*"))
    assert found == sorted(f"sgd/{r['task']}/{r['search']}-{r['trial']}-{r['seed']}" for r in scored(results))
    for record in scored(results):
        folder = tmp_path / "sgd" / record["task"] / f"{record['search']}-{record['trial']}-{record['seed']}"
        events = reader.EventAccumulator(str(folder))
        events.Reload()
        expected = values_of(record)
        assert set(events.Tags()["scalars"]) == set(expected)
        for name, values in expected.items():
            assert [(event.step, event.value) for event in events.Scalars(name)] == [
                (step, pytest.approx(value, rel=1e-6)) for step, value in values
            ]


BLOCK, HEADER = 2**15, 7
"""Of the files of Weights & Biases: blocks, and what stands before each part of a message (LevelDB's log format)."""


def messages(data: bytes) -> list[bytes]:
    found, part, at = [], b"", HEADER
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # the rest of a block holds no header
            at += BLOCK - at % BLOCK
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part += data[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (1, 4):  # whole, or the last part
            found.append(part)
            part = b""
    return found


def test_weights_and_biases_reads_what_was_recorded(
    handed: tuple[lowlands.Results, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb: Any = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    wandb_internal_pb2: Any = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    monkeypatch.setenv("WANDB_SILENT", "true")
    results, given = handed
    loggers.WeightsAndBiases(tmp_path)(given)
    wandb.teardown()  # its process writes the last lines of a finished run when it likes
    files = sorted(tmp_path.rglob("*.wandb"))
    assert len(files) == len(scored(results))
    stored = []
    for file in files:
        history: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        names = set()
        for message in messages(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            if record.HasField("run"):
                names.add((record.run.run_group, record.run.job_type, record.run.project))
            if record.HasField("history"):
                row = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                step = row.get("_step", record.history.step.num)
                for name, value in row.items():
                    if not name.startswith("_"):
                        history[name].append((step, value))
        assert names == {("min_norm_regression", "sgd", "lowlands")}
        stored.append(dict(history))
    for record in scored(results):
        expected = {name: [(s, pytest.approx(v)) for s, v in values] for name, values in values_of(record).items()}
        assert expected in stored


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module, logger in (("torch.utils.tensorboard", "TensorBoard"), ("wandb", "WeightsAndBiases")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InputError, match=r"It needs the extra `(tensorboard|wandb)`: pip install"):
            getattr(lowlands, logger)(tmp_path)


@pytest.mark.parametrize("callbacks", [print, ["print"], [None], "print"])
def test_what_is_no_list_of_functions_is_refused_before_a_run(callbacks: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="callbacks is a list of functions, not"):
        lowlands.run("sgd", results=tmp_path / "none", callbacks=callbacks, **RUN)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("trace", [1, 0.5, float("nan"), float("inf")])
def test_a_factor_that_does_not_grow_is_refused(trace: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="by a finite factor above 1, not"):
        lowlands.run("sgd", results=tmp_path, **(RUN | {"trace": trace}))
    assert not (tmp_path / "smoke.jsonl").read_bytes()


@pytest.mark.parametrize("size", ["seeds", "trials", "tuning_seeds", "searches"])
@pytest.mark.parametrize("value", [0, -1, 10**20, 1.5])
def test_sizes_that_no_run_has_are_refused(size: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{size} is a whole number from 1 to 10,000, not"):
        lowlands.run("sgd", results=tmp_path, **(RUN | {size: value}))
