"""Tables of one's own: parts and scales against scikit-learn, and runs to the target loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.preprocessing import StandardScaler

from leaderboard.cli import main
from suite.data.tables import load_table
from suite.errors import InputError
from suite.storage.log import read
from suite.tasks import find_task, place_of_references

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(loc=5.0, scale=[1.0, 2.0, 3.0, 0.0], size=(120, 4))
CLASSES = (X[:, 0] > 5.0).astype(int) + 2 * (X[:, 1] > 5.0)
REAL = 3.0 * X[:, 0] - X[:, 1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWLANDS_DATA", str(tmp_path))
    np.savez(tmp_path / "classes.npz", x=X, y=CLASSES)
    np.savez(tmp_path / "real.npz", x=X.astype("f4"), y=REAL)
    np.savez(tmp_path / "apart.npz", x_train=X[:100], y_train=REAL[:100], x_test=X[100:], y_test=REAL[100:])
    return tmp_path


def test_parts_are_disjoint_and_scaled_by_the_training_part(folder: Path) -> None:
    problem = find_task("tabular:classes").problem(3)
    assert problem.validation is not None
    parts = [problem.train, problem.validation, problem.required_test]
    assert [len(part) for part in parts] == [77, 19, 24]
    rows = np.concatenate([part.x.numpy() for part in parts])
    labels = np.concatenate([part.y.numpy() for part in parts])
    # The rows of the file, each once: found again by their order in two columns.
    order = np.lexsort((rows[:, 1], rows[:, 0])), np.lexsort((X[:, 1], X[:, 0]))
    np.testing.assert_array_equal(labels[order[0]], CLASSES[order[1]])
    places = np.empty(120, dtype=int)
    places[order[0]] = order[1]
    scaler = StandardScaler().fit(X[places[:77]])
    np.testing.assert_allclose(rows, scaler.transform(X[places]), atol=1e-9)
    assert not (find_task("tabular:classes").problem(4).train.x == problem.train.x).all()


def test_real_targets_and_a_test_part_of_the_file(folder: Path) -> None:
    problem = find_task("tabular:apart").problem(0)
    assert problem.train.y.shape == (80, 1)
    assert len(problem.required_test) == 20
    # Another part scales them, so only the order of the targets is that of the file.
    np.testing.assert_array_equal(problem.required_test.y[:, 0].argsort(), REAL[100:].argsort())
    assert float(problem.train.y.mean()) == pytest.approx(0, abs=1e-12)
    assert float(problem.train.y.std(correction=0)) == pytest.approx(1)


@pytest.mark.parametrize(("name", "measure"), [("classes", "test_error"), ("real", "test_loss")])
def test_a_network_fits_rows_it_has_not_seen(folder: Path, name: str, measure: str) -> None:
    options = ["--task", f"tabular:{name}", "--seeds", "1", "--engine", "local:0"]
    result = CliRunner().invoke(main, ["run", "adam[lr=0.01]", *options])
    assert result.exit_code == 0, result.output
    (record,) = read(folder / "results" / "quick.jsonl").records
    assert record["converged"], record
    assert record["measures"][measure] < 0.25
    assert record["axes"] == {}
    assert {"canonical_sharpness", measure} <= {*record["reported"]}
    assert place_of_references(find_task(f"tabular:{name}")) == (folder / f"{name}.references.json", f"tabular:{name}")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": X, "z": REAL}, "must hold x and y"),
        ({"x": X[:, :, None], "y": REAL}, "x must be"),
        ({"x": X, "y": np.stack([CLASSES, CLASSES], 1)}, "y must be"),
        ({"x": X[:5], "y": REAL[:5]}, "has 5 rows"),
        ({"x": X, "y": np.zeros(120, dtype=int)}, "one class only"),
        ({"x": X, "y": CLASSES, "x_test": X, "y_test": REAL}, "are classes, and those of the other are real"),
    ],
)
def test_what_is_no_table_is_one_sentence(folder: Path, arrays: dict[str, Any], sentence: str) -> None:
    np.savez(folder / "wrong.npz", **arrays)
    with pytest.raises(InputError, match=sentence):
        load_table("wrong")
    with pytest.raises(InputError, match="There is no file"):
        find_task("tabular:nothing")
