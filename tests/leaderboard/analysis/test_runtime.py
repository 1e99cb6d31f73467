"""Result files of asv: what it writes is read, all else is one sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from leaderboard.analysis.runtime import read
from suite.errors import InputError

WHOLE: dict[str, Any] = {
    "commit_hash": "a" * 40,
    "date": 1_700_000_000_000,
    "result_columns": ["result", "params"],
    "results": {"b.time_x": [[2.0, 8.0], [["1", "2"]]]},
    "version": 2,
}


def history(directory: Path, content: Any) -> Any:
    machine = directory / "box"
    machine.mkdir(parents=True)
    (machine / "one.json").write_text(json.dumps(content))
    return read(directory)


def test_a_result_is_read(tmp_path: Path) -> None:
    ((point,),) = (history.points for history in history(tmp_path, WHOLE))
    assert point.values == {"1": 2.0, "2": 8.0}
    assert point.mean == pytest.approx(4.0)


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    results = {"b.time_x": [[math.inf, 8.0], [["1", "2"]]], "b.track_y": [[math.inf], []], "b.track_z": [[None], []]}
    (only,) = history(tmp_path, WHOLE | {"results": results})
    assert only.points[0].values == {"2": 8.0}


@pytest.mark.parametrize(
    "content",
    [
        [1], 3, "text", WHOLE | {"date": "today"}, WHOLE | {"date": 10**30}, WHOLE | {"results": [1]},
        WHOLE | {"results": {"b": {"result": [1.0], "params": []}}},
        WHOLE | {"results": {"b": [["1.0s"], [["1"]]]}}, WHOLE | {"results": {"b": [[1.0], [[1]]]}},
        {"version": 1, "commit_hash": "a", "date": 1, "results": {"b": {"result": [1.0], "params": []}}},
    ],
)  # fmt: skip
def test_another_form_is_one_sentence(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match=r"one\.json is not a result of asv"):
        history(tmp_path, content)
