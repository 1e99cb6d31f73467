"""Exported tables, read back by the programs that will read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from leaderboard.analysis.frames import FRAMES, KEYS, write
from leaderboard.analysis.results import Results
from leaderboard.cli import main
from tests.leaderboard.helpers import record, whole_run


@pytest.fixture(scope="module")
def results() -> Results:
    return whole_run(submissions=2, tasks=2, seeds=2, trials=2)


def _equal(read: pd.DataFrame, made: pd.DataFrame) -> None:
    assert list(read.columns) == list(made.columns)
    assert len(read) == len(made)
    for name in made.columns:
        if made[name].dtype.kind in "fiu":
            np.testing.assert_array_equal(read[name].to_numpy(dtype=float), made[name].to_numpy(dtype=float))
        else:
            one, other = (column.astype(object).where(column.notna(), None) for column in (read[name], made[name]))
            assert list(map(str, one)) == list(map(str, other)), name


def test_pandas_reads_back_what_csv_holds(results: Results, tmp_path: Path) -> None:
    paths = write(results, tmp_path / "new", "csv")
    assert [path.name for path in paths] == [f"{name}.csv" for name in FRAMES]
    for path, make in zip(paths, FRAMES.values(), strict=True):
        _equal(pd.read_csv(path), make(results))


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    write(Results([record("=1+1", "a1", 0, 0.5)]), tmp_path, "csv")
    assert pd.read_csv(tmp_path / "runs.csv")["submission"].tolist() == ["'=1+1"]


def test_parquet_is_read_by_pandas_polars_and_duckdb(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write(results, tmp_path, "parquet")
    for name, make in FRAMES.items():
        _equal(pd.read_parquet(tmp_path / f"{name}.parquet"), make(results))
    polars = pytest.importorskip("polars")
    assert polars.read_parquet(tmp_path / "runs.parquet").height == len(results.records)
    duckdb = pytest.importorskip("duckdb")
    query = f"select sum(value), count(*) from '{tmp_path / 'measures.parquet'}'"
    ((total, rows),) = duckdb.sql(query).fetchall()
    expected = FRAMES["measures"](results)["value"]
    assert rows == len(expected)
    assert total == pytest.approx(expected.sum())


def test_the_command_writes_the_shipped_records(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["export", str(tmp_path / "tables"), "--track", "smoke"])
    assert result.exit_code == 0, result.output
    assert set(KEYS) <= set(pd.read_csv(tmp_path / "tables" / "runs.csv").columns)
    (tmp_path / "file").write_text("")
    assert CliRunner().invoke(main, ["export", str(tmp_path / "file"), "--track", "smoke"]).exit_code == 2
