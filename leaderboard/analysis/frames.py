"""Results -> frames for other programs; `FRAMES` says what each holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from leaderboard.analysis.results import Results
from leaderboard.analysis.scoring import add_scores
from suite.errors import InputError, unknown
from suite.storage.record import PATH, search_of

KEYS = ("submission", "kind", "task", "phase", "search", "trial", "seed")
"""What names a run in every frame."""

RUN_FIELDS = (
    "family", "track", "explicit", "converged", "status", "reason", "train_loss", "validation_loss",
    "gradient_evaluations", "target_evaluations", "steps", "seconds", "measure_seconds", "stepping", "selection",
    "data_fingerprint", "submission_hash", "task_hash", "suite_version", "solution_hash", "time",
)  # fmt: skip
"""What else the frame of runs says."""


def _key(run: dict[str, Any]) -> dict[str, Any]:
    return {name: search_of(run) if name == "search" else run[name] for name in KEYS}


def runs(results: Results) -> pd.DataFrame:
    """A row for every training run of tuning and scoring: settings, status, losses, cost and where it comes from."""
    rows = [_key(run) | {name: run.get(name) for name in RUN_FIELDS} for run in results.records]
    return pd.DataFrame(rows, columns=[*KEYS, *RUN_FIELDS])


def scores(results: Results) -> pd.DataFrame:
    """A row for every scored run and axis: the measure, its value, the two references and the score."""
    return add_scores(results.frame())


def measures(results: Results) -> pd.DataFrame:
    """A row for every scored run and measure; `error` is of the kind that `exactness` names."""

    def rows() -> Iterator[dict[str, Any]]:
        for run in results.scored():
            uncertainties = run.get("uncertainties", {})
            for name, value in run["measures"].items():
                known = uncertainties.get(name, {})
                yield _key(run) | {
                    "measure": name, "value": value, "exactness": known.get("kind"), "error": known.get("error"),
                }  # fmt: skip

    frame = pd.DataFrame(rows(), columns=[*KEYS, "measure", "value", "exactness", "error"])
    return frame.astype({"value": "float64", "error": "float64"})


def settings(results: Results) -> pd.DataFrame:
    """A row for every run and hyper-parameter: `value` where it is a number, `text` as JSON writes it."""

    def rows() -> Iterator[dict[str, Any]]:
        for run in results.records:
            for name, value in run["hyperparameters"].items():
                number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
                yield _key(run) | {"setting": name, "value": number, "text": json.dumps(value)}

    frame = pd.DataFrame(rows(), columns=[*KEYS, "setting", "value", "text"])
    return frame.astype({"value": "float64"})


def curves(results: Results) -> pd.DataFrame:
    """A row for every point of the curves that records keep (those of the first scored seed)."""

    def rows() -> Iterator[dict[str, Any]]:
        for run in results.records:
            for name, curve in run.get("curves", {}).items():
                oracle = curve["oracle"] or [None] * len(curve["x"])
                labels = {"x_label": curve["x_label"], "y_label": curve["y_label"]}
                for x, y, exact in zip(curve["x"], curve["y"], oracle, strict=True):
                    yield _key(run) | {"curve": name, "x": x, "y": y, "oracle": exact} | labels

    frame = pd.DataFrame(rows(), columns=[*KEYS, "curve", "x", "y", "oracle", "x_label", "y_label"])
    return frame.astype(dict.fromkeys(("x", "y", "oracle"), "float64"))


def training_path(results: Results) -> pd.DataFrame:
    """A row for every step and measure along the runs that were traced (`lowlands run --trace`)."""

    def rows() -> Iterator[dict[str, Any]]:
        for run in results.records:
            if known := run.get(PATH):
                for name, column in known["measures"].items():
                    for step, spent, value in zip(known["steps"], known["gradient_evaluations"], column, strict=True):
                        yield _key(run) | {
                            "step": step, "gradient_evaluations": spent, "measure": name, "value": value,
                        }  # fmt: skip

    frame = pd.DataFrame(rows(), columns=[*KEYS, "step", "gradient_evaluations", "measure", "value"])
    return frame.astype({"step": "int64", "gradient_evaluations": "int64", "value": "float64"})


FRAMES: dict[str, Callable[[Results], pd.DataFrame]] = {
    "runs": runs,
    "scores": scores,
    "measures": measures,
    "settings": settings,
    "curves": curves,
    "path": training_path,
}
"""By name what makes each frame."""


def write(results: Results, directory: Path, style: str) -> list[Path]:
    """Write every frame to a file ``NAME.STYLE`` in `directory`; returns the paths.

    Texts of a CSV file that a spreadsheet would take for a formula begin with an apostrophe there.

    Args:
        results: what the frames hold.
        directory: made where it is not there; files of these names are replaced.
        style: ``csv``, or ``parquet``, which needs the extra `export`.

    Raises:
        InputError: a file cannot be written, or pyarrow is missing.
    """
    paths = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, make in FRAMES.items():
            table, path = make(results), directory / f"{name}.{style}"
            if style == "csv":
                path.write_text(as_csv(table), encoding="utf-8")
            else:
                table.to_parquet(path, index=False)
            paths.append(path)
    except ImportError:
        raise InputError("The format parquet needs the extra `export`: pip install '.[export]'.") from None
    except OSError as error:
        raise InputError(f"{directory} cannot be written to ({error.strerror or error}).") from error
    return paths


def as_csv(table: pd.DataFrame) -> str:
    """A frame as the text of a CSV file, in which no text is a formula (`inert`)."""
    words = table.select_dtypes(exclude="number").columns
    inactive = {column: table[column].astype(object).map(inert) for column in words}
    return str(table.assign(**inactive).to_csv(index=False, lineterminator="\n"))


def inert(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula, with an apostrophe in front; all else as it is."""
    if not isinstance(value, str):
        return value
    formula = value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return (("'" if formula else "") + value).replace("\r", " ")  # which csv does not quote, and readers break at


def frame(results: Results, name: str) -> pd.DataFrame:
    """The frame `name` of `FRAMES`; an `InputError` if there is none."""
    if name not in FRAMES:
        raise unknown("frame", name, FRAMES)
    return FRAMES[name](results)
