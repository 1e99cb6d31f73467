"""Fields of records: what is missing, of another type or out of range is named, whoever has sealed it."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaderboard.analysis.baselines import shipped_logs
from leaderboard.analysis.results import load
from suite.engine.costs import Costs
from suite.storage.log import Log, read
from suite.storage.record import of_newest_source, run_key, seal
from suite.storage.schema import check
from suite.trials.selection import select
from tests.logs import RUN

OPTIONAL = {"search", "isolation"}
"""Fields that came after the schema's version."""

FAULTS: dict[str, dict[str, Any]] = {
    "measures": {"measures": "x"},
    "status": {"status": ["converged"]},
    "seed": {"seed": "0"},
    "submission": {"submission": {}},
    "submission of two lines": {"submission": "a\n| b"},
    "task that is no text": {"task": "\ud800"},
    "hyperparameters": {"hyperparameters": {"lr": json.loads("[" * 100 + "]" * 100)}},
    "axes": {"axes": []},
    "axes[...]": {"axes": {"norm": {"measure": 3}}},
    "axes[...].score_0": {"axes": {"norm": RUN["axes"]["norm"] | {"score_0": "2"}}},
    "axes key": {"axes": {"beauty": RUN["axes"]["norm"]}},
    "environment": {"environment": None},
    "environment.device": {"environment": RUN["environment"] | {"device": 0}},
    "seconds": {"seconds": "1"},
    "seconds null": {"seconds": None},  # what an infinite duration becomes when it is sealed
    "seconds negative": {"seconds": -1.0},
    "seconds endless": {"seconds": 1e300},
    "steps": {"steps": 10**400},
    "gradient_evaluations": {"gradient_evaluations": -3},
    "trial": {"trial": 1.5},
    "reported": {"reported": ["excess_norm", 1]},
    "curves": {"curves": {"training_loss": RUN["curves"]["training_loss"] | {"y": [1.0]}}},
    "converged": {"converged": False},
    "reason": {"converged": False, "status": "unavailable"},
    "target_evaluations": {"phase": "tune", "target_evaluations": None},
}


def readers(records: list[dict[str, Any]], path: Path) -> None:
    """What every later command does with the records of a log."""
    costs = Costs(records)
    for means in (costs._processor, *costs._clock.values(), costs._converged):
        assert all(math.isfinite(means[key]) for key in means.counts)
    {run_key(record) for record in of_newest_source(records)}
    results = load([path])
    results.frame()
    results.measures()
    if tuning := [record for record in records if record["phase"] == "tune"]:
        select("validation_loss", tuning)
        select("gradient_evaluations", tuning)


def test_shipped_records_and_a_whole_one_have_the_fields() -> None:
    check(RUN)
    for path in shipped_logs():
        assert not read(path).damaged


@pytest.mark.parametrize("field", sorted(RUN.keys() - OPTIONAL))
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.append(seal({name: value for name, value in RUN.items() if name != field}), RUN)
    result = read(log.path)
    assert len(result.records) == 1
    ((line, why),) = result.damaged
    assert line == 1
    assert field in why


def test_fields_that_came_later_may_be_missing() -> None:
    check({name: value for name, value in RUN.items() if name not in OPTIONAL} | {"newer": object()})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_field_of_another_type_or_out_of_range_is_named(tmp_path: Path, fault: str) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.append(seal(RUN | FAULTS[fault]), RUN)
    result = read(log.path)
    assert len(result.records) == 1
    ((line, why),) = result.damaged
    assert line == 1
    assert fault.partition(" ")[0] in why
    again = Log(log.path)
    assert list(again.records()) == result.records
    assert len(again.notes) == 1
    assert "line 1 is damaged" in again.notes[0]
    assert again.notes[0].endswith("its training run is repeated.")
    readers(result.records, log.path)


def test_numbers_that_are_not_finite_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [json.dumps(RUN | {"train_loss": value, "checksum": "0" * 16}) for value in (math.nan, math.inf)]
    lines.append(lines[0].replace("NaN", "1e999"))
    path.write_text("\n".join(lines))
    assert [number for number, _ in read(path).damaged] == [1, 2, 3]
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="train_loss"):
            check(RUN | {"train_loss": value})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_sealed_is_read_or_named_and_readers_take_what_is_read(tmp_path: Path, data: st.DataObject) -> None:
    record = copy.deepcopy(RUN) | {"phase": data.draw(st.sampled_from(["tune", "score"]))}
    place: Any = record
    key = data.draw(st.sampled_from(sorted(record)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    place[key] = data.draw(values | st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values))
    path = tmp_path / "log.jsonl"
    path.unlink(missing_ok=True)
    log = Log(path)
    log.append(seal(record))
    result = read(path)
    assert len(result.records) + len(result.damaged) == 1
    readers(result.records, path)
